"""Does one planned fault to a field and says when clients were without a primary because of it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.faults import Expiry, Fault, FaultKind
from forebay_cli.local.ha.primary_watch import PrimaryWatch
from forebay_cli.local.postgres_server import ConnectionParts

from bench.ha.acknowledged import StateWatch
from bench.ha.field import Field
from bench.ha.plan import PlannedFault
from bench.ha.tails import Tail, lose_tail

NOTICE_S = 20.0
HOLD_S = 3.0
"""How long a fault stays that interrupts nothing by itself, and how long everything is down."""
TAKE_S = 5.0
"""Less than the consumers' session in Kafka: they are held meanwhile."""
CROWD = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'visitor%';"
TERMINATE_OURS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = :'role';"


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """What was done. lost_at_s, writable_at_s: monotonic, where only the consumers were shut out; None: ask the watch.

    tail: of lose-tail.
    """

    fault: Fault
    tail: Tail | None = None
    lost_at_s: float | None = None
    writable_at_s: float | None = None


def strike(field: Field, planned: PlannedFault, watch: PrimaryWatch, states: StateWatch) -> Struck:
    """Do it. What must be healed for the cluster to come back is healed. Raises ServerError, CampaignFailed."""
    match planned.kind:
        case FaultKind.LOSE_TAIL:
            fault, tail = lose_tail(field, planned)
            return Struck(fault=fault, tail=tail)
        case FaultKind.FILL_CONNECTIONS:
            return _fill(field, states)
        case FaultKind.STOP_ALL:
            fault = field.faults.stop_all()
            time.sleep(HOLD_S)
            field.faults.start_all()
        case FaultKind.FREEZE_ETCD:
            fault = field.faults.freeze_etcd()
            wait_until(lambda: any(each.failed for each in watch.outages()), NOTICE_S)
            field.faults.heal()
        case FaultKind.SLOW_NETWORK:
            fault = field.faults.slow_network(delay_s=0.01 + 0.09 * planned.strength)
            time.sleep(HOLD_S)
            field.faults.heal()
        case _:
            fault = _strike_leader(field, planned)
    return Struck(fault=fault)


def _strike_leader(field: Field, planned: PlannedFault) -> Fault:
    faults, expire = field.faults, planned.expiry or Expiry.AT_ONCE
    losses = {
        FaultKind.KILL_NODE: faults.kill_node,
        FaultKind.KILL_PATRONI: faults.kill_patroni,
        FaultKind.FREEZE_NODE: faults.freeze_node,
        FaultKind.CUT_NETWORK: faults.cut_network,
    }
    others = {
        FaultKind.KILL_POSTMASTER: faults.kill_postmaster,
        FaultKind.SWITCHOVER: faults.switchover,
        FaultKind.RESTART: faults.restart,
        FaultKind.REINIT: faults.reinit,
        FaultKind.EXPIRE_LEADER: faults.expire_leader,
        FaultKind.DROP_REPLICA: faults.drop_replica,
        FaultKind.TERMINATE_BACKENDS: faults.terminate_backends,
    }
    if planned.kind in losses:
        return losses[planned.kind](expire=expire)
    return others[planned.kind]()


def _fill(field: Field, states: StateWatch) -> Struck:
    """Take every connection, those of the consumers, too, for a while; then give them all back."""
    fault = field.faults.fill_connections()
    assert fault.member is not None, "connections are a member's"
    begun_at_s = time.monotonic()
    # Held meanwhile: they would be quicker than the crowd to take the places that they lose.
    for consumer in field.consumers:
        consumer.child.send(signal.SIGSTOP)
    try:
        _take_places(field, field.cluster.nodes[fault.member].admin())
    finally:
        for consumer in field.consumers:
            consumer.child.send(signal.SIGCONT)
    if not wait_until(states.are_away, NOTICE_S):
        raise field.fail("the consumers do not say that a full server refuses them")
    time.sleep(HOLD_S)
    free_at_s = time.monotonic()  # the first place; the last of the crowd needs longer to leave
    field.faults.heal()
    struck = replace(fault, at_s=begun_at_s, done_at_s=free_at_s)
    return Struck(fault=struck, lost_at_s=begun_at_s, writable_at_s=free_at_s)


def _take_places(field: Field, admin: ConnectionParts) -> None:
    """End the consumers' sessions, and wait until the crowd has as many more."""
    before = int(field.cluster.run_sql(CROWD, parts=admin))
    variables = {"role": field.flood.database.user}
    ended = int(field.cluster.run_sql(TERMINATE_OURS, parts=admin, variables=variables))
    if not wait_until(lambda: int(field.cluster.run_sql(CROWD, parts=admin)) >= before + ended, TAKE_S, 0.2):
        raise field.fail("nobody took the places of the consumers at a full server")
