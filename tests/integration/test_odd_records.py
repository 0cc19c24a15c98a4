"""Records and logs out of the ordinary, from a real broker into a real table by a consumer process."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from support.flood import ConsumerProcess, Flood, eventually
from support.preload import payment
from support.records import Headers, count, ids, payments, position, send, transacting, written
from support.testbed.servers import KafkaFactory, create_topic, unique_name

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

log = logging.getLogger(__name__)

MEMORY_MB = 400
"""A consumer's peak of resident memory with records of a megabyte; its buffer holds 32 MB of them."""


def transact(kafka: KafkaServer, topic: str, first: int, records: int, *, commits: bool) -> None:
    """A transaction of payments."""
    producer = transacting(kafka.bootstrap)
    for value in payments(first, records):
        producer.produce(topic, value, partition=0)
    producer.flush(60)
    (producer.commit_transaction if commits else producer.abort_transaction)(60)


async def test_aborted_transactions_leave_no_row_and_their_offsets_are_passed_over(
    flood: Callable[..., Flood],
) -> None:
    run = flood(partitions=1)
    consumer = run.start_consumer()
    for turn in range(6):
        transact(run.kafka, run.topic, 100 * turn, 100, commits=turn % 2 == 0)
    send(run.kafka, run.topic, payments(1_000, 10))
    await written(run, 310)
    assert ids(run) == [*range(100), *range(200, 300), *range(400, 500), *range(1_000, 1_010)]
    gaps = 300 + 6  # aborted records, and a marker a transaction
    await eventually(lambda: (s := consumer.state()) is not None and s.totals.gap_records == gaps, 60.0, run.tails)
    assert position(run) == 616


async def test_records_of_an_open_transaction_wait_for_its_end(flood: Callable[..., Flood]) -> None:
    run = flood(partitions=1)
    producer = transacting(run.kafka.bootstrap)
    for value in payments(0, 50):
        producer.produce(run.topic, value, partition=0)
    producer.flush(60)
    send(run.kafka, run.topic, payments(50, 50))
    consumer = run.start_consumer()
    await eventually(lambda: consumer.claimed() == 1, 30.0, run.tails)
    await eventually(lambda: (s := consumer.state()) is not None and s.uptime_s > 4, 30.0, run.tails)
    assert count(run) == 0
    producer.commit_transaction(60)
    await written(run, 100)
    assert ids(run) == list(range(100))


def log_bytes(kafka: KafkaServer, topic: str) -> int:
    """What partition 0 takes on the broker's disk."""
    return sum(file.stat().st_size for file in kafka.folder.rglob(f"{topic}-0/*.log"))


async def test_a_compacted_log_is_read_with_its_gaps(flood: Callable[..., Flood], own_kafka: KafkaFactory) -> None:
    broker = own_kafka(
        KafkaOptions(properties={"log.cleaner.backoff.ms": "200", "log.cleaner.min.cleanable.ratio": "0"})
    )
    topic = unique_name("compacted")
    settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    create_topic(broker.bootstrap, topic, 1, {**settings, "max.compaction.lag.ms": "100"})
    run = flood(kafka=broker, topic=topic)
    for turn in range(5):
        send(broker, topic, payments(100 * turn, 100), keys=[str(n) for n in range(100)])
    full = log_bytes(broker, topic)

    def is_compacted() -> bool:
        send(broker, topic, payments(900, 1), keys=["last"])  # the segment before it may be compacted
        return log_bytes(broker, topic) < full / 2

    await eventually(is_compacted, 60.0, "the log was not compacted", 1.0)
    consumer = run.start_consumer()
    await eventually(lambda: consumer.claimed() == 1 and count(run) > 100, 60.0, run.tails)
    await eventually(lambda: {*ids(run)} >= {*range(400, 500)}, 60.0, run.tails)

    def counts_all() -> bool:  # a moment after the commit
        state = consumer.state()
        return state is not None and state.totals.records + state.totals.gap_records == position(run)

    await eventually(counts_all, 60.0, run.tails)
    state = consumer.state()
    assert state is not None
    assert state.totals.gap_records > 300


