"""How records become rows of one table: the columns to copy, what fills each, and in which format.

Pure. Built by `build_table_plan` from the catalog's description of the table and the pipeline's spec;
used by the decoder (what to encode) and by sql.py (which columns to copy).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from forebay_api.v1alpha1 import ColumnSource, ColumnSpec, DeleteWhen, EpochUnit, SinkSpec, UnknownFieldPolicy

_WHOLE_NUMBER_TYPES = frozenset({"int2", "int4", "int8"})
_NUMBER_TYPES = _WHOLE_NUMBER_TYPES | {"float4", "float8", "numeric"}
_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name"})
_JSON_TYPES = frozenset({"json", "jsonb"})
_EPOCH_TYPES = frozenset({"date", "timestamp", "timestamptz"})

BINARY_TYPES = _NUMBER_TYPES | _TEXT_TYPES | _JSON_TYPES | _EPOCH_TYPES | {"bool", "bytea", "uuid", "time", "timetz"}
"""pg_type.typname of the types (and element types of arrays) that the decoder can write in COPY's binary format."""

_KEY_TYPES = (BINARY_TYPES - _JSON_TYPES) - {"timetz"}
"""Types whose equal values have equal bytes once reduction.py has evened them out, so that the last record of a key can
be told without asking PostgreSQL."""

_VERSION_TYPES = _NUMBER_TYPES | _EPOCH_TYPES
"""Not text: "10" sorts before "9"."""

_TIMES_WITH_PRECISION = frozenset({"time", "timestamp", "timestamptz"})
_FULL_PRECISION = 6
"""Digits of a second: a column with fewer rounds, and two keys would become one."""

STAGE_TABLE = "forebay_stage"
"""Temporary tables of mode Upsert begin with this: rows on their way into the table, and keys to be deleted."""


class CopyFormat(StrEnum):
    """COPY's format for the whole table; text when any column's type has no binary encoder."""

    BINARY = "binary"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogColumn:
    """One column as pg_attribute has it.

    type_name: pg_type.typname, for arrays the element's typname; is_array tells. Domains are resolved to their base
    type.
    type_modifier: atttypmod (-1 none): varchar length + 4, numeric precision and scale.
    is_writable: False for generated and identity-always columns.
    has_default: a DEFAULT, or identity by default.
    type_sql: format_type(), for messages and for text format.
    type_oid: of the column's own type, a domain's too; None where nobody asks.
    is_enum: an enum type. is_deterministic: False where the column's collation takes different bytes for equal.
    """

    name: str
    type_name: str
    is_array: bool
    type_modifier: int
    is_not_null: bool
    has_default: bool
    is_writable: bool
    type_sql: str
    is_enum: bool = False
    is_deterministic: bool = True
    type_oid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedColumn:
    """One column that is copied, in table order, and where its value comes from (fields as in ColumnSpec).

    path for ColumnSource.PATH: the JSON keys from the outside in. collects_unknown: takes the fields no other column
    takes.
    """

    column: CatalogColumn
    source: ColumnSource
    path: tuple[str, ...] = ()
    header: str | None = None
    epoch_unit: EpochUnit | None = None
    collects_unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """schema and table unquoted. columns: those to copy, never empty.

    key: indexes into columns of those that identify a row, in the order of spec.sink.keyColumns; empty in mode Append.
    Key columns are planned as NOT NULL and without default. delete_when: which values delete; None: only tombstones do.
    version: index of the column that tells the later of two rows of a key; None: nothing does.
    """

    schema: str
    table: str
    columns: tuple[PlannedColumn, ...]
    copy_format: CopyFormat
    unknown_fields: UnknownFieldPolicy
    key: tuple[int, ...] = ()
    delete_when: DeleteWhen | None = None
    version: int | None = None

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key columns' names, in the order of spec.sink.keyColumns."""
        return tuple(self.columns[index].column.name for index in self.key)

    @property
    def not_key(self) -> tuple[int, ...]:
        """Indexes of the other columns, ascending: what a row to be deleted leaves out."""
        return tuple(index for index in range(len(self.columns)) if index not in self.key)


