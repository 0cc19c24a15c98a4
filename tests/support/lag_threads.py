"""What becomes of a lag reader's threads when a pipeline is forgotten, in a process where nobody else has any.

Here and not beside its tests: a process that is spawned can import what lies in tests/support.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context

from confluent_kafka import Consumer, KafkaException, TopicPartition
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import LagUnavailable
from forebay_operator.kafka_lag import KafkaLag
from forebay_operator.model import LagSample
from support.pipeline_builders import build_pipeline

DEADLINE_S = 60.0
ASKING_S = 3.0

Work = Callable[[list[Pipeline]], Coroutine[None, None, None]]


async def read_until_complete(
    reader: KafkaLag, pipeline: Pipeline, fits: Callable[[LagSample], bool] = lambda _: True
) -> LagSample:
    """Read until every partition and the group answer, and that fits: the broker does some things after it answered."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with suppress(LagUnavailable):
            sample = await reader.read_lag(pipeline)
            if sample.is_complete and fits(sample):
                return sample
    raise AssertionError("no such sample")


async def read_and_forget(pipelines: list[Pipeline]) -> None:
    """Read all of them, forget them: as many threads are left as one needs, and a forgotten one can be read again."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # else a number that chance decides
    earlier = list_threads()
    reader = KafkaLag()
    await read_until_complete(reader, pipelines[0])
    few = len(list_threads() - earlier)
    keys = [f"bank/p{n}" for n in range(len(pipelines))]
    for pipeline, key in zip(pipelines, keys, strict=True):
        await read_until_complete(reader, replace(pipeline, name=key.removeprefix("bank/")))
    assert len(list_threads() - earlier) > few

    for key in keys:
        reader.forget(key)

    await wait_for_threads(few, earlier)
    assert (await read_until_complete(reader, replace(pipelines[0], name="p0"))).is_complete


async def ask_and_forget(pipelines: list[Pipeline]) -> None:
    """Forget one whose brokers do not answer while they are asked: it returns at once, and no thread is left."""
    reader, pipeline = KafkaLag(timeout_s=0.5), pipelines[0]
    earlier = list_threads()
    consumer = reader._consumer(pipeline.key, reader._config(pipeline), "g")
    asking = asyncio.create_task(asyncio.to_thread(ask, consumer))
    await asyncio.sleep(0)
    del consumer

    started = time.monotonic()
    reader.forget(pipeline.key)
    assert time.monotonic() - started < ASKING_S / 2

    await asking
    await wait_for_threads(1, earlier)  # that of to_thread stays


def run_alone(work: Work, brokers: str, topics: list[str]) -> None:
    """In a process of its own: clients that other tests left behind begin and end threads whenever they like."""
    process = get_context("spawn").Process(target=_run, args=(work, brokers, topics))
    process.start()
    process.join(2 * DEADLINE_S)
    is_late = process.is_alive()
    process.kill()
    process.join()
    assert (is_late, process.exitcode) == (False, 0), "its standard error says why"


def _run(work: Work, brokers: str, topics: list[str]) -> None:
    asyncio.run(work([build_pipeline(topic=topic, brokers=brokers) for topic in topics]))


def ask(consumer: Consumer) -> None:
    """Wait for an answer that cannot come."""
    with suppress(KafkaException):
        consumer.committed([TopicPartition("payments", 0)], ASKING_S)


def list_threads() -> set[str]:
    """Of this process, librdkafka's included."""
    return set(os.listdir("/proc/self/task"))


async def wait_for_threads(at_most: int, earlier: set[str]) -> None:
    """Until there are so few besides the earlier ones. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while len(list_threads() - earlier) > at_most:  # noqa: ASYNC110  threads of a library have no event
            await asyncio.sleep(0.05)
