"""Fills a topic at once with good payments of any width, ledger included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from confluent_kafka import KafkaError, Message, Producer
from forebay_cli.demo.ledger import Entry, LedgerWriter, Poison


def payment(number: int, width: int = 16, **changes: object) -> bytes:
    """One good payment as JSON; width: characters of its merchant. changes replace fields."""
    fields = {
        "id": number,
        "account": f"AC{number:010d}",
        "amount_cents": number,
        "currency": "EUR",
        "merchant": "m" * width,
        "status": "captured",
        "created_at": "2026-01-02T03:04:05.678Z",
    }
    return json.dumps({**fields, **changes}).encode()


def preload(
    bootstrap: str, topic: str, ledger: Path, values: list[bytes], poison: frozenset[int] = frozenset()
) -> None:
    """Send the values; value number i has id i, and those in poison are spoilt. One ledger entry a delivery."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20})
    with LedgerWriter(ledger) as writer:
        for number, value in enumerate(values):

            def on_delivery(error: KafkaError | None, message: Message, number: int = number) -> None:
                assert error is None, error
                kind = Poison.INVALID_JSON if number in poison else Poison.NONE
                partition, offset = cast(int, message.partition()), cast(int, message.offset())
                writer.add(Entry(partition=partition, poison=kind, offset=offset, id=number))

            while True:
                try:
                    producer.produce(topic, value, key=str(number), on_delivery=on_delivery)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0
