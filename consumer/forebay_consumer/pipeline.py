"""Kafka to PostgreSQL: intake -> decode -> lane -> batch -> write -> commit. Knows ports only.

Tasks share one event loop. The *intake* takes events from the source, has records decoded in a worker thread and hands
the result to the lanes that have their partitions. Each *lane* owns a sink, and writes with it (lane.py).

What must not live here: Kafka's or PostgreSQL's client, HTTP, metrics, signals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from forebay_api.v1alpha1 import PipelineSpec

from forebay_consumer.breaker import Breaker
from forebay_consumer.lane import Lane, Shared
from forebay_consumer.lane_pins import LanePins
from forebay_consumer.pace import Cap
from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import (
    Assigned,
    Decoder,
    PositionLost,
    Records,
    Revoked,
    Sink,
    Source,
    SourceEvent,
    SourceTrouble,
    Wanted,
)
from forebay_consumer.records import EncodedChunk, RawChunk
from forebay_consumer.status import Status
from forebay_consumer.surroundings import Surroundings

log = logging.getLogger(__name__)


class Pipeline:
    """One topic's partitions into one table, until drained."""

    def __init__(
        self,
        *,
        spec: PipelineSpec,
        source: Source,
        sinks: Sequence[Sink],
        breaker: Breaker,
        status: Status,
        around: Surroundings,
    ) -> None:
        """sinks: one for each lane of status."""
        self._source = source
        self._status = status
        self._around = around
        self._drain_asked = asyncio.Event()
        rate = spec.consumer.max_rows_per_second
        shared = Shared(
            spec=spec.source,
            source=source,
            breaker=breaker,
            status=status,
            around=around,
            cap=Cap(rate, around.now()) if rate is not None else None,
            drain_asked=self._drain_asked,
            on_plan=self._take_plan,
            on_conflict=self._step_aside,
            come_back=self._come_back,
        )
        self._lanes = [Lane(number, sink, shared) for number, sink in enumerate(sinks)]
        self._pins = LanePins(len(self._lanes))
        self._wanted: dict[int, Wanted] = {}
        self._is_aside = False
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")

    async def run(self) -> None:
        """Work until drain(); returns when no transaction is under way any more. Cancelled: an outcome is unknown."""
        await self._source.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                intake = tasks.create_task(self._take_in())
                async with asyncio.TaskGroup() as lanes:
                    for lane in self._lanes:
                        lanes.create_task(lane.run())
                intake.cancel()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Finish the transactions under way, start no other. What is buffered is read again by the next owner."""
        self._status.draining = True
        self._drain_asked.set()
        for lane in self._lanes:
            lane.wake()

    async def _take_in(self) -> None:
        while True:
            await self._on_event(await self._source.next_event())

    async def _on_event(self, event: SourceEvent) -> None:
        match event:
            case Records():
                await self._on_records(event)
            case Assigned():
                log.info("partitions assigned", extra={"partitions": list(event.partitions)})
                self._revoke(event.partitions)
                self._pins.assign(event.partitions)
                for lane, partitions in self._by_lane(event.partitions):
                    lane.assign(partitions)
            case Revoked():
                log.info("partitions revoked", extra={"partitions": list(event.partitions)})
                self._revoke(event.partitions)
            case PositionLost():
                for lane, _ in self._by_lane((event.partition,)):
                    lane.lose(event)
            case SourceTrouble():
                if event.message != self._status.source_trouble:
                    log.warning("source trouble", extra={"trouble": event.message})
                self._status.source_trouble = event.message
            case _:
                assert_never(event)

    def _revoke(self, partitions: Sequence[int]) -> None:
        for lane, own in self._by_lane(partitions):
            lane.revoke(own)
        self._pins.revoke(partitions)

    def _by_lane(self, partitions: Sequence[int]) -> Iterator[tuple[Lane, list[int]]]:
        """Those that are assigned, with their lanes."""
        for lane in self._lanes:
            if own := [p for p in partitions if self._pins.lane_of(p) == lane.number]:
                yield lane, own

    async def _on_records(self, event: Records) -> None:
        fresh: list[tuple[Lane, Decoder, RawChunk]] = []
        for chunk in event.chunks:
            number = self._pins.lane_of(chunk.partition)
            lane = None if number is None else self._lanes[number]
            if lane is not None and lane.positions.accept(chunk) and lane.decoder is not None:
                fresh.append((lane, lane.decoder, chunk))
            else:
                self._source.release(chunk.size_bytes)
        if not fresh:
            return
        now = self._around.now()
        self._status.decoding.begin(now)
        encoded = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: [decoder.decode(chunk) for _, decoder, chunk in fresh]
        )
        self._status.decoding.end(self._around.now())
        chunks_of: dict[int, list[EncodedChunk]] = {}
        for (lane, _, _), ready in zip(fresh, encoded, strict=True):
            chunks_of.setdefault(lane.number, []).append(ready)
        for number, chunks in chunks_of.items():
            self._lanes[number].add(chunks, arrived_at=now)

    def _take_plan(self, number: int, plan: TablePlan) -> None:
        """Lanes that connect at different times may have met different definitions of the table for a while."""
        self._wanted[number] = self._around.wanted_for(plan)
        wanted = self._wanted.values()
        self._source.set_wanted(
            Wanted(
                keys=any(each.keys for each in wanted),
                timestamps=any(each.timestamps for each in wanted),
                headers=any(each.headers for each in wanted),
                plan=self._wanted[number].plan,
            )
        )

    async def _step_aside(self) -> None:
        """The partitions are another pipeline's to write: a member that may not would only keep them from it."""
        if not self._is_aside:
            self._is_aside = True
            await self._source.leave()

    async def _come_back(self, sink: Sink) -> None:
        if self._is_aside:
            await sink.stored_partitions()
            self._is_aside = False
            await self._source.rejoin()
