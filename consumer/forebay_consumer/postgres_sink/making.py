"""Makes the table that spec.sink.columns declares, and adds declared columns; never drops or changes anything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import asyncpg
from forebay_api.v1alpha1 import SinkSpec

from forebay_consumer import schema_ddl, sql
from forebay_consumer.errors import SinkBroken
from forebay_consumer.failures import Transient, classify
from forebay_consumer.postgres_sink.claims import Owner
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.refused import Refused
from forebay_consumer.table_ddl import (
    DeclaredColumn,
    KnownType,
    build_add_columns,
    build_create_table,
    declared_columns,
    is_whole,
)

log = logging.getLogger(__name__)

Judge = Callable[[list[asyncpg.Record]], object]
"""Raises SinkBroken where columns as the catalog describes them do not fit the spec."""

_DENIED = "42501"
_NULLS = "23502"
"""A column that must not be NULL, and the table has rows."""


async def find_types(session: Session, declared: Iterable[DeclaredColumn]) -> Mapping[str, KnownType]:
    """Each declared type as this server has it, by its text. Raises SinkBroken("TypeUnknown") naming the field."""
    types: dict[str, KnownType] = {}
    for column in declared:
        if column.type not in types:
            types[column.type] = await _find_type(session, column)
    return types


async def _find_type(session: Session, column: DeclaredColumn) -> KnownType:
    told = "no type of this name; extensions' types may need their schema's name"
    try:
        rows = await session.fetch(sql.FIND_TYPE, column.type)
    except Refused as refused:
        if isinstance(classify(refused.symptom), Transient):
            raise
        rows, told = [], refused.symptom.message
    if not rows:
        raise SinkBroken("TypeUnknown", f"{column.field}.type: {column.type!r} is not a type here: {told}")
    return KnownType(oid=rows[0]["oid"], name=rows[0]["name"])


async def make_table(session: Session, sink: SinkSpec, owner: Owner, schema: str, table: str, judge: Judge) -> None:
    """Create it, whole or not at all; and only for a pipeline that has not written anything yet.

    Raises SinkBroken("TableMissing" | "TypeUnknown" | "TableNotMade" | "PermissionDenied"), and Refused.
    """
    declared = declared_columns(sink)
    if not is_whole(sink):
        raise SinkBroken("TableMissing", _explain_missing(session, sink, schema, table))
    await find_types(session, declared)
    statement = build_create_table(schema, table, declared, sink.key_columns)
    if await session.fetch(sql.STORED_PARTITIONS, owner.group, owner.topic):
        raise SinkBroken(
            "TableMissing",
            f"spec.sink.table: {schema}.{table} is gone, and what was written with it; and it is not made again. "
            f"Rename it back, or start over: {statement}; and `forebay positions reset --to earliest`",
        )
    await _carry_out(session, statement, schema, table, judge)
    log.info("table made", extra={"table": f"{schema}.{table}"})


async def add_columns(
    session: Session, missing: tuple[DeclaredColumn, ...], schema: str, table: str, judge: Judge
) -> None:
    """Add them, all or none. Raises SinkBroken("TypeUnknown" | "TableNotMade" | "PermissionDenied"), and Refused."""
    await find_types(session, missing)
    await _carry_out(session, build_add_columns(schema, table, missing), schema, table, judge)
    log.info("columns added", extra={"table": f"{schema}.{table}", "columns": [column.name for column in missing]})


async def _carry_out(session: Session, statement: str, schema: str, table: str, judge: Judge) -> None:
    """In one transaction, one consumer after the other; undone when the result does not fit the spec."""
    try:
        await session.execute(f"{sql.BEGIN}; {schema_ddl.LOCK_SCHEMA}")
        await session.execute(statement)
        found = await session.fetch(sql.FIND_TABLE, schema, table)
        judge(await session.fetch(sql.DESCRIBE_COLUMNS, found[0]["oid"]))
        await session.commit()
    except SinkBroken:
        await session.rollback()
        raise
    except Refused as refused:
        if isinstance(classify(refused.symptom), Transient):
            raise
        await session.rollback()
        raise _explain_refusal(session, refused, statement, f"{schema}.{table}") from refused


def _explain_refusal(session: Session, refused: Refused, statement: str, table: str) -> SinkBroken:
    told = f"{refused.symptom.message} (SQLSTATE {refused.symptom.sqlstate})"
    if refused.symptom.sqlstate == _DENIED:
        user = session.backend.user
        return SinkBroken(
            "PermissionDenied",
            f'user "{user}" may not make or change {table}: {told}; run as a role that may: {statement};',
        )
    if refused.symptom.sqlstate == _NULLS:
        told += "; a column with nullable: false cannot be added to a table with rows: add it by hand, with a DEFAULT"
    return SinkBroken("TableNotMade", f"{table} as spec.sink declares it: {told}; the statement was: {statement};")


def _explain_missing(session: Session, sink: SinkSpec, schema: str, table: str) -> str:
    untyped = [column.name for column in sink.columns if column.type is None]
    if not sink.columns:
        how = "declare spec.sink.columns with a type each, and it is made"
    elif len(untyped) < len(sink.columns):
        how = f"declare a type for {', '.join(untyped)} in spec.sink.columns, too, and it is made"
    else:
        how = "declare a type for each of spec.sink.columns, and it is made"
    return (
        f'spec.sink.table: database "{session.backend.database}" has no table {schema}.{table}; '
        f"create it, or correct the name; or {how}"
    )
