"""The rules that choose a number of consumers from the evidence, in the order in which they bind.

What must not live here: modes and orders of people (decide.py), measuring (the other modules of this folder).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay_api.v1alpha1 import ScalingSpec

from forebay_operator.model import Clamp, Memory, Verdict
from forebay_operator.scaling.evidence import OVERLOADED_UTILISATION, Evidence, Wanted
from forebay_operator.scaling.sink_gate import SETTLING_BINDING
from forebay_operator.scaling.stability import BLOCKED_AFTER_S
from forebay_operator.scaling.target import MAX_UTILISATION, utilisation

SILENT_MISSES = 3
"""So many samples without an answer are held without alarm: a broker restarts, a coordinator moves."""

SCALE_IN_MARGIN = 0.05
"""After a scale-in the group must be this much less busy than its sizing aims at, or it would grow again at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """binding: the rule that decided. is_order: a person's word, which Observe and the pause switches do not stop.

    is_early: it only holds because too little has been seen yet, and says nothing about the load.
    """

    replicas: int
    verdict: Verdict
    binding: str
    because: str
    would_change_if: str
    clamps: tuple[Clamp, ...] = ()
    is_order: bool = False
    is_early: bool = False


def move(
    now: int, to: int, *, binding: str, because: str, would_change_if: str, clamps: Sequence[Clamp] = ()
) -> Choice:
    """A choice whose verdict follows from its direction."""
    verdict = Verdict.STEADY if to == now else Verdict.SCALING_UP if to > now else Verdict.SCALING_DOWN
    return Choice(
        replicas=to,
        verdict=verdict,
        binding=binding,
        because=because,
        would_change_if=would_change_if,
        clamps=tuple(clamps),
    )


def hold(
    seen: Evidence,
    *,
    binding: str,
    because: str,
    would_change_if: str,
    verdict: Verdict = Verdict.HELD,
    is_early: bool = False,
) -> Choice:
    """Stay; the clamp shows what was wanted instead, where that is known."""
    n = seen.replicas
    wanted = n if seen.wanted is None else seen.wanted.replicas
    clamps = () if seen.wanted is None else seen.wanted.clamps
    clamp = Clamp(name=binding, before=wanted, after=n, why=because)
    return Choice(
        replicas=n,
        verdict=verdict,
        binding=binding,
        because=because,
        would_change_if=would_change_if,
        clamps=(*clamps, clamp),
        is_early=is_early,
    )


def choose(scaling: ScalingSpec, memory: Memory, seen: Evidence) -> Choice:
    """The first rule that has something to say: bounds, blindness, waking, sink and its return, unrest, then size."""
    for rule in (_keep_bounds, _wait_for_lag, _wake, _wait_for_sink, _wait_after_outage, _wait_for_rest, _sleep):
        choice = rule(scaling, memory, seen)
        if choice is not None:
            return choice
    return _follow_size(scaling, memory, seen)


def _keep_bounds(scaling: ScalingSpec, memory: Memory, seen: Evidence) -> Choice | None:
    n = seen.replicas
    floor = min(scaling.min_replicas, _count_partitions(memory, seen) or scaling.min_replicas)
    if n > scaling.max_replicas:
        to, field = scaling.max_replicas, "maxReplicas"
    elif n < floor:
        to, field = floor, "minReplicas"
    else:
        return None
    why = f"{n} run and spec.scaling.{field} asks for {'at most' if to < n else 'at least'} {to}"
    clamp = Clamp(name=field[0].upper() + field[1:], before=n, after=to, why=why)
    return move(n, to, binding=clamp.name, because=why, would_change_if=f"{field} changes", clamps=(clamp,))


def _count_partitions(memory: Memory, seen: Evidence) -> int | None:
    """As last seen, while Kafka is silent: its silence must not make the group larger than it was let grow before."""
    if seen.lag is not None:
        return seen.lag.partitions
    remembered = {partition for snapshot in memory.history for partition in snapshot.points} | memory.held_until.keys()
    if remembered or memory.last_decision is None:
        return len(remembered)
    return memory.last_decision.terms.partitions


def _wait_for_lag(_scaling: ScalingSpec, memory: Memory, seen: Evidence) -> Choice | None:
    if seen.lag is None:
        why = seen.lag_problem.message if seen.lag_problem else "no answer"
        verdict = Verdict.HELD if memory.lag_misses <= SILENT_MISSES else Verdict.BLIND
        because = f"Kafka's lag is unknown for {memory.lag_misses} samples ({why}): nothing is changed"
        return hold(
            seen,
            binding="LagUnknown",
            because=because,
            would_change_if="Kafka answers again",
            verdict=verdict,
            is_early=verdict is Verdict.HELD,
        )
    if memory.recovery_samples:
        because = "Kafka answers again; complete samples are awaited before anything is changed"
        until = "two complete samples in a row"
        return hold(seen, binding="Recovering", because=because, would_change_if=until, is_early=True)
    return None


