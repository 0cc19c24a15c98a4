"""The schema `forebay`: the statements that make it, and what an administrator runs once where the consumer may not.

Pure. A change here raises VERSION and adds a migration; a consumer refuses a schema newer than it knows.
"""

from __future__ import annotations

from forebay_consumer.sql import quote_identifier

VERSION = 1
"""Version of the schema that this release makes and understands."""

LOCK_SCHEMA = "SELECT pg_advisory_xact_lock(7094562910234417)"
"""An arbitrary constant: consumers that start together make the schema one after the other."""

INSPECT_SCHEMA = """
SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'forebay') AS has_schema,
       (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = 'forebay') AS may_use,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'forebay' AND c.relname = 'schema_version') AS has_version
"""

READ_VERSION = "SELECT max(version) FROM forebay.schema_version"

_CHANGED = ("column_name", "message", "mirrored_at", "reason", "replayed_at")
"""Columns of a dead letter that are ever changed: the record itself never is."""

MISSING_RIGHTS = f"""
SELECT string_agg(r.privilege || coalesce(' (' || r.of_column || ')', '') || ' ON ' || r.relation, ', '
                  ORDER BY r.relation, r.privilege, r.of_column)
FROM (VALUES ('forebay.positions', 'SELECT', NULL), ('forebay.positions', 'INSERT', NULL),
             ('forebay.positions', 'UPDATE', NULL), ('forebay.dead_letters', 'SELECT', NULL),
             ('forebay.dead_letters', 'INSERT', NULL), ('forebay.dead_letters', 'DELETE', NULL)
      UNION ALL SELECT 'forebay.dead_letters', 'UPDATE', c FROM unnest(ARRAY{[*_CHANGED]}) c
     ) AS r(relation, privilege, of_column)
WHERE NOT CASE WHEN r.of_column IS NULL THEN has_table_privilege(r.relation, r.privilege)
               ELSE has_column_privilege(r.relation, r.of_column, r.privilege) END
"""  # noqa: S608  constants only

_TABLES = (
    """CREATE TABLE IF NOT EXISTS forebay.schema_version (
    version int PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)""",
    """CREATE TABLE IF NOT EXISTS forebay.positions (
    "group" text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    epoch bigint NOT NULL,
    owner uuid NOT NULL,
    next_offset bigint NOT NULL,
    topic_id text,
    backend_pid int,
    backend_start timestamptz,
    previous_pids int[] NOT NULL DEFAULT '{}',
    previous_starts timestamptz[] NOT NULL DEFAULT '{}',
    pipeline text NOT NULL,
    target text NOT NULL,
    claimed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("group", topic, partition)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 100000)""",
    """CREATE TABLE IF NOT EXISTS forebay.dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "group" text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    record_offset bigint NOT NULL,
    reason text NOT NULL,
    column_name text,
    message text NOT NULL,
    record_key bytea,
    record_value bytea,
    record_headers jsonb,
    record_timestamp timestamptz,
    target text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz,
    mirrored_at timestamptz
)""",
    """COMMENT ON COLUMN forebay.dead_letters.record_headers IS 'pairs of name and base64 of the value'""",
    """COMMENT ON COLUMN forebay.dead_letters.replayed_at IS 'when it was last tried again, and still refused'""",
    """COMMENT ON COLUMN forebay.dead_letters.mirrored_at IS 'when spec.sink.deadLetters.topic had it'""",
    """CREATE INDEX IF NOT EXISTS dead_letters_record_idx
    ON forebay.dead_letters ("group", topic, partition, record_offset)""",
    """CREATE INDEX IF NOT EXISTS dead_letters_age_idx ON forebay.dead_letters ("group", topic, created_at)""",
    """CREATE INDEX IF NOT EXISTS dead_letters_unmirrored_idx
    ON forebay.dead_letters ("group", topic, id) WHERE mirrored_at IS NULL""",
    f"INSERT INTO forebay.schema_version (version) VALUES ({VERSION}) ON CONFLICT DO NOTHING",  # noqa: S608  a constant
)

CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS forebay"


def build_tables() -> tuple[str, ...]:
    """The statements that fill the schema, in order; harmless where everything exists."""
    return _TABLES


def build_grants(grantee: str) -> tuple[str, ...]:
    """What a consumer's role needs in the schema."""
    role = quote_identifier(grantee)
    return (
        f"GRANT USAGE ON SCHEMA forebay TO {role}",
        f"GRANT SELECT ON forebay.schema_version TO {role}",
        f"GRANT SELECT, INSERT, UPDATE ON forebay.positions TO {role}",
        f"GRANT SELECT, INSERT, DELETE, UPDATE ({', '.join(_CHANGED)}) ON forebay.dead_letters TO {role}",
    )


def schema_sql(*, owner: str | None = None, grantee: str | None = None) -> str:
    """What to run once, as a role that may create schemas in the target database.

    owner: a role that outlives rotated users; everything belongs to it. None: to whoever runs this.
    grantee: the role of the consumers (a group role serves rotated users); None: the owner is also the consumers' role.
    """
    lines = [
        f"-- Forebay's schema, version {VERSION}. Run once in the target database; running it again changes nothing.",
        "BEGIN;",
    ]
    if owner is None:
        lines.append(f"{CREATE_SCHEMA};")
    else:
        lines += [
            f"{CREATE_SCHEMA} AUTHORIZATION {quote_identifier(owner)};",
            f"SET LOCAL ROLE {quote_identifier(owner)};",
        ]
    lines += [f"{statement};" for statement in build_tables()]
    if grantee is not None:
        lines += [f"{statement};" for statement in build_grants(grantee)]
    lines.append("COMMIT;")
    consumers = grantee or owner
    role = quote_identifier(consumers) if consumers else "<the consumers' role>"
    lines += [
        "-- Optional: lets a consumer end a frozen predecessor that signed in as another role (after a rotation).",
        f"-- GRANT pg_read_all_stats, pg_signal_backend TO {role};",
    ]
    return "\n".join(lines) + "\n"
