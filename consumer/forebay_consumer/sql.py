"""Every statement that the consumer sends, except DDL (schema_ddl.py) and those of mode Upsert (sql_upsert.py).

Identifiers are quoted here and nowhere else.

Pure: text only. Parameters are asyncpg's $n; arrays carry one entry a partition or dead letter.
"""

from __future__ import annotations

from collections.abc import Sequence

from forebay_consumer.plan import CopyFormat

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""Said explicitly: under REPEATABLE READ the holder's last UPDATE would fail with 40001 instead of matching no row."""

COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
SAVEPOINT = "SAVEPOINT forebay_piece"
ROLLBACK_TO_SAVEPOINT = "ROLLBACK TO SAVEPOINT forebay_piece"
RELEASE_SAVEPOINT = "RELEASE SAVEPOINT forebay_piece"
CHECK_DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE"

COPY_BINARY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_BINARY_TRAILER = b"\xff\xff"


def quote_identifier(name: str) -> str:
    """name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def split_table(name: str) -> tuple[str, str]:
    """`schema.table` or `table` (then in schema public) as (schema, table), unquoted."""
    schema, dot, table = name.partition(".")
    return (schema, table) if dot else ("public", name)


def quote_table(schema: str, table: str) -> str:
    """`schema.table`, quoted."""
    return f"{quote_identifier(schema)}.{quote_identifier(table)}"


def build_grant(schema: str, table: str, user: str, privileges: Sequence[str]) -> str:
    """The GRANT that lets user do this to the table."""
    grantee = quote_identifier(user)
    return (
        f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {grantee}; "
        f"GRANT {', '.join(privileges)} ON {quote_table(schema, table)} TO {grantee};"
    )


def copy_frame(copy_format: CopyFormat) -> tuple[bytes, bytes]:
    """What stands before and after the rows in a COPY stream."""
    if copy_format is CopyFormat.BINARY:
        return COPY_BINARY_HEADER, COPY_BINARY_TRAILER
    return b"", b""


SET_SESSION = """
SELECT set_config('lock_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $2, false),
       set_config('default_transaction_isolation', 'read committed', false), set_config('TimeZone', 'UTC', false),
       set_config('DateStyle', 'ISO', false), set_config('IntervalStyle', 'postgres', false),
       set_config('extra_float_digits', '1', false), set_config('bytea_output', 'hex', false)
"""
"""By set_config and not as startup parameters: a pooler in session mode refuses startup parameters it does not know."""

WATCH_CLIENT = "SELECT set_config('client_connection_check_interval', $1, false)"
"""Apart from SET_SESSION: a server on a system without POLLRDHUP refuses it."""

DESCRIBE_SESSION = """
SELECT pg_is_in_recovery() AS in_recovery, current_setting('transaction_read_only') = 'on' AS read_only,
       current_user::text AS user_name, current_database()::text AS database_name, pg_backend_pid() AS pid,
       (SELECT a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()) AS backend_start
"""

FIND_TABLE = """
SELECT c.oid, c.relkind::text AS relkind, row_security_active(c.oid) AS row_security,
       has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
       has_table_privilege(c.oid, 'INSERT') AS may_insert,
       EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 68 = 68) AS instead_of
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f', 'm')
"""
"""Catalogs instead of a cast to regclass, which fails without USAGE on the schema and hides which right is missing.
68: INSTEAD OF and INSERT."""

FIND_TYPE = """
SELECT t.oid, coalesce(e.typname, t.typname)::text AS name
FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE t.oid = to_regtype($1)
"""
"""to_regtype takes a type's name and nothing beside it: no constraint, no default, no second statement."""

DESCRIBE_COLUMNS = """
WITH RECURSIVE based(attnum, typ, typmod, not_null, has_default) AS (
    SELECT a.attnum, a.atttypid, a.atttypmod, a.attnotnull, (a.atthasdef AND a.attgenerated = '') OR a.attidentity = 'd'
    FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod = -1 THEN t.typtypmod ELSE b.typmod END,
           b.not_null OR t.typnotnull, b.has_default OR t.typdefault IS NOT NULL
    FROM based b JOIN pg_type t ON t.oid = b.typ WHERE t.typtype = 'd'
)
SELECT a.attname::text AS name,
       CASE WHEN n.nspname = 'pg_catalog' THEN e.typname::text ELSE n.nspname || '.' || e.typname END AS type_name,
       e.oid <> t.oid AS is_array, b.typmod AS type_modifier, b.not_null AS is_not_null, b.has_default,
       a.attgenerated = '' AND a.attidentity <> 'a' AS is_writable, format_type(a.atttypid, a.atttypmod) AS type_sql,
       t.typtype = 'e' AS is_enum, a.atttypid AS type_oid,
       coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true)
           AS is_deterministic,
       has_column_privilege($1, a.attnum, 'INSERT') AS may_insert,
       has_column_privilege($1, a.attnum, 'UPDATE') AS may_update
FROM based b
JOIN pg_type t ON t.oid = b.typ AND t.typtype <> 'd'
JOIN pg_type e ON e.oid = CASE WHEN t.typcategory = 'A' AND t.typlen = -1 AND t.typelem <> 0
                               THEN t.typelem ELSE t.oid END
JOIN pg_namespace n ON n.oid = e.typnamespace
JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = b.attnum
ORDER BY b.attnum
"""
"""A type outside pg_catalog is named with its schema, so that somebody's own "int4" is not taken for the real one."""

