"""Two consumers, one topic, one database, and all that may happen to them, in any order that hypothesis finds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.ports import Records
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.chunks import raw_chunk
from support.consumer_rig import Consumer, SlowSink, Snapshot, World, build_spec, pass_time, rival, running
from support.virtual_time import VirtualLoop, until

PARTITIONS = 3
WHO = st.integers(min_value=0, max_value=1)
LANE = st.integers(min_value=0, max_value=2)
WHERE = st.integers(min_value=0, max_value=PARTITIONS - 1)
SECONDS = st.sampled_from([0.0, 0.001, 0.005, 0.012, 0.03, 0.1, 1.0, 5.0])


class Interleavings(RuleBasedStateMachine):
    """The audit holds after every step; at the end all trouble is over, and everything must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.stack = AsyncExitStack()
        self.consumers: list[Consumer] = []
        self.standby: Snapshot | None = None

    def sink(self, who: int, lane: int) -> SlowSink:
        """One of a member's connections."""
        sinks = self.consumers[who].sinks
        return sinks[lane % len(sinks)]

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Go on with everything until this is done."""
        self.runner.run(work)

    @initialize(thread_s=SECONDS, latency_s=st.sampled_from([0.0, 0.01, 0.2]), lanes=st.sampled_from([1, 1, 2, 3]))
    def start(self, thread_s: float, latency_s: float, lanes: int) -> None:
        """Two members share the partitions; each step of theirs takes a while."""
        loop = self.runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        loop.thread_s = thread_s
        self.world = World(PARTITIONS)

        async def start() -> None:
            for name in ("c-1", "c-2"):
                consumer = await self.stack.enter_async_context(
                    running(self.world, buffer_bytes=4_000, name=name, spec=build_spec(lanes=lanes))
                )
                for sink in consumer.sinks:
                    sink.connect_s = sink.claim_s = sink.write_s = latency_s
                self.consumers.append(consumer)
            await until(lambda: len(self.world.database.positions) == PARTITIONS)

        self.run(start())

    @rule(partition=WHERE, count=st.integers(1, 700), poison=st.integers(0, 2), wait_s=SECONDS)
    def deliver(self, partition: int, count: int, poison: int, wait_s: float) -> None:
        """Records come."""
        self.world.produce(partition, count, poison=poison)
        self.run(pass_time(wait_s))

    @rule(wait_s=SECONDS)
    def wait(self, wait_s: float) -> None:
        """Time passes."""
        self.run(pass_time(wait_s))

    @rule(who=WHO, partition=WHERE)
    def revoke(self, who: int, partition: int) -> None:
        """A member loses a partition; maybe nobody has it then."""
        self.consumers[who].source.take_away({partition})
        self.run(pass_time(0.0))

    @rule(who=WHO, partition=WHERE)
    def assign(self, who: int, partition: int) -> None:
        """A member gets a partition; maybe the other one still thinks that it has it (a zombie)."""
        source = self.consumers[who].source
        source.give({partition} - source.assigned)
        self.run(pass_time(0.0))

    @rule(who=WHO, partition=WHERE)
    def assign_anew(self, who: int, partition: int) -> None:
        """Taken away and given back before anybody looks."""
        source = self.consumers[who].source
        source.take_away({partition})
        source.give({partition})

    @rule(partition=WHERE)
    def fence(self, partition: int) -> None:
        """A third consumer claims and disappears."""
        self.run(rival(self.world, [partition]))

    @rule(who=WHO, lane=LANE, wait_s=SECONDS)
    def cut(self, who: int, lane: int, wait_s: float) -> None:
        """One connection breaks."""
        self.sink(who, lane).terminate()
        self.run(pass_time(wait_s))

    @rule(is_broken=st.booleans(), wait_s=SECONDS)
    def outage(self, is_broken: bool, wait_s: float) -> None:
        """The database answers nobody, or refuses everything, for a while."""
        error = SinkBroken("PermissionDenied", "GRANT") if is_broken else SinkUnavailable("Unreachable", "no answer")
        self.world.database.trouble = error
        self.run(pass_time(wait_s))
        self.world.database.trouble = None

    @rule(who=WHO, lane=LANE, is_committed=st.booleans())
    def lose_answer(self, who: int, lane: int, is_committed: bool) -> None:
        """The next COMMIT's outcome is unknown."""
        self.sink(who, lane).unknown = [is_committed]

    @rule()
    def replicate(self) -> None:
        """The asynchronous standby has received everything up to now."""
        self.standby = self.world.snapshot()

    @rule(wait_s=SECONDS)
    def fail_over(self, wait_s: float) -> None:
        """The standby is the primary now."""
        if self.standby is not None:
            self.world.fail_over(self.standby)
            for consumer in self.consumers:
                for sink in consumer.sinks:
                    sink.terminate()
        self.run(pass_time(wait_s))

    @rule(who=WHO, partition=WHERE, age=st.integers(0, 3), ahead=st.sampled_from([0, 1, 500]))
    def deliver_late(self, who: int, partition: int, age: int, ahead: int) -> None:
        """A chunk read under some older claim was still on its way."""
        consumer = self.consumers[who]
        first = (self.world.position(partition) or 0) + ahead
        late = raw_chunk(partition, first, 5, claim_id=consumer.source.last_claim_id - age)
        if not any(lane.positions.is_current(late) for lane in consumer.status.lanes):
            consumer.source.buffered_bytes += late.size_bytes
            consumer.source.put(Records(chunks=(late,)))

    @invariant()
    def audit(self) -> None:
        """Exactly once, in order, without a skip, at every moment; and nobody has died."""
        for consumer in self.consumers:
            assert not consumer.task.done(), consumer.task
        if self.consumers:
            self.world.audit()

    def teardown(self) -> None:
        """All is well again: each partition has one owner, and everything arrives."""
        with self.runner:
            if len(self.consumers) == 2:
                self.run(self._finish())

    async def _finish(self) -> None:
        first, second = self.consumers
        try:
            for consumer in self.consumers:
                for sink in consumer.sinks:
                    sink.unknown = []
                consumer.source.take_away(set(consumer.source.assigned))
            first.source.give({0, 2})
            second.source.give({1})
            for partition in range(PARTITIONS):
                self.world.produce(partition, 1)  # a consumer without work does not look at its connection
            for consumer in self.consumers:
                await consumer.until_drained()
        finally:
            await self.stack.aclose()


Interleavings.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestInterleavings = Interleavings.TestCase
