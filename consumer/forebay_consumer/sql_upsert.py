"""The statements of mode Upsert. Pure: text only; see sql.py.

stage: name of a temporary table, which always belongs to this connection alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from forebay_consumer.plan import TablePlan
from forebay_consumer.sql import quote_identifier, quote_table

STAGE_SCHEMA = "pg_temp"

SAVEPOINT = "SAVEPOINT forebay_direct"
RELEASE_SAVEPOINT = "RELEASE SAVEPOINT forebay_direct"
ROLLBACK_TO_SAVEPOINT = f"ROLLBACK TO {SAVEPOINT}; {RELEASE_SAVEPOINT}"

KEY_INDEXES = """
SELECT c.relname::text AS name,
       i.indimmediate AND NOT EXISTS (
           SELECT 1 FROM pg_collation l WHERE l.oid = ANY (i.indcollation) AND NOT l.collisdeterministic
       ) AS is_fit
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indisready AND i.indpred IS NULL
  AND ARRAY(SELECT a.attname::text COLLATE "C" FROM generate_series(0, i.indnkeyatts - 1) AS place
            LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[place] ORDER BY 1)
    = ARRAY(SELECT k COLLATE "C" FROM unnest($2::text[]) k ORDER BY 1)
ORDER BY 1
"""
"""Unique indexes over exactly these columns: INSERT ... ON CONFLICT goes by all of them. An expression has the column
number 0, which no column has. Not fit: deferrable, which it refuses; and another collation than its column's, by which
"A" would take the place of "a", and a deletion of "a" delete nothing."""

IS_JUDGED_EARLY = """
SELECT NOT EXISTS (
    SELECT 1 FROM pg_trigger t
    WHERE t.tgtype & 7 = 7
      AND t.tgrelid IN (SELECT $1::oid UNION SELECT p.relid::oid FROM pg_partition_tree($1::oid::regclass) p)
) AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conrelid = $1 AND c.contype = 'c' AND 0 = ANY (c.conkey))
"""
"""Whether NOT NULL and CHECK may be asked of rows before they come to the table: no trigger (7: BEFORE INSERT, each
row) changes them on the way, and no CHECK is about the whole row (column number 0), which cannot be copied."""

READ_RIGHTS = """
SELECT has_table_privilege($1::oid, 'SELECT') AS may_select, has_table_privilege($1::oid, 'UPDATE') AS may_update,
       has_table_privilege($1::oid, 'DELETE') AS may_delete,
       has_database_privilege(current_database(), 'TEMPORARY') AS may_make_temporary
"""

COUNT_INSERTED = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(r.relid)), 0)::bigint
FROM (SELECT $1::oid UNION SELECT p.relid::oid FROM pg_partition_tree($1::oid::regclass) p) AS r(relid)
"""
"""Rows that this session inserted of late into the table or its partitions: before and after a statement, the
difference is what it inserted. RETURNING (xmax = 0) would tell too, but partitioned tables refuse it."""


def build_key_index(schema: str, table: str, key: Sequence[str]) -> str:
    """The statement that makes the index which mode Upsert needs."""
    return f"CREATE UNIQUE INDEX ON {quote_table(schema, table)} ({_list(key)});"


def build_stage(plan: TablePlan, stage: str, table_columns: Sequence[str], columns: Collection[str]) -> str:
    """Statements that make the temporary table: the target's columns, as far as they are copied, with NOT NULL and
    CHECK, so that COPY names the row that breaks one. table_columns: all that the target has.
    """
    name = _stage(stage)
    dropped = [f"DROP COLUMN {quote_identifier(column)}" for column in table_columns if column not in columns]
    like = f"LIKE {quote_table(plan.schema, plan.table)} INCLUDING CONSTRAINTS"
    statements = [
        drop_stage(stage),  # a pooler may hand on a session with what it holds
        f"CREATE TEMPORARY TABLE {name} ({like}) ON COMMIT DELETE ROWS",
        *([f"ALTER TABLE {name} {', '.join(dropped)}"] if dropped else []),
    ]
    return "; ".join(statements)


def build_open_stage(plan: TablePlan, stage: str) -> str:
    """Statements that make a temporary table for any of the plan's columns, and that refuses no row."""
    names = _list([planned.column.name for planned in plan.columns])
    target = quote_table(plan.schema, plan.table)
    made = f"CREATE TEMPORARY TABLE {_stage(stage)} ON COMMIT DELETE ROWS AS SELECT {names} FROM {target} WITH NO DATA"  # noqa: S608  all quoted
    return f"{drop_stage(stage)}; {made}"


