"""One client's life in the group: what is assigned, what is read and under which claim. Used by the thread only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_source.chunks import Failure
from forebay_consumer.kafka_source.codes import POSITION
from forebay_consumer.kafka_source.intake import Intake, Polled
from forebay_consumer.kafka_source.lookups import Lookups
from forebay_consumer.kafka_source.mirror import Mirror
from forebay_consumer.kafka_source.pulse import Pulse
from forebay_consumer.ports import Assigned, Beginning, PositionLost, Revoked, SourceEvent, Wanted
from forebay_consumer.records import RawChunk

RETRY_S = 0.5
"""Pause before a position is looked at again: the broker did not say, or says that the position is good."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Suspect:
    """A position at which Kafka has no record. bounds: the questions for the log's start and end, None: not asked."""

    beginning: Beginning
    ask_at: float
    bounds: tuple[Future[Any], Future[Any]] | None = None


class Session:
    """Everything that is done with one Consumer. close() ends it."""

    def __init__(
        self,
        *,
        topic: str,
        consumer: Consumer,
        intake: Intake,
        lookups: Lookups,
        mirror: Mirror,
        post: Callable[[SourceEvent], None],
    ) -> None:
        self._topic = topic
        self._consumer = consumer
        self._intake = intake
        self._lookups = lookups
        self._mirror = mirror
        self._post = post
        self._assigned: set[int] = set()
        self._reading: dict[int, Beginning] = {}
        self._to_seek: dict[int, Beginning] = {}
        self._suspects: dict[int, Suspect] = {}
        self._halted: set[int] = set()
        self._throttled = False
        self.was_assigned = False
        self.pulse = Pulse(consumer=consumer, topic=topic, lookups=lookups)

    def join(self) -> None:
        """Subscribe. Raises KafkaException."""
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    @property
    def is_throttled(self) -> bool:
        """Everything is paused because the budget is used up."""
        return self._throttled

    def poll(self, records: int, wait_s: float, linger_s: float, wanted: Wanted) -> Polled:
        """What has arrived; waits wait_s for the first record and linger_s for more. Raises KafkaException (fatal)."""
        return self._intake.poll(records, wait_s, linger_s, wanted)

    def take(self, polled: Polled) -> tuple[list[RawChunk], list[Failure]]:
        """Chunks of what is being read, and errors; notes how far each partition was read."""
        chunks, failures = polled.split({p: b.claim_id for p, b in self._reading.items()})
        for chunk in chunks:
            self._reading[chunk.partition] = Beginning(next_offset=chunk.offsets[-1] + 1, claim_id=chunk.claim_id)
        return chunks, failures

    # ---- commands

    def begin(self, beginnings: Mapping[int, Beginning]) -> None:
        """Read these held partitions from there; those of others are ignored."""
        owned = {p: b for p, b in beginnings.items() if p in self._assigned}
        self._to_seek.update(owned)
        self.seek_pending()

    def hold(self, partitions: Iterable[int]) -> None:
        """Stop reading these partitions."""
        reading = [p for p in partitions if self._forget(p)]
        self._pause(reading)

    def throttle(self) -> None:
        """Stop fetching, keep claims."""
        self._throttled = True
        self._pause(self._reading)

    def unthrottle(self) -> None:
        """Fetch again."""
        self._throttled = False
        self._resume(self._reading)

    def seek_pending(self) -> None:
        """Seek where it was asked for. A partition just assigned may refuse for a moment (_STATE): it stays pending."""
        for partition, beginning in list(self._to_seek.items()):
            try:
                self._move(partition, beginning.next_offset)
            except KafkaException as e:
                log.debug("seek refused", extra={"partition": partition, "error": str(e)})
                continue
            self._intake.attach(partition)  # after the seek: only then has fetching begun anew
            del self._to_seek[partition]
            self._reading[partition] = beginning
            if not self._throttled:
                self._resume([partition])

    def _move(self, partition: int, next_offset: int) -> None:
        """Raises KafkaException while the partition is not ready for it."""
        top = TopicPartition(self._topic, partition, next_offset)
        if partition in self._halted:
            # With auto.offset.reset=error librdkafka stops such a partition's fetcher for good, and refuses to seek it.
            self._consumer.incremental_unassign([top])
            self._consumer.incremental_assign([top])
            self._consumer.pause([top])
            self._halted.discard(partition)
        self._consumer.seek(top)

    # ---- positions without a record

    def suspect(self, partition: int, error: KafkaError, now: float) -> bool:
        """Look into an error of a partition; True if it was about its position."""
        if error.code() not in POSITION:
            return False
        self._halted.add(partition)
        beginning = self._reading.get(partition)
        if beginning is not None:
            log.info("position without a record", extra={"partition": partition, "error": error.str()})
            self.hold([partition])
            self._suspects[partition] = Suspect(beginning=beginning, ask_at=now)
        return True

    def settle_suspects(self, now: float) -> None:
        """Ask for the log's bounds, and judge those that are known. Never waits."""
        for partition, suspect in list(self._suspects.items()):
            if suspect.bounds is None:
                if now >= suspect.ask_at:
                    self._ask_bounds(partition, suspect, now)
            elif all(future.done() for future in suspect.bounds):
                self._judge(partition, suspect, suspect.bounds, now)

    def _ask_bounds(self, partition: int, suspect: Suspect, now: float) -> None:
        try:
            suspect.bounds = self._lookups.ask_bounds([partition])[partition]
        except (SourceUnavailable, KafkaException):
            suspect.ask_at = now + RETRY_S

    def _judge(self, partition: int, suspect: Suspect, bounds: tuple[Future[Any], Future[Any]], now: float) -> None:
        suspect.bounds, suspect.ask_at = None, now + RETRY_S
        try:
            log_start, log_end = (future.result().offset for future in bounds)
        except KafkaException as e:
            log.debug("log bounds unknown", extra={"partition": partition, "error": str(e)})
            return
        del self._suspects[partition]
        position, claim_id = suspect.beginning.next_offset, suspect.beginning.claim_id
        if log_start <= position <= log_end:  # the leader had moved, or the log has grown meanwhile
            self._to_seek[partition] = suspect.beginning
            return
        self._post(
            PositionLost(
                partition=partition, claim_id=claim_id, position=position, log_start=log_start, log_end=log_end
            )
        )

    # ---- Kafka's copy of the positions

    def send_mirror(self, now: float, *, at_once: bool = False) -> None:
        """Commit what is due, in the background."""
        due = self._mirror.take_due(self._assigned, now, at_once=at_once)
        if not due:
            return
        try:
            self._consumer.commit(
                offsets=[TopicPartition(self._topic, p, offset) for p, offset in due.items()], asynchronous=True
            )
        except KafkaException as e:
            log.debug("mirror refused", extra={"error": str(e)})
            self._mirror.refuse()

    # ---- the end

    def close(self) -> None:
        """Leave the group. May take long when the coordinator is away: only the thread waits for it."""
        self._intake.close()
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as e:
            log.debug("closing failed", extra={"error": str(e)})
        self._drop(self._assigned)

    # ---- called by librdkafka inside consume(): never wait here, never let an exception out

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = tuple(sorted(t.partition for t in partitions))
        self._mirror.forget(numbers)  # a receipt may have come after the last revoke: that position is an old one
        # An explicit offset: without one the client would look for committed offsets, which are not the truth.
        tops = [TopicPartition(self._topic, p, 0) for p in numbers]
        consumer.incremental_assign(tops)
        if tops:
            consumer.pause(tops)
        self.was_assigned = True
        self._assigned.update(numbers)
        self._post(Assigned(partitions=numbers))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            consumer.incremental_unassign(partitions)
        except KafkaException as e:  # a lost assignment may be gone already
            log.debug("unassign refused", extra={"error": str(e)})
        self._drop({t.partition for t in partitions})

    def _drop(self, partitions: set[int]) -> None:
        gone = tuple(sorted(partitions & self._assigned))
        for partition in gone:
            self._forget(partition)
        self._assigned.difference_update(gone)
        self._halted.difference_update(gone)
        self._mirror.forget(gone)
        if gone:
            self._post(Revoked(partitions=gone))

    def _forget(self, partition: int) -> bool:
        """True if the partition was being read, so that it must be paused."""
        self._to_seek.pop(partition, None)
        self._suspects.pop(partition, None)
        return self._reading.pop(partition, None) is not None

    def _pause(self, partitions: Iterable[int]) -> None:
        self._switch(self._consumer.pause, partitions)

    def _resume(self, partitions: Iterable[int]) -> None:
        self._switch(self._consumer.resume, partitions)

    def _switch(self, switch: Callable[[list[TopicPartition]], None], partitions: Iterable[int]) -> None:
        tops = [TopicPartition(self._topic, p) for p in partitions]
        if not tops:
            return
        try:
            switch(tops)
        except KafkaException as e:  # taken away a moment ago; the callback is about to say so
            log.debug("pause or resume refused", extra={"error": str(e)})
