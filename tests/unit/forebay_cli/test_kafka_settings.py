"""What an embedded broker is told about its listeners."""

from __future__ import annotations

from pathlib import Path

from forebay_cli.local.kafka_settings import KafkaOptions, build_properties

PORTS = (15001, 15002)
DATA = Path("data")


def test_broker_listens_for_clients_and_for_its_controller() -> None:
    properties = build_properties(KafkaOptions(), PORTS, DATA)

    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:15001,CONTROLLER://127.0.0.1:15002"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:15001"
    assert "listener.security.protocol.map" not in properties


def test_clients_of_the_second_listener_are_told_the_port_of_what_stands_before_it() -> None:
    properties = build_properties(KafkaOptions(second_listener=(15003, 15004)), PORTS, DATA)

    assert properties["listeners"].endswith(",SECOND://127.0.0.1:15003")
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:15001,SECOND://127.0.0.1:15004"
    assert properties["listener.security.protocol.map"] == "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECOND:PLAINTEXT"


def test_properties_of_the_caller_win() -> None:
    properties = build_properties(KafkaOptions(properties={"listeners": "mine"}), PORTS, DATA)

    assert properties["listeners"] == "mine"
