"""Makes the schema `forebay`, or says which SQL an administrator must run."""

from __future__ import annotations

from forebay_consumer import schema_ddl, sql
from forebay_consumer.errors import SinkBroken
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.refused import Refused

_DENIED = "42501"


async def ensure_schema(session: Session) -> None:
    """Create the schema if it is missing; check its version and this user's rights.

    Raises SinkBroken("SchemaMissing" | "PermissionDenied" | "SchemaTooNew") with the SQL to run once, and Refused.
    """
    found = (await session.fetch(schema_ddl.INSPECT_SCHEMA))[0]
    user = session.backend.user
    if found["has_schema"] and not found["may_use"]:
        raise _permission_denied(user, "USAGE ON SCHEMA forebay")
    if not found["has_version"]:
        if not found["has_schema"] and not found["may_create"]:
            raise _schema_missing(user)
        await _create(session, has_schema=found["has_schema"])
    await _check_version(session)
    missing = (await session.fetch(schema_ddl.MISSING_RIGHTS))[0][0]
    if missing:
        raise _permission_denied(user, missing)


async def _create(session: Session, *, has_schema: bool) -> None:
    statements = schema_ddl.build_tables() if has_schema else (schema_ddl.CREATE_SCHEMA, *schema_ddl.build_tables())
    try:
        await session.execute(f"{sql.BEGIN}; {schema_ddl.LOCK_SCHEMA}")
        for statement in statements:
            await session.execute(statement)
        await session.commit()
    except Refused as refused:
        if refused.symptom.sqlstate != _DENIED:
            raise
        await session.rollback()
        raise _schema_missing(session.backend.user) from refused


async def _check_version(session: Session) -> None:
    try:
        version = (await session.fetch(schema_ddl.READ_VERSION))[0][0]
    except Refused as refused:
        if refused.symptom.sqlstate != _DENIED:
            raise
        raise _permission_denied(session.backend.user, "SELECT ON forebay.schema_version") from refused
    if version is None or version > schema_ddl.VERSION:
        raise SinkBroken(
            "SchemaTooNew",
            f"schema forebay has version {version}, this release knows {schema_ddl.VERSION}: "
            "run the release that upgraded it",
        )


def _schema_missing(user: str) -> SinkBroken:
    text = schema_ddl.schema_sql(grantee=user)
    return SinkBroken(
        "SchemaMissing",
        f'user "{user}" may not create schema forebay; run once as a role that may create schemas:\n{text}',
    )


def _permission_denied(user: str, missing: str) -> SinkBroken:
    grants = "; ".join(schema_ddl.build_grants(user))
    return SinkBroken(
        "PermissionDenied", f'user "{user}" lacks {missing}; run as the owner of schema forebay: {grants};'
    )
