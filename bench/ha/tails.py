"""The loss of a primary together with commits that it acknowledged and no replica has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forebay_cli.local.ha.faults import Expiry, Fault

from bench.ha.field import Field, subtract
from bench.ha.plan import Mode, PlannedFault

LEAST_RECORDS, MOST_RECORDS = 300, 2_000
"""How long a tail is at least: some batches, and far from maximum_lag_on_failover, above which nobody takes over."""
TAIL_S = 30.0
WAITING: Final = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = :'role';"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Positions just before the primary was killed: its own, at least, and those of each replica."""

    primary: dict[int, int]
    replicas: dict[str, dict[int, int]]


def lose_tail(field: Field, planned: PlannedFault) -> tuple[Fault, Tail | None]:
    """Do it. In a synchronous mode no commit is acknowledged meanwhile: one waits and its outcome is unknown, no Tail.

    Raises CampaignFailed when the tail did not grow.
    """
    leader = field.cluster.leader()
    assert leader is not None, "a healthy cluster has a leader"
    tails: list[Tail] = []
    wanted = LEAST_RECORDS + planned.strength * (MOST_RECORDS - LEAST_RECORDS)

    def has_grown() -> bool:
        replicas = {name: field.read_positions(field.at_member(name)) for name in field.cluster.nodes if name != leader}
        tails[:] = [Tail(primary=field.read_positions(field.at_member(leader)), replicas=replicas)]
        return all(subtract(tails[0].primary, behind) >= wanted for behind in replicas.values())

    def one_waits() -> bool:
        role, admin = field.flood.database.user, field.cluster.nodes[leader].admin()
        return field.cluster.run_sql(WAITING, parts=admin, variables={"role": role}) != "0"

    enough = has_grown if field.mode is Mode.ASYNC else one_waits
    fault = field.faults.lose_tail(enough, timeout_s=TAIL_S, expire=planned.expiry or Expiry.AT_ONCE)
    if fault.tail is None or not fault.tail.complete:
        raise field.fail(f"no tail within {TAIL_S:.0f} s")
    return fault, tails[0] if tails else None
