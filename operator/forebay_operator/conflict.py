"""Whether somebody else sets the number of consumers, so that the operator must leave it alone. Pure.

Two writers of one number fight for ever, and the consumers pay: each change is a rebalance. So the operator yields to
whoever came last, says so, and takes the number back only on a person's word (docs/decisions/0009).
What must not live here: what is done instead (decide.py), how it is shown (conditions.py, report.py).
"""

from __future__ import annotations

from forebay_api.v1alpha1 import ScalingSpec

from forebay_operator.model import Conflict, Memory, ReplicasWriter, Workload
from forebay_operator.revisions import scaling_revision

RIVAL = "RivalController"
"""Reason while a controller targets the workload's replicas."""

EDITED = "EditedByHand"
"""Reason after somebody other than a known controller has changed them."""


def find_conflict(scaling: ScalingSpec, memory: Memory, workload: Workload) -> Conflict | None:
    """None: the number of consumers is the operator's to set."""
    if workload.rival is not None:
        return _rival(workload.rival)
    if _is_edited(memory, workload) and not is_taken_over(scaling, memory, workload):
        return _edited(memory, workload)
    return None


def is_taken_over(scaling: ScalingSpec, memory: Memory, workload: Workload) -> bool:
    """Whether a hand-set number is older than the present spec.scaling, by which the operator is given it back."""
    is_older = workload.scaling_revision != scaling_revision(scaling)
    return workload.rival is None and _is_edited(memory, workload) and is_older


def _is_edited(memory: Memory, workload: Workload) -> bool:
    """A rival's last number is nobody's edit: with its removal the number was given to the operator as it is.

    An order that is not known counts as another one: unknown is not equal.
    """
    is_hand_set = workload.writer is ReplicasWriter.PERSON and not memory.had_rival
    return is_hand_set and workload.replicas != memory.ordered


def _rival(rival: str) -> Conflict:
    return Conflict(
        reason=RIVAL,
        message=f"{rival} sets the number of consumers too: the operator leaves it alone until that is removed "
        "(to scale by an autoscaler, set spec.scaling.mode to Manual and let it target the IngestPipeline)",
        ends_if=f"{rival} is removed",
    )


def _edited(memory: Memory, workload: Workload) -> Conflict:
    who = workload.writer_name or "somebody"
    ways = "change spec.scaling to hand the number back to the operator"
    if memory.ordered is not None:
        ways = f"set it to {memory.ordered} again, or {ways}"
    before = "" if memory.ordered is None else f", the operator had ordered {memory.ordered}"
    return Conflict(
        reason=EDITED,
        message=f"{who} set the number of consumers to {workload.replicas}{before}: it is left alone; {ways}",
        ends_if="the old number is set again or spec.scaling changes",
    )
