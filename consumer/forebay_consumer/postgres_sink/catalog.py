"""Describes the target table from the catalog and plans how to fill it."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from forebay_api.v1alpha1 import SinkSpec

from forebay_consumer import sql
from forebay_consumer.errors import SinkBroken
from forebay_consumer.plan import CatalogColumn, PlanProblem, TablePlan, build_table_plan
from forebay_consumer.postgres_sink.connection import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The table and what its definition was when the plan was made; fingerprint changes with any column."""

    plan: TablePlan
    fingerprint: str

    @property
    def name(self) -> str:
        """`schema.table`, unquoted, as it is stored beside claims and dead letters."""
        return f"{self.plan.schema}.{self.plan.table}"


async def describe_target(session: Session, spec: SinkSpec) -> Target:
    """Raises SinkBroken("TableMissing" | "TableNotWritable" | "PermissionDenied" | "ColumnUnfilled"), and Refused."""
    schema, name = sql.split_table(spec.table)
    fingerprint = (await session.fetch(sql.FINGERPRINT, schema, name))[0][0]  # first: a later change must not go unseen
    found = await session.fetch(sql.FIND_TABLE, schema, name)
    if not found:
        raise SinkBroken(
            "TableMissing",
            f'spec.sink.table: database "{session.backend.database}" has no table {schema}.{name}; '
            "create it, or correct the name",
        )
    table = found[0]
    _check_kind(table, spec.table)
    rows = await session.fetch(sql.DESCRIBE_COLUMNS, table["oid"])
    try:
        plan = build_table_plan(spec, schema, name, tuple(_build_column(row) for row in rows))
    except PlanProblem as problem:
        raise SinkBroken("ColumnUnfilled", f"table {schema}.{name}: {problem}") from problem
    _check_rights(table, rows, plan, session.backend.user)
    return Target(plan=plan, fingerprint=fingerprint)


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
    )


def _check_kind(table: asyncpg.Record, name: str) -> None:
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


def _check_rights(table: asyncpg.Record, rows: list[asyncpg.Record], plan: TablePlan, user: str) -> None:
    planned = {column.column.name for column in plan.columns}
    lacking = [row["name"] for row in rows if row["name"] in planned and not row["may_insert"]]
    if table["may_use_schema"] and (table["may_insert"] or not lacking):
        return
    raise SinkBroken(
        "PermissionDenied",
        f'user "{user}" may not INSERT into {plan.schema}.{plan.table}; run as its owner: '
        f"{sql.build_grant_insert(plan.schema, plan.table, user)}",
    )
