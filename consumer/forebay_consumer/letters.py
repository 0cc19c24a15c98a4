"""Dead letters as they stand in `forebay.dead_letters`: how they get there, come out of it, and are chosen. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from forebay_consumer.records import Header, Reason


def printable(text: str | None) -> str | None:
    """Without what a text column refuses (NUL, lone surrogates): a dead letter must never be refused itself."""
    if text is None:
        return None
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def pack_headers(headers: Sequence[Header]) -> str | None:
    """A JSON array of pairs: the name, and the value in base64 (null if it has none). None: there are no headers."""
    if not headers:
        return None
    pairs = [
        [printable(name), None if value is None else base64.b64encode(value).decode("ascii")] for name, value in headers
    ]
    return json.dumps(pairs)


def unpack_headers(packed: str | None) -> tuple[Header, ...]:
    """The inverse of pack_headers."""
    if packed is None:
        return ()
    return tuple((name, None if value is None else base64.b64decode(value)) for name, value in json.loads(packed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters of a pipeline: those for which everything given here holds; nothing given: all.

    since, before: of the moment when the letter was written, aware.
    """

    ids: tuple[int, ...] | None = None
    reason: Reason | None = None
    partition: int | None = None
    since: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """One row of `forebay.dead_letters`. key, value: as Kafka had them. timestamp: of the record.

    replayed_at: when it was last tried again. mirrored_at: when the topic of dead letters had it. None: never.
    """

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    column: str | None
    message: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp: datetime | None
    target: str
    created_at: datetime
    replayed_at: datetime | None = None
    mirrored_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """A line of a list: a letter without its record. size_bytes: of the value; None: it has none."""

    id: int
    partition: int
    offset: int
    reason: str
    column: str | None
    message: str
    size_bytes: int | None
    created_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How many letters have a reason. elsewhere: those of another table, which were written before the pipeline's
    table was changed. unmirrored: those that the topic of dead letters does not have."""

    reason: str
    letters: int
    elsewhere: int
    unmirrored: int
    oldest: datetime
    newest: datetime
