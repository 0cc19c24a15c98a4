"""Carries out a plan, action by action. It only matches on Action and decides nothing."""

from __future__ import annotations

from typing import assert_never

from forebay_api.v1alpha1 import Pipeline

from forebay_operator.errors import PipelineGone, Retryable, WriteConflict
from forebay_operator.model import Action, ApplyWorkload, Outcome, Plan, ScaleTo
from forebay_operator.ports import Cluster


async def act(cluster: Cluster, pipeline: Pipeline, plan: Plan) -> tuple[Outcome, ...]:
    """Do the actions in order. One that fails ends the pass: the next observation decides anew.

    Raises Fatal, PipelineGone.
    """
    outcomes: list[Outcome] = []
    for action in plan.actions:
        try:
            await _do(cluster, pipeline, action)
        except PipelineGone:
            raise
        except Retryable as e:
            is_stale = isinstance(e, WriteConflict)
            outcomes.append(Outcome(action=action, error=str(e) or type(e).__name__, is_stale=is_stale))
            break
        outcomes.append(Outcome(action=action))
    return tuple(outcomes)


async def _do(cluster: Cluster, pipeline: Pipeline, action: Action) -> None:
    match action:
        case ApplyWorkload():
            await cluster.apply_workload(pipeline)
        case ScaleTo(replicas=replicas):
            await cluster.scale(pipeline, replicas)
        case _:
            assert_never(action)