def peak_mb(consumer: ConsumerProcess) -> float:
    """Peak of resident memory."""
    status = Path(f"/proc/{consumer.child.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


async def test_records_of_a_megabyte_are_written_within_bounded_memory(flood: Callable[..., Flood]) -> None:
    run = flood(partitions=4)
    for partition in range(4):
        send(run.kafka, run.topic, payments(100 * partition, 100, 1_000_000), partition=partition)
    consumer = run.start_consumer()
    await written(run, 400, 120.0)
    assert run.run_sql("SELECT DISTINCT length(merchant) FROM payments").strip() == "1000000"
    log.info("peak of resident memory: %.0f MB", peak_mb(consumer))
    assert peak_mb(consumer) < MEMORY_MB


async def test_records_larger_than_one_fetch_are_written_too(flood: Callable[..., Flood]) -> None:
    topic = unique_name("large")
    run = flood(topic=topic, table="")
    create_topic(run.kafka.bootstrap, topic, 1, {"max.message.bytes": "4000000"})
    run.run_sql("CREATE TABLE payments (id bigint, merchant text)")
    send(run.kafka, topic, payments(0, 6, 3_500_000))
    run.start_consumer()
    await written(run, 6)


async def test_empty_values_and_tombstones_are_dead_letters_and_empty_objects_rows(
    flood: Callable[..., Flood],
) -> None:
    run = flood(partitions=1, table="")
    run.run_sql("CREATE TABLE payments (id bigint, note text)")
    run.sink = {"deadLetters": {"minimum": 1_000}}
    send(run.kafka, run.topic, [b"", None, b'{"id": 1}', b'{"note": ""}', b'{"id": null}', b" ", b"{}", b"[]"])
    run.start_consumer()
    await eventually(lambda: position(run) == 8, 60.0, run.tails)
    dead = run.run_sql("SELECT record_offset, reason FROM forebay.dead_letters ORDER BY 1").splitlines()
    assert [line.split("\t") for line in dead] == [
        ["0", "InvalidJSON"],
        ["1", "Tombstone"],
        ["5", "InvalidJSON"],
        ["7", "NotAnObject"],
    ]
    rows = run.run_sql("SELECT coalesce(id::text, '-'), coalesce(note, '-') FROM payments").splitlines()
    assert [line.split("\t") for line in rows] == [["1", "-"], ["-", ""], ["-", "-"], ["-", "-"]]


HEADERS: Mapping[str, tuple[Headers, list[str]]] = {
    "repeated": ([("h", "first"), ("other", "x"), ("h", "last")], ["last"]),
    "null": ([("h", None)], [""]),
    "repeated-and-null-last": ([("h", "first"), ("h", None)], [""]),
    "absent": ([("other", "x")], [""]),
    "empty": ([("h", "")], ["(empty)"]),
    "other-case": ([("H", "x")], [""]),
    "not-utf-8": ([("h", b"\xff\xfe")], []),
    "nul": ([("h", b"a\x00b")], []),
    "long": ([("h", "x" * 100_000)], ["x" * 100_000]),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_headers_of_every_kind(flood: Callable[..., Flood], name: str) -> None:
    headers, rows = HEADERS[name]
    columns: list[dict[str, Any]] = [
        {"name": "id", "from": {"path": "id"}},
        {"name": "h", "from": {"header": "h"}},
    ]
    run = flood(partitions=1, table="", sink={"columns": columns})
    run.run_sql("CREATE TABLE payments (id bigint, h text)")
    send(run.kafka, run.topic, [json.dumps({"id": 1}).encode()], headers=headers)
    run.start_consumer()
    await eventually(lambda: position(run) == 1, 60.0, run.tails)
    stored = run.run_sql("SELECT CASE h WHEN '' THEN '(empty)' ELSE h END FROM payments")
    found = stored.removesuffix("\n").split("\n") if count(run) else []
    assert found == rows
    dead = run.run_sql("SELECT column_name FROM forebay.dead_letters").split()
    assert dead == ([] if rows else ["h"])


async def test_a_consumer_reads_a_thousand_partitions_within_seconds(flood: Callable[..., Flood]) -> None:
    run = flood(partitions=1_000)
    producer = Producer({"bootstrap.servers": run.kafka.bootstrap, "linger.ms": 50})
    for number in range(3_000):
        producer.produce(run.topic, payment(number), partition=number % 1_000)
        producer.poll(0)
    assert producer.flush(60) == 0
    consumer = run.start_consumer()
    await eventually(lambda: consumer.claimed() == 1_000, 90.0, run.tails)
    await written(run, 3_000)
    assert ids(run) == list(range(3_000))
    claims = [json.loads(line) for line in consumer.log().splitlines() if '"partitions claimed"' in line]
    assert sum(len(claim["partitions"]) for claim in claims) == 1_000
    assert len(claims) < 10, "claimed one after the other"
    state = consumer.state()
    assert state is not None
    log.info("%d statements; written after %.1f s", len(claims), state.uptime_s)
