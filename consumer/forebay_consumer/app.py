"""Builds the consumer from its configuration, runs it, and takes it down in order.

Down: no new batch -> the transaction under way ends -> Kafka's mirror is committed and the group left -> the database
connection is closed, each with a deadline inside the grace period.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from forebay_api.state import ConsumerState

from forebay_consumer.breaker import Breaker
from forebay_consumer.config import Config
from forebay_consumer.decode import build_decoder, wanted_parts
from forebay_consumer.health import serve_health
from forebay_consumer.kafka_source import KafkaLetterTopic, KafkaSource
from forebay_consumer.pipeline import Pipeline
from forebay_consumer.ports import Sink, Source
from forebay_consumer.postgres_sink import PostgresLetterStore, PostgresSink
from forebay_consumer.records import WriteReceipt
from forebay_consumer.status import Status
from forebay_consumer.surroundings import Surroundings
from forebay_consumer.telemetry import Telemetry
from forebay_consumer.upkeep import Upkeep

LEAVE_S = 5.0
"""Kept back from the grace period for leaving the group and closing the connection."""

BUFFER_BYTES = 32 * 2**20
"""Record bytes held between Kafka's client and the database: some 0.4 s at full speed."""

AUTOMATIC_LANES = 1
"""Where spec.consumer.lanes is absent."""

MIN_BUFFER_BYTES = 2**20
CAPPED_BUFFER_BYTES_PER_ROW = 1024
"""A capped consumer buffers about one second of records of this size: more would only wait, and be read twice."""

log = logging.getLogger(__name__)


async def run_consumer(config: Config) -> None:
    """Run until SIGTERM or SIGINT, then drain. Raises what made it stop otherwise."""
    asyncio.get_running_loop().set_exception_handler(tell_unawaited)
    spec = config.pipeline.spec
    lanes = spec.consumer.lanes or AUTOMATIC_LANES
    status = Status(consumer=config.consumer_id, pipeline=config.pipeline.key, now=time.monotonic(), lanes=lanes)
    breaker = Breaker(spec.sink.dead_letters)
    upkeep = _build_upkeep(config, status)
    telemetry = Telemetry(lambda: _state(status, upkeep))
    sinks = [
        PostgresSink(
            config.pipeline,
            consumer=config.consumer_id,
            secret_dir=config.sink_secret_dir,
            ca_file=config.sink_ca_file,
            admit=breaker.admit,
        )
        for _ in range(lanes)
    ]
    source = KafkaSource(
        spec=spec.source,
        consumer_id=config.consumer_id,
        config_dir=config.kafka_config_dir,
        buffer_bytes=buffer_bytes(spec.consumer.max_rows_per_second),
    )

    def on_receipt(receipt: WriteReceipt) -> None:
        telemetry.on_receipt(receipt)
        upkeep.on_receipt(receipt)

    around = Surroundings(
        now=time.monotonic,
        jitter=random.random,
        decoder_for=build_decoder,
        wanted_for=wanted_parts,
        on_receipt=on_receipt,
    )
    pipeline = Pipeline(spec=spec, source=source, sinks=sinks, breaker=breaker, status=status, around=around)
    async with serve_health(
        host=config.http_host,
        port=config.http_port,
        port_file=config.http_port_file,
        read_state=lambda: _state(status, upkeep),
        read_metrics=telemetry.render,
    ) as port:
        log.info("consumer started", extra={"port": port, "group": spec.source.group, "topic": spec.source.topic})
        await _run_until_signal(pipeline, source, sinks, upkeep, config.grace_s)
    log.info("consumer drained", extra={"totals": str(_state(status, upkeep).totals)})


def _build_upkeep(config: Config, status: Status) -> Upkeep:
    spec = config.pipeline.spec
    topic = spec.sink.dead_letters.topic
    return Upkeep(
        spec=spec.sink.dead_letters,
        store=PostgresLetterStore(
            config.pipeline,
            consumer=config.consumer_id,
            secret_dir=config.sink_secret_dir,
            ca_file=config.sink_ca_file,
        ),
        topic=None
        if topic is None
        else KafkaLetterTopic(
            spec=spec.source,
            topic=topic,
            pipeline=config.pipeline.key,
            consumer_id=config.consumer_id,
            config_dir=config.kafka_config_dir,
        ),
        partitions=lambda: status.assigned,
        jitter=random.random,
    )


def tell_unawaited(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """In one line: an answer of the database that broke off, and that nobody waits for any more.

    asyncpg leaves it behind when a connection ends in the middle of a COPY; whoever wrote was told in another way.
    """
    future = context.get("future")
    if future is None or isinstance(future, asyncio.Task):
        loop.default_exception_handler(context)
    else:
        log.info("answer nobody waited for", extra={"detail": repr(context.get("exception"))})


def buffer_bytes(max_rows_per_second: int | None) -> int:
    """How many record bytes the consumer may hold."""
    if max_rows_per_second is None:
        return BUFFER_BYTES
    return min(BUFFER_BYTES, max(MIN_BUFFER_BYTES, max_rows_per_second * CAPPED_BUFFER_BYTES_PER_ROW))


def _state(status: Status, upkeep: Upkeep) -> ConsumerState:
    wall = datetime.now(UTC)
    state = status.state(now=time.monotonic(), wall_ms=wall.timestamp() * 1000, wall_iso=wall.isoformat())
    return replace(state, dead_letters=upkeep.state())


async def _run_until_signal(
    pipeline: Pipeline, source: Source, sinks: Sequence[Sink], upkeep: Upkeep, grace_s: float
) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(pipeline.run())
            signalled = tasks.create_task(asked.wait())
            keeping = tasks.create_task(upkeep.run())
            await asyncio.wait({work, signalled}, return_when=asyncio.FIRST_COMPLETED)
            signalled.cancel()
            keeping.cancel()
            pipeline.drain()
            _, late = await asyncio.wait({work}, timeout=max(1.0, grace_s - LEAVE_S))
            if late:
                log.warning(
                    "the transaction under way outlasts the grace period; its outcome is for the next claim to see"
                )
                for sink in sinks:
                    sink.terminate()
                work.cancel()
    finally:
        await source.close(LEAVE_S / 2)
        await asyncio.gather(*(sink.close() for sink in sinks))
