"""Whether Kafka can be used, and telling so: once when it changes. Used by the thread only.

A broker-level error is only a suspicion: connections come and go. It is reported when the brokers then do not answer
the question for the topic either; an answer clears it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from forebay_api.v1alpha1 import SourceSpec

from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_source.lookups import Lookups
from forebay_consumer.kafka_source.trouble import Trouble, TroubleKind, describe_trouble
from forebay_consumer.ports import SourceEvent, SourceTrouble

PROBE_EVERY_S = 1.0
"""Between two questions while something is wrong."""

PROVED_BY_ANSWER = frozenset({TroubleKind.BROKERS, TroubleKind.CREDENTIALS, TroubleKind.TOPIC})
"""What is over when the brokers describe the topic. The group's troubles are over when it assigns."""


CLIENT_GOOD_S = 5.0
"""A client that has not failed for so long while the brokers answer is good: an idle member is assigned nothing."""


class Watch:
    """Suspects from the start: a missing topic is silence in the new group protocol."""

    def __init__(self, *, spec: SourceSpec, lookups: Lookups, post: Callable[[SourceEvent], None]) -> None:
        self._spec = spec
        self._lookups = lookups
        self._post = post
        self._trouble: Trouble | None = None
        self._suspicious = True
        self._probe: Future[Any] | None = None
        self._probe_at = float("-inf")
        self._client_failed = False
        self._client_good_at = float("-inf")

    @property
    def kind(self) -> TroubleKind | None:
        """What is reported now."""
        return None if self._trouble is None else self._trouble.kind

    def report(self, trouble: Trouble) -> None:
        """Say it, unless it has been said. Unreachable brokers do not hide refused credentials: they look alike."""
        self._suspicious = True
        self._client_failed = self._client_failed or trouble.kind is TroubleKind.CLIENT
        hides = trouble.kind is TroubleKind.BROKERS and self.kind in (TroubleKind.CREDENTIALS, TroubleKind.CLIENT)
        if hides or trouble.kind is self.kind:
            return
        self._trouble = trouble
        self._post(SourceTrouble(message=trouble.message))

    def on_error(self, error: KafkaError) -> None:
        """An error of the client that is not about a position."""
        trouble = describe_trouble(error, self._spec)
        if trouble is None:
            return
        if trouble.kind is TroubleKind.BROKERS:
            self._suspicious = True
        else:
            self.report(trouble)

    def on_success(self) -> None:
        """Records or partitions came: everything works."""
        self._clear()

    def on_nothing_assigned(self) -> None:
        """A member like any other, without work: others have it all, or there is no topic. The group works."""
        if self.kind is TroubleKind.GROUP:
            self._clear()
        self._suspicious = True

    def on_revoked(self) -> None:
        """Partitions went: to another member, or with the topic, of which the new group protocol says nothing."""
        self._suspicious = True

    def on_new_client(self) -> None:
        """A question to the client before may never be answered."""
        self._probe = None

    def step(self, now: float) -> None:
        """Ask, or take the answer. Never waits."""
        if self._client_failed:
            self._client_failed, self._client_good_at = False, now + CLIENT_GOOD_S
        if self._probe is not None:
            if self._probe.done():
                self._take_answer(self._probe, now)
                self._probe = None
        elif self._suspicious and now - self._probe_at >= PROBE_EVERY_S:
            self._probe_at = now
            try:
                self._probe = self._lookups.ask_topic()
            except (SourceUnavailable, KafkaException):
                self._probe = None  # no usable client: reported by whoever could not make it

    def _take_answer(self, probe: Future[Any], now: float) -> None:
        try:
            probe.result()
        except KafkaException as e:
            trouble = describe_trouble(e.args[0], self._spec)
            if trouble is not None:
                self.report(trouble)
            return
        is_good_again = self.kind is TroubleKind.CLIENT and now >= self._client_good_at
        if self.kind in PROVED_BY_ANSWER or is_good_again:
            self._clear()
        self._suspicious = self.kind is TroubleKind.CLIENT

    def _clear(self) -> None:
        self._suspicious = False
        if self._trouble is not None:
            self._trouble = None
            self._post(SourceTrouble(message=None))