def drop_stage(stage: str) -> str:
    """Removes the temporary table if it is there."""
    return f"DROP TABLE IF EXISTS {_stage(stage)}"


def empty_stage(stage: str) -> str:
    """Removes what an earlier statement of the transaction put in."""
    return f"TRUNCATE {_stage(stage)}"


def build_merge(plan: TablePlan, stage: str, columns: Sequence[str]) -> str:
    """INSERT ... ON CONFLICT from the temporary table. columns: those that are copied; of the plan's others EXCLUDED
    holds the defaults. A row that is there already, byte for byte, is not written again.
    """
    names = [planned.column.name for index, planned in enumerate(plan.columns) if index not in plan.key]
    copied = _list(columns)
    action = "NOTHING"
    if names:
        assignments = ", ".join(f"{quote_identifier(name)} = EXCLUDED.{quote_identifier(name)}" for name in names)
        stored = ", ".join(f"forebay_target.{quote_identifier(name)}" for name in names)
        given = ", ".join(f"EXCLUDED.{quote_identifier(name)}" for name in names)
        action = f"UPDATE SET {assignments} WHERE ROW({stored})::record *<> ROW({given})::record"
    return (
        f"INSERT INTO {quote_table(plan.schema, plan.table)} AS forebay_target ({copied}) "  # noqa: S608  all quoted
        f"SELECT {copied} FROM {_stage(stage)} ON CONFLICT ({_list(plan.key_names)}) DO {action}"
    )


def build_delete(plan: TablePlan, stage: str) -> str:
    """DELETE of the rows whose keys are in the temporary table."""
    same = " AND ".join(f"forebay_target.{name} = forebay_key.{name}" for name in map(quote_identifier, plan.key_names))
    return (
        f"DELETE FROM {quote_table(plan.schema, plan.table)} AS forebay_target "  # noqa: S608  all quoted
        f"USING {_stage(stage)} AS forebay_key WHERE {same}"
    )


def build_careful_merge(plan: TablePlan, stage: str, columns: Sequence[str]) -> str:
    """As build_merge, for a replay: a row that is there already is replaced only if its version is lower."""
    names = [planned.column.name for index, planned in enumerate(plan.columns) if index not in plan.key]
    copied = _list(columns)
    action = "NOTHING"
    if plan.version is not None:
        assignments = ", ".join(f"{quote_identifier(name)} = EXCLUDED.{quote_identifier(name)}" for name in names)
        version = quote_identifier(plan.columns[plan.version].column.name)
        action = f"UPDATE SET {assignments} WHERE forebay_target.{version} < EXCLUDED.{version}"
    return (
        f"INSERT INTO {quote_table(plan.schema, plan.table)} AS forebay_target ({copied}) "  # noqa: S608  all quoted
        f"SELECT {copied} FROM {_stage(stage)} ON CONFLICT ({_list(plan.key_names)}) DO {action}"
    )


def build_careful_delete(plan: TablePlan, stage: str) -> str:
    """As build_delete, for a replay: only rows whose version is lower. The plan must have a version."""
    assert plan.version is not None
    version = quote_identifier(plan.columns[plan.version].column.name)
    return f"{build_delete(plan, stage)} AND forebay_target.{version} < forebay_key.{version}"


def build_find_known(plan: TablePlan, stage: str) -> str:
    """Whether the table has a row of any key in the temporary table."""
    same = " AND ".join(f"forebay_target.{name} = forebay_key.{name}" for name in map(quote_identifier, plan.key_names))
    return (
        f"SELECT EXISTS (SELECT 1 FROM {quote_table(plan.schema, plan.table)} AS forebay_target "  # noqa: S608  all quoted
        f"JOIN {_stage(stage)} AS forebay_key ON {same})"
    )


def build_grant_temporary(database: str, user: str) -> str:
    """The GRANT that lets user make temporary tables."""
    return f"GRANT TEMPORARY ON DATABASE {quote_identifier(database)} TO {quote_identifier(user)};"


def _stage(stage: str) -> str:
    return quote_table(STAGE_SCHEMA, stage)


def _list(columns: Sequence[str]) -> str:
    return ", ".join(map(quote_identifier, columns))
