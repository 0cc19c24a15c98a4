"""JSON arrays to PostgreSQL arrays, one-dimensional or rectangular. Raises only Reject."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from forebay_consumer.decode.codecs import Codec
from forebay_consumer.decode.json_text import kind_of, split_array
from forebay_consumer.decode.rejects import reject_range, reject_type

MAX_DIMENSIONS = 6
"""PostgreSQL's MAXDIM."""


@dataclass(frozen=True, slots=True)
class ArrayValue:
    """dimensions: length of each, outermost first; empty for an empty array. items: row-major; None is NULL."""

    dimensions: tuple[int, ...]
    items: tuple[Any, ...]


def build_array_codec(element: Codec, *, is_nested: bool) -> Codec:
    """is_nested False for json and jsonb elements, where an inner array is a value and not a dimension."""
    return Codec(
        oid=0,
        from_json=partial(_read_array, element, is_nested),
        from_bytes=_refuse_bytes,
        to_binary=partial(_to_binary, element),
        to_text=partial(_to_text, element),
    )


def _refuse_bytes(_data: bytes) -> NoReturn:
    reject_type("a JSON array", "a key or header")


def _read_array(element: Codec, is_nested: bool, raw: bytes) -> ArrayValue:
    if raw[0] != 0x5B:
        reject_type("an array", kind_of(raw))
    level = split_array(raw)
    dimensions = [len(level)]
    while is_nested and level and all(item[0] == 0x5B for item in level):
        rows = [split_array(item) for item in level]
        if any(len(row) != len(rows[0]) for row in rows):
            reject_type("a rectangular array", "rows of different lengths")
        dimensions.append(len(rows[0]))
        if len(dimensions) > MAX_DIMENSIONS:
            reject_range(f"more than {MAX_DIMENSIONS} dimensions")
        level = [item for row in rows for item in row]
    if is_nested and any(item[0] == 0x5B for item in level):
        reject_type("a rectangular array", "values beside arrays")
    if not level:
        return ArrayValue((), ())
    items = tuple(None if item == b"null" else element.from_json(item) for item in level)
    return ArrayValue(tuple(dimensions), items)


def _to_binary(element: Codec, value: ArrayValue) -> bytes:
    """array_recv's form: dimensions, has-null flag, element type, (length, lower bound 1)s, elements."""
    parts = [struct.pack(">iiI", len(value.dimensions), None in value.items, element.oid)]
    parts += [struct.pack(">ii", length, 1) for length in value.dimensions]
    for item in value.items:
        if item is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            data = element.to_binary(item)
            parts += (struct.pack(">i", len(data)), data)
    return b"".join(parts)


def _to_text(element: Codec, value: ArrayValue) -> str:
    """An array literal with every element quoted."""
    if not value.dimensions:
        return "{}"
    level = ["NULL" if item is None else _quote(element.to_text(item)) for item in value.items]
    for length in reversed(value.dimensions):
        level = ["{" + ",".join(level[i : i + length]) + "}" for i in range(0, len(level), length)]
    return level[0]


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
