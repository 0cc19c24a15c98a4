"""Payments at an even rate that can be raised at a moment, which is noted."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, Message, Producer
from forebay_cli.demo.ledger import Entry, LedgerWriter, Poison
from forebay_cli.demo.payments import PaymentStream
from forebay_cli.demo.producer import build_producer_config

TICK_S = 0.01
LINGER_MS = 5
"""A step of the load must be seen in the topic at once."""
FLUSH_S = 60.0


class SteadyLoad:
    """with SteadyLoad(...) as load: ...; sending ends with the block, when everything is delivered.

    A payment's created_at is its record's Kafka timestamp: milliseconds, cut off.
    """

    def __init__(
        self, bootstrap: str, topic: str, *, rate: float, seed: int, ledger: LedgerWriter | None = None
    ) -> None:
        """rate: records/s. ledger: takes every delivered record; the caller closes it after stop()."""
        self._producer = Producer({**build_producer_config(bootstrap), "linger.ms": LINGER_MS, "log_level": 0})
        self._topic, self._rate, self._ledger = topic, rate, ledger
        self._stream = PaymentStream(seed, poison_fraction=0.0)
        self._asked: float | None = None
        self._stepped = threading.Event()
        self._stepped_at = 0.0
        self._ended = threading.Event()
        self._errors: list[KafkaError] = []
        self._thread = threading.Thread(target=self._run)
        self.delivered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def step(self, rate: float) -> float:
        """From now on so many records/s; the time of the first of them, by time.monotonic()."""
        self._stepped.clear()
        self._asked = rate
        self._stepped.wait(FLUSH_S)
        return self._stepped_at

    def stop(self) -> int:
        """Send no more, and wait; returns how many were delivered. Raises RuntimeError if some were not."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._producer.flush(FLUSH_S) or self._errors:
            raise RuntimeError(f"not everything was delivered: {self._errors[:3]}")
        return self.delivered

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._ended.is_set():
            if self._asked is not None:
                self._rate, self._asked = self._asked, None
                began, sent = time.monotonic(), 0
            due = int(self._rate * (time.monotonic() - began)) - sent
            now_ms = time.time_ns() // 10**6
            created_at = describe_moment(now_ms)
            for _ in range(due):
                payment = self._stream.next_payment(created_at)
                self._producer.produce(
                    self._topic,
                    payment.value,
                    payment.key,
                    timestamp=now_ms,
                    on_delivery=partial(self._note, payment.id),
                )
            if due and not sent:
                self._stepped_at = time.monotonic()
                self._stepped.set()
            sent += due
            self._producer.poll(TICK_S)

    def _note(self, number: int, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None:
            self._errors.append(error)
        else:
            self.delivered += 1
        if error is None and self._ledger is not None:
            assert partition is not None, "a delivered record has a place"
            assert offset is not None, "a delivered record has a place"
            self._ledger.add(Entry(partition, int(Poison.NONE), offset, number))


def describe_moment(since_1970_ms: int) -> str:
    """Return a Kafka timestamp as ISO 8601 text, exactly."""
    seconds, rest_ms = divmod(since_1970_ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ms * 1000)
    return moment.isoformat(timespec="milliseconds")
