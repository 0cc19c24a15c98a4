"""When the client for questions is replaced."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.kafka_source import lookups
from forebay_consumer.kafka_source.lookups import LONGEST_SILENCE_S, SILENCE_S, Lookups

SPEC = SourceSpec(bootstrap_servers="kafka:9092", topic="payments", group="bank.payments")


class Scene:
    """Clients that were made, and a clock. error: what each question is answered with at once, None: well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients: list[object] = []
        self.asked: list[object] = []
        self.now = 1000.0
        self.error: int | None = KafkaError._TIMED_OUT
        self.is_config_bad = False
        scene = self

        class Client:
            def __init__(self, config: dict[str, Any]) -> None:
                del config
                if scene.is_config_bad:
                    raise KafkaException(KafkaError(KafkaError._INVALID_ARG))
                scene.clients.append(self)

            def describe_topics(self, topics: TopicCollection, request_timeout: float) -> dict[str, Future[Any]]:
                del topics, request_timeout
                scene.asked.append(self)
                answer: Future[Any] = Future()
                if scene.error is None:
                    answer.set_result(None)
                else:
                    answer.set_exception(KafkaException(KafkaError(scene.error)))
                return {SPEC.topic: answer}

        monkeypatch.setattr(lookups, "AdminClient", Client)
        monkeypatch.setattr("forebay_consumer.kafka_source.lookups.time", self)
        self.lookups = Lookups(SPEC)
        self.lookups.connect({})

    def monotonic(self) -> float:
        """As time.monotonic."""
        return self.now

    def ask_every_second(self, seconds: float) -> int:
        """Returns how many clients there have been by then."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            self.lookups.ask_topic()
        return len(self.clients)


def test_a_client_that_is_not_answered_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    assert scene.ask_every_second(SILENCE_S) == 1
    assert scene.ask_every_second(2.0) == 2
    assert scene.asked[-1] is scene.clients[1]


def test_an_answer_of_any_kind_keeps_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    for error in (None, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART):
        scene.error = KafkaError._TIMED_OUT
        scene.ask_every_second(SILENCE_S - 2.0)
        scene.error = error
        assert scene.ask_every_second(2 * SILENCE_S) == 1


def test_a_long_outage_makes_few_clients_and_its_end_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    day = scene.ask_every_second(86_400.0)
    assert day < 86_400.0 / LONGEST_SILENCE_S + 10
    scene.error = None
    scene.ask_every_second(2.0)
    scene.error = KafkaError._TRANSPORT
    assert scene.ask_every_second(SILENCE_S + 2.0) == day + 1


def test_a_configuration_that_cannot_be_used_any_more_keeps_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.is_config_bad = True
    assert scene.ask_every_second(4 * SILENCE_S) == 1
    scene.is_config_bad = False
    assert scene.ask_every_second(60.0) == 2
