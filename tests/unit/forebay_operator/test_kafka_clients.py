"""The operator's Kafka credentials: which are for which brokers, and how they are replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from forebay_operator.kafka_clients import KafkaClients, split_brokers
from support.pipeline_builders import build_pipeline


def write_client(folder: Path, name: str, properties: Mapping[str, str]) -> None:
    """A projected volume: the files are links into a folder that is replaced as a whole."""
    client = folder / name
    client.mkdir(parents=True, exist_ok=True)
    data = client / f"..v{len(list(client.glob('..v*')))}"
    data.mkdir()
    for key, value in properties.items():
        (data / key).write_text(value)
    link = client / "..next"
    link.symlink_to(data.name)
    link.replace(client / "..data")
    for key in properties:
        if not (client / key).is_symlink():
            (client / key).symlink_to(f"..data/{key}")


def test_client_is_found_by_its_brokers(tmp_path: Path) -> None:
    write_client(tmp_path, "0", {"bootstrap.servers": "a:1,b:1", "sasl.username": "both"})
    write_client(tmp_path, "1", {"bootstrap.servers": "b:1\n", "sasl.username": "one\n"})
    clients = KafkaClients(tmp_path)

    found = {brokers: clients.properties_for(build_pipeline(brokers=brokers)) for brokers in ("b:1", "B:1, a:1", "c:1")}

    names = {brokers: properties.get("sasl.username") for brokers, properties in found.items()}
    assert names == {"b:1": "one", "B:1, a:1": "both", "c:1": None}


def test_one_broker_in_common_is_enough_but_no_other_is_given_the_password(tmp_path: Path) -> None:
    properties = {"bootstrap.servers": "a:1,b:1", "sasl.username": "x"}
    write_client(tmp_path, "0", properties)

    assert KafkaClients(tmp_path).properties_for(build_pipeline(brokers="b:1,stranger:1")) == properties


def test_rotated_secret_is_read_again(tmp_path: Path) -> None:
    write_client(tmp_path, "0", {"bootstrap.servers": "a:1", "sasl.password": "old"})
    clients, pipeline = KafkaClients(tmp_path), build_pipeline(brokers="a:1")
    assert clients.properties_for(pipeline)["sasl.password"] == "old"

    write_client(tmp_path, "0", {"bootstrap.servers": "a:1", "sasl.password": "new"})

    assert clients.properties_for(pipeline)["sasl.password"] == "new"


def test_client_in_the_middle_of_a_change_stays_as_it_was(tmp_path: Path) -> None:
    write_client(tmp_path, "0", {"bootstrap.servers": "a:1", "sasl.username": "x"})
    clients, pipeline = KafkaClients(tmp_path), build_pipeline(brokers="a:1")
    assert clients.properties_for(pipeline)

    (tmp_path / "0" / "bootstrap.servers").unlink()

    assert clients.properties_for(pipeline)["sasl.username"] == "x"


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_no_folder_means_no_credentials(folder: Path | None) -> None:
    assert KafkaClients(folder).properties_for(build_pipeline()) == {}


def test_credentials_are_not_shown_when_a_client_is(tmp_path: Path) -> None:
    write_client(tmp_path, "0", {"bootstrap.servers": "a:1", "sasl.password": "hidden"})
    clients = KafkaClients(tmp_path)
    clients.properties_for(build_pipeline())

    assert "hidden" not in repr(vars(clients))


@pytest.mark.parametrize(
    ("text", "brokers"),
    [
        pytest.param("a:1, B:2,", {"a:1", "b:2"}, id="spaces-and-case"),
        pytest.param("a", {"a:9092"}, id="default-port"),
        pytest.param("SASL_SSL://a:1", {"a:1"}, id="scheme"),
        pytest.param("[::1]:9,[::2]", {"[::1]:9", "[::2]:9092"}, id="ipv6"),
        pytest.param("", set(), id="none"),
    ],
)
def test_brokers_are_compared_in_one_form(text: str, brokers: set[str]) -> None:
    assert split_brokers(text) == brokers
