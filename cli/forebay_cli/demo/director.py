"""Loses the primary in the middle of the flood, has it come back, hands over once more, and watches what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from forebay_cli.demo.failovers import (
    DatabaseScene,
    Failover,
    FailoverKind,
    MemberLine,
    MemberRole,
    describe_members,
    kill_at_s,
    switch_at_s,
    tail_records,
    tell_cut,
    tell_early_kill,
    tell_failover,
    tell_kill,
    tell_lost,
)
from forebay_cli.demo.wave import Wave
from forebay_cli.local.ha.cluster import HaCluster, NotHealthy
from forebay_cli.local.ha.dead_member import read_dead_member
from forebay_cli.local.ha.faults import Expiry, Fault, FaultImpossible, HaFaults
from forebay_cli.local.ha.patroni_rest import MemberState, PatroniRefused, Role
from forebay_cli.local.ha.primary_watch import PrimaryWatch
from forebay_cli.local.server_errors import SqlFailed

WRITTEN = "SELECT coalesce(sum(next_offset), 0) FROM forebay.positions"
"""Grows by one with each record that is committed, in the transaction of its row."""

LOOK_S = 0.5
"""Each look asks every member: a load, beside what a flood leaves of two cores."""

TAIL_S = 15.0
"""Until enough was acknowledged by the primary alone."""

TAKE_OVER_S = 60.0
HEALTHY_S = 90.0

Say = Callable[[str], None]


class TailGauge:
    """How much a primary has committed since its standbys get nothing any more."""

    def __init__(
        self, cluster: HaCluster, member: str, dbname: str, records: int, on_enough: Callable[[], None]
    ) -> None:
        self._cluster = cluster
        self._member = member
        self._dbname = dbname
        self._records = records
        self._on_enough = on_enough
        self._start: int | None = None
        self.standbys: dict[str, int] = {}
        """standby -> records that it has; read when there are enough, and as many as it will ever have."""

    def is_enough(self) -> bool:
        """Ask the primary; called again and again, from the moment at which its standbys are cut off."""
        written = self._read(self._member)
        if self._start is None:
            self._start = written
        if written - self._start < self._records:
            return False
        self.standbys = {name: self._read(name) for name in self._cluster.nodes if name != self._member}
        self._on_enough()
        return True

    def _read(self, member: str) -> int:
        return int(self._cluster.run_sql(f"{WRITTEN};", parts=self._cluster.nodes[member].admin(self._dbname)))


class Director:
    """One performance with one healthy cluster. scene: what the audience sees."""

    def __init__(self, cluster: HaCluster, watch: PrimaryWatch, *, dbname: str, wave: Wave) -> None:
        self.scene = DatabaseScene()
        self._cluster = cluster
        self._watch = watch
        self._faults = HaFaults(cluster)
        self._dbname = dbname
        self._wave = wave

    async def look(self) -> None:
        """Keep the scene up to date, until cancelled."""
        while True:
            await self.see()
            await asyncio.sleep(LOOK_S)

    async def see(self) -> None:
        """Look once."""
        members = await asyncio.to_thread(self._cluster.members)
        self.scene.members = tuple(MemberLine(name=each.name, role=_find_role(each)) for each in members)
        outages = self._watch.outages()
        is_on = bool(outages) and outages[-1].writable_at_s is None
        self.scene.outage_since = outages[-1].lost_at_s if is_on else None

    async def perform(self, elapsed_s: Callable[[], float], say: Say) -> None:
        """All of it, by the wave's clock. Raises ServerError when the cluster does not do its part."""
        await self.see()
        say(f"the database: {describe_members(self.scene)}, asynchronously")
        await _wait_until(elapsed_s, kill_at_s(self._wave))
        is_healthy = await self._lose_primary(say)
        await _wait_until(elapsed_s, switch_at_s(self._wave))
        if is_healthy and elapsed_s() < self._wave.seconds:
            await self._hand_over(say)

    async def _lose_primary(self, say: Say) -> bool:
        """Kill it with a tail that only it has; True when it is back and all is well again."""
        old, records = await self._find_leader(), tail_records(self._wave)
        say(tell_cut(old))
        loop = asyncio.get_running_loop()
        gauge = TailGauge(self._cluster, old, self._dbname, records, lambda: _tell(loop, say, tell_kill(old, records)))
        fault = await asyncio.to_thread(
            self._faults.lose_tail, gauge.is_enough, timeout_s=TAIL_S, expire=Expiry.WHEN_NOTICED
        )
        if fault.tail is None or not fault.tail.complete:
            say(tell_early_kill(old))
        new = await asyncio.to_thread(self._cluster.wait_new_primary, old, TAKE_OVER_S)
        outage_s = await self._measure_outage(fault)
        failover = Failover(kind=FailoverKind.KILLED, old=old, new=new, outage_s=outage_s, lost_records=None)
        say(tell_failover(failover))
        lost, why_unknown = await asyncio.to_thread(self._count_lost, old, gauge.standbys.get(new))
        say(tell_lost(old, lost, why_unknown))
        self.scene.failovers.append(
            Failover(kind=FailoverKind.KILLED, old=old, new=new, outage_s=outage_s, lost_records=lost)
        )
        return await self._bring_back(old, new, say)

    async def _bring_back(self, old: str, new: str, say: Say) -> bool:
        say(f"{old} is started again: it gives up what only it has, and follows {new}")
        self._faults.heal()
        try:
            await asyncio.to_thread(self._cluster.wait_healthy, HEALTHY_S)
        except NotHealthy:
            say(f"{old} did not come back within {HEALTHY_S:.0f} s")
            return False
        say("all members are well again")
        return True

    async def _hand_over(self, say: Say) -> None:
        old = await self._find_leader()
        try:
            fault = await asyncio.to_thread(self._faults.switchover)
            new = await asyncio.to_thread(self._cluster.wait_new_primary, old, TAKE_OVER_S)
        except PatroniRefused as refused:
            say(f"{old} did not hand over: {refused}")
            return
        outage_s = await self._measure_outage(fault)
        failover = Failover(kind=FailoverKind.HANDED_OVER, old=old, new=new, outage_s=outage_s)
        self.scene.failovers.append(failover)
        say(tell_failover(failover))

    async def _find_leader(self) -> str:
        leader = await asyncio.to_thread(self._cluster.leader)
        if leader is None:
            raise FaultImpossible("nobody holds the leader's lock")
        return leader

    async def _measure_outage(self, fault: Fault) -> float:
        """Seconds without a writable primary because of this fault, as a client at HAProxy saw them."""
        end_s = await asyncio.to_thread(self._watch.wait_writable, fault.done_at_s, TAKE_OVER_S)
        if end_s is None:
            raise NotHealthy(f"nothing could be written within {TAKE_OVER_S:.0f} s")
        mine = [
            (each.lost_at_s, each.writable_at_s)
            for each in self._watch.outages()
            if each.writable_at_s is not None and each.writable_at_s > fault.at_s
        ]
        return sum(until_s - since_s for since_s, until_s in mine if since_s < end_s)

    def _count_lost(self, old: str, new_has: int | None) -> tuple[int | None, str]:
        """Records that the killed member had committed, and its successor did not have; None and why not known."""
        if new_has is None:
            return None, "it died before its standbys were asked what they have"
        try:
            return int(read_dead_member(self._cluster.nodes[old], self._dbname, WRITTEN)[0]) - new_has, ""
        except (SqlFailed, ValueError) as failed:
            return None, str(failed)


def _find_role(member: MemberState) -> MemberRole:
    if member.state != "running" or member.role is None:
        return MemberRole.DOWN
    return MemberRole.LEADS if member.role is Role.PRIMARY else MemberRole.FOLLOWS


def _tell(loop: asyncio.AbstractEventLoop, say: Say, words: str) -> None:
    """From another thread."""
    loop.call_soon_threadsafe(say, words)


async def _wait_until(elapsed_s: Callable[[], float], due_s: float) -> None:
    """Until the wave is so old."""
    await asyncio.sleep(max(0.0, due_s - elapsed_s()))
