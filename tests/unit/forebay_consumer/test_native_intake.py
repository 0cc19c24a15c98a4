"""Which clients the native way is used with, and what happens to records that come another way."""

from __future__ import annotations

import mmap
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.kafka_config import GroupProtocol, build_consumer_config
from forebay_consumer.kafka_source import native_intake
from forebay_consumer.kafka_source.native_intake import (
    TESTED_CLIENTS,
    NativePolled,
    find_librdkafka,
    make_native_intake,
)
from forebay_consumer.native.library import LIBRARY
from forebay_consumer.ports import Wanted

SPEC = SourceSpec(bootstrap_servers="127.0.0.1:1", topic="payments", group="bank.payments")

LARGE_BYTES = 2**32
"""No gap between libraries takes a mapping of this size: it lies, and is listed, before them all."""


def make_consumer(client_id: str) -> Consumer:
    config: dict[str, Any] = {
        **build_consumer_config(SPEC, {}, consumer_id=client_id, buffer_bytes=2**20, protocol=GroupProtocol.CLASSIC),
        "log_level": 0,
    }
    return Consumer(config)


def test_the_installed_client_is_one_that_the_native_way_was_tested_with() -> None:
    assert version("confluent-kafka") in TESTED_CLIENTS, "run the contract and integration tests, then add the version"


@pytest.mark.skipif(
    not LIBRARY.exists(), reason="rustc, which compiles the native library, was missing at installation"
)
def test_a_client_that_is_not_the_expected_one_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = make_consumer("bank.payments-1")

    intake = make_native_intake(consumer, "bank.payments-1", "payments")
    assert intake is not None
    intake.close()

    assert make_native_intake(consumer, "bank.payments-2", "payments") is None
    monkeypatch.setattr(native_intake, "version", lambda _name: "1.0.0")
    assert make_native_intake(consumer, "bank.payments-1", "payments") is None
    consumer.close()


def test_librdkafka_is_known_by_its_own_name_and_not_by_a_folders(tmp_path: Path) -> None:
    expected = find_librdkafka()
    assert expected is not None
    find_librdkafka.cache_clear()
    folder = tmp_path / "librdkafka-tools"
    folder.mkdir()
    with (folder / "other").open("wb+") as file:
        file.truncate(LARGE_BYTES)
        with mmap.mmap(file.fileno(), LARGE_BYTES, access=mmap.ACCESS_READ):
            found = find_librdkafka()
    assert found is not None
    assert found._name == expected._name


def test_a_librdkafka_that_was_replaced_on_the_disk_leaves_the_python_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_intake, "_find_loaded", lambda _name: "/venv/librdkafka.so.1 (deleted)")
    find_librdkafka.cache_clear()
    assert find_librdkafka() is None
    find_librdkafka.cache_clear()


def test_a_record_from_the_clients_own_queue_ends_the_client_and_is_not_dropped() -> None:
    polled = NativePolled(
        [], [], [Message(topic="payments", partition=3, offset=7, value=b"{}", timestamp=(1, 2))], Wanted()
    )

    assert polled.split({2: 1}) == ([], [])
    with pytest.raises(KafkaException, match="own queue"):
        polled.split({3: 1})
