"""A LagReader in memory that keeps the port's contract (tests/contract/test_lag_reader.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import LagUnavailable
from forebay_operator.model import GroupState, GroupView, LagSample, PartitionOffsets


@dataclass(slots=True)
class FakeLog:
    """One partition: start and end of its log, and each group's commit."""

    start: int = 0
    end: int = 0
    committed: dict[str, int] = field(default_factory=dict)


class FakeLag:
    """Topics and groups of one pretended Kafka. problem set: no answer at all. silent: partitions without answers."""

    def __init__(self) -> None:
        self.topics: dict[str, list[FakeLog]] = {}
        self.groups: dict[str, GroupView] = {}
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.problem: LagUnavailable | None = None
        self.silent: set[int] = set()

    async def read_lag(self, pipeline: Pipeline) -> LagSample:
        """As LagReader.read_lag()."""
        source = pipeline.spec.source
        if self.problem is not None:
            raise self.problem
        if source.topic not in self.topics:
            raise LagUnavailable(reason="TopicMissing", message=f"topic {source.topic} does not exist: create it")
        partitions = {
            p: None
            if p in self.silent
            else PartitionOffsets(log_start=x.start, log_end=x.end, committed=x.committed.get(source.group))
            for p, x in enumerate(self.topics[source.topic])
        }
        group = self.groups.get(source.group, GroupView(state=GroupState.EMPTY, members=0))
        return LagSample(taken_at=self.now, partitions=partitions, group=group)