_FINGERPRINT = """
SELECT md5(coalesce(string_agg(concat_ws('/', c.oid, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated,
                                         a.attidentity, a.atthasdef), ',' ORDER BY a.attnum), '')
           || coalesce(max(k.rules), ''))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT string_agg(r.oid::text, ',' ORDER BY r.oid) AS rules
    FROM (SELECT x.oid FROM pg_constraint x WHERE x.conrelid = c.oid AND x.contype = 'c'
          UNION ALL
          SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
          UNION ALL
          SELECT t.oid FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 7 = 7) AS r
) AS k
WHERE n.nspname = {schema} AND c.relname = {table}
"""

FINGERPRINT = _FINGERPRINT.format(schema="$1", table="$2")
"""The table's definition in one word. COPY's lock keeps it as it is until the end of the transaction; only an index can
go away meanwhile, without which mode Upsert would copy a key twice. CHECK constraints: that mode has copies of them,
unless BEFORE INSERT triggers (7) change rows."""

STORED_PARTITIONS = 'SELECT partition, pipeline, target FROM forebay.positions WHERE "group" = $1 AND topic = $2'

LOCK_GROUP = "SELECT pg_advisory_xact_lock(hashtextextended('forebay.positions ' || $1 || ' ' || $2, 0))"

INITIALIZE = """
INSERT INTO forebay.positions ("group", topic, partition, epoch, owner, next_offset, pipeline, target, topic_id)
SELECT $1, $2, w.partition, 0, gen_random_uuid(), w.next_offset, $5, $6, $8
FROM unnest($3::int[], $4::bigint[]) AS w(partition, next_offset)
WHERE NOT ($7 AND EXISTS (SELECT 1 FROM forebay.positions p WHERE p."group" = $1 AND p.topic = $2))
ORDER BY w.partition
ON CONFLICT DO NOTHING
"""

CLAIM = """
WITH wanted AS (
    SELECT p.partition, p.pipeline, p.target FROM forebay.positions p
    WHERE p."group" = $1 AND p.topic = $2 AND p.partition = ANY ($3::int[])
    ORDER BY p.partition FOR UPDATE
)
UPDATE forebay.positions p
SET epoch = p.epoch + 1, owner = gen_random_uuid(), claimed_at = now(), updated_at = now(),
    topic_id = coalesce(p.topic_id, $7),
    previous_pids = CASE WHEN p.backend_pid IS NULL OR (p.backend_pid, p.backend_start) = (pg_backend_pid(), $6)
                         THEN p.previous_pids ELSE (p.backend_pid || p.previous_pids)[1:8] END,
    previous_starts = CASE WHEN p.backend_pid IS NULL OR (p.backend_pid, p.backend_start) = (pg_backend_pid(), $6)
                           THEN p.previous_starts ELSE (p.backend_start || p.previous_starts)[1:8] END,
    backend_pid = pg_backend_pid(), backend_start = $6
FROM wanted w
WHERE p."group" = $1 AND p.topic = $2 AND p.partition = w.partition
  AND NOT EXISTS (SELECT 1 FROM wanted x WHERE x.pipeline <> $4 OR x.target <> $5)
RETURNING p.partition, p.epoch, p.owner, p.next_offset, p.topic_id
"""
"""Rows are locked in partition order, behind a predecessor's COMMIT, so what is returned is final. A position that was
stored without the topic's id gets the present one; what a position has is kept, and is the caller's to compare.
The last eight holders are remembered: any of them may be frozen in the middle of a COPY."""

CLAIM_CONFLICT = """
SELECT pipeline, target FROM forebay.positions
WHERE "group" = $1 AND topic = $2 AND partition = ANY ($3::int[]) AND (pipeline <> $4 OR target <> $5) LIMIT 1
"""

CHECK_CLAIMS = """
SELECT w.partition
FROM unnest($3::int[], $4::bigint[], $5::uuid[], $6::bigint[]) AS w(partition, epoch, owner, expected)
WHERE NOT EXISTS (
    SELECT 1 FROM forebay.positions p WHERE p."group" = $1 AND p.topic = $2 AND p.partition = w.partition
      AND p.epoch = w.epoch AND p.owner = w.owner AND p.next_offset = w.expected)
"""
"""Which claims no longer hold. No lock: it spares the COPY of a fenced batch; MOVE_POSITIONS is what fences."""

