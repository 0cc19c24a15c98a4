"""What mode Upsert costs: by way of a temporary table, straight, and by unnest as other sinks do it, in the same run.

    PYTHONPATH=tests python -m bench.upsert [--records 400000 --repeats 5]

Records are decoded and written in batches into a table with a primary key, by one connection, without Kafka. "new": no
key is in the table yet. "repeated": every second one is. straight-repeated tries COPY each time and fails, which the
consumer avoids; append-new is the same COPY without any key. records/CPU-s: over user + system seconds of this process
and PostgreSQL. MB: what the table and its index have grown by.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec
from forebay_api.v1alpha1 import Pipeline
from forebay_cli.local.postgres_server import PostgresOptions, PostgresServer
from forebay_cli.local.process import create_guarded_folder
from forebay_consumer.decode import build_decoder
from forebay_consumer.postgres_sink.upsert_writer import UpsertWriter
from forebay_consumer.records import RawChunk
from forebay_consumer.staging import Staging
from support.rows import advance, rows_batch
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import create_database

from bench.results import Metric, describe_environment, write_results
from bench.rig import SETTINGS, cpu_seconds

BATCH = 20_000
CHUNK = 2_000
"""Records of one batch, and of one chunk in it, as a consumer under load has them."""

COLUMNS = "id bigint, account text, amount_cents bigint, merchant text, status text, created_at timestamptz"
KEYED = f"CREATE TABLE events ({COLUMNS}, PRIMARY KEY (id))"
PLAIN = f"CREATE TABLE events ({COLUMNS})"
PRELOAD = """
INSERT INTO events SELECT n, 'ac-' || n, n, 'merchant' || n, 'captured', '2026-01-01' FROM generate_series(0, $1 - 1) n
"""
UNNEST = """
INSERT INTO events AS t (id, account, amount_cents, merchant, status, created_at)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[])
ON CONFLICT (id) DO UPDATE SET account = EXCLUDED.account, amount_cents = EXCLUDED.amount_cents,
    merchant = EXCLUDED.merchant, status = EXCLUDED.status, created_at = EXCLUDED.created_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way of writing, and whether half of the keys are known."""

    way: str
    repeats_keys: bool

    @property
    def name(self) -> str:
        """As it is published."""
        return f"{self.way}_{'repeated' if self.repeats_keys else 'new'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run."""

    records_per_s: float
    records_per_cpu_s: float
    grown_mb: float


class Payment(msgspec.Struct):
    """What a sink that binds parameters makes of a record."""

    id: int
    account: str
    amount_cents: int
    merchant: str
    status: str
    created_at: datetime


VARIANTS = (
    Variant(way="append", repeats_keys=False),
    *(Variant(way=way, repeats_keys=again) for again in (False, True) for way in ("staged", "straight", "unnest")),
)

STAGINGS = {"staged": Staging(), "straight": Staging(is_direct=True)}

Write = Callable[[Sequence[bytes], int], Awaitable[None]]


def build_values(records: int, *, repeats_keys: bool) -> list[bytes]:
    """JSON of about 150 bytes; known keys are below `records`."""
    draw = random.Random(7)
    encode = msgspec.json.Encoder().encode
    keys = [draw.randrange(records) if repeats_keys and number % 2 else records + number for number in range(records)]
    draw.shuffle(keys)
    return [
        encode(
            {
                "id": key,
                "account": f"ac-{draw.randrange(10**9):09d}",
                "amount_cents": draw.randrange(10**7),
                "merchant": f"merchant{draw.randrange(10**8):08d}",
                "status": "captured",
                "created_at": f"2026-01-{1 + key % 28:02d}T03:04:05.{key % 1_000_000:06d}Z",
            }
        )
        for key in keys
    ]


async def measure(server: PostgresServer, folder: Path, variant: Variant, values: list[bytes]) -> Figures:
    """Write all values into a fresh table."""
    rig = SinkRig(create_database(server), folder / "secret")
    await rig.run(PLAIN if variant.way == "append" else KEYED)
    async with rig.admin() as admin:
        if variant.repeats_keys:
            await admin.execute(PRELOAD.replace("$1", str(len(values))))
        await admin.execute("VACUUM ANALYZE events")
        await admin.execute("CHECKPOINT")
        size = await admin.fetchval("SELECT pg_total_relation_size('events')")
        write = await (open_unnest(rig) if variant.way == "unnest" else open_sink(rig, variant))
        assert server.pid is not None
        cpu, began = cpu_seconds([os.getpid(), server.pid]), time.perf_counter()
        for first in range(0, len(values), BATCH):
            await write(values[first : first + BATCH], first)
        took_s = time.perf_counter() - began
        cpu_s = cpu_seconds([os.getpid(), server.pid]) - cpu
        grown = await admin.fetchval("SELECT pg_total_relation_size('events')") - size
    for sink in rig.opened:
        await sink.close()
    server.drop_database(rig.database.dbname)
    server.drop_role(rig.database.user)
    return Figures(records_per_s=len(values) / took_s, records_per_cpu_s=len(values) / cpu_s, grown_mb=grown / 2**20)


