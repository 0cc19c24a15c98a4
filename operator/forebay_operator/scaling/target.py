"""How many consumers a load needs, by whole partitions.

Members of a Kafka group carry whole partitions, so a size between two steps has no effect: 12 partitions know
1, 2, 3, 4, 6 and 12 consumers.
What must not live here: time, history, whether the number may be acted upon.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf

from forebay_api.v1alpha1 import Objective

MAX_UTILISATION = 0.9
"""Consumers are sized to be this busy with what arrives: the rest absorbs jitter."""

TOLERANCE = 0.05
"""Capacity may be exceeded by this share before the next, larger step is taken; never on the last step."""

_EPSILON = 1e-9
"""Keeps 12.000000001 partitions' worth of float noise from costing a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """required: records/s that must be writable. partitions_per_consumer: of the fullest one. replicas: the answer."""

    required: float
    partitions_per_consumer: int
    replicas: int


def deadline_s(objective: Objective) -> float:
    """A backlog should be gone within this time: the catch-up time, or the allowed age if that is shorter."""
    return min(objective.catch_up_s, objective.max_age_s)


def size_group(
    *, arrival: float, lag_records: int, deadline: float, capacity: float, partitions: int, at_least: int
) -> Size:
    """The smallest group whose fullest member keeps up with `arrival` and clears the lag within the deadline.

    partitions ≥ 1; capacity > 0, or anything where there is no load, which at_least serves. Never above the partitions.
    """
    required = max(arrival / MAX_UTILISATION, arrival + lag_records / deadline)
    if required <= 0:
        return Size(required=0.0, partitions_per_consumer=partitions, replicas=at_least)
    share = required / partitions
    exact = floor(capacity / share + _EPSILON)
    each = 1 if exact <= 1 else min(partitions, floor(capacity * (1 + TOLERANCE) / share + _EPSILON))
    return Size(required=required, partitions_per_consumer=each, replicas=ceil(partitions / each))


def utilisation(*, arrival: float, replicas: int, capacity: float) -> float:
    """Share of the group's capacity that the arrivals take: 0 without arrivals, else infinite without capacity."""
    if arrival <= 0:
        return 0.0
    return arrival / (replicas * capacity) if replicas and capacity else inf


def drain_s(*, arrival: float, lag_records: int, replicas: int, capacity: float) -> float:
    """Seconds until the lag is gone at this size; infinite if it grows, 0 without lag."""
    if not lag_records:
        return 0.0
    spare = replicas * capacity - arrival
    return lag_records / spare if spare > 0 else inf
