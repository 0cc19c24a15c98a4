"""Describes the target table from the catalog and plans how to fill it; has it made where the spec says how."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import asyncpg
from forebay_api.v1alpha1 import SinkSpec

from forebay_consumer import sql, sql_upsert
from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.plan import CatalogColumn, PlanProblem, TablePlan, build_table_plan
from forebay_consumer.postgres_sink.claims import Owner
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.making import add_columns, find_types, make_table
from forebay_consumer.postgres_sink.rights import check_rights
from forebay_consumer.table_ddl import DeclaredColumn, declared_columns, find_differences, find_missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The table and what its definition was when the plan was made.

    fingerprint: changes with any column, CHECK constraint, unique index or BEFORE INSERT trigger. oid: the table's.
    columns: all their names. is_judged_early: whether NOT NULL and CHECK may be asked of rows before they come to the
    table; False in mode Append, which does not.
    """

    plan: TablePlan
    fingerprint: str
    oid: int
    columns: tuple[str, ...]
    is_judged_early: bool

    @property
    def name(self) -> str:
        """`schema.table`, unquoted, as it is stored beside claims and dead letters."""
        return f"{self.plan.schema}.{self.plan.table}"


async def describe_target(session: Session, spec: SinkSpec, owner: Owner) -> Target:
    """Makes what spec.sink.columns declares and the database lacks.

    Raises SinkBroken("TableMissing" | "TableNotMade" | "TypeUnknown" | "ColumnTypeDiffers" | "TableNotWritable" |
    "PermissionDenied" | "ColumnUnfilled" | "KeyIndexMissing" | "KeyIndexUnfit"), and Refused.
    """
    schema, name = sql.split_table(spec.table)
    judge = partial(_plan, spec, schema, name)
    if not await session.fetch(sql.FIND_TABLE, schema, name):
        await make_table(session, spec, owner, schema, name, judge)
    fingerprint = (await session.fetch(sql.FINGERPRINT, schema, name))[0][0]  # first: a later change must not go unseen
    found = await session.fetch(sql.FIND_TABLE, schema, name)
    if not found:
        raise SinkUnavailable("TableChanged", f"table {schema}.{name} has just gone")
    table = found[0]
    _check_kind(table, spec)
    rows = await session.fetch(sql.DESCRIBE_COLUMNS, table["oid"])
    declared = declared_columns(spec)
    missing = find_missing(declared, [row["name"] for row in rows])
    if missing and table["relkind"] in ("r", "p"):
        await add_columns(session, missing, schema, name, judge)
        return await describe_target(session, spec, owner)
    await _check_types(session, declared, rows, f"{schema}.{name}")
    plan = judge(rows)
    await check_rights(session, table, rows, plan)
    is_judged_early = False
    if plan.key:
        await _check_key_index(session, table["oid"], plan)
        is_judged_early = (await session.fetch(sql_upsert.IS_JUDGED_EARLY, table["oid"]))[0][0]
    return Target(
        plan=plan,
        fingerprint=fingerprint,
        oid=table["oid"],
        columns=tuple(row["name"] for row in rows),
        is_judged_early=is_judged_early,
    )


def _plan(spec: SinkSpec, schema: str, name: str, rows: list[asyncpg.Record]) -> TablePlan:
    try:
        return build_table_plan(spec, schema, name, tuple(_build_column(row) for row in rows))
    except PlanProblem as problem:
        raise SinkBroken("ColumnUnfilled", f"table {schema}.{name}: {problem}") from problem


async def _check_types(
    session: Session, declared: tuple[DeclaredColumn, ...], rows: list[asyncpg.Record], table: str
) -> None:
    """Nothing is retyped: who declares another type than the table has is told so."""
    types = await find_types(session, declared)
    differences = find_differences(declared, types, {row["name"]: _build_column(row) for row in rows})
    if differences:
        raise SinkBroken("ColumnTypeDiffers", f"table {table}: {'; '.join(differences)}")


def _build_column(row: asyncpg.Record) -> CatalogColumn:
    return CatalogColumn(
        name=row["name"],
        type_name=row["type_name"],
        is_array=row["is_array"],
        type_modifier=row["type_modifier"],
        is_not_null=row["is_not_null"],
        has_default=row["has_default"],
        is_writable=row["is_writable"],
        type_sql=row["type_sql"],
        is_enum=row["is_enum"],
        is_deterministic=row["is_deterministic"],
        type_oid=row["type_oid"],
    )


def _check_kind(table: asyncpg.Record, spec: SinkSpec) -> None:
    name = spec.table
    if spec.key_columns and table["relkind"] in ("v", "f"):
        kind = "view" if table["relkind"] == "v" else "foreign table"
        raise SinkBroken(
            "TableNotWritable",
            f"spec.sink.table: {name} is a {kind}, which can have no unique index as mode Upsert needs; name a table",
        )
    if table["relkind"] == "m":
        raise SinkBroken("TableNotWritable", f"spec.sink.table: {name} is a materialized view; name a table")
    if table["relkind"] == "v" and not table["instead_of"]:
        raise SinkBroken(
            "TableNotWritable",
            f"spec.sink.table: {name} is a view, and COPY fills one only through an INSTEAD OF INSERT trigger; "
            "name a table",
        )
    if table["row_security"]:
        raise SinkBroken(
            "TableNotWritable",
            f"spec.sink.table: row-level security of {name} applies to this user, and COPY cannot write such a table; "
            "ALTER ROLE ... BYPASSRLS, or disable it",
        )


async def _check_key_index(session: Session, oid: int, plan: TablePlan) -> None:
    found = await session.fetch(sql_upsert.KEY_INDEXES, oid, list(plan.key_names))
    columns = ", ".join(plan.key_names)
    remedy = sql_upsert.build_key_index(plan.schema, plan.table, plan.key_names)
    unfit = [row["name"] for row in found if not row["is_fit"]]
    if unfit:
        more = "" if len(unfit) < len(found) else f", and run as the table's owner: {remedy}"
        raise SinkBroken(
            "KeyIndexUnfit",
            f"spec.sink.keyColumns: table {plan.schema}.{plan.table} has a unique index over exactly {columns} that is "
            f"deferrable or has a nondeterministic collation: drop {', '.join(unfit)}{more}",
        )
    if not found:
        raise SinkBroken(
            "KeyIndexMissing",
            f"spec.sink.keyColumns: table {plan.schema}.{plan.table} has no unique index over exactly "
            f"{columns} that is valid, not partial and not deferrable; run as its owner: {remedy}",
        )