def _wake(scaling: ScalingSpec, _memory: Memory, seen: Evidence) -> Choice | None:
    lag = seen.lag
    if seen.replicas or lag is None:
        return None
    if not lag.waiting_records:
        because = "nothing waits" if lag.is_complete else "nothing waits in the partitions that answered"
        return move(0, 0, binding="Idle", because=because, would_change_if="a record arrives")
    to, clamps = (1, ()) if seen.wanted is None else (seen.wanted.replicas, seen.wanted.clamps)
    because = f"{lag.waiting_records:,} records wait and no consumer runs"
    return move(
        0, min(to, scaling.max_replicas), binding="Wake", because=because, would_change_if=_calm(scaling), clamps=clamps
    )


def _wait_for_sink(_scaling: ScalingSpec, _memory: Memory, seen: Evidence) -> Choice | None:
    if not seen.sink.is_closed:
        return None
    said = f"{seen.sink.reason or seen.sink.health.value}: {seen.sink.message or 'no details'}"
    because = f"the database takes no rows ({said}); neither more nor fewer consumers would help"
    return hold(
        seen, binding=f"Sink{seen.sink.health.value}", because=because, would_change_if="the database takes rows again"
    )


def _wait_after_outage(scaling: ScalingSpec, _memory: Memory, seen: Evidence) -> Choice | None:
    """Consumers start again slowly, with a backlog that is not of their making: neither says how many are needed."""
    is_right = seen.wanted is not None and seen.wanted.replicas == seen.replicas
    if is_right or seen.sink_open_s >= scaling.timing.settle_s:
        return None
    because = (
        f"the database takes rows again since {seen.sink_open_s:.0f} s; "
        f"what has piled up is judged after {scaling.timing.settle_s:g} s"
    )
    return hold(seen, binding=SETTLING_BINDING, because=because, would_change_if="that time has passed")


def _wait_for_rest(scaling: ScalingSpec, _memory: Memory, seen: Evidence) -> Choice | None:
    if seen.unrest is not None:
        blocked = seen.unrest_s > BLOCKED_AFTER_S
        because = f"{seen.unrest}, for {seen.unrest_s:,.0f} s now" if blocked else seen.unrest
        return hold(
            seen,
            binding="Unsettled",
            because=because,
            would_change_if="every running consumer is a member of a stable group",
            verdict=Verdict.BLOCKED if blocked else Verdict.HELD,
        )
    is_right = seen.wanted is not None and seen.wanted.replicas == seen.replicas
    if seen.rest_s < scaling.timing.settle_s and not is_right:
        because = f"the group settled {seen.rest_s:.0f} s ago and is left alone for {scaling.timing.settle_s:g} s"
        return hold(seen, binding="Settling", because=because, would_change_if="that time has passed", is_early=True)
    return None


def _sleep(scaling: ScalingSpec, _memory: Memory, seen: Evidence) -> Choice | None:
    window = scaling.timing.scale_in_window_s
    if scaling.min_replicas or seen.idle_s < window or seen.silent:
        return None
    because = f"nothing arrived and nothing waited for {seen.idle_s:,.0f} s"
    return move(seen.replicas, 0, binding="Idle", because=because, would_change_if="a record arrives")


def _follow_size(scaling: ScalingSpec, memory: Memory, seen: Evidence) -> Choice:
    n, wanted = seen.replicas, seen.wanted
    if wanted is None:
        return _wait_for_numbers(scaling, seen)
    if wanted.replicas < n:
        return _shrink(scaling, memory, seen, wanted)
    if wanted.replicas > n:
        return _grow(scaling, memory, seen, wanted)
    clamps = wanted.clamps
    binding = clamps[-1].name if clamps else "Load"
    tail = f"; {clamps[-1].why}" if clamps else ""
    because = f"{_need(seen, wanted)}, and {n} run{tail}"
    return move(n, n, binding=binding, because=because, would_change_if=_more(scaling, seen), clamps=clamps)


def _wait_for_numbers(scaling: ScalingSpec, seen: Evidence) -> Choice:
    if seen.capacity.records_per_second is None:
        because = "what one consumer can write is not known yet: none has been busy enough to tell"
        at_floor = seen.replicas == max(1, scaling.min_replicas)
        return hold(
            seen,
            binding="CapacityUnknown",
            because=because,
            would_change_if="a consumer has some work, or spec.scaling.capacityPerReplica is set",
            verdict=Verdict.STEADY if at_floor else Verdict.HELD,
        )
    because = "how fast records arrive is not known yet"
    until = "three samples of every partition"
    return hold(seen, binding="RatesUnknown", because=because, would_change_if=until, is_early=True)


