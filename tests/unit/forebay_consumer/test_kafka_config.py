"""Which client configuration a pipeline gets, and which properties are refused."""

from __future__ import annotations

import pytest
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.errors import BadConfig
from forebay_consumer.kafka_config import (
    OWNED,
    ClientConfig,
    GroupProtocol,
    build_admin_config,
    build_consumer_config,
    check_properties,
    choose_protocol,
)

SPEC = SourceSpec(bootstrap_servers="kafka:9092", topic="payments", group="bank.payments")


def build(
    properties: dict[str, str] | None = None,
    *,
    protocol: GroupProtocol = GroupProtocol.CONSUMER,
    buffer_bytes: int = 2**26,
) -> ClientConfig:
    return build_consumer_config(SPEC, properties or {}, consumer_id="c1", buffer_bytes=buffer_bytes, protocol=protocol)


def test_nothing_is_committed_or_skipped_behind_our_back() -> None:
    config = build()
    assert config["enable.auto.commit"] is False
    assert config["enable.auto.offset.store"] is False
    assert config["auto.offset.reset"] == "error"
    assert config["isolation.level"] == "read_committed"
    assert (config["bootstrap.servers"], config["group.id"]) == ("kafka:9092", "bank.payments")


@pytest.mark.parametrize("name", sorted(OWNED))
def test_owned_properties_are_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(BadConfig) as raised:
        build({name: "x"})
    assert raised.value.problems == (f"spec.source.configSecretRef: remove {name}: {OWNED[name]}",)


def test_every_refused_property_is_named() -> None:
    with pytest.raises(BadConfig) as raised:
        check_properties({"group.id": "g", "auto.offset.reset": "latest"})
    assert len(raised.value.problems) == 2


def test_partitions_move_one_by_one_in_the_classic_protocol() -> None:
    assert build(protocol=GroupProtocol.CLASSIC)["partition.assignment.strategy"] == "cooperative-sticky"
    assert "partition.assignment.strategy" not in build()


def test_classic_timers_are_kept_for_the_classic_protocol_only() -> None:
    timers = {"session.timeout.ms": "6000"}
    assert build(timers, protocol=GroupProtocol.CLASSIC)["session.timeout.ms"] == "6000"
    assert "session.timeout.ms" not in build(timers)
    with pytest.raises(BadConfig, match=r"session\.timeout\.ms"):
        check_properties({**timers, "group.protocol": "consumer"})


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({}, None, id="automatic"),
        pytest.param({"group.protocol": "CLASSIC"}, GroupProtocol.CLASSIC, id="classic"),
        pytest.param({"group.protocol": "consumer"}, GroupProtocol.CONSUMER, id="consumer"),
    ],
)
def test_the_protocol_asked_for_is_taken(properties: dict[str, str], expected: GroupProtocol | None) -> None:
    assert choose_protocol(properties) is expected


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(BadConfig, match="use classic or consumer"):
        choose_protocol({"group.protocol": "share"})


def test_properties_win_over_preferences() -> None:
    assert build({"fetch.wait.max.ms": "500"})["fetch.wait.max.ms"] == "500"


@pytest.mark.parametrize(
    ("buffer_bytes", "kib"),
    [
        pytest.param(2**30, 32 * 1024, id="bounded"),
        pytest.param(2**22, 4096, id="follows"),
        pytest.param(1, 1024, id="least"),
    ],
)
def test_fetching_ahead_follows_the_buffer(buffer_bytes: int, kib: int) -> None:
    assert build(buffer_bytes=buffer_bytes)["queued.max.messages.kbytes"] == kib


def test_questions_take_over_security_only() -> None:
    config = build_admin_config(
        SPEC, {"sasl.username": "u", "security.protocol": "SASL_SSL", "fetch.min.bytes": "5"}, consumer_id="c1"
    )
    assert config["sasl.username"] == "u"
    assert config["security.protocol"] == "SASL_SSL"
    assert "fetch.min.bytes" not in config
