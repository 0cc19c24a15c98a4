"""Gathers one Observation through the ports. Unknown is None.

What must not live here: judgement of what was seen.
"""

from __future__ import annotations

import asyncio

from forebay_api.v1alpha1 import Pipeline

from forebay_operator.errors import LagUnavailable
from forebay_operator.model import ConsumerView, LagSample, Observation, Problem, RunningConsumer
from forebay_operator.ports import ConsumerReader, LagReader, Ports


async def observe(ports: Ports, pipeline: Pipeline) -> Observation:
    """Read workload, lag and consumers. Raises Retryable when not even the workload can be read."""
    (lag, problem), workload = await asyncio.gather(
        _read_lag(ports.lag, pipeline), ports.cluster.read_workload(pipeline)
    )
    running = () if workload is None else workload.consumers
    views = await asyncio.gather(*(_read_consumer(ports.consumers, consumer) for consumer in running))
    return Observation(workload=workload, lag=lag, consumers=tuple(views), lag_problem=problem)


async def _read_lag(reader: LagReader, pipeline: Pipeline) -> tuple[LagSample | None, Problem | None]:
    try:
        return await reader.read_lag(pipeline), None
    except LagUnavailable as e:
        return None, Problem(reason=e.reason, message=e.message)


async def _read_consumer(reader: ConsumerReader, consumer: RunningConsumer) -> ConsumerView:
    return ConsumerView(consumer=consumer, state=await reader.read_state(consumer))
