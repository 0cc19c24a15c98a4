"""What changes around a pipeline while it runs: partitions, the group's name, neighbours, the table."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import count as count_from

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from support.flood import CLASSIC, NEW, Flood, eventually
from support.records import count, ids, payments, position, send, written
from support.testbed.servers import TopicFactory

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

STEP = 200


class Stream:
    """Records without an end, into all partitions in turn; sent: how many."""

    def __init__(self, run: Flood, partitions: int) -> None:
        self.partitions = partitions
        self.sent = 0
        self._run = run
        self._goes_on = True

    async def flow(self) -> None:
        """Until stop()."""
        for step in count_from():
            if not self._goes_on:
                return
            values = payments(self.sent, STEP)
            await asyncio.to_thread(send, self._run.kafka, self._run.topic, values, partition=step % self.partitions)
            self.sent += STEP
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Send no more."""
        self._goes_on = False


@contextlib.asynccontextmanager
async def streaming(run: Flood, partitions: int) -> AsyncIterator[Stream]:
    """A stream; at the end it is stopped, and every record must be in the table exactly once."""
    stream = Stream(run, partitions)
    flowing = asyncio.create_task(stream.flow())
    try:
        yield stream
        stream.stop()
        await flowing
        await written(run, stream.sent, 90.0)
        assert ids(run) == list(range(stream.sent))
    finally:
        flowing.cancel()


async def grown(run: Flood, rows: int = 2 * STEP) -> None:
    """Wait until so many more rows are there."""
    before = count(run)
    await eventually(lambda: count(run) >= before + rows, 60.0, run.tails)


@pytest.mark.parametrize("protocol", [CLASSIC, NEW], ids=["classic", "consumer"])
async def test_partitions_added_under_load_are_read_from_their_first_record(
    flood: Callable[..., Flood], protocol: dict[str, str]
) -> None:
    run = flood(partitions=2, kafka_config={**protocol, "topic.metadata.refresh.interval.ms": "1000"})
    consumers = [run.start_consumer(), run.start_consumer()]
    async with streaming(run, 2) as stream:
        await grown(run)
        admin = AdminClient({"bootstrap.servers": run.kafka.bootstrap})
        admin.create_partitions([NewPartitions(run.topic, 6)])[run.topic].result(60.0)
        stream.partitions = 6
        await eventually(lambda: sum(each.claimed() for each in consumers) == 6, 60.0, run.tails)
        await grown(run)


async def test_a_renamed_group_begins_where_start_from_says_and_leaves_the_old_positions(
    flood: Callable[..., Flood],
) -> None:
    run = flood(partitions=1)
    send(run.kafka, run.topic, payments(0, 50))
    consumer = run.start_consumer()
    await written(run, 50)
    run.kill(consumer)
    run.group, run.source = "bank.later", {"startFrom": "Latest"}
    consumer = run.start_consumer()
    await eventually(lambda: position(run) == 50, 60.0, run.tails)
    send(run.kafka, run.topic, payments(50, 50))
    await written(run, 100)
    run.kill(consumer)
    run.group, run.source = "bank.again", {}
    run.start_consumer()
    await written(run, 200)
    assert ids(run) == sorted([*range(100), *range(100)])
    groups = run.run_sql('SELECT "group", next_offset FROM forebay.positions ORDER BY 1').split()
    assert groups == ["bank.again", "100", "bank.later", "100", "bank.payments", "50"]


async def test_two_pipelines_fill_one_table_each_with_its_own_records_once(
    flood: Callable[..., Flood], topic: TopicFactory
) -> None:
    one = flood(partitions=2)
    other = flood(partitions=2, database=one.database, table="", group="bank.refunds")
    assert one.topic != other.topic
    for run in (one, other):
        run.start_consumer()
    for partition in (0, 1):
        send(one.kafka, one.topic, payments(3_000 * partition, 3_000), partition=partition)
        send(other.kafka, other.topic, payments(10_000 + 3_000 * partition, 3_000), partition=partition)
    victim = one.start_consumer()
    one.kill(victim)
    await written(one, 12_000)
    assert ids(one) == [*range(6_000), *range(10_000, 16_000)]


async def test_one_topic_goes_into_one_table_twice_by_two_groups(flood: Callable[..., Flood]) -> None:
    one = flood(partitions=1)
    other = flood(topic=one.topic, database=one.database, table="", group="bank.copy")
    for run in (one, other):
        run.start_consumer()
    send(one.kafka, one.topic, payments(0, 2_000))
    await written(one, 4_000)
    assert ids(one) == sorted([*range(2_000), *range(2_000)])


CHANGES = [
    pytest.param(["ALTER TABLE payments ADD note text"], id="column-added"),
    pytest.param(["ALTER TABLE payments ADD note text NOT NULL DEFAULT 'x'"], id="column-with-default-added"),
    pytest.param(["ALTER TABLE payments DROP merchant"], id="column-dropped"),
    pytest.param(["ALTER TABLE payments ALTER amount_cents TYPE numeric"], id="type-changed"),
    pytest.param(
        ["ALTER TABLE payments ALTER merchant DROP NOT NULL; ALTER TABLE payments RENAME merchant TO shop"],
        id="column-renamed",
    ),
    pytest.param(["ALTER TABLE payments RENAME TO away", "ALTER TABLE away RENAME TO payments"], id="renamed-and-back"),
    pytest.param(["ALTER TABLE payments SET UNLOGGED", "ALTER TABLE payments SET LOGGED"], id="rewritten"),
    pytest.param(["CREATE UNIQUE INDEX ON payments (id)"], id="index-added"),
    pytest.param(["VACUUM FULL payments"], id="vacuumed"),
]


@pytest.mark.parametrize("statements", CHANGES)
async def test_a_table_that_is_altered_under_load_loses_and_repeats_nothing(
    flood: Callable[..., Flood], statements: list[str]
) -> None:
    run = flood(partitions=2)
    run.start_consumer()
    run.start_consumer()
    async with streaming(run, 2):
        await grown(run)
        for index, statement in enumerate(statements):
            if index:
                await asyncio.sleep(3.0)  # what is renamed away stays away for a while
            run.run_sql(statement)
        await grown(run)


async def test_a_type_that_fits_no_record_stops_the_pipeline_until_it_is_changed_back(
    flood: Callable[..., Flood],
) -> None:
    run = flood(partitions=1)
    consumer = run.start_consumer()
    send(run.kafka, run.topic, payments(0, 5_000))
    await written(run, 5_000)
    run.run_sql("ALTER TABLE payments ALTER id TYPE text USING id::text")
    send(run.kafka, run.topic, payments(5_000, 5_000))
    await eventually(lambda: "Breaker" in (consumer.read("/readyz") or (0, ""))[1], 60.0, run.tails)
    run.run_sql("ALTER TABLE payments ALTER id TYPE bigint USING id::bigint")
    await eventually(lambda: position(run) == 10_000, 60.0, run.tails)
    dead = [int(line) for line in run.run_sql("SELECT record_offset FROM forebay.dead_letters").split()]
    assert len(dead) < 110, "the breaker lets through little more than its minimum"
    assert sorted([*ids(run), *dead]) == list(range(10_000))
