"""The lag reader on a real broker, beyond what every lag reader keeps (tests/contract/test_lag_reader.py)."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition
from forebay_api.v1alpha1 import Pipeline, SecretRef
from forebay_cli.local.free_ports import find_free_port
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from forebay_operator.errors import LagUnavailable
from forebay_operator.kafka_lag import KafkaLag
from forebay_operator.model import GroupState, LagSample
from support.forgetful_kafka import forgetful_kafka
from support.lag_threads import DEADLINE_S, ask_and_forget, read_and_forget, read_until_complete, run_alone
from support.pipeline_builders import build_pipeline
from support.records import transacting
from support.testbed.servers import KafkaFactory, TopicFactory, create_topic

pytestmark = pytest.mark.integration


def join(pipeline: Pipeline, protocol: str) -> Consumer:
    """A member of the pipeline's group."""
    source = pipeline.spec.source
    consumer = Consumer(
        {
            "bootstrap.servers": source.bootstrap_servers,
            "group.id": source.group,
            "group.protocol": protocol,
            "client.id": "member",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([source.topic])
    return consumer


async def read_until_stable(reader: KafkaLag, pipeline: Pipeline, consumers: list[Consumer]) -> LagSample:
    """Poll the members until the group is stable with all of them and every partition is assigned."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for consumer in consumers:
            await asyncio.to_thread(consumer.poll, 0.1)
        try:
            sample = await reader.read_lag(pipeline)
        except LagUnavailable:  # the broker is just starting, or the topic is new to it
            continue
        group = sample.group
        assert group is not None
        assigned = sum(len(partitions) for partitions in group.assignment.values())
        if group.state is GroupState.STABLE and group.members == len(consumers) and assigned == 4:
            return sample
    raise AssertionError("the group did not become stable")


async def poll_until_assigned(consumer: Consumer) -> list[TopicPartition]:
    """The member hears of its assignment a little later than the coordinator tells it to others."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assigned: list[TopicPartition] = consumer.assignment()
        if assigned:
            return assigned
        await asyncio.to_thread(consumer.poll, 0.1)
    raise AssertionError("the member was assigned nothing")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_members_and_assignment_are_seen_in_both_group_protocols(
    kafka: KafkaServer, topic: TopicFactory, protocol: str
) -> None:
    pipeline = build_pipeline(topic=topic(4), brokers=kafka.bootstrap)
    consumers = [join(pipeline, protocol) for _ in range(2)]

    reader = KafkaLag()
    await read_until_complete(reader, pipeline)

    try:
        sample = await read_until_stable(reader, pipeline, consumers)
        for consumer in consumers:
            owned = await poll_until_assigned(consumer)
            consumer.commit(offsets=[TopicPartition(tp.topic, tp.partition, 0) for tp in owned], asynchronous=False)
        after = await read_until_complete(reader, pipeline)
    finally:
        for consumer in consumers:
            consumer.close()

    assert sample.group is not None
    partitions = sorted(p for owned in sample.group.assignment.values() for p in owned)
    assert partitions == [0, 1, 2, 3]
    assert all(member.startswith("member ") for member in sample.group.assignment)
    assert [offsets.committed for offsets in after.partitions.values() if offsets is not None] == [0, 0, 0, 0]


async def test_clients_that_forgot_all_brokers_are_replaced(own_kafka: KafkaFactory) -> None:
    """Else the operator would be blind until it is restarted (librdkafka #5301). About every fourth forgets."""
    behind, before = find_free_port(), find_free_port()
    server = own_kafka(KafkaOptions(second_listener=(behind, before)))
    create_topic(server.bootstrap, "payments", 2)
    async with forgetful_kafka(before, behind) as proxy:
        pipeline = build_pipeline(topic="payments", brokers=proxy.bootstrap)
        reader = KafkaLag(timeout_s=1.0, silence_s=2.0)
        for _ in range(20):
            await read_until_complete(reader, pipeline)
            proxy.is_forgetful = True
            with suppress(LagUnavailable):
                await reader.read_lag(pipeline)
            proxy.is_forgetful = False


def has_nobody(sample: LagSample) -> bool:
    return sample.group is not None and (sample.group.state, sample.group.members) == (GroupState.EMPTY, 0)


async def test_members_that_left_leave_an_empty_group(kafka: KafkaServer, topic: TopicFactory) -> None:
    pipeline = build_pipeline(topic=topic(4), brokers=kafka.bootstrap)
    reader, consumer = KafkaLag(), join(pipeline, "classic")
    await read_until_complete(reader, pipeline)
    await read_until_stable(reader, pipeline, [consumer])
    consumer.close()

    await read_until_complete(reader, pipeline, has_nobody)


async def test_open_transaction_ends_the_log_where_it_begins(kafka: KafkaServer, topic: TopicFactory) -> None:
    pipeline = build_pipeline(topic=topic(1), brokers=kafka.bootstrap)
    name = pipeline.spec.source.topic
    producer = transacting(kafka.bootstrap)
    producer.produce(name, value=b"{}", partition=0)
    assert producer.flush(DEADLINE_S) == 0

    open_end = (await read_until_complete(KafkaLag(), pipeline)).partitions[0]
    assert open_end is not None
    assert open_end.log_end == 0
    producer.commit_transaction(DEADLINE_S)

    def is_closed(sample: LagSample) -> bool:  # the marker is written after the commit was answered
        closed_end = sample.partitions[0]
        return closed_end is not None and closed_end.log_end == 2  # the record and the transaction's marker

    await read_until_complete(KafkaLag(), pipeline, is_closed)


async def test_broker_that_is_killed_again_and_again_is_unavailable_and_comes_back(own_kafka: KafkaFactory) -> None:
    """The process survives it: librdkafka's requests to a coordinator that is gone are what it does not (#4605)."""
    server, reader = own_kafka(), KafkaLag(timeout_s=1.0)
    create_topic(server.bootstrap, "payments", 2)
    pipeline = build_pipeline(brokers=server.bootstrap)

    for _ in range(3):
        await read_until_complete(reader, pipeline)
        server.kill()
        with pytest.raises(LagUnavailable, match="KafkaUnreachable"):
            await reader.read_lag(pipeline)
        server.start()

    assert (await read_until_complete(reader, pipeline)).is_complete


async def test_address_without_a_broker_is_unavailable() -> None:
    reader = KafkaLag(timeout_s=1.0)

    with pytest.raises(LagUnavailable, match="KafkaUnreachable") as caught:
        await reader.read_lag(build_pipeline(brokers="127.0.0.1:1"))

    assert "127.0.0.1:1" in caught.value.message


async def test_silent_broker_of_consumers_that_sign_in_asks_for_credentials_of_the_operators_own() -> None:
    pipeline = build_pipeline(brokers="127.0.0.1:1")
    source = replace(pipeline.spec.source, config_secret_ref=SecretRef(name="kafka-client"))
    signing_in = replace(pipeline, spec=replace(pipeline.spec, source=source))

    with pytest.raises(LagUnavailable, match="NoCredentials") as caught:
        await KafkaLag(timeout_s=1.0).read_lag(signing_in)
    with pytest.raises(LagUnavailable, match="KafkaUnreachable"):
        await KafkaLag(lambda _: {"security.protocol": "PLAINTEXT"}, timeout_s=1.0).read_lag(signing_in)

    assert "kafkaClients" in caught.value.message


def test_forgotten_pipeline_lets_its_threads_go_and_can_be_read_again(kafka: KafkaServer, topic: TopicFactory) -> None:
    run_alone(read_and_forget, kafka.bootstrap, [topic(2) for _ in range(4)])


def test_forgetting_a_pipeline_without_a_broker_returns_at_once_and_ends() -> None:
    run_alone(ask_and_forget, "127.0.0.1:1", ["payments"])


async def test_password_is_shown_to_no_broker_that_only_the_pipeline_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger, socket.create_server(("127.0.0.1", 0)) as own:
        stranger.setblocking(False)
        brokers, own_broker = (f"127.0.0.1:{server.getsockname()[1]}" for server in (stranger, own))
        own.close()
        reader = KafkaLag(lambda _: {"bootstrap.servers": own_broker, "sasl.password": "x"}, timeout_s=1.0)

        with pytest.raises(LagUnavailable):
            await reader.read_lag(build_pipeline(brokers=f"{own_broker},{brokers}"))

        with pytest.raises(BlockingIOError):
            stranger.accept()
