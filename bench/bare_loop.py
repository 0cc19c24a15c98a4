"""The floor to compare with: consume, decode, COPY, offsets in the same transaction, commit. Nothing else.

    python -m bench.bare_loop --encoder polars|msgspec --bootstrap H:P --topic T --group G --dsn DSN --members N [...]

No metrics, no dead letters, no fencing, no retries, no types but those of the benchmark's table. Waits for its share of
the partitions and for the gate (a shared advisory lock) before the first write; ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import queue
import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, cast

import asyncpg
import msgspec
import polars as pl
import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition
from pgpq import ArrowToPostgresBinaryEncoder

GATE = 7_401
COLUMNS = ("id", "account", "amount_cents", "currency", "merchant", "status", "created_at")
STRINGS = dict.fromkeys(COLUMNS, pl.String) | {"id": pl.Int64, "amount_cents": pl.Int64}
Work = tuple[list[bytes], dict[int, int]]


class Row(msgspec.Struct, gc=False):
    """One record."""

    id: int
    account: str
    amount_cents: int
    currency: str
    merchant: str
    status: str
    created_at: datetime


class TextRow(Row, gc=False):
    """The same for a table whose created_at is text."""

    created_at: str  # type: ignore[assignment]  # decoded by this class alone


MOMENT = pl.col("created_at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")


def encode_polars(values: list[bytes], columns: list[pl.Expr]) -> bytearray:
    """NDJSON -> Arrow, with these columns converted -> binary COPY."""
    frame = pl.read_ndjson(b"\n".join(values), schema=STRINGS).with_columns(columns)
    table: pa.Table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    encoder = ArrowToPostgresBinaryEncoder(table.schema)
    out = bytearray(encoder.write_header())
    for part in table.to_batches():
        out += encoder.write_batch(part)
    out += encoder.finish()
    return out


def decode_msgspec(values: list[bytes], row: type[Row]) -> list[tuple[Any, ...]]:
    """Structs -> tuples, which asyncpg encodes."""
    decode = msgspec.json.Decoder(row).decode
    return [msgspec.structs.astuple(decode(value)) for value in values]


def read(consumer: Consumer, out: queue.Queue[Work], stop: threading.Event, rows: int) -> None:
    """The consuming thread: values and the offsets to store, a batch at a time."""
    values: list[bytes] = []
    offsets: dict[int, int] = {}
    while not stop.is_set():
        for message in consumer.consume(10_000, 0.05):
            values.append(cast(bytes, message.value()))
            offsets[cast(int, message.partition())] = cast(int, message.offset()) + 1
        if len(values) >= rows or (values and out.empty()):
            out.put((values, offsets))
            values, offsets = [], {}


def join(consumer: Consumer, args: argparse.Namespace, stored: dict[int, int]) -> None:
    """Become a member with a fair share, reading from the stored offsets."""

    def on_assign(member: Consumer, partitions: list[TopicPartition]) -> None:
        for p in partitions:
            p.offset = stored.get(p.partition, 0)
        member.incremental_assign(partitions)
        member.pause(partitions)

    consumer.subscribe([args.topic], on_assign=on_assign)
    while len(consumer.assignment()) != args.partitions // args.members:
        consumer.consume(1, 0.1)


def choose_encoder(args: argparse.Namespace) -> Callable[[list[bytes]], Any]:
    """What makes rows of values."""
    if args.encoder == "polars":
        return partial(encode_polars, columns=[] if args.text else [MOMENT])
    return partial(decode_msgspec, row=TextRow if args.text else Row)


async def main(args: argparse.Namespace) -> None:
    """Read in a thread, decode in another, write here."""
    connection = await asyncpg.connect(args.dsn)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS bare_positions(grp text, part int, next bigint, PRIMARY KEY(grp, part))"
    )
    consumer = Consumer(
        {
            "bootstrap.servers": args.bootstrap,
            "group.id": args.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 32_768,
        }
    )
    join(consumer, args, {})
    await connection.execute("SELECT pg_advisory_lock_shared($1)", GATE)
    consumer.resume(consumer.assignment())
    work: queue.Queue[Work] = queue.Queue(2)
    stop = threading.Event()
    threading.Thread(target=read, args=(consumer, work, stop, args.rows), daemon=True).start()
    encode = choose_encoder(args)

    def next_encoded() -> tuple[Any, dict[int, int]]:
        values, offsets = work.get()
        return encode(values), offsets

    ahead = asyncio.ensure_future(asyncio.to_thread(next_encoded))
    while True:
        rows, offsets = await ahead
        ahead = asyncio.ensure_future(asyncio.to_thread(next_encoded))
        async with connection.transaction():
            if args.encoder == "polars":
                await connection.copy_to_table("payments", source=rows, columns=COLUMNS, format="binary")
            else:
                await connection.copy_records_to_table("payments", records=rows, columns=COLUMNS)
            await connection.executemany(
                "INSERT INTO bare_positions VALUES ($1, $2, $3) ON CONFLICT (grp, part) DO UPDATE SET next = $3",
                [(args.group, partition, offset) for partition, offset in offsets.items()],
            )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "group", "dsn"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--encoder", choices=("polars", "msgspec"), required=True)
    parser.add_argument("--members", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--text", action="store_true", help="created_at is text")
    parser.add_argument("--rows", type=int, default=20_000)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
