"""The decision: (spec, memory, observation, now) → (Plan, memory). Pure; the same for enforcing, observing and replay.

Here are the orders of people (suspend, mode, pause switches) and what becomes of a choice; scaling/ holds the rules.
What must not live here: I/O, clocks, sentences about lag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from forebay_api.v1alpha1 import Pipeline, PipelineSpec, ScalingMode, ScalingSpec

from forebay_operator.conflict import find_conflict, is_taken_over
from forebay_operator.model import (
    Action,
    ApplyWorkload,
    Clamp,
    Conflict,
    Decision,
    Memory,
    Observation,
    Outcome,
    Plan,
    ReplicasWriter,
    ScaleTo,
    Terms,
    Verdict,
    Workload,
)
from forebay_operator.restart import find_shown
from forebay_operator.scaling.choice import Choice, choose, hold, move
from forebay_operator.scaling.evidence import Evidence, weigh

SUSPENDED = "Suspended"
"""binding of a decision that spec.suspend made: its from_replicas are those to resume with."""


def decide(pipeline: Pipeline, memory: Memory, seen: Observation, now: datetime) -> tuple[Plan, Memory]:
    """Choose what to do about one pipeline.

    Unknown is never zero: whatever is missing from `seen` can only hold, or raise by what is known without it.
    A changed number of consumers is learned from the next observation, so a lost write is simply decided again.
    """
    if seen.workload is None:
        return _create(pipeline, memory, now)
    spec, workload = pipeline.spec, seen.workload
    conflict = find_conflict(spec.scaling, memory, workload)
    takes_over = is_taken_over(spec.scaling, memory, workload)
    after, evidence = weigh(spec, memory, workload, seen, now)
    choice = _order(spec, after, evidence, workload, conflict)
    shown = None
    if choice is None:
        choice = _restrain(spec.scaling, evidence, choose(spec.scaling, after, evidence))
        after, shown = find_shown(pipeline, after, evidence, choice)
    actions = _actions(spec.scaling, workload, choice, takes_over)
    resume_to = _resume_to(spec, after, evidence)
    decision = shown or _decision(spec, evidence, choice, resume_to)
    is_yielding = conflict is not None and not spec.suspend
    after = replace(
        after,
        resume_to=resume_to,
        ordered=memory.ordered if is_yielding else _ordered(workload, actions),
        had_rival=workload.rival is not None,
        restored=after.restored if shown else None,
        last_decision=decision,
    )
    return Plan(decision=decision, actions=actions, conflict=conflict), after


def keep_order(before: Memory, after: Memory, plan: Plan, outcomes: Sequence[Outcome]) -> Memory:
    """The memory after the actions: an order that was not carried out is none."""
    failed = len(outcomes) < len(plan.actions) or any(outcome.error is not None for outcome in outcomes)
    if failed and any(isinstance(action, ScaleTo) for action in plan.actions):
        return replace(after, ordered=before.ordered)
    return after


def _create(pipeline: Pipeline, memory: Memory, now: datetime) -> tuple[Plan, Memory]:
    """Nothing runs, or no more: create it with what was ordered before, else with the fewest that may run."""
    start = _start_replicas(pipeline.spec, memory)
    resume_to = None
    if pipeline.spec.suspend:
        resume_to = memory.resume_to or _start_replicas(replace(pipeline.spec, suspend=False), memory)
    because = f"the workload was removed by somebody else; {memory.ordered} had been ordered"
    if not memory.ordered:
        because = "suspended from the start" if pipeline.spec.suspend else "the pipeline is new"
    decision = Decision(
        time=now,
        from_replicas=0,
        to_replicas=start,
        verdict=Verdict.SCALING_UP if start else Verdict.STEADY,
        binding="Created",
        because=because,
        terms=Terms(),
        clamps=(),
        next_evaluation_s=pipeline.spec.scaling.timing.sample_s,
        would_change_if="the first samples show what is needed",
    )
    actions = (ApplyWorkload(), ScaleTo(replicas=start))
    after = replace(memory, resume_to=resume_to, ordered=start, had_rival=False, restored=None, last_decision=decision)
    return Plan(decision=decision, actions=actions), after


def _start_replicas(spec: PipelineSpec, memory: Memory) -> int:
    """What a person has ordered, or the operator before the workload was removed, or the fewest that may run."""
    if spec.suspend:
        return 0
    if spec.scaling.mode is ScalingMode.MANUAL:
        return spec.scaling.replicas
    return min(max(1, spec.scaling.min_replicas, memory.ordered or 0), spec.scaling.max_replicas)


def _order(
    spec: PipelineSpec, memory: Memory, seen: Evidence, workload: Workload, conflict: Conflict | None
) -> Choice | None:
    """What a person has ordered, or another writer has taken from us; None when the rules are to choose."""
    n = seen.replicas
    if spec.suspend:
        because = "spec.suspend is true"
        choice = move(n, 0, binding=SUSPENDED, because=because, would_change_if="spec.suspend is false")
        return replace(choice, is_order=True)
    if conflict is not None:
        return hold(seen, binding="Conflict", because=conflict.message, would_change_if=conflict.ends_if)
    if workload.writer is ReplicasWriter.NOBODY and n != memory.ordered:
        because = "the workload was made, and was not given its number of consumers yet"
        until = "the first samples show what is needed"
        choice = move(n, _start_replicas(spec, memory), binding="Created", because=because, would_change_if=until)
        return replace(choice, is_order=True)
    if not n and memory.resume_to and spec.scaling.mode is not ScalingMode.MANUAL:
        because = f"spec.suspend is false again; {memory.resume_to} ran before"
        choice = move(n, memory.resume_to, binding="Resumed", because=because, would_change_if="the load says so")
        return replace(choice, is_order=True)
    return _order_by_mode(spec.scaling, seen)


def _order_by_mode(scaling: ScalingSpec, seen: Evidence) -> Choice | None:
    n = seen.replicas
    match scaling.mode:
        case ScalingMode.ENFORCE | ScalingMode.OBSERVE:
            return None
        case ScalingMode.MANUAL:
            return replace(_follow_person(scaling, seen), is_order=True)
        case ScalingMode.PAUSED:
            because = "spec.scaling.mode is Paused: the number of consumers stays as it is"
            choice = move(n, n, binding="Paused", because=because, would_change_if="the mode changes")
            return replace(choice, verdict=Verdict.HELD)
        case _:
            assert_never(scaling.mode)


def _follow_person(scaling: ScalingSpec, seen: Evidence) -> Choice:
    because = f"spec.scaling.mode is Manual and spec.scaling.replicas is {scaling.replicas}"
    if seen.lag is not None and scaling.replicas > seen.lag.partitions:
        because += f"; the topic has only {seen.lag.partitions} partitions, the others sit idle"
    return move(
        seen.replicas,
        scaling.replicas,
        binding="Manual",
        because=because,
        would_change_if="spec.scaling.replicas changes",
    )


def _restrain(scaling: ScalingSpec, seen: Evidence, choice: Choice) -> Choice:
    """Apply the pause switches."""
    n = seen.replicas
    if choice.replicas < n and scaling.pause_scale_in:
        switch, name = "pauseScaleIn", "PauseScaleIn"
    elif choice.replicas > n and scaling.pause_scale_out:
        switch, name = "pauseScaleOut", "PauseScaleOut"
    else:
        return choice
    why = f"spec.scaling.{switch} is true"
    return replace(
        choice,
        replicas=n,
        verdict=Verdict.HELD,
        binding=name,
        because=f"{why}; else {choice.replicas}: {choice.because}",
        would_change_if=f"spec.scaling.{switch} is false",
        clamps=(*choice.clamps, Clamp(name=name, before=choice.replicas, after=n, why=why)),
    )


def _actions(scaling: ScalingSpec, workload: Workload, choice: Choice, takes_over: bool) -> tuple[Action, ...]:
    """What carries the choice out.

    takes_over: a hand-set number is taken over, which a crash between two writes must not make look like an edit
    under the new spec.scaling: so the number goes first, or, where it stays, is accepted one pass before the apply.
    """
    applies: tuple[Action, ...] = () if workload.is_current else (ApplyWorkload(),)
    may_act = choice.is_order or scaling.mode is ScalingMode.ENFORCE
    scales: tuple[Action, ...] = ()
    if may_act and choice.replicas != workload.replicas:
        scales = (ScaleTo(replicas=choice.replicas),)
    if takes_over:
        return (*scales, *applies) if scales else ()
    return (*applies, *scales)


def _ordered(workload: Workload, actions: Sequence[Action]) -> int:
    """The number in force by the operator's word: what it asks for now, or what it accepts as it is."""
    return next((action.replicas for action in actions if isinstance(action, ScaleTo)), workload.replicas)


def _decision(spec: PipelineSpec, seen: Evidence, choice: Choice, resume_to: int | None) -> Decision:
    """resume_to: shown as the number before, while suspended: a restarted operator knows only what is shown."""
    observing = spec.scaling.mode is ScalingMode.OBSERVE and not choice.is_order
    prefix = "only observing: " if observing and choice.replicas != seen.replicas else ""
    return Decision(
        time=seen.now,
        from_replicas=resume_to if spec.suspend and resume_to else seen.replicas,
        to_replicas=choice.replicas,
        verdict=choice.verdict,
        binding=choice.binding,
        because=prefix + choice.because,
        terms=seen.terms,
        clamps=choice.clamps,
        next_evaluation_s=spec.scaling.timing.sample_s,
        would_change_if=choice.would_change_if,
    )


def _resume_to(spec: PipelineSpec, memory: Memory, seen: Evidence) -> int | None:
    """Remember how many ran when a suspension began, until consumers run again."""
    if spec.suspend:
        return seen.replicas or memory.resume_to
    is_resumed = seen.replicas > 0 or spec.scaling.mode is ScalingMode.MANUAL
    return None if is_resumed else memory.resume_to
