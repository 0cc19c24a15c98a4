"""Whether a client can still reach brokers that answer others. Used by the thread only.

A broker that its controller takes for dead, as after a pause of seconds, lists no brokers at all until it is let in
again; librdkafka then forgets every address that it had, its bootstrap servers included, and never says a word again
(librdkafka #5301, seen with 2.16). Such a client has to be replaced.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_source.lookups import Lookups

LOOK_EVERY_S = 5.0
"""Of a client that brings no records."""

LOOK_S, LOOK_AGAIN_S = 1.0, 3.0
"""How long a broker is waited for: at first, and before the client is given up. The thread does nothing else then."""


class Pulse:
    """Of one client."""

    def __init__(self, *, consumer: Consumer, topic: str, lookups: Lookups) -> None:
        self._consumer = consumer
        self._topic = topic
        self._lookups = lookups
        self._look_at: float | None = None
        self._others: Future[Any] | None = None

    def beat(self, now: float) -> None:
        """It has brought records, or was looked at just now."""
        self._look_at = now + LOOK_EVERY_S

    def is_dead(self, now: float) -> bool:
        """Whether it reached no broker, before and after these answered another client. May wait LOOK_AGAIN_S."""
        if self._others is not None:
            if not self._others.done():
                return False
            do_others_live = self._others.exception() is None
            self._others = None
            return do_others_live and not self._reaches_broker(LOOK_AGAIN_S)
        if self._look_at is None:
            self.beat(now)
        elif now >= self._look_at:
            self.beat(now)
            if not self._reaches_broker(LOOK_S):
                self._ask_others()
        return False

    def _ask_others(self) -> None:
        try:
            self._others = self._lookups.ask_topic()
        except (SourceUnavailable, KafkaException):
            self._others = None

    def _reaches_broker(self, wait_s: float) -> bool:
        """An error is an answer, and so is one that comes too late: both are a broker's."""
        try:
            self._consumer.list_topics(self._topic, timeout=wait_s)
        except KafkaException as e:
            return bool(e.args[0].code() != KafkaError._TRANSPORT)
        return True
