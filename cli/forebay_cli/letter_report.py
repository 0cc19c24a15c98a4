"""Dead letters as people and programs read them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from forebay_consumer.letters import LetterRow, ReasonCount, StoredLetter
from forebay_consumer.records import Reason
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

SHOWN_BYTES = 64 * 1024
"""Most bytes of a key, a value or a header that `show` prints; the table has the rest."""

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        Reason.INVALID_JSON: "the value is no JSON: have the producer write the record again, then purge this one",
        Reason.INVALID_UTF8: "the value is not UTF-8: have the producer write the record again, then purge this one",
        Reason.NOT_AN_OBJECT: "the value must be one JSON object: have the producer write it so, then purge this one",
        Reason.TOMBSTONE: "a record without value: mode Upsert takes it for a deletion; otherwise purge it",
        Reason.MISSING_FIELD: "give the column a DEFAULT, or drop its NOT NULL, or correct its path in "
        "spec.sink.columns; then replay",
        Reason.NULL_FIELD: "ALTER TABLE ... ALTER COLUMN ... DROP NOT NULL, then replay; or purge it",
        Reason.WRONG_TYPE: "give the column the type that the producer writes (or set its epochUnit), then replay",
        Reason.OUT_OF_RANGE: "widen the column's type, then replay",
        Reason.NUL_CHARACTER: "PostgreSQL's text takes no NUL: give the column the type bytea or json, then replay",
        Reason.UNKNOWN_FIELD: "add a column, or set spec.sink.unknownFields; then replay",
        Reason.CONSTRAINT: "write what the row refers to, or change the constraint; then replay",
        Reason.REJECTED: "see the message: repair the trigger or the table, then replay",
        Reason.SUPERSEDED: "set spec.sink.versionColumn and replay, or drop it: replay --discard-superseded",
    }
)
"""What to do about each reason, in a sentence."""


def build_list(counts: Sequence[ReasonCount], rows: Sequence[LetterRow], limit: int) -> RenderableType:
    """Counts by reason, then rows."""
    if not counts:
        return Text("no dead letters")
    total = sum(count.letters for count in counts)
    parts: list[RenderableType] = [_build_counts(counts)]
    elsewhere = sum(count.elsewhere for count in counts)
    if elsewhere:
        parts.append(Text(f"{elsewhere:,} are of another table than the pipeline's: they are not replayed"))
    parts += [Text(), _build_rows(rows)]
    if total > len(rows):
        parts.append(Text(f"the newest {len(rows):,} of {total:,}; --limit {limit * 10} shows more"))
    return Group(*parts)


def _build_counts(counts: Sequence[ReasonCount]) -> Table:
    table = Table()
    for heading in ("reason", "oldest", "newest"):
        table.add_column(heading)
    table.add_column("letters", justify="right")
    for count in counts:
        table.add_row(count.reason, _moment(count.oldest), _moment(count.newest), f"{count.letters:,}")
    return table


def _build_rows(rows: Sequence[LetterRow]) -> Table:
    table = Table()
    for heading in ("id", "partition", "offset", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("written at", "reason"):
        table.add_column(heading, no_wrap=True)
    table.add_column("column and message", overflow="fold")
    for row in rows:
        size = "none" if row.size_bytes is None else f"{row.size_bytes:,}"
        message = row.message if row.column is None else f"{row.column}: {row.message}"
        places = (str(row.id), str(row.partition), str(row.offset))
        table.add_row(*places, size, _moment(row.created_at), row.reason, Text(message))
    return table


def list_to_json(counts: Sequence[ReasonCount], rows: Sequence[LetterRow]) -> str:
    """The same as one JSON object."""
    body: dict[str, Any] = {
        "counts": [
            {
                "reason": count.reason,
                "letters": count.letters,
                "ofAnotherTable": count.elsewhere,
                "oldest": count.oldest.isoformat(),
                "newest": count.newest.isoformat(),
            }
            for count in counts
        ],
        "letters": [
            {
                "id": row.id,
                "partition": row.partition,
                "offset": row.offset,
                "reason": row.reason,
                "column": row.column,
                "message": row.message,
                "valueBytes": row.size_bytes,
                "createdAt": row.created_at.isoformat(),
                "replayedAt": None if row.replayed_at is None else row.replayed_at.isoformat(),
            }
            for row in rows
        ],
    }
    return json.dumps(body, indent=2)


def describe_letter(letter: StoredLetter) -> list[str]:
    """A whole letter, a line a part."""
    where = f"{letter.topic} partition {letter.partition} offset {letter.offset}"
    return [
        f"id:        {letter.id}",
        f"record:    {where}, {_moment_or(letter.timestamp, 'without a timestamp')}",
        f"for table: {letter.target}",
        f"written:   {_moment(letter.created_at)}",
        f"replayed:  {_moment_or(letter.replayed_at, 'never')}",
        f"mirrored:  {_moment_or(letter.mirrored_at, 'never')}",
        f"reason:    {letter.reason}" + (f", column {letter.column}" if letter.column else ""),
        f"message:   {letter.message}",
        f"remedy:    {REMEDIES.get(letter.reason, 'see the message')}",
        f"key:       {show_bytes(letter.key)}",
        *(f"header:    {name} = {show_bytes(value)}" for name, value in letter.headers),
        f"value:     {show_bytes(letter.value)}",
    ]


def show_bytes(data: bytes | None) -> str:
    """As text where it is UTF-8 that a terminal can show, else in hexadecimal."""
    if data is None:
        return "none"
    cut = "" if len(data) <= SHOWN_BYTES else f" ... ({len(data):,} bytes in all)"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return f"hex {data[:SHOWN_BYTES].hex()}{cut}"
    if not all(
        letter.isprintable() or letter in "\t\n\r" for letter in text
    ):  # escape sequences would reach a terminal
        return f"hex {data[:SHOWN_BYTES].hex()}{cut}"
    return data[:SHOWN_BYTES].decode("utf-8", "ignore") + cut if cut else text


def describe_replay(
    *, written: int, discarded: int, left: Mapping[str, int], waiting: int, elsewhere: int
) -> list[str]:
    """What a replay has done, a line a fact. waiting: not tried, because another replay holds them."""
    lines = [f"{written:,} written and no longer dead letters"]
    if discarded:
        lines.append(f"{discarded:,} superseded, deleted")
    for reason, letters in sorted(left.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"{letters:,} left: {reason}: {REMEDIES.get(reason, 'see forebay dead-letters show')}")
    if waiting:
        lines.append(f"{waiting:,} not tried: another replay or purge holds them, or they have just come; run it again")
    if elsewhere:
        lines.append(f"{elsewhere:,} not tried: of another table than the pipeline's")
    return lines


def _moment(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")


def _moment_or(moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else _moment(moment)
