"""Builders of catalogs, plans and chunks for the decoders' tests, and one record's way through a decoder."""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import cast

import pytest
from forebay_api.v1alpha1 import (
    ColumnSource,
    ColumnSpec,
    DeleteWhen,
    EpochUnit,
    SecretRef,
    SinkMode,
    SinkSpec,
    UnknownFieldPolicy,
    UnknownFields,
)
from forebay_consumer.decode.native import NativeDecoder, build_native_decoder
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.native import PackedBytes, Run, View
from forebay_consumer.native.library import LIBRARY, PackedView
from forebay_consumer.plan import CatalogColumn, CopyFormat, TablePlan, build_table_plan
from forebay_consumer.records import DeadLetter, EncodedChunk, RawChunk, RowGroup

NUMERIC_10_2 = ((10 << 16) | 2) + 4
VARCHAR_5 = 5 + 4


def column(
    name: str,
    type_name: str,
    *,
    modifier: int = -1,
    is_array: bool = False,
    is_not_null: bool = False,
    has_default: bool = False,
    is_writable: bool = True,
) -> CatalogColumn:
    """A column as the catalog has it."""
    return CatalogColumn(
        name=name,
        type_name=type_name,
        is_array=is_array,
        type_modifier=modifier,
        is_not_null=is_not_null,
        has_default=has_default,
        is_writable=is_writable,
        type_sql=type_name + ("[]" if is_array else ""),
    )


def from_path(name: str, *path: str, epoch_unit: EpochUnit | None = None) -> ColumnSpec:
    """A declared column that is filled from the value."""
    return ColumnSpec(name=name, source=ColumnSource.PATH, path=path or (name,), epoch_unit=epoch_unit)


def from_source(name: str, source: ColumnSource, header: str | None = None) -> ColumnSpec:
    """A declared column that is filled from another part of the record."""
    return ColumnSpec(name=name, source=source, header=header)


def sink(
    *columns: ColumnSpec,
    policy: UnknownFieldPolicy = UnknownFieldPolicy.IGNORE,
    collector: str | None = None,
    key: tuple[str, ...] = (),
    delete_when: DeleteWhen | None = None,
) -> SinkSpec:
    """The part of the spec that decoding depends on. key: mode Upsert."""
    unknown = UnknownFields(policy=policy, column=collector)
    ref = SecretRef(name="sink")
    return SinkSpec(
        connection_secret_ref=ref,
        table="events",
        mode=SinkMode.UPSERT if key else SinkMode.APPEND,
        key_columns=key,
        delete_when=delete_when,
        columns=columns,
        unknown_fields=unknown,
    )


def plan(catalog: Sequence[CatalogColumn], spec: SinkSpec | None = None) -> TablePlan:
    """The plan for a table `public.events`."""
    return build_table_plan(spec or sink(), "public", "events", catalog)


def native(table_plan: TablePlan) -> NativeDecoder:
    """The native decoder. Skips where it was not built, unless FOREBAY_NATIVE says `require`."""
    if not LIBRARY.exists() and os.environ.get("FOREBAY_NATIVE") != "require":
        pytest.skip("no native library: put rustc on the PATH and install Forebay again")
    decoder = build_native_decoder(table_plan)
    assert decoder is not None, "the native library does not load, or does not serve this plan"
    return decoder


def chunk(
    values: Sequence[bytes | None],
    *,
    first: int = 100,
    partition: int = 3,
    keys: Sequence[bytes | None] | None = None,
) -> RawChunk:
    """Consecutive records with the plain parts and, if given, keys."""
    offsets = range(first, first + len(values))
    return RawChunk(partition=partition, claim_id=1, offsets=offsets, values=values, keys=keys)


class _Memory:
    """In the place of native.Run: owns what the views point at."""

    def __init__(self, values: Sequence[bytes | None]) -> None:
        self.data = array("B", b"".join(value or b"" for value in values))
        self.ends = array("Q", accumulate(len(value or b"") for value in values))
        self.absent = array("Q", [index for index, value in enumerate(values) if value is None])

    def view(self) -> PackedView:
        return PackedView(*(View(*part.buffer_info()) for part in (self.data, self.ends, self.absent)))


def pack(values: Sequence[bytes | None]) -> PackedBytes:
    """The values as the native library hands them over."""
    memory = _Memory(values)
    return PackedBytes(cast(Run, memory), memory.view())


def decode_field(target: CatalogColumn, text: str, epoch_unit: EpochUnit | None = None) -> bytes | str | DeadLetter:
    """What the reference makes of {"v": text} for one column: the bytes or text of the field, or the dead letter."""
    table_plan = plan([target], sink(from_path(target.name, "v", epoch_unit=epoch_unit)))
    result = ReferenceDecoder(table_plan).decode(chunk([b'{"v": ' + text.encode() + b" }"]))
    if result.dead:
        return result.dead[0]
    payload = bytes(result.groups[0].payload)
    if table_plan.copy_format is CopyFormat.TEXT:
        return payload.decode().removesuffix("\n")
    (length,) = struct.unpack_from(">i", payload, 2)
    return payload[6:] if length >= 0 else "NULL"


def plain(groups: Sequence[RowGroup]) -> list[tuple[tuple[int, ...], list[tuple[int, bytes]]]]:
    """Groups as comparable values: for each the omitted columns and (record, row bytes)."""
    return [(group.omitted, list(zip(group.record_index, rows_of(group), strict=True))) for group in groups]


def rows_of(group: RowGroup) -> list[bytes]:
    """Each row's bytes."""
    starts = [0, *group.row_ends[:-1]]
    return [bytes(group.payload[a:b]) for a, b in zip(starts, group.row_ends, strict=True)]


def assert_every_record_is_accounted_for(result: EncodedChunk) -> None:
    """Each record is in exactly one group or dead, and each group is in record order and covers its payload."""
    accounted = [index for group in result.groups for index in group.record_index]
    accounted += [result.source.offsets.index(letter.offset) for letter in result.dead]
    assert sorted(accounted) == list(range(len(result.source.offsets)))
    for group in result.groups:
        assert list(group.record_index) == sorted(set(group.record_index))
        assert group.row_ends[-1] == len(group.payload)
        assert len(group.row_ends) == len(group.record_index)