async def open_sink(rig: SinkRig, variant: Variant) -> Write:
    """The product's decoder and sink; which way rows go is fixed here, where the consumer finds out by itself."""
    pipeline: Pipeline = make_pipeline(key=() if variant.way == "append" else ("id",))
    sink, claims = await rig.claimed(pipeline=pipeline)
    decoder = build_decoder(await sink.connect())
    claims = dict(await sink.claim([0]))

    async def write(values: Sequence[bytes], first: int) -> None:
        nonlocal claims
        if isinstance(sink._writer, UpsertWriter):
            sink._writer.staging = STAGINGS[variant.way]
        chunks = [
            decoder.decode(RawChunk(partition=0, claim_id=1, offsets=range(start, start + len(part)), values=part))
            for start, part in _cut(values, first)
        ]
        batch = rows_batch(claims, *chunks)
        receipt = await sink.write(batch)
        if receipt.dead_letters:
            raise RuntimeError(f"{variant.name}: {receipt.dead_letters} dead letters")
        claims = advance(claims, batch)

    return write


async def open_unnest(rig: SinkRig) -> Write:
    """One statement a batch with an array for each column, in a transaction with one update of a position."""
    parts = rig.database.parts
    connection = await asyncpg.connect(
        host=parts.host, port=parts.port, user=parts.user, password=parts.password, database=parts.dbname
    )
    await connection.execute("CREATE TABLE position (next bigint); INSERT INTO position VALUES (0)")
    decode = msgspec.json.Decoder(Payment).decode

    async def write(values: Sequence[bytes], first: int) -> None:
        last = {payment.id: payment for payment in map(decode, values)}
        rows = [last[key] for key in sorted(last)]
        columns = [
            [row.id for row in rows],
            [row.account for row in rows],
            [row.amount_cents for row in rows],
            [row.merchant for row in rows],
            [row.status for row in rows],
            [row.created_at for row in rows],
        ]
        async with connection.transaction():
            await connection.execute(UNNEST, *columns)
            await connection.execute("UPDATE position SET next = $1", first + len(values))

    return write


def _cut(values: Sequence[bytes], first: int) -> Iterator[tuple[int, Sequence[bytes]]]:
    for start in range(0, len(values), CHUNK):
        yield first + start, values[start : start + CHUNK]


async def run(records: int, repeats: int, names: list[str]) -> Path:
    """All variants, interleaved, after one warm-up round that does not count."""
    variants = [variant for variant in VARIANTS if not names or variant.way in names]
    taken: dict[Variant, list[Figures]] = {variant: [] for variant in variants}
    values = {again: build_values(records, repeats_keys=again) for again in (False, True)}
    folder = create_guarded_folder(prefix="forebay-bench-")
    server = PostgresServer(folder / "postgres", options=PostgresOptions(settings=SETTINGS))
    try:
        server.start()
        for turn in range(-1, repeats):
            for variant in variants:
                figures = await measure(server, folder, variant, values[variant.repeats_keys])
                print(
                    f"{turn:3d} {variant.name:18s} {figures.records_per_s:9,.0f} records/s "
                    f"{figures.records_per_cpu_s:9,.0f} records/CPU-s {figures.grown_mb:6.1f} MB",
                    flush=True,
                )
                if turn >= 0:
                    taken[variant].append(figures)
        version = await _read_version(server)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    environment = describe_environment(postgresql=version, records=records, batch=BATCH)
    return write_results("upsert", "Upsert: ways into a table with a key", environment, metrics_of(taken))


async def _read_version(server: PostgresServer) -> str:
    connection = await asyncpg.connect(server.admin().dsn)
    version = str(await connection.fetchval("SHOW server_version"))
    await connection.close()
    return version


def metrics_of(taken: dict[Variant, list[Figures]]) -> dict[str, Metric]:
    """The figures under their published names."""
    metrics: dict[str, Metric] = {}
    for field, unit in (("records_per_cpu_s", "records/CPU-s"), ("records_per_s", "records/s"), ("grown_mb", "MB")):
        for variant, figures in taken.items():
            values = [getattr(each, field) for each in figures]
            metrics[f"{variant.name}_{field}"] = Metric(values=values, unit=unit)
    return metrics


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="append staged straight unnest")
    args = parser.parse_args()
    print(asyncio.run(run(args.records, args.repeats, args.only)))
