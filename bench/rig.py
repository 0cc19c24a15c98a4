"""The servers, the preloaded topic and the accounts that the measurements share. Nothing here judges."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from forebay_cli.local.postgres_server import PostgresOptions, PostgresServer
from forebay_cli.local.process import create_guarded_folder
from forebay_cli.local.process_table import find_family, read_process

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "track_commit_timestamp": "on",
}
"""As the figures to compare with were taken: durable, with room between checkpoints."""

TABLE = """
CREATE TABLE payments (
    id bigint, account text, amount_cents bigint, currency text, merchant text, status text, created_at timestamptz
)"""

encode_payment = msgspec.json.Encoder().encode
"""A payment's fields -> the record's bytes."""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """Running servers. folder: for whatever a measurement keeps."""

    kafka: KafkaServer
    postgres: PostgresServer
    folder: Path

    @property
    def dsn(self) -> str:
        """The superuser's."""
        return self.postgres.admin().dsn


@contextmanager
def start_rig() -> Iterator[Rig]:
    """Kafka and PostgreSQL in a temporary folder, gone afterwards."""
    folder = create_guarded_folder(prefix="forebay-bench-")
    kafka = KafkaServer(folder / "kafka", cache=choose_cache_folder(os.environ), options=KafkaOptions(heap_mb=1024))
    postgres = PostgresServer(folder / "postgres", options=PostgresOptions(settings=SETTINGS))
    try:
        kafka.start()
        postgres.start()
        yield Rig(kafka=kafka, postgres=postgres, folder=folder)
    finally:
        kafka.kill()
        postgres.kill()
        shutil.rmtree(folder, ignore_errors=True)


def preload(bootstrap: str, topic: str, records: int, partitions: int, seed: int = 7) -> None:
    """Make the topic and fill it with payments of about 167 bytes, key = id."""
    draw = random.Random(seed)
    payments = ((str(n), encode_payment(draw_payment(n, draw))) for n in range(records))
    fill_topic(bootstrap, topic, partitions, payments)


def draw_payment(number: int, draw: random.Random) -> dict[str, object]:
    """Return payment `number`: its id, and a moment that follows from it."""
    return {
        "id": number,
        "account": f"ac-{draw.randrange(10**9):09d}",
        "amount_cents": draw.randrange(10**7),
        "currency": "EUR",
        "merchant": f"merchant{draw.randrange(10**8):08d}",
        "status": "captured",
        "created_at": f"2026-01-{1 + number % 28:02d}T03:04:05.{number % 1_000_000:06d}Z",
    }


def fill_topic(bootstrap: str, topic: str, partitions: int, records: Iterable[tuple[str, bytes]]) -> None:
    """Make the topic and fill it with keys and values. Raises RuntimeError when that takes too long."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 50,
            "batch.size": 2**20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for number, (key, value) in enumerate(records):
        while True:
            try:
                producer.produce(topic, value, key=key)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the topic could not be filled within two minutes")


def cpu_seconds(leaders: Sequence[int]) -> float:
    """User and system seconds of these processes, their children and those children that ended."""
    entries = [entry for pid in leaders if (entry := read_process(pid)) is not None]
    total = 0
    for entry in find_family(entries):
        fields = Path(f"/proc/{entry.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(n) for n in fields[11:15])
    return total / _TICKS


def peak_memory_mb(pid: int) -> float:
    """Highest resident set of one process so far, in MiB."""
    return _read_memory_mb(pid, "VmHWM")


def memory_mb(pid: int) -> float:
    """Resident set of one process now, in MiB."""
    return _read_memory_mb(pid, "VmRSS")


def _read_memory_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no {field}")


async def wait_for_rows(connection: asyncpg.Connection, rows: int, deadline_s: float) -> None:
    """Until the table holds so many rows, counted in it; its size decides when counting is worth it."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        pages = await connection.fetchval("SELECT pg_relation_size('payments') / 8192")
        if pages * 100 >= rows and await connection.fetchval("SELECT count(*) FROM payments") >= rows:
            return
        await connection.execute("SELECT pg_sleep(0.2)")
    raise TimeoutError(f"the table has not {rows} rows after {deadline_s} s")