MOVE_POSITIONS = f"""
WITH wanted AS (
    SELECT p.partition, w.next_offset
    FROM forebay.positions p
    JOIN unnest($3::int[], $4::bigint[], $5::uuid[], $6::bigint[], $7::bigint[])
      AS w(partition, epoch, owner, expected, next_offset) ON w.partition = p.partition
    WHERE p."group" = $1 AND p.topic = $2 AND p.epoch = w.epoch AND p.owner = w.owner AND p.next_offset = w.expected
    ORDER BY p.partition FOR UPDATE OF p
)
UPDATE forebay.positions p SET next_offset = w.next_offset, updated_at = now()
FROM wanted w WHERE p."group" = $1 AND p.topic = $2 AND p.partition = w.partition
RETURNING p.partition, ({_FINGERPRINT.format(schema="$8", table="$9")}) AS fingerprint
"""  # noqa: S608  constants only
"""The last statement of a write: a position is locked from here to COMMIT only, so that a consumer frozen in its COPY
blocks no claim."""

SKIP_POSITION = """
UPDATE forebay.positions SET next_offset = $7, topic_id = coalesce($8, topic_id), updated_at = now()
WHERE "group" = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND owner = $5 AND next_offset = $6
RETURNING topic_id
"""

INSERT_DEAD_LETTERS = """
INSERT INTO forebay.dead_letters ("group", topic, partition, record_offset, reason, column_name, message, record_key,
                                  record_value, record_headers, record_timestamp, target)
SELECT $1, $2, d.partition, d.record_offset, d.reason, d.column_name, d.message, d.record_key, d.record_value,
       d.headers::jsonb,
       CASE WHEN d.timestamp_ms BETWEEN -62135596800000 AND 253402300799999
            THEN to_timestamp(d.timestamp_ms / 1000.0) END, $3
FROM unnest($4::int[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bigint[],
            $12::text[])
  AS d(partition, record_offset, reason, column_name, message, record_key, record_value, timestamp_ms, headers)
"""
"""A timestamp that PostgreSQL cannot hold (producers may send any number) becomes NULL: a letter is never refused."""

FIND_HOLDERS = """
SELECT DISTINCT a.pid, a.backend_start, a.xact_start, a.state_change, a.wait_event_type, a.usename::text AS user_name,
       a.backend_start IS NULL AS is_hidden,
       coalesce(a.wait_event_type = 'Client' AND a.xact_start < clock_timestamp() - make_interval(secs => $4), false)
           AS is_stuck
FROM forebay.positions p
CROSS JOIN LATERAL (SELECT p.backend_pid, p.backend_start UNION ALL
                    SELECT * FROM unnest(p.previous_pids, p.previous_starts)) AS h(pid, started)
JOIN pg_stat_activity a ON a.pid = h.pid AND (a.backend_start = h.started OR a.backend_start IS NULL)
                       AND a.datname = current_database()
WHERE p."group" = $1 AND p.topic = $2 AND ($3::int[] IS NULL OR p.partition = ANY ($3)) AND a.pid <> pg_backend_pid()
"""
"""Holders that are still connected. A frozen process looks like a wait for the client inside an old transaction; one
that waits for a synchronous standby waits on IPC and is left alone."""

TERMINATE_BACKEND = (
    "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.pid = $1 AND a.backend_start = $2"
)

LIST_POSITIONS = """
SELECT p.topic, p.partition, p.epoch, p.next_offset, p.topic_id, p.pipeline, p.target, p.claimed_at, p.updated_at,
       p.backend_pid,
       CASE WHEN p.backend_pid IS NULL THEN false
            ELSE (SELECT CASE WHEN count(*) = 0 THEN false
                              WHEN bool_or(a.backend_start = p.backend_start) THEN true
                              WHEN bool_or(a.backend_start IS NULL AND a.application_name LIKE 'forebay:%') THEN NULL
                              ELSE false END
                  FROM pg_stat_activity a WHERE a.pid = p.backend_pid) END AS is_held
FROM forebay.positions p WHERE p."group" = $1 AND ($2::text IS NULL OR p.topic = $2)
ORDER BY p.topic, p.partition
"""
"""is_held NULL: a session of another role has that pid, and this role may not see when it began."""

LOCK_POSITIONS = """
SELECT partition FROM forebay.positions WHERE "group" = $1 AND topic = $2 ORDER BY partition FOR UPDATE
"""

RESET_POSITIONS = """
INSERT INTO forebay.positions ("group", topic, partition, epoch, owner, next_offset, pipeline, target, topic_id)
SELECT $1, $2, w.partition, 0, gen_random_uuid(), w.next_offset, $5, $6, $7
FROM unnest($3::int[], $4::bigint[]) AS w(partition, next_offset) ORDER BY w.partition
ON CONFLICT ("group", topic, partition) DO UPDATE
SET epoch = positions.epoch + 1, owner = EXCLUDED.owner, next_offset = EXCLUDED.next_offset,
    topic_id = EXCLUDED.topic_id,
    pipeline = EXCLUDED.pipeline, target = EXCLUDED.target, backend_pid = NULL, backend_start = NULL, updated_at = now()
"""
