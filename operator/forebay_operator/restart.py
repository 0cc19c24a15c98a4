"""What a restarted operator shows until it has seen enough to judge: the decision that its status already shows. Pure.

After a restart every window is empty, so the first passes hold for lack of samples. That is no news about the
pipeline: told as a new decision, each restart would write every status twice and raise events.
What must not live here: what is done; only what is shown of a pass that changes nothing anyway.
"""

from __future__ import annotations

from dataclasses import replace

from forebay_api.v1alpha1 import Pipeline, ScalingMode, Timing

from forebay_operator.model import Decision, Memory, Terms, Verdict
from forebay_operator.remembered import Restored
from forebay_operator.scaling.choice import Choice
from forebay_operator.scaling.evidence import Evidence, slow_window_s

SPARE_SAMPLES = 10
"""Samples granted above the windows' lengths, for answers that are late."""


def find_shown(pipeline: Pipeline, memory: Memory, seen: Evidence, choice: Choice) -> tuple[Memory, Decision | None]:
    """The decision to go on showing, and the memory that knows since when; None: show this pass's own.

    It is shown only while the number of consumers is what it was, the spec is the same, and this pass holds for lack
    of samples, or as before; for the length of the windows at most.
    """
    old, restored = memory.last_decision, memory.restored
    if old is None or restored is None or restored.generation != pipeline.generation:
        return memory, None
    since = restored.since or seen.now
    memory = replace(memory, restored=Restored(generation=restored.generation, since=since))
    is_filled = (seen.now - since).total_seconds() > _filling_s(pipeline.spec.scaling.timing)
    is_calm = choice.replicas == seen.replicas == old.from_replicas and _changes_nothing(pipeline, old)
    if is_filled or not is_calm or not _is_early(seen, choice, old):
        return memory, None
    return memory, replace(old, terms=_terms(seen, old.terms))


def _terms(seen: Evidence, old: Terms) -> Terms:
    """Today's numbers, as far as they can be told already."""
    if seen.lag is None:
        return old
    if seen.rates.is_complete:
        return seen.terms
    return replace(
        seen.terms,
        arrival=old.arrival,
        written=old.written,
        demand=old.demand,
        required=old.required,
        partitions_per_consumer=old.partitions_per_consumer,
        wanted=old.wanted,
    )


def _filling_s(timing: Timing) -> float:
    """Until every window is full again."""
    windows_s = (timing.settle_s, timing.scale_in_window_s, slow_window_s(timing))
    return max(windows_s) + SPARE_SAMPLES * timing.sample_s


def _changes_nothing(pipeline: Pipeline, old: Decision) -> bool:
    return old.to_replicas == old.from_replicas or pipeline.spec.scaling.mode is ScalingMode.OBSERVE


def _is_early(seen: Evidence, choice: Choice, old: Decision) -> bool:
    """Too little was seen yet, or the only difference is how long it has been so."""
    lacks_rates = seen.replicas > 0 and not seen.rates.is_complete
    if choice.is_early or lacks_rates:
        return True
    return choice.verdict is Verdict.HELD and choice.binding == old.binding
