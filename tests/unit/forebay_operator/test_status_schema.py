"""What the operator writes as `status` against the schema: the API server would neither refuse nor drop any of it."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from forebay_operator.decide import decide
from forebay_operator.model import (
    Capacity,
    CapacitySource,
    Clamp,
    Condition,
    ConditionStatus,
    ConditionType,
    Decision,
    Memory,
    Observation,
    Plan,
    Report,
    Terms,
    Verdict,
)
from forebay_operator.report import build_report
from forebay_operator.status import to_status
from support import crd
from support.pipeline_builders import START, build_observation, build_pipeline
from support.resources import build_resource

LONG = "Broker 10.0.0.1 says: ü" * 3_000
"""Longer than any bound: messages of others end up in ours."""

TERMS = Terms(
    partitions=12,
    lag_records=2**40,
    lag_is_lower_bound=True,
    age_s=86_400.25,
    age_is_lower_bound=True,
    arrival=1_500_000.123,
    written=0.0,
    demand=10.5,
    capacity=9_999.99,
    capacity_source=CapacitySource.LEARNED,
    deadline_s=270.0,
    required=1e6,
    partitions_per_consumer=2,
    wanted=7,
)


def full_report(text: str = "because of 3 records") -> Report:
    """A report in which nothing is unknown."""
    decision = Decision(
        time=START,
        from_replicas=1,
        to_replicas=6,
        verdict=Verdict.SCALING_UP,
        binding="MaxReplicas",
        because=text,
        terms=TERMS,
        clamps=(Clamp(name="MaxReplicas", before=7, after=6, why=text),),
        next_evaluation_s=5.0,
        would_change_if=text,
    )
    conditions = tuple(
        Condition(type=kind, status=status, reason="KafkaUnreachable", message=text, since=START)
        for kind, status in zip(ConditionType, [*ConditionStatus] * 3, strict=False)
    )
    return Report(
        seen=build_observation(2, [(9, 3)], at_s=0),
        plan=Plan(decision=decision, actions=()),
        outcomes=(),
        capacity=Capacity(records_per_second=10.25, conservative=9.0, samples=500, learned_at=START),
        conditions=conditions,
        events=(),
        generation=3,
        ordered=6,
    )


def problems(status: dict[str, Any]) -> list[str]:
    """What the API server would refuse or silently drop."""
    return crd.judge(build_resource("") | {"status": status})


def paths(value: Any, path: str = "") -> set[str]:
    """Every field that is there, in the notation of crd.walk."""
    if isinstance(value, dict):
        return {f"{path}.{key}" for key in value}.union(*(paths(each, f"{path}.{key}") for key, each in value.items()))
    if isinstance(value, list):
        return {f"{path}[]"}.union(*(paths(each, f"{path}[]") for each in value))
    return set()


def test_everything_known_is_taken_by_the_schema_and_nothing_in_it_is_never_written() -> None:
    status = to_status(full_report(), selector="app.kubernetes.io/name=forebay-consumer,forebay.dev/pipeline=payments")

    assert problems(status) == []
    assert paths(status) == {path for path, _ in crd.walk(crd.load_schema()["properties"]["status"])}


def test_every_term_is_told() -> None:
    status = to_status(full_report())

    assert status["partitions"] == TERMS.partitions
    assert len(status["decision"]["terms"]) == len(fields(Terms)) - 1  # without the partitions


def test_texts_of_any_length_are_taken_by_the_schema() -> None:
    assert problems(to_status(full_report(LONG), selector="a=b")) == []


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(Observation(workload=None, lag=None, consumers=()), id="nothing-yet"),
        pytest.param(build_observation(0, [(5, 5)], at_s=0), id="asleep"),
        pytest.param(build_observation(2, [(9, 3), None], at_s=0), id="partly-blind"),
        pytest.param(build_observation(3, [(1_000, None)] * 4, at_s=0), id="never-committed"),
    ],
)
def test_what_a_pass_writes_is_taken_by_the_schema(seen: Observation) -> None:
    pipeline = build_pipeline(min_replicas=0)
    now = START + timedelta(seconds=1)
    plan, after = decide(pipeline, Memory(), seen, now)

    status = to_status(build_report(pipeline, Memory(), after, seen, plan, [], now), selector="a=b")

    assert problems(status) == []
