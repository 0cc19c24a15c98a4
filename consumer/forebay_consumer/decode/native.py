"""The decoder that uses the native encoder (native/encode.rs).

Without the library the reference decoder serves alone. The library handles most records of most plans; what it does not
handle goes to the reference one by one, so both give the same rows. Why: docs/decisions/0004-native-encoder.md.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Sequence
from itertools import accumulate

from forebay_api.v1alpha1 import ColumnSource, EpochUnit, UnknownFieldPolicy

from forebay_consumer.decode.codecs import NAME_MAX_BYTES
from forebay_consumer.decode.fields import FieldNode, build_field_tree
from forebay_consumer.decode.numbers import Numeric
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.decode.rows import merge_groups
from forebay_consumer.native import (
    NO_TIMESTAMP,
    Encoder,
    GroupView,
    PackedBytes,
    PackedTimestamps,
    View,
    load_library,
    make_encoder,
)
from forebay_consumer.plan import CopyFormat, PlannedColumn, TablePlan
from forebay_consumer.records import EncodedChunk, RawChunk, RowGroup

MAX_COLUMNS = 128
"""The omitted columns travel as the bits of two 64-bit words."""

_KINDS = {
    "bool": 0,
    "int2": 1,
    "int4": 2,
    "int8": 3,
    "float4": 4,
    "float8": 5,
    "numeric": 6,
    "text": 7,
    "varchar": 7,
    "bpchar": 7,
    "name": 8,
    "uuid": 9,
    "date": 10,
    "time": 11,
    "timestamp": 12,
    "timestamptz": 12,
    "json": 13,
    "jsonb": 14,
}
_SOURCES = {ColumnSource.PATH: 0, ColumnSource.PARTITION: 1, ColumnSource.OFFSET: 2, ColumnSource.TIMESTAMP: 3}
_EPOCHS = {
    None: 0,
    EpochUnit.SECONDS: 1,
    EpochUnit.MILLISECONDS: 2,
    EpochUnit.MICROSECONDS: 3,
    EpochUnit.NANOSECONDS: 4,
}


def build_native_decoder(plan: TablePlan) -> NativeDecoder | None:
    """None where there is no library, or it cannot serve the plan."""
    library = load_library()
    compiled = compile_plan(plan)
    if library is None or compiled is None:
        return None
    encoder = make_encoder(library, compiled)
    return None if encoder is None else NativeDecoder(plan, encoder)


class NativeDecoder:
    """ports.Decoder: the library first, the reference for what the library leaves."""

    decoder_name = "native"

    def __init__(self, plan: TablePlan, encoder: Encoder) -> None:
        self._encoder = encoder
        self._library = encoder.library
        self._reference = ReferenceDecoder(plan)
        self._wants_timestamps = any(planned.source is ColumnSource.TIMESTAMP for planned in plan.columns)
        self._wants_offsets = any(planned.source is ColumnSource.OFFSET for planned in plan.columns)

    def decode(self, chunk: RawChunk) -> EncodedChunk:
        """Encode every record or name it dead."""
        made = self._take_made(chunk) or self._encode(chunk)
        if made is None:
            return self._reference.decode(chunk)
        groups, unhandled = made
        rows, dead = self._reference.decode_records(chunk, unhandled)
        if rows or len(groups) > 1:
            groups = merge_groups(groups, rows)
        return EncodedChunk(source=chunk, groups=groups, dead=tuple(dead))

    def _take_made(self, chunk: RawChunk) -> tuple[tuple[RowGroup, ...], array[int]] | None:
        """The rows that were made on the way in, if they were made by the same plan."""
        ready = chunk.rows
        if ready is None or ready.plan != self._encoder.plan:
            return None
        return self._read(ready.address, kept=True)

    def _encode(self, chunk: RawChunk) -> tuple[tuple[RowGroup, ...], array[int]] | None:
        """Run the library over the chunk. None when it handles nothing of it."""
        count = len(chunk.values)
        data, size, ends = _join(chunk.values)
        offsets = array("q", chunk.offsets).tobytes() if self._wants_offsets else None
        timestamps = _pack_timestamps(chunk.timestamps_ms) if self._wants_timestamps else None
        result: int = self._library.forebay_encode(
            self._encoder.handle, data, size, ends, count, chunk.partition, offsets, timestamps
        )
        return self._read(self._library.forebay_encoded(self._encoder.handle)) if result == 0 else None

    def _read(self, encoded: int, *, kept: bool = False) -> tuple[tuple[RowGroup, ...], array[int]]:
        """Groups, and the indexes of records that were not handled, of what the library has there.

        kept: the rows stay where they are as long as their chunk lives, and need not be copied.
        """
        view = GroupView()
        groups = []
        for index in range(self._library.forebay_group_count(encoded)):
            self._library.forebay_group(encoded, index, ctypes.byref(view))
            if view.row_ends.length:
                groups.append(_read_group(view, kept))
        unhandled = View()
        self._library.forebay_unhandled(encoded, ctypes.byref(unhandled))
        return tuple(groups), unhandled.copy_words()


def _read_group(view: GroupView, kept: bool) -> RowGroup:
    mask = view.mask_high << 64 | view.mask_low
    return RowGroup(
        omitted=tuple(column for column in range(mask.bit_length()) if mask >> column & 1),
        payload=view.payload.look("B") if kept else view.payload.copy(),
        row_ends=view.row_ends.copy_words(),
        record_index=view.record_index.copy_words(),
    )


def _join(values: Sequence[bytes | None]) -> tuple[bytes | int, int, bytes | int]:
    """The values end to end, their bytes in all, and where each ends; addresses where they lie so in memory already."""
    if isinstance(values, PackedBytes):
        packed = values.view
        return packed.data.address, packed.data.length, packed.ends.address
    data = b"".join(value for value in values if value)
    ends = accumulate(len(value) if value else 0 for value in values)
    return data, len(data), struct.pack(f"{len(values)}Q", *ends)


def _pack_timestamps(timestamps_ms: Sequence[int | None] | None) -> bytes | None:
    if timestamps_ms is None:
        return None
    if isinstance(timestamps_ms, PackedTimestamps):
        return timestamps_ms.view.tobytes()
    return array("q", [NO_TIMESTAMP if ms is None else ms for ms in timestamps_ms]).tobytes()


def compile_plan(plan: TablePlan) -> bytes | None:
    """The plan as plan.rs reads it; None if the library cannot serve it."""
    marker = plan.delete_when
    if plan.copy_format is not CopyFormat.BINARY or len(plan.columns) > MAX_COLUMNS:
        return None
    if not any(planned.source is ColumnSource.PATH for planned in plan.columns):
        return None
    if not all(map(_is_served, plan.columns)) or not _are_keys_short(() if marker is None else marker.path):
        return None
    has_collector = any(planned.collects_unknown for planned in plan.columns)
    refuses_unknown = has_collector or plan.unknown_fields is UnknownFieldPolicy.DEAD_LETTER
    columns = [_compile_column(planned) for planned in plan.columns]
    nodes = _compile_nodes(build_field_tree(plan))
    marks = _compile_marks(plan)
    head = struct.pack("<BH", refuses_unknown, len(columns))
    return b"".join([head, *columns, *marks, struct.pack("<H", len(nodes)), *nodes])


def _compile_marks(plan: TablePlan) -> list[bytes]:
    """The values that mark a deletion: records with one of them are left to the reference."""
    values = () if plan.delete_when is None else plan.delete_when.values
    data = [value.encode(errors="surrogatepass") for value in values]
    return [struct.pack("<H", len(data)), *(struct.pack("<H", len(value)) + value for value in data)]


def _is_served(planned: PlannedColumn) -> bool:
    column = planned.column
    if column.is_array or column.type_name not in _KINDS or planned.source not in _SOURCES:
        return False
    return _are_keys_short(planned.path)


def _are_keys_short(path: tuple[str, ...]) -> bool:
    return all(len(key.encode(errors="surrogatepass")) <= 0xFFFF for key in path)


def _compile_column(planned: PlannedColumn) -> bytes:
    column = planned.column
    limit = scale = 0
    if column.type_name == "name":
        limit = NAME_MAX_BYTES
    elif column.type_name in ("varchar", "bpchar"):
        limit = max(0, column.type_modifier - 4)
    elif column.type_name == "numeric":
        numeric = Numeric.from_modifier(column.type_modifier)
        limit, scale = numeric.precision or 0, numeric.scale
    epoch_unit = EpochUnit.MILLISECONDS if planned.source is ColumnSource.TIMESTAMP else planned.epoch_unit
    return struct.pack(
        "<BBBBBIi",
        _KINDS[column.type_name],
        _SOURCES[planned.source],
        column.is_not_null,
        column.has_default and not planned.collects_unknown,
        _EPOCHS[epoch_unit],
        limit,
        scale,
    )


def _compile_nodes(root: FieldNode) -> list[bytes]:
    """Breadth first, so that each child comes after its parent."""
    order = [root]
    compiled: list[bytes] = []
    for node in order:
        parts = [struct.pack("<H", len(node.inner))]
        for key, child in node.inner.items():
            child_index = -1
            if child.inner:
                child_index = len(order)
                order.append(child)
            data = key.encode(errors="surrogatepass")
            columns = struct.pack(f"<{len(child.columns)}H", *child.columns)
            parts.append(struct.pack("<H", len(data)) + data + struct.pack("<iH", child_index, len(child.columns)))
            parts.append(columns)
        compiled.append(b"".join(parts))
    return compiled
