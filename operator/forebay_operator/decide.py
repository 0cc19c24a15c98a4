"""The decision: (spec, memory, observation, now) → (Plan, memory). Pure; the same for enforcing, observing and replay.

Here are the orders of people (suspend, mode, pause switches) and what becomes of a choice; scaling/ holds the rules.
What must not live here: I/O, clocks, sentences about lag.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from forebay_api.v1alpha1 import Pipeline, PipelineSpec, ScalingMode, ScalingSpec

from forebay_operator.model import (
    Action,
    ApplyWorkload,
    Clamp,
    Decision,
    Memory,
    Observation,
    Plan,
    ScaleTo,
    Terms,
    Verdict,
    Workload,
)
from forebay_operator.scaling.choice import Choice, choose, move
from forebay_operator.scaling.evidence import Evidence, weigh


def decide(pipeline: Pipeline, memory: Memory, seen: Observation, now: datetime) -> tuple[Plan, Memory]:
    """Choose what to do about one pipeline.

    Unknown is never zero: whatever is missing from `seen` can only hold, or raise by what is known without it.
    A changed number of consumers is learned from the next observation, so a lost write is simply decided again.
    """
    if seen.workload is None:
        return _create(pipeline, memory, now)
    memory, evidence = weigh(pipeline.spec, memory, seen.workload, seen, now)
    choice = _order(pipeline.spec, memory, evidence)
    if choice is None:
        choice = _restrain(pipeline.spec.scaling, evidence, choose(pipeline.spec.scaling, memory, evidence))
    plan = Plan(
        decision=_decision(pipeline.spec, evidence, choice),
        actions=_actions(pipeline.spec.scaling, seen.workload, choice),
    )
    resume_to = _resume_to(pipeline.spec, memory, evidence)
    return plan, replace(memory, resume_to=resume_to, last_decision=plan.decision)


def _create(pipeline: Pipeline, memory: Memory, now: datetime) -> tuple[Plan, Memory]:
    """Nothing runs yet: create it with the fewest consumers that may run; the next passes size it."""
    scaling = pipeline.spec.scaling
    start = min(max(1, scaling.min_replicas), scaling.max_replicas)
    if scaling.mode is ScalingMode.MANUAL:
        start = scaling.replicas
    if pipeline.spec.suspend:
        start = 0
    decision = Decision(
        time=now,
        from_replicas=0,
        to_replicas=start,
        verdict=Verdict.SCALING_UP if start else Verdict.STEADY,
        binding="Created",
        because="suspended from the start" if pipeline.spec.suspend else "the pipeline is new",
        terms=Terms(),
        clamps=(),
        next_evaluation_s=scaling.timing.sample_s,
        would_change_if="the first samples show what is needed",
    )
    actions = (ApplyWorkload(), ScaleTo(replicas=start))
    return Plan(decision=decision, actions=actions), replace(memory, last_decision=decision)


def _order(spec: PipelineSpec, memory: Memory, seen: Evidence) -> Choice | None:
    """What a person has ordered, None when the rules are to choose."""
    n = seen.replicas
    if spec.suspend:
        choice = move(
            n, 0, binding="Suspended", because="spec.suspend is true", would_change_if="spec.suspend is false"
        )
        return replace(choice, is_order=True)
    if not n and memory.resume_to and spec.scaling.mode is not ScalingMode.MANUAL:
        because = f"spec.suspend is false again; {memory.resume_to} ran before"
        choice = move(n, memory.resume_to, binding="Resumed", because=because, would_change_if="the load says so")
        return replace(choice, is_order=True)
    match spec.scaling.mode:
        case ScalingMode.ENFORCE | ScalingMode.OBSERVE:
            return None
        case ScalingMode.MANUAL:
            return replace(_follow_person(spec.scaling, seen), is_order=True)
        case ScalingMode.PAUSED:
            because = "spec.scaling.mode is Paused: the number of consumers stays as it is"
            choice = move(n, n, binding="Paused", because=because, would_change_if="the mode changes")
            return replace(choice, verdict=Verdict.HELD)
        case _:
            assert_never(spec.scaling.mode)


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


def _actions(scaling: ScalingSpec, workload: Workload, choice: Choice) -> tuple[Action, ...]:
    actions: list[Action] = [] if workload.is_current else [ApplyWorkload()]
    may_act = choice.is_order or scaling.mode is ScalingMode.ENFORCE
    if may_act and choice.replicas != workload.replicas:
        actions.append(ScaleTo(replicas=choice.replicas))
    return tuple(actions)


def _decision(spec: PipelineSpec, seen: Evidence, choice: Choice) -> Decision:
    observing = spec.scaling.mode is ScalingMode.OBSERVE and not choice.is_order
    prefix = "only observing: " if observing and choice.replicas != seen.replicas else ""
    return Decision(
        time=seen.now,
        from_replicas=seen.replicas,
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
