"""Messages of one poll -> chunks, one a partition. Runs for every record: nothing may cost a microsecond here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from confluent_kafka import KafkaError, Message

from forebay_consumer.ports import Wanted
from forebay_consumer.records import Header, RawChunk

NO_TIMESTAMP = 0
"""confluent_kafka.TIMESTAMP_NOT_AVAILABLE"""

NO_TIME_MS = -1

LEAST_RECORD_BYTES = 1
"""What a record counts at least: those without a byte fill memory too, and the budget must see them pile up."""

HEADER_OVERHEAD_BYTES = 200
"""What one header costs in Python beyond its content: a tuple, a name, a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error in place of a message. partition, offset: only meaningful for errors of a partition."""

    partition: int | None
    error: KafkaError


def split_messages(
    messages: list[Message], claim_ids: Mapping[int, int], wanted: Wanted
) -> tuple[list[RawChunk], list[Failure]]:
    """Chunks of the partitions in claim_ids (partition -> claim id), one each; records of others are dropped."""
    failures: list[Failure] = []
    if any(map(Message.error, messages)):
        failures, messages = _take_out_errors(messages)
    runs: dict[int, list[Message]] = {}
    start = 0
    for partition, run in groupby(map(Message.partition, messages)):
        end = start + sum(1 for _ in run)
        part = messages if end - start == len(messages) else messages[start:end]
        start = end
        if partition is None or partition not in claim_ids:
            continue
        known = runs.setdefault(partition, part)
        if known is not part:
            known += part
    return [_chunk(p, claim_ids[p], run, wanted) for p, run in runs.items()], failures


def _take_out_errors(messages: list[Message]) -> tuple[list[Failure], list[Message]]:
    failures = [Failure(partition=m.partition(), error=e) for m in messages if (e := m.error()) is not None]
    return failures, [m for m in messages if m.error() is None]


def _chunk(partition: int, claim_id: int, messages: Sequence[Message], wanted: Wanted) -> RawChunk:
    values = list(map(Message.value, messages))
    keys = list(map(Message.key, messages)) if wanted.keys else None
    headers = list(map(_headers, messages)) if wanted.headers else None
    size_bytes = sum(map(len, filter(None, values)))
    if keys is not None:
        size_bytes += sum(map(len, filter(None, keys)))
    if headers is not None:
        size_bytes += sum(map(_headers_bytes, headers))
    return RawChunk(
        partition=partition,
        claim_id=claim_id,
        offsets=list(map(Message.offset, messages)),  # type: ignore[arg-type]  # only an error has no offset
        values=values,
        keys=keys,
        timestamps_ms=list(map(_timestamp_ms, messages)) if wanted.timestamps else None,
        headers=headers,
        first_timestamp_ms=_timestamp_ms(messages[0]),
        size_bytes=max(size_bytes, LEAST_RECORD_BYTES * len(messages)),
    )


def _timestamp_ms(message: Message) -> int | None:
    """Kafka's own word for "none" is -1, which some producers send as the time of creation."""
    kind, at_ms = message.timestamp()
    return None if kind == NO_TIMESTAMP or at_ms == NO_TIME_MS else at_ms


def _headers(message: Message) -> Sequence[Header]:
    return message.headers() or ()  # type: ignore[return-value]  # received ones are pairs of str and bytes


def _headers_bytes(headers: Sequence[Header]) -> int:
    return sum(HEADER_OVERHEAD_BYTES + len(name) + len(value or b"") for name, value in headers)