class PlanProblem(ValueError):
    """The spec's columns do not fit the table; problems: one message each, naming the field and the remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def build_table_plan(sink: SinkSpec, schema: str, table: str, catalog: Sequence[CatalogColumn]) -> TablePlan:
    """Match the spec's columns (or, if none are given, the JSON fields by name) to the table's.

    catalog: the table's columns in table order. Raises PlanProblem.
    """
    by_name = {column.name: column for column in catalog}
    problems = _find_unknown_column_problems(sink, by_name)
    if sink.columns:
        problems += _find_declaration_problems(sink, by_name)
        problems += _find_unfilled_columns(sink, catalog)
    columns = tuple(_plan_columns(sink, catalog))
    filled = {planned.column.name for planned in columns}
    problems += _find_key_problems(sink, by_name, filled)
    problems += _find_version_problems(sink, by_name, filled)
    if not columns and not problems:
        problems.append(f"spec.sink.table: {schema}.{table} has no column that can be written")
    if problems:
        raise PlanProblem(problems)
    places = {planned.column.name: index for index, planned in enumerate(columns)}
    return TablePlan(
        schema=schema,
        table=table,
        columns=columns,
        copy_format=_choose_copy_format(columns),
        unknown_fields=sink.unknown_fields.policy,
        key=tuple(places[name] for name in sink.key_columns),
        delete_when=sink.delete_when,
        version=None if sink.version_column is None else places[sink.version_column],
    )


def _plan_columns(sink: SinkSpec, catalog: Sequence[CatalogColumn]) -> list[PlannedColumn]:
    """The columns to copy in table order, as far as the spec is sound."""
    declared = {spec.name: spec for spec in sink.columns}
    planned = []
    for column in catalog:
        if not column.is_writable:
            continue
        if column.name in sink.key_columns:  # a row without its whole key would be another row each time
            column = replace(column, is_not_null=True, has_default=False)
        if column.name == sink.unknown_fields.column:
            planned.append(PlannedColumn(column=column, source=ColumnSource.PATH, collects_unknown=True))
        elif not sink.columns:
            planned.append(PlannedColumn(column=column, source=ColumnSource.PATH, path=(column.name,)))
        elif column.name in declared:
            planned.append(_plan_declared(column, declared[column.name]))
    return planned


def _plan_declared(column: CatalogColumn, spec: ColumnSpec) -> PlannedColumn:
    return PlannedColumn(
        column=column, source=spec.source, path=spec.path, header=spec.header, epoch_unit=spec.epoch_unit
    )


def _choose_copy_format(columns: Sequence[PlannedColumn]) -> CopyFormat:
    if all(planned.column.type_name in BINARY_TYPES for planned in columns):
        return CopyFormat.BINARY
    return CopyFormat.TEXT


def _find_unknown_column_problems(sink: SinkSpec, by_name: Mapping[str, CatalogColumn]) -> list[str]:
    name = sink.unknown_fields.column
    if name is None:
        return []
    field = "spec.sink.unknownFields.column"
    column = by_name.get(name)
    if column is None:
        return [f"{field}: the table has no column {name!r}; add a jsonb column of that name"]
    problems = _find_writability_problems(field, column)
    if column.type_name not in _JSON_TYPES or column.is_array:
        problems.append(f"{field}: column {name!r} is {column.type_sql}; it must be jsonb or json")
    if any(spec.name == name for spec in sink.columns):
        problems.append(f"{field}: column {name!r} is also in spec.sink.columns; remove it from one of the two")
    return problems


def _find_declaration_problems(sink: SinkSpec, by_name: Mapping[str, CatalogColumn]) -> list[str]:
    problems: list[str] = []
    seen: set[str] = set()
    for index, spec in enumerate(sink.columns):
        field = f"spec.sink.columns[{index}]"
        if spec.name in seen:
            problems.append(f"{field}.name: column {spec.name!r} is declared twice")
            continue
        seen.add(spec.name)
        column = by_name.get(spec.name)
        if column is None:
            problems.append(f"{field}.name: the table has no column {spec.name!r}")
            continue
        problems += _find_writability_problems(f"{field}.name", column)
        problems += _find_misfits(field, spec, column)
    return problems


def _find_writability_problems(field: str, column: CatalogColumn) -> list[str]:
    if column.is_writable:
        return []
    return [f"{field}: column {column.name!r} is generated (or an identity GENERATED ALWAYS) and cannot be written"]


def _find_misfits(field: str, spec: ColumnSpec, column: CatalogColumn) -> list[str]:
    """What can be known of source and type before any record is seen."""
    problems = []
    if not _can_fill(spec.source, column):
        problems.append(f"{field}.from: {spec.source.value} cannot fill column {spec.name!r} of type {column.type_sql}")
    if spec.epoch_unit is not None and (column.type_name not in _EPOCH_TYPES or column.is_array):
        types = ", ".join(sorted(_EPOCH_TYPES))
        problems.append(f"{field}.epochUnit: column {spec.name!r} is {column.type_sql}; a unit needs one of {types}")
    return problems


def _can_fill(source: ColumnSource, column: CatalogColumn) -> bool:
    is_other = column.type_name not in BINARY_TYPES  # copied as text: PostgreSQL decides
    match source:
        case ColumnSource.PATH:
            return True
        case ColumnSource.KEY | ColumnSource.HEADER:
            return not column.is_array
        case ColumnSource.PARTITION | ColumnSource.OFFSET:
            fits = column.type_name in _NUMBER_TYPES | _TEXT_TYPES
        case ColumnSource.TIMESTAMP:
            fits = column.type_name in _EPOCH_TYPES | {"int8", "numeric"}
        case _:
            assert_never(source)
    return not column.is_array and (fits or is_other)


def _find_unfilled_columns(sink: SinkSpec, catalog: Sequence[CatalogColumn]) -> list[str]:
    filled = {spec.name for spec in sink.columns} | {sink.unknown_fields.column}
    return [
        f"spec.sink.columns: column {column.name!r} is NOT NULL without a default and nothing fills it;"
        " declare it, or give it a default"
        for column in catalog
        if column.is_writable and column.is_not_null and not column.has_default and column.name not in filled
    ]


def _find_key_problems(sink: SinkSpec, by_name: Mapping[str, CatalogColumn], filled: Collection[str]) -> list[str]:
    problems: list[str] = []
    for index, name in enumerate(sink.key_columns):
        field = f"spec.sink.keyColumns[{index}]"
        column = by_name.get(name)
        if column is None:
            problems.append(f"{field}: the table has no column {name!r}")
        elif not column.is_writable:
            problems += _find_writability_problems(field, column)
        elif name == sink.unknown_fields.column:
            problems.append(f"{field}: column {name!r} collects unknown fields; it cannot identify a row")
        elif name not in filled:
            problems.append(f"{field}: nothing fills column {name!r}; declare it in spec.sink.columns")
        elif not _can_identify(column):
            problems.append(
                f"{field}: column {name!r} is {column.type_sql}, whose equal values can be written in different ways, "
                "so that the last record of a key could not be told; name a column of text, uuid, a number or a time"
            )
    return problems


def _find_version_problems(sink: SinkSpec, by_name: Mapping[str, CatalogColumn], filled: Collection[str]) -> list[str]:
    name, field = sink.version_column, "spec.sink.versionColumn"
    if name is None:
        return []
    column = by_name.get(name)
    if column is None:
        return [f"{field}: the table has no column {name!r}"]
    if not column.is_writable:
        return _find_writability_problems(field, column)
    if name not in filled:
        return [f"{field}: nothing fills column {name!r}; declare it in spec.sink.columns"]
    if column.type_name not in _VERSION_TYPES or column.is_array:
        return [f"{field}: column {name!r} is {column.type_sql}; a version must be a number, a date or a timestamp"]
    return []


def _can_identify(column: CatalogColumn) -> bool:
    """Whether two keys are equal to PostgreSQL exactly if their bytes (evened out by reduction.py) are."""
    if column.is_array or not column.is_deterministic:
        return False
    if column.type_name in _TIMES_WITH_PRECISION:
        return column.type_modifier in (-1, _FULL_PRECISION)
    if column.type_name == "numeric":  # negative scales round whole digits away
        return column.type_modifier < 0 or (column.type_modifier - 4) & 0x400 == 0
    return column.type_name in _KEY_TYPES or column.is_enum
