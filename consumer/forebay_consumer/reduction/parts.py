"""What goes into a reduction and what comes out."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from enum import IntEnum

from forebay_consumer.plan import CatalogColumn
from forebay_consumer.records import RowGroup

DELETIONS = 0
"""The stream of the keys to delete; the others hold rows."""


class KeyKind(IntEnum):
    """How values of a key column are compared; the numbers are those of reduce.rs."""

    PLAIN = 0
    NUMERIC = 1
    PADDED = 2
    FLOAT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of one chunk that go into one stream.

    chunk: the chunk's place in the batch. places: for each key column the place of its field in these rows.
    """

    group: RowGroup
    chunk: int
    stream: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """The rows of one stream, in the order of their keys, and the chunk and record of each."""

    payload: bytes
    row_ends: array[int]  # typecode "Q", as the others
    chunks: array[int]
    records: array[int]


def choose_kind(column: CatalogColumn) -> KeyKind:
    """How a key column is compared."""
    match column.type_name:
        case "numeric":
            return KeyKind.NUMERIC
        case "bpchar":
            return KeyKind.PADDED
        case "float4" | "float8":
            return KeyKind.FLOAT
        case _:
            return KeyKind.PLAIN
