"""Which clients the native way is used with, and what happens to records that come another way."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.kafka_config import GroupProtocol, build_consumer_config
from forebay_consumer.kafka_source import native_intake
from forebay_consumer.kafka_source.native_intake import TESTED_CLIENTS, NativePolled, make_native_intake
from forebay_consumer.native.library import LIBRARY
from forebay_consumer.ports import Wanted

SPEC = SourceSpec(bootstrap_servers="127.0.0.1:1", topic="payments", group="bank.payments")


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


def test_a_record_from_the_clients_own_queue_ends_the_client_and_is_not_dropped() -> None:
    polled = NativePolled(
        [], [], [Message(topic="payments", partition=3, offset=7, value=b"{}", timestamp=(1, 2))], Wanted()
    )

    assert polled.split({2: 1}) == ([], [])
    with pytest.raises(KafkaException, match="own queue"):
        polled.split({3: 1})
