"""What the consumer's role must be allowed to do to the table; each missing right is named with its GRANT."""

from __future__ import annotations

from collections.abc import Collection

import asyncpg

from forebay_consumer import sql, sql_upsert
from forebay_consumer.errors import SinkBroken
from forebay_consumer.plan import TablePlan
from forebay_consumer.postgres_sink.connection import Session


async def check_rights(session: Session, table: asyncpg.Record, columns: list[asyncpg.Record], plan: TablePlan) -> None:
    """table, columns: as the catalog describes them. Raises SinkBroken("PermissionDenied"), and Refused."""
    planned = {column.column.name for column in plan.columns}
    lacking = [] if table["may_insert"] or _has_all(columns, planned, "may_insert") else ["INSERT"]
    may_make_temporary = True
    if plan.key:
        rights = (await session.fetch(sql_upsert.READ_RIGHTS, table["oid"]))[0]
        may_make_temporary = rights["may_make_temporary"]
        changed = planned - set(plan.key_names)
        lacking += [
            right
            for right, is_given in (
                ("SELECT", rights["may_select"]),
                ("UPDATE", rights["may_update"] or _has_all(columns, changed, "may_update")),
                ("DELETE", rights["may_delete"]),
            )
            if not is_given
        ]
    if table["may_use_schema"] and not lacking and may_make_temporary:
        return
    raise SinkBroken("PermissionDenied", _explain(session, plan, lacking, may_make_temporary=may_make_temporary))


def _has_all(columns: list[asyncpg.Record], names: Collection[str], right: str) -> bool:
    return all(row[right] for row in columns if row["name"] in names)


def _explain(session: Session, plan: TablePlan, lacking: list[str], *, may_make_temporary: bool) -> str:
    user, database = session.backend.user, session.backend.database
    wants, grants = [], []
    if lacking or may_make_temporary:  # with nothing else lacking it is the right to use the schema
        what = f"{', '.join(lacking)} on {plan.schema}.{plan.table}" if lacking else f"USAGE on schema {plan.schema}"
        wants.append(what)
        grants.append(sql.build_grant(plan.schema, plan.table, user, lacking or ["INSERT"]))
    if not may_make_temporary:
        wants.append(f'TEMPORARY on database "{database}"')
        grants.append(sql_upsert.build_grant_temporary(database, user))
    return f'user "{user}" lacks {" and ".join(wants)}; run as its owner: {" ".join(grants)}'
