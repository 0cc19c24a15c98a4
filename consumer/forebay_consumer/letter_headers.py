"""What a dead letter looks like in its topic: the headers of Kafka Connect's dead-letter queue. Pure.

Names and meaning: org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter.
"""

from __future__ import annotations

from forebay_consumer.letters import StoredLetter
from forebay_consumer.records import Header, Reason

PREFIX = "__connect.errors."

TIMESTAMP = "forebay.timestamp"
"""The record's own time, in milliseconds since 1970; absent where it has none."""

_REFUSED_BY_THE_DATABASE = frozenset({Reason.CONSTRAINT, Reason.REJECTED, Reason.SUPERSEDED})


def build_letter_headers(letter: StoredLetter, pipeline: str) -> list[Header]:
    """The record's own headers and, where it has none of that name (as Connect does it), those that say what is wrong.

    pipeline: `namespace/name`. stage: Connect's words for decoding and for writing. task.id is a number there, and
    Forebay has no tasks: the partition.
    """
    stage = "TASK_PUT" if letter.reason in _REFUSED_BY_THE_DATABASE else "VALUE_CONVERTER"
    told = {
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "connector.name": pipeline,
        "task.id": str(letter.partition),
        "stage": stage,
        "class.name": "forebay",
        "exception.class.name": letter.reason,
        "exception.message": letter.message if letter.column is None else f"{letter.column}: {letter.message}",
    }
    own = {name for name, _ in letter.headers}
    added: list[Header] = [(PREFIX + name, text.encode()) for name, text in told.items() if PREFIX + name not in own]
    if letter.timestamp is not None:
        added.append((TIMESTAMP, str(round(letter.timestamp.timestamp() * 1000)).encode()))
    return [*letter.headers, *added]
