"""What a member does at its assignments, with a client that only takes notes."""

from __future__ import annotations

from typing import Any, cast

from confluent_kafka import Consumer, TopicPartition
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.kafka_source.intake import PythonIntake
from forebay_consumer.kafka_source.lookups import Lookups
from forebay_consumer.kafka_source.mirror import Mirror
from forebay_consumer.kafka_source.session import Session

SPEC = SourceSpec(bootstrap_servers="kafka:9092", topic="payments", group="bank.payments")


class NotedConsumer:
    """Remembers what was committed; lets a test assign and revoke."""

    def __init__(self) -> None:
        self.committed: list[dict[int, int]] = []
        self.callbacks: dict[str, Any] = {}

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        self.committed.append({top.partition: top.offset for top in offsets})

    def incremental_assign(self, tops: list[TopicPartition]) -> None:
        pass

    incremental_unassign = pause = incremental_assign


def test_a_receipt_later_than_the_revoke_is_not_committed_after_the_next_assignment() -> None:
    consumer, mirror = NotedConsumer(), Mirror()
    session = Session(
        topic="payments",
        consumer=cast(Consumer, consumer),
        intake=PythonIntake(cast(Consumer, consumer)),
        lookups=Lookups(SPEC),
        mirror=mirror,
        post=lambda _event: None,
    )
    session.join()
    consumer.callbacks["on_assign"](consumer, [TopicPartition("payments", 0)])
    consumer.callbacks["on_revoke"](consumer, [TopicPartition("payments", 0)])
    mirror.want({0: 100})
    consumer.callbacks["on_assign"](consumer, [TopicPartition("payments", 0)])
    session.send_mirror(10.0)
    assert consumer.committed == []
