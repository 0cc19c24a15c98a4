"""Does one planned fault, from its begin to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.postgres_server import StopMode
from forebay_cli.local.server_errors import SqlFailed

from bench.faults.arena import Arena
from bench.faults.crew import Crew
from bench.faults.plan import Kind, PlannedFault, Side
from bench.faults.proxy import BOTH, Direction, FaultProxy

COMMIT_MESSAGE = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""As the protocol of PostgreSQL has it: a simple query, its length, its text."""
LOOK_S = 0.01
TERMINATE = """
    SELECT count(pg_terminate_backend(pid))
    FROM (SELECT pid FROM pg_stat_activity WHERE usename = :'role' ORDER BY random() LIMIT :'most') victims;
"""
MOST_BACKENDS = 3
DIRECTIONS = {
    Kind.HOLE: BOTH,
    Kind.HOLE_UP: frozenset({Direction.UP}),
    Kind.HOLE_DOWN: frozenset({Direction.DOWN}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """One fault as it was. hits: processes, connections or sessions that it met; None = nobody can count them.

    began_at_s, ended_at_s: on time.monotonic()'s clock.
    """

    name: str
    began_at_s: float
    ended_at_s: float
    hits: int | None


def strike(arena: Arena, crew: Crew, role: str, fault: PlannedFault) -> Struck:
    """Do it, and return when it is over. role: the database's of the consumers. Raises ServerError."""
    began_at_s = time.monotonic()
    hits = _strike_way(arena.proxies[fault.side], fault) if fault.side else _strike_process(arena, crew, role, fault)
    return Struck(name=fault.name, began_at_s=began_at_s, ended_at_s=time.monotonic(), hits=hits)


def _strike_process(arena: Arena, crew: Crew, role: str, fault: PlannedFault) -> int:
    match fault.kind:
        case Kind.KILL_CONSUMER:
            return crew.kill(fault.victim)
        case Kind.RESTART_CONSUMER:
            return crew.restart(fault.victim)
        case Kind.FREEZE_CONSUMER:
            return crew.freeze(fault.victim, fault.hold_s)
        case Kind.KILL_DATABASE:
            _restart(arena, Side.DATABASE, arena.postgres.kill)
        case Kind.SHUT_DATABASE:
            _restart(arena, Side.DATABASE, lambda: arena.postgres.stop(StopMode.IMMEDIATE))
        case Kind.KILL_BROKER:
            _restart(arena, Side.BROKER, arena.kafka.kill)
        case Kind.TERMINATE_BACKENDS:
            return _terminate(arena, role, 1 + int(fault.victim * MOST_BACKENDS))
        case _:
            raise AssertionError(f"{fault.kind} needs a side")
    return 1


def _restart(arena: Arena, side: Side, end: Callable[[], None]) -> None:
    server = arena.postgres if side is Side.DATABASE else arena.kafka
    with arena.at_work[side]:
        end()
        server.start()


def _terminate(arena: Arena, role: str, most: int) -> int:
    try:
        return int(arena.postgres.run_sql(TERMINATE, variables={"role": role, "most": str(most)}))
    except SqlFailed:  # the server is away because of another fault
        return 0


def _strike_way(proxy: FaultProxy, fault: PlannedFault) -> int | None:
    match fault.kind:
        case Kind.CLOSE:
            return proxy.close()
        case Kind.RESET:
            return proxy.reset()
        case Kind.ABANDON:
            return proxy.abandon()
        case Kind.HOLE | Kind.HOLE_UP | Kind.HOLE_DOWN:
            directions = DIRECTIONS[fault.kind]
            _hold(fault, lambda: proxy.hole(directions), lambda: proxy.fill(directions))
        case Kind.DELAY:
            _hold(fault, lambda: proxy.slow(delay_ms=fault.delay_ms or 0), proxy.slow)
        case Kind.THROTTLE:
            _hold(fault, lambda: proxy.slow(bytes_per_s=fault.bytes_per_s), proxy.slow)
        case Kind.REFUSE:
            _hold(fault, lambda: _refuse(proxy), proxy.accept)
        case _:
            return _cut(proxy, fault)
    return None


def _hold(fault: PlannedFault, begin: Callable[[], object], end: Callable[[], None]) -> None:
    begin()
    time.sleep(fault.hold_s)  # how long is the point
    end()


def _refuse(proxy: FaultProxy) -> None:
    """Refuse new connections, and make them necessary."""
    proxy.refuse()
    proxy.close()


def _cut(proxy: FaultProxy, fault: PlannedFault) -> int:
    before = proxy.counts.cuts
    match fault.kind:
        case Kind.CUT_UP | Kind.CUT_DOWN:
            direction = Direction.UP if fault.kind is Kind.CUT_UP else Direction.DOWN
            proxy.cut_after(fault.cut_bytes or 0, direction)
        case Kind.LOSE_ANSWER:
            proxy.lose_answer(COMMIT_MESSAGE)
        case _:
            raise AssertionError(f"{fault.kind} meets no way")
    wait_until(lambda: proxy.counts.cuts > before, fault.hold_s, LOOK_S)
    if fault.kind is Kind.LOSE_ANSWER:
        proxy.lose_answer(None)
    else:
        proxy.forget_cut(direction)
    return proxy.counts.cuts - before
