"""The reduction in plain Python: what it is, is defined here.

Serves text format, and installations without the native library.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from forebay_consumer.copy_stream import split_row
from forebay_consumer.plan import CopyFormat
from forebay_consumer.records import RowGroup
from forebay_consumer.reduction.parts import DELETIONS, KeyKind, Reduced, Source

Key = tuple[tuple[bytes, bytes], ...]
"""Values of the key columns, each in two parts, as split_value has them."""


@dataclass(slots=True)
class _Word:
    """What one record says of a key."""

    chunk: int
    record: int
    source: Source
    row: bytes


@dataclass(slots=True)
class _Stream:
    payload: bytearray = field(default_factory=bytearray)
    row_ends: array[int] = field(default_factory=lambda: array("Q"))
    chunks: array[int] = field(default_factory=lambda: array("Q"))
    records: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, word: _Word) -> None:
        self.payload += word.row
        self.row_ends.append(len(self.payload))
        self.chunks.append(word.chunk)
        self.records.append(word.record)


def reduce_in_python(
    sources: Sequence[Source], kinds: Sequence[KeyKind], copy_format: CopyFormat, stream_count: int
) -> list[Reduced]:
    """For each stream its rows."""
    words: dict[Key, list[_Word]] = {}
    for source in sources:
        for number, row in enumerate(_rows(source.group)):
            key = build_key(split_row(copy_format, row), source.places, kinds, copy_format)
            words.setdefault(key, []).append(_Word(source.chunk, source.group.record_index[number], source, row))
    streams = [_Stream() for _ in range(stream_count)]
    for key in sorted(words):
        _add(sorted(words[key], key=lambda word: (word.chunk, word.record)), streams)
    return [
        Reduced(payload=bytes(made.payload), row_ends=made.row_ends, chunks=made.chunks, records=made.records)
        for made in streams
    ]


def build_key(
    fields: Sequence[bytes | None], places: Sequence[int], kinds: Iterable[KeyKind], copy_format: CopyFormat
) -> Key:
    """The key of a row that has these fields; places: where those of the key are."""
    return tuple(
        split_value(kind, copy_format, fields[place] or b"") for kind, place in zip(kinds, places, strict=True)
    )


def _add(words: Sequence[_Word], streams: Sequence[_Stream]) -> None:
    """words: of one key, in the order of their records."""
    deletions = [word for word in words if word.source.group.is_delete]
    if deletions:
        streams[DELETIONS].add(deletions[-1])
    if not words[-1].source.group.is_delete:
        streams[words[-1].source.stream].add(words[-1])


def _rows(group: RowGroup) -> list[bytes]:
    starts = [0, *group.row_ends[:-1]]
    return [bytes(group.payload[start:end]) for start, end in zip(starts, group.row_ends, strict=True)]


def split_value(kind: KeyKind, copy_format: CopyFormat, value: bytes) -> tuple[bytes, bytes]:
    """A value in two parts, which are equal for values that PostgreSQL takes for equal."""
    is_binary = copy_format is CopyFormat.BINARY
    match kind:
        case KeyKind.NUMERIC if is_binary and len(value) >= 8:
            return value[:6], value[8:]  # between them stands the number of decimal places
        case KeyKind.NUMERIC if not is_binary:
            return _even_number(value), b""
        case KeyKind.PADDED:
            return value.rstrip(b" "), b""
        case KeyKind.FLOAT if is_binary and value[:1] == b"\x80" and not any(value[1:]):
            return bytes(len(value)), b""
        case KeyKind.FLOAT if not is_binary and value == b"-0.0":
            return b"0.0", b""
        case _:
            return value, b""


def _even_number(text: bytes) -> bytes:
    """`1250e-2` is `125e-1`. Text as decode/numbers.py writes it; NaN and the infinities stay as they are."""
    digits, mark, exponent = text.partition(b"e")
    if not mark:
        return text
    significant = digits.rstrip(b"0")
    if significant in (b"", b"-"):
        return b"0"
    return b"%se%d" % (significant, int(exponent) + len(digits) - len(significant))
