"""The statements of dead letters, except the one that writes them (sql.py). Pure: text only.

What is chosen stands in the parameters $1 to $7: group, topic, and the fields of letters.Selection, NULL for any.
"""

from __future__ import annotations

_SELECTED = """"group" = $1 AND topic = $2 AND ($3::bigint[] IS NULL OR id = ANY ($3))
  AND ($4::text IS NULL OR reason = $4) AND ($5::int IS NULL OR partition = $5)
  AND ($6::timestamptz IS NULL OR created_at >= $6) AND ($7::timestamptz IS NULL OR created_at < $7)"""

_WHOLE = """id, topic, partition, record_offset, reason, column_name, message, record_key, record_value,
       record_headers::text AS headers, record_timestamp, target, created_at, replayed_at, mirrored_at"""

COUNT_LETTERS = f"""
SELECT reason, count(*) AS letters, count(*) FILTER (WHERE target <> $8) AS elsewhere,
       count(*) FILTER (WHERE mirrored_at IS NULL) AS unmirrored, min(created_at) AS oldest, max(created_at) AS newest
FROM forebay.dead_letters WHERE {_SELECTED} GROUP BY reason ORDER BY letters DESC, reason
"""  # noqa: S608  constants only, as below

LIST_LETTERS = f"""
SELECT id, partition, record_offset AS offset, reason, column_name AS column, message,
       octet_length(record_value) AS size_bytes, created_at, replayed_at
FROM forebay.dead_letters WHERE {_SELECTED} ORDER BY id DESC LIMIT $8
"""  # noqa: S608

READ_LETTERS = f"SELECT {_WHOLE} FROM forebay.dead_letters WHERE {_SELECTED} ORDER BY id"  # noqa: S608

PURGE_LETTERS = f"""
DELETE FROM forebay.dead_letters WHERE id IN (
    SELECT id FROM forebay.dead_letters WHERE {_SELECTED} ORDER BY id LIMIT $8 FOR UPDATE)
RETURNING mirrored_at IS NULL AS is_unmirrored
"""  # noqa: S608

SET_REPLAY = "SELECT set_config('lock_timeout', $1, false), clock_timestamp() AS now"

LOCK_REPLAYS = "SELECT pg_advisory_xact_lock(hashtextextended('forebay.dead_letters ' || $1 || ' ' || $2, 0))"
"""In mode Upsert replays take turns, a transaction each: the newest letter of a key must come first."""

_WAITING = f"{_SELECTED} AND target = $8 AND (replayed_at IS NULL OR replayed_at < $9)"
"""$9: when the replay began. A letter that it has tried bears a later time."""

LOCK_LETTERS = f"""
SELECT id, partition, record_offset, coalesce(octet_length(record_value), 0) + coalesce(octet_length(record_key), 0)
       + coalesce(octet_length(record_headers::text), 0) AS size_bytes
FROM forebay.dead_letters WHERE {_WAITING} ORDER BY record_offset DESC, id DESC LIMIT $10 FOR UPDATE SKIP LOCKED
"""  # noqa: S608

READ_LOCKED = """
SELECT id, partition, record_offset, record_key, record_value, record_headers::text AS headers,
       round(extract(epoch FROM record_timestamp) * 1000)::bigint AS timestamp_ms
FROM forebay.dead_letters WHERE id = ANY ($1) ORDER BY partition, record_offset
"""

COUNT_WAITING = f"SELECT count(*) FROM forebay.dead_letters WHERE {_WAITING}"  # noqa: S608

DELETE_LETTERS = "DELETE FROM forebay.dead_letters WHERE id = ANY ($1)"

KEEP_LETTERS = """
UPDATE forebay.dead_letters d
SET reason = w.reason, column_name = w.column_name, message = w.message, replayed_at = greatest(clock_timestamp(), $1)
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS w(id, reason, column_name, message)
WHERE d.id = w.id
"""
"""greatest: a clock that is set back must not make a replay try the same letters for ever."""

READ_UNMIRRORED = f"""
SELECT {_WHOLE} FROM forebay.dead_letters WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS number,
               sum(coalesce(octet_length(record_value), 0) + coalesce(octet_length(record_key), 0)) OVER (ORDER BY id)
                   AS total_bytes
        FROM (SELECT id, record_value, record_key FROM forebay.dead_letters
              WHERE "group" = $1 AND topic = $2 AND partition = ANY ($3::int[]) AND mirrored_at IS NULL AND id > $4
              ORDER BY id LIMIT $5) AS next
    ) AS summed WHERE number = 1 OR total_bytes <= $6)
ORDER BY id
"""  # noqa: S608
"""At most so many letters ($5), and bytes ($6) unless the first alone has more."""

MARK_MIRRORED = "UPDATE forebay.dead_letters SET mirrored_at = clock_timestamp() WHERE id = ANY ($1)"

OLDEST_UNMIRRORED = """
SELECT count(*) AS letters, extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS age_s
FROM forebay.dead_letters WHERE "group" = $1 AND topic = $2 AND partition = ANY ($3::int[]) AND mirrored_at IS NULL
"""

PURGE_OLD = """
DELETE FROM forebay.dead_letters WHERE id IN (
    SELECT id FROM forebay.dead_letters
    WHERE "group" = $1 AND topic = $2 AND partition = ANY ($3::int[])
      AND created_at < clock_timestamp() - make_interval(days => $4) AND (mirrored_at IS NOT NULL OR NOT $5)
    ORDER BY created_at LIMIT $6 FOR UPDATE SKIP LOCKED)
RETURNING id
"""
