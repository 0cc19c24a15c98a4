"""How records become rows of one table: the columns to copy, what fills each, and in which format.

Pure. Built by `build_table_plan` from the catalog's description of the table and the pipeline's spec;
used by the decoder (what to encode) and by sql.py (which columns to copy).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from forebay_api.v1alpha1 import ColumnSource, EpochUnit, SinkSpec, UnknownFieldPolicy


class CopyFormat(StrEnum):
    """COPY's format for the whole table; text when any column's type has no binary encoder."""

    BINARY = "binary"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogColumn:
    """One column as pg_attribute has it.

    type_name: pg_type.typname, for arrays the element's typname; is_array tells. Domains are resolved to their base type.
    type_modifier: atttypmod (-1 none): varchar length + 4, numeric precision and scale.
    is_writable: False for generated and identity-always columns.
    has_default: a DEFAULT, or identity by default.
    type_sql: format_type(), for messages and for text format.
    """

    name: str
    type_name: str
    is_array: bool
    type_modifier: int
    is_not_null: bool
    has_default: bool
    is_writable: bool
    type_sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedColumn:
    """One column that is copied, in table order, and where its value comes from (fields as in ColumnSpec).

    path for ColumnSource.PATH: the JSON keys from the outside in. collects_unknown: takes the fields no other column takes.
    """

    column: CatalogColumn
    source: ColumnSource
    path: tuple[str, ...] = ()
    header: str | None = None
    epoch_unit: EpochUnit | None = None
    collects_unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """schema and table unquoted. columns: those to copy, never empty."""

    schema: str
    table: str
    columns: tuple[PlannedColumn, ...]
    copy_format: CopyFormat
    unknown_fields: UnknownFieldPolicy


class PlanProblem(ValueError):
    """The spec's columns do not fit the table; problems: one message each, naming the field and the remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def build_table_plan(sink: SinkSpec, schema: str, table: str, catalog: Sequence[CatalogColumn]) -> TablePlan:
    """Match the spec's columns (or, if none are given, the JSON fields by name) to the table's.

    Raises PlanProblem.
    """
    raise NotImplementedError
