"""The audit at the end of a test in the cluster: every record that was sent is one row."""

from __future__ import annotations

from forebay_cli.local.deadlines import wait_until
from support.cluster_database import merge_ledgers
from support.product import PipelineOnCluster

DRAIN_S = 180.0
"""Deadline of a backlog that takes seconds on a quiet machine."""


async def assert_exactly_once(pipeline: PipelineOnCluster, deadline_s: float = DRAIN_S) -> None:
    """Wait until all that was sent is written, then compare: nothing lost, nothing twice, no gap in any partition."""
    whole = merge_ledgers(pipeline.ledgers, pipeline.ledger.with_suffix(".whole"))
    database = pipeline.servers.database

    def is_drained() -> bool:
        return database.is_drained(whole, group=pipeline.group, topic=pipeline.topic)

    assert wait_until(is_drained, deadline_s, 0.5), f"not drained: {describe_standstill(pipeline)}"
    verdict = await database.audit(whole, group=pipeline.group, topic=pipeline.topic, table=pipeline.table)
    assert verdict.produced == pipeline.produced
    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert verdict.rows == pipeline.produced, verdict


def describe_standstill(pipeline: PipelineOnCluster) -> str:
    """Why nothing comes through any more: what consumers and database said last, and what a person would look at."""
    logs = pipeline.kubectl("logs", f"--selector=forebay.dev/pipeline={pipeline.name}", "--tail=15", "--prefix")
    return "\n".join((logs, pipeline.servers.database.describe(), pipeline.describe()))
