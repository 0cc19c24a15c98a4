"""`forebay schema sql`: what to run once where the consumers' role may not create a schema."""

from __future__ import annotations

from forebay_consumer.schema_ddl import schema_sql


def build_schema_sql(*, owner: str | None, user: str | None) -> str:
    """owner: role that everything belongs to, None = whoever runs it. user: the consumers' role, None = the owner."""
    return schema_sql(owner=owner, grantee=user)
