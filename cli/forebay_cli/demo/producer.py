"""The demo's producer: a process of its own that sends the wave and writes the ledger from delivery reports.

    python -m forebay_cli.demo.producer --bootstrap HOST:PORT --topic T --ledger FILE [--seconds S --records N --seed N]

Standard output: one JSON object a line (ProgressLine), several times a second. Exit code 0: every record was
delivered and is in the ledger. 1: a delivery failed for good, and the ledger proves nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from forebay_cli.demo.ledger import Entry, LedgerWriter, Poison
from forebay_cli.demo.payments import POISON_FRACTION, Payment, PaymentStream
from forebay_cli.demo.wave import DEFAULT_RECORDS, DEFAULT_SECONDS, Wave, WavePhase
from forebay_cli.errors import DeliveryFailed

DEFAULT_SEED = 20_260_101

_TICK_S = 0.01
"""How long one look at the clock and the delivery reports waits: short enough for an even stream."""

_MOST_AT_ONCE = 5_000
"""Records between two looks at the delivery reports, when behind."""

_PROGRESS_EVERY_S = 0.25
_FLUSH_DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressLine:
    """What the producer says while it works."""

    elapsed_s: float
    phase: WavePhase
    sent: int
    delivered: int
    poison: int


class LedgerKeeper:
    """Turns delivery reports into entries of the ledger."""

    def __init__(self, writer: LedgerWriter) -> None:
        self._writer = writer
        self.delivered = 0
        self.poison = 0

    def record(self, number: int, poison: Poison, error: KafkaError | None, message: Message) -> None:
        """One delivery report. Raises DeliveryFailed out of Producer.poll and flush."""
        if error is not None:
            raise DeliveryFailed(str(error))
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None:
            raise DeliveryFailed("a delivery report without a place")
        self.delivered += 1
        self.poison += poison is not Poison.NONE
        self._writer.add(Entry(partition, int(poison), offset, number))


def build_producer_config(bootstrap: str) -> dict[str, Any]:
    """Idempotent and patient: a broker that is away for minutes costs neither a record nor a copy of one."""
    return {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 0,  # never give up: a given-up record may still be in the log
        "linger.ms": 50,
        "batch.size": 262_144,
        "partitioner": "murmur2_random",  # as Java's producers do
        "queue.buffering.max.messages": 500_000,
        "broker.address.family": "v4",
    }


def send_wave(
    producer: Producer,
    topic: str,
    wave: Wave,
    stream: PaymentStream,
    keeper: LedgerKeeper,
    report: Callable[[ProgressLine], None],
) -> None:
    """Send every record of the wave at its time, then wait for the last report. Raises DeliveryFailed."""
    started = time.monotonic()
    sent, reported = 0, -_PROGRESS_EVERY_S
    while sent < wave.records or keeper.delivered < sent:
        elapsed = time.monotonic() - started
        sent += _send_due(producer, topic, stream, keeper, min(wave.due_at(elapsed) - sent, _MOST_AT_ONCE))
        producer.poll(_TICK_S)
        if elapsed - reported >= _PROGRESS_EVERY_S:
            reported = elapsed
            report(_progress(wave, elapsed, sent, keeper))
        if elapsed > wave.seconds + _FLUSH_DEADLINE_S:
            raise DeliveryFailed(
                f"{sent - keeper.delivered} records without a report {_FLUSH_DEADLINE_S:.0f} s after the wave"
            )
    report(_progress(wave, max(time.monotonic() - started, wave.seconds), sent, keeper))


def _progress(wave: Wave, elapsed: float, sent: int, keeper: LedgerKeeper) -> ProgressLine:
    return ProgressLine(
        elapsed_s=round(elapsed, 3),
        phase=wave.phase_at(elapsed),
        sent=sent,
        delivered=keeper.delivered,
        poison=keeper.poison,
    )


def _send_due(producer: Producer, topic: str, stream: PaymentStream, keeper: LedgerKeeper, count: int) -> int:
    created_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    for _ in range(count):
        payment = stream.next_payment(created_at)
        _send(producer, topic, payment, partial(keeper.record, payment.id, payment.poison))
    return max(count, 0)


def _send(
    producer: Producer, topic: str, payment: Payment, report: Callable[[KafkaError | None, Message], None]
) -> None:
    while True:
        try:
            producer.produce(topic, payment.value, payment.key, on_delivery=report)
            return
        except BufferError:  # librdkafka's queue is full: the broker is slow or away
            producer.poll(0.1)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="forebay_cli.demo.producer", description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--ledger", required=True, type=Path)
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS)
    parser.add_argument("--records", type=int, default=DEFAULT_RECORDS)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--first-id", type=int, default=0)
    parser.add_argument("--poison-fraction", type=float, default=POISON_FRACTION)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the program; the exit code."""
    options = parse_arguments(arguments)
    wave = Wave(records=options.records, seconds=options.seconds)
    stream = PaymentStream(options.seed, poison_fraction=options.poison_fraction, first_id=options.first_id)
    producer = Producer(build_producer_config(options.bootstrap))
    with LedgerWriter(options.ledger) as writer:
        keeper = LedgerKeeper(writer)
        try:
            send_wave(producer, options.topic, wave, stream, keeper, _print_progress)
        except DeliveryFailed as error:
            sys.stderr.write(f"delivery failed: {error}\n")
            return 1
    return 0


def _print_progress(line: ProgressLine) -> None:
    sys.stdout.write(json.dumps(asdict(line)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
