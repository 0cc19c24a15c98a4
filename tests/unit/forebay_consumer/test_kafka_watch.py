"""What is reported as trouble of the source, and when it is over."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.kafka_source.lookups import Lookups
from forebay_consumer.kafka_source.trouble import Trouble, TroubleKind
from forebay_consumer.kafka_source.watch import CLIENT_GOOD_S, Watch
from forebay_consumer.ports import SourceEvent, SourceTrouble

SPEC = SourceSpec(bootstrap_servers="kafka:9092", topic="payments", group="bank.payments")


class ScriptedLookups(Lookups):
    """Answers the question for the topic with `error`, or well."""

    def __init__(self) -> None:
        super().__init__(SPEC)
        self.error: int | None = None
        self.is_silent = False

    def ask_topic(self) -> Future[Any]:
        """An answer that is in already."""
        answer: Future[Any] = Future()
        if self.is_silent:
            return answer
        if self.error is None:
            answer.set_result(None)
        else:
            answer.set_exception(KafkaException(KafkaError(self.error)))
        return answer


class Scene:
    """A watch and what it said. seconds(n): n turns of the thread, one second each."""

    def __init__(self) -> None:
        self.said: list[SourceEvent] = []
        self.lookups = ScriptedLookups()
        self.watch = Watch(spec=SPEC, lookups=self.lookups, post=self.said.append)
        self._now = 100.0

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self._now += 1.0
            self.watch.step(self._now)

    def messages(self) -> list[str | None]:
        return [event.message for event in self.said if isinstance(event, SourceTrouble)]


def test_a_lost_connection_alone_is_no_trouble() -> None:
    scene = Scene()
    scene.seconds(2)
    scene.watch.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    scene.seconds(3)
    assert scene.messages() == []


def test_brokers_that_do_not_answer_are_reported_once_until_they_do() -> None:
    scene = Scene()
    scene.lookups.error = KafkaError._TRANSPORT
    scene.seconds(6)
    (message,) = scene.messages()
    assert message is not None
    assert "spec.source.bootstrapServers (kafka:9092)" in message
    scene.lookups.error = None
    scene.seconds(4)
    assert scene.messages() == [message, None]


def test_unreachable_brokers_do_not_hide_refused_credentials() -> None:
    scene = Scene()
    scene.watch.on_error(KafkaError(KafkaError._AUTHENTICATION))
    scene.lookups.error = KafkaError._TRANSPORT
    scene.seconds(4)
    (message,) = scene.messages()
    assert message is not None
    assert "sasl.*" in message


def test_trouble_of_the_group_is_over_when_it_assigns() -> None:
    scene = Scene()
    scene.watch.on_error(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    scene.seconds(4)
    assert len(scene.messages()) == 1
    scene.watch.on_success()
    assert scene.messages()[1:] == [None]


def test_a_spent_client_is_forgiven_when_the_next_one_lasts() -> None:
    scene = Scene()
    scene.watch.report(Trouble(kind=TroubleKind.CLIENT, message="stopped"))
    scene.seconds(3)
    assert scene.messages() == ["stopped"]
    scene.seconds(int(CLIENT_GOOD_S) + 3)
    assert scene.messages() == ["stopped", None]


def test_a_topic_that_goes_with_its_partitions_is_trouble_until_it_is_back() -> None:
    scene = Scene()
    scene.watch.on_success()
    scene.lookups.error = KafkaError.UNKNOWN_TOPIC_OR_PART
    scene.watch.on_revoked()
    scene.watch.on_nothing_assigned()
    scene.seconds(3)
    (message,) = scene.messages()
    assert message is not None
    assert "topic payments does not exist" in message
    scene.lookups.error = None
    scene.seconds(3)
    assert scene.messages()[1:] == [None]


def test_an_empty_assignment_ends_the_groups_trouble_and_not_the_topics() -> None:
    scene = Scene()
    scene.watch.report(Trouble(kind=TroubleKind.TOPIC, message="no topic"))
    scene.watch.on_nothing_assigned()
    assert scene.messages() == ["no topic"]
    scene.watch.report(Trouble(kind=TroubleKind.GROUP, message="no group"))
    scene.watch.on_nothing_assigned()
    assert scene.messages() == ["no topic", "no group", None]


def test_a_question_to_a_client_that_is_gone_is_asked_of_the_next_one() -> None:
    scene = Scene()
    scene.watch.report(Trouble(kind=TroubleKind.BROKERS, message="away"))
    scene.lookups.is_silent = True
    scene.seconds(3)
    scene.lookups.is_silent = False
    scene.seconds(3)
    assert scene.messages() == ["away"]
    scene.watch.on_new_client()
    scene.seconds(3)
    assert scene.messages() == ["away", None]
