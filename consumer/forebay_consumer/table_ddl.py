"""The table as spec.sink.columns declares it: the statements that make it, and what of a table differs from it.

Pure: text only. A declared type comes into a statement as it was written, after two judges: bounds.COLUMN_TYPE lets
through no quote, semicolon or comment, and PostgreSQL's to_regtype() (sql.FIND_TYPE) takes nothing but one type's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from forebay_api.v1alpha1 import SinkSpec

from forebay_consumer.plan import CatalogColumn
from forebay_consumer.sql import quote_identifier, quote_table

COLLECTOR_TYPE = "jsonb"
"""Of the column that spec.sink.unknownFields names."""

_MODIFIERS = re.compile(r"\(([^)]*)\)")
_IMPLIED = {"bpchar": ("1",), "bit": ("1",)}
"""char and bit without a length have one, unlike every other type; but see _ONE_WORD."""
_SIZED = frozenset({"float4", "float8"})
"""float(20) is real: its number chooses the type."""
_ONE_WORD = frozenset({"bpchar", "pg_catalog.bpchar", "pg_catalog.bit"})
"""By these names they have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredColumn:
    """field: where the spec declares it. type: as written there. is_key: of the primary key of a table made anew."""

    field: str
    name: str
    type: str
    nullable: bool = True
    is_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownType:
    """A declared type as PostgreSQL has it. oid: of pg_type. name: pg_type.typname, of arrays the element's."""

    oid: int
    name: str


def declared_columns(sink: SinkSpec) -> tuple[DeclaredColumn, ...]:
    """Those with a type, and the column for unknown fields where all others have one."""
    declared = [
        DeclaredColumn(
            field=f"spec.sink.columns[{index}]",
            name=column.name,
            type=column.type,
            nullable=column.nullable,
            is_key=column.name in sink.key_columns,
        )
        for index, column in enumerate(sink.columns)
        if column.type is not None
    ]
    collector = sink.unknown_fields.column
    if collector is not None and is_whole(sink):
        declared.append(DeclaredColumn(field="spec.sink.unknownFields", name=collector, type=COLLECTOR_TYPE))
    return tuple(declared)


def is_whole(sink: SinkSpec) -> bool:
    """Whether the spec says enough to make the table."""
    return bool(sink.columns) and all(column.type is not None for column in sink.columns)


def build_create_table(schema: str, table: str, declared: Sequence[DeclaredColumn], key: Sequence[str]) -> str:
    """declared: not empty. key: becomes the primary key; empty: none."""
    parts = [_define(column) for column in declared]
    if key:
        parts.append(f"PRIMARY KEY ({', '.join(quote_identifier(name) for name in key)})")
    return f"CREATE TABLE IF NOT EXISTS {quote_table(schema, table)} ({', '.join(parts)})"


def build_add_columns(schema: str, table: str, declared: Iterable[DeclaredColumn]) -> str:
    """declared: not empty."""
    parts = [f"ADD COLUMN IF NOT EXISTS {_define(column)}" for column in declared]
    return f"ALTER TABLE {quote_table(schema, table)} {', '.join(parts)}"


def _define(column: DeclaredColumn) -> str:
    return f"{quote_identifier(column.name)} {column.type}" + ("" if column.nullable else " NOT NULL")


def find_missing(declared: Iterable[DeclaredColumn], names: Collection[str]) -> tuple[DeclaredColumn, ...]:
    """Those that the table does not have. names: of its columns."""
    return tuple(column for column in declared if column.name not in names)


def find_differences(
    declared: Iterable[DeclaredColumn], types: Mapping[str, KnownType], catalog: Mapping[str, CatalogColumn]
) -> list[str]:
    """Columns of another type than declared, each with what to do. types: by the text in the spec."""
    return [
        f"{column.field}.type: column {column.name!r} is {found.type_sql}, not {column.type}; nothing is retyped: "
        "correct the spec, or alter the column"
        for column in declared
        if (found := catalog.get(column.name)) is not None
        and column.field != "spec.sink.unknownFields"  # json will do as well, and plan.py judges it
        and not _is_same(column.type, types[column.type], found)
    ]


def _is_same(declared: str, known: KnownType, found: CatalogColumn) -> bool:
    if known.oid != found.type_oid:
        return False
    if known.name == "interval":  # its fields are words
        return _squeeze(declared) == _squeeze(found.type_sql)
    return _modifiers(declared, known.name) == _modifiers(found.type_sql, known.name)


def _squeeze(text: str) -> str:
    return text.replace(" ", "").casefold()


def _modifiers(text: str, name: str) -> tuple[str, ...]:
    """`numeric(12,2)` has 12 and 2; written out as PostgreSQL would."""
    if name in _SIZED:
        return ()
    found = _MODIFIERS.search(text)
    if found is None:
        words = text.rstrip("[]0123456789 ").casefold()
        return () if words in _ONE_WORD else _IMPLIED.get(name, ())
    modifiers = tuple(part.strip().casefold() for part in found.group(1).split(","))
    return (*modifiers, "0") if name == "numeric" and len(modifiers) == 1 else modifiers
