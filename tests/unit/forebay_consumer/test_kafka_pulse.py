"""When a client is given up: it reaches nobody, and others do."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_source.lookups import Lookups
from forebay_consumer.kafka_source.pulse import LOOK_EVERY_S, Pulse


class ScriptedConsumer:
    """Answers with `error`, or well. looks: how often it was asked."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.looks = 0

    def list_topics(self, topic: str, timeout: float) -> None:
        """As Consumer.list_topics."""
        del topic, timeout
        self.looks += 1
        if self.error is not None:
            raise KafkaException(KafkaError(self.error))


class ScriptedLookups(Lookups):
    """The test answers."""

    def __init__(self) -> None:
        super().__init__(SourceSpec(bootstrap_servers="kafka:9092", topic="payments", group="bank.payments"))
        self.asked: list[Future[Any]] = []
        self.has_client = True

    def ask_topic(self) -> Future[Any]:
        """Not answered yet."""
        if not self.has_client:
            raise SourceUnavailable("no client")
        self.asked.append(Future())
        return self.asked[-1]


class Scene:
    """after(s) looks at the client so many seconds later."""

    def __init__(self) -> None:
        self.consumer, self.lookups = ScriptedConsumer(), ScriptedLookups()
        self.pulse = Pulse(consumer=cast("Consumer", self.consumer), topic="payments", lookups=self.lookups)
        self.now = 100.0
        assert not self.after(0.0)

    def after(self, seconds: float) -> bool:
        self.now += seconds
        return self.pulse.is_dead(self.now)


def test_a_client_that_reaches_nobody_while_others_do_is_dead() -> None:
    scene = Scene()
    scene.consumer.error = KafkaError._TRANSPORT
    assert not scene.after(LOOK_EVERY_S)
    assert not scene.after(1.0), "nobody has said that the brokers live"
    scene.lookups.asked[0].set_result(None)
    assert scene.after(0.1)


def test_a_client_that_reaches_somebody_again_lives() -> None:
    scene = Scene()
    scene.consumer.error = KafkaError._TRANSPORT
    assert not scene.after(LOOK_EVERY_S)
    scene.lookups.asked[0].set_result(None)
    scene.consumer.error = None
    assert not scene.after(0.1)


def test_while_nobody_reaches_a_broker_no_client_is_given_up() -> None:
    scene = Scene()
    scene.consumer.error = KafkaError._TRANSPORT
    for _ in range(5):
        assert not scene.after(LOOK_EVERY_S)
        scene.lookups.asked[-1].set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        assert not scene.after(0.1)
    scene.lookups.has_client = False
    assert not scene.after(LOOK_EVERY_S)


@pytest.mark.parametrize("error", [KafkaError._TIMED_OUT, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_a_late_answer_or_a_refusal_comes_from_a_broker(error: int) -> None:
    scene = Scene()
    scene.consumer.error = error
    assert not scene.after(LOOK_EVERY_S)
    assert scene.lookups.asked == []


def test_a_client_that_brings_records_is_not_looked_at() -> None:
    scene = Scene()
    for _ in range(10):
        scene.now += 1.0
        scene.pulse.beat(scene.now)
        assert not scene.after(LOOK_EVERY_S - 1.0)
    assert scene.consumer.looks == 0
    assert not scene.after(1.0)
    assert scene.consumer.looks == 1
