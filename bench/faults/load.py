"""Sends a round's records, a part at once and the rest evenly, and writes the ledger from the delivery reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Producer
from forebay_cli.demo.ledger import LedgerWriter
from forebay_cli.demo.producer import LedgerKeeper, build_producer_config
from forebay_cli.errors import DeliveryFailed

from bench.faults.records import Record

TICK_S = 0.01
LINGER_MS = 5
LEAST_BACKLOG = 500
"""Records that the consumers' first commit is made of."""
DELIVER_S = 60.0
"""A killed broker is back in ten seconds, and its producer may wait two more."""


class Load:
    """with Load(...) as load: load.start(); ...; load.wait(); what is to be there beforehand is sent by `with`."""

    def __init__(
        self, bootstrap: str, topic: str, records: Sequence[Record], ledger: Path, *, backlog: float, load_s: float
    ) -> None:
        """backlog: share of the records that go beforehand, some in any case; load_s: how long the rest takes."""
        config = {**build_producer_config(bootstrap), "linger.ms": LINGER_MS, "log_level": 0}
        self._producer = Producer(config)
        self._topic, self._records, self._load_s = topic, records, load_s
        self._backlog = max(LEAST_BACKLOG, round(backlog * len(records)))
        self._writer = LedgerWriter(ledger)
        self._keeper = LedgerKeeper(self._writer)
        self._thread = threading.Thread(target=self._run, name="load")
        self._ended = threading.Event()
        self._error: DeliveryFailed | None = None
        self.ended_at_s: float | None = None
        """When the last record was delivered, on time.monotonic()'s clock."""

    def __enter__(self) -> Self:
        self._send(self._records[: self._backlog])
        self._producer.flush(DELIVER_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._writer.close()

    def start(self) -> None:
        """Begin with the rest."""
        self._thread.start()

    def wait(self, timeout_s: float = DELIVER_S) -> None:
        """Return when every record is delivered. Raises DeliveryFailed."""
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        if self.ended_at_s is None:
            raise DeliveryFailed(f"{len(self._records) - self._keeper.delivered} records are not delivered")
        self._writer.flush()

    def _run(self) -> None:
        try:
            self._send_evenly(self._records[self._backlog :])
            while self._keeper.delivered < len(self._records) and not self._ended.is_set():
                self._producer.poll(0.05)
            if self._keeper.delivered == len(self._records):
                self.ended_at_s = time.monotonic()
        except DeliveryFailed as error:
            self._error = error

    def _send_evenly(self, records: Sequence[Record]) -> None:
        began, sent = time.monotonic(), 0
        while sent < len(records) and not self._ended.is_set():
            share = min(1.0, (time.monotonic() - began) / self._load_s)
            due = round(share * len(records))
            self._send(records[sent:due])
            sent = due
            self._producer.poll(TICK_S)

    def _send(self, records: Sequence[Record]) -> None:
        for record in records:
            self._producer.produce(
                self._topic,
                record.value,
                record.key,
                on_delivery=partial(self._keeper.record, record.id, record.poison),
            )