def _grow(scaling: ScalingSpec, memory: Memory, seen: Evidence, wanted: Wanted) -> Choice:
    need = _need(seen, wanted)
    if seen.hunger is None:
        because = f"{need}, but {seen.replicas} still keep up"
        return move(seen.replicas, seen.replicas, binding="Load", because=because, would_change_if=_more(scaling, seen))
    asked, samples = memory.hungry_samples, scaling.timing.scale_out_samples
    if asked < samples:
        because = f"{seen.hunger}; seen in {asked} of {samples} samples"
        until = "the next sample says the same"
        return hold(seen, binding="ScaleOutSamples", because=because, would_change_if=until, is_early=True)
    because = f"{seen.hunger}; {need}"
    return move(
        seen.replicas,
        wanted.replicas,
        binding=wanted.clamps[-1].name if wanted.clamps else "Load",
        because=because,
        would_change_if=_calm(scaling),
        clamps=wanted.clamps,
    )


def _shrink(scaling: ScalingSpec, memory: Memory, seen: Evidence, wanted: Wanted) -> Choice:
    doubt = _find_doubt(scaling, seen, wanted)
    if doubt is not None:
        binding, because = doubt
        return hold(seen, binding=binding, because=because, would_change_if="that is known to be over")
    n, window = seen.replicas, scaling.timing.scale_in_window_s
    to = n if seen.highest is None else max(seen.highest, wanted.replicas)
    if to >= n:
        known = "is not over yet" if seen.highest is None else f"needed up to {seen.highest}"
        because = f"{_need(seen, wanted)}, but the scale-in window of {window:g} s {known}"
        until = "the window passes without a peak"
        early = seen.highest is None
        return hold(seen, binding="ScaleInWindow", because=because, would_change_if=until, is_early=early)
    since = None if memory.changed_at is None else (seen.now - memory.changed_at).total_seconds()
    if since is not None and since < window:
        because = f"{_need(seen, wanted)}, but the last change was {since:,.0f} s ago; {window:g} s must pass"
        return hold(seen, binding="RecentChange", because=because, would_change_if="that time has passed")
    load = utilisation(
        arrival=seen.rates.arrival_slow or 0.0, replicas=to, capacity=seen.capacity.records_per_second or 0.0
    )
    if load > MAX_UTILISATION - SCALE_IN_MARGIN:
        because = f"{to} consumers would be {load:.0%} busy, too near to what they can write"
        return hold(seen, binding="Margin", because=because, would_change_if="fewer records arrive")
    because = f"for {window:g} s no more than {to} were needed; {_need(seen, wanted)}"
    clamps = wanted.clamps
    if to != wanted.replicas:
        why = f"the last {window:g} s needed {to}"
        clamps = (*clamps, Clamp(name="ScaleInWindow", before=wanted.replicas, after=to, why=why))
    return move(n, to, binding="Load", because=because, would_change_if=_more(scaling, seen), clamps=clamps)


def _find_doubt(scaling: ScalingSpec, seen: Evidence, wanted: Wanted) -> tuple[str, str] | None:
    """What is not known well enough to take consumers away: the rule's name and a sentence."""
    lag = seen.lag
    if lag is None or not lag.is_complete:
        missing = 0 if lag is None else len(lag.unknown)
        return "LagPartial", f"{missing} partitions gave no trustworthy answer; fewer consumers might be too few"
    if not seen.rates.is_complete:
        return "RatesUnknown", "how fast records arrive is not known for every partition yet"
    if seen.silent:
        return "ConsumersSilent", f"{', '.join(seen.silent)} did not answer; what they do is unknown"
    if not (seen.capacity.is_proven or wanted.is_for_no_load):
        return "CapacityUnproven", "what one consumer can write is only known from its cap, which is an upper bound"
    limit = _low_age_s(scaling)
    if lag.age_s > limit:
        return "AgeNotLow", f"records still wait for {lag.age_s:.1f} s; below {limit:.1f} s consumers may leave"
    return None


def _low_age_s(scaling: ScalingSpec) -> float:
    """A tenth of the allowed age, but not less than sampling and the commit interval can resolve."""
    allowed = scaling.objective.max_age_s
    return max(0.1 * allowed, min(0.3 * allowed, 3 * scaling.timing.sample_s))


def _need(seen: Evidence, wanted: Wanted) -> str:
    """The load and what it needs, as a clause."""
    lag = 0 if seen.lag is None else seen.lag.waiting_records
    demand = 0.0 if seen.terms.demand is None else seen.terms.demand
    bound = "at least " if seen.terms.lag_is_lower_bound else ""
    each = seen.capacity.records_per_second
    at = "" if each is None else f"at {each:,.0f}/s each, "
    would = "1 consumer suffices" if wanted.replicas == 1 else f"{wanted.replicas} consumers are needed"
    return f"{bound}{demand:,.0f} records/s arrive and {lag:,} wait; {at}{would}"


def _more(scaling: ScalingSpec, seen: Evidence) -> str:
    each = seen.capacity.records_per_second
    age = f"records wait longer than {0.4 * scaling.objective.max_age_s:g} s"
    if each is None:
        return age
    return f"more than {OVERLOADED_UTILISATION * seen.replicas * each:,.0f} records/s arrive, or {age}"


def _calm(scaling: ScalingSpec) -> str:
    return f"less is needed for {scaling.timing.scale_in_window_s:g} s"
