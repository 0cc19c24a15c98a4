"""Quoting, and the texts that administrators run."""

from __future__ import annotations

import re

import pytest
from forebay_consumer import schema_ddl, sql, sql_upsert
from forebay_consumer.plan import CopyFormat
from support.decoding import column, plan, sink


@pytest.mark.parametrize(
    ("name", "quoted"), [("events", '"events"'), ('we"ird', '"we""ird"'), ("Grün; DROP", '"Grün; DROP"')]
)
def test_identifiers_are_quoted(name: str, quoted: str) -> None:
    assert sql.quote_identifier(name) == quoted


@pytest.mark.parametrize(
    ("name", "parts"),
    [("events", ("public", "events")), ("bank.payments", ("bank", "payments")), ("a.b.c", ("a", "b.c"))],
)
def test_a_table_without_schema_is_in_public(name: str, parts: tuple[str, str]) -> None:
    assert sql.split_table(name) == parts


def test_the_grant_names_schema_table_and_user_quoted() -> None:
    assert sql.build_grant("bank", "pay", 'o"x', ["INSERT", "DELETE"]) == (
        'GRANT USAGE ON SCHEMA "bank" TO "o""x"; GRANT INSERT, DELETE ON "bank"."pay" TO "o""x";'
    )


def test_binary_copy_has_a_header_and_a_trailer_and_text_has_none() -> None:
    head, tail = sql.copy_frame(CopyFormat.BINARY)
    assert (len(head), head[:6], tail) == (19, b"PGCOPY", b"\xff\xff")
    assert sql.copy_frame(CopyFormat.TEXT) == (b"", b"")


def test_parameters_of_every_statement_are_numbered_without_gaps() -> None:
    statements = {
        name: text
        for name, text in (vars(sql) | vars(sql_upsert)).items()
        if name.isupper() and isinstance(text, str) and name[0] != "_"
    }
    for name, text in statements.items():
        used = {int(number) for number in re.findall(r"\$(\d+)", text)}
        assert used == set(range(1, len(used) + 1)), name
    assert len(statements) > 20


def test_schema_sql_holds_what_a_consumer_executes_itself() -> None:
    text = schema_ddl.schema_sql(owner="keeper", grantee="loader")
    assert all(f"{statement};" in text for statement in schema_ddl.build_tables())
    assert 'AUTHORIZATION "keeper";\nSET LOCAL ROLE "keeper";' in text
    assert 'GRANT SELECT, INSERT, UPDATE ON forebay.positions TO "loader";' in text
    assert '-- GRANT pg_read_all_stats, pg_signal_backend TO "loader";' in text


def test_schema_sql_without_roles_grants_nothing() -> None:
    lines = schema_ddl.schema_sql().splitlines()
    assert not [line for line in lines if line.startswith(("GRANT", "SET"))]


KEYED = plan([column("id", "int8"), column('no"te', "text"), column("state", "text")], sink(key=("state", "id")))


def test_a_merge_updates_every_planned_column_that_is_no_key_also_those_left_out() -> None:
    assert sql_upsert.build_merge(KEYED, "s0", ("id", "state")) == (
        'INSERT INTO "public"."events" AS forebay_target ("id", "state") SELECT "id", "state" FROM "pg_temp"."s0" '
        'ON CONFLICT ("state", "id") DO UPDATE SET "no""te" = EXCLUDED."no""te" '
        'WHERE ROW(forebay_target."no""te")::record *<> ROW(EXCLUDED."no""te")::record'
    )


def test_a_merge_of_keys_alone_leaves_known_rows_as_they_are() -> None:
    keys = plan([column("id", "int8")], sink(key=("id",)))
    assert sql_upsert.build_merge(keys, "s0", ("id",)).endswith('ON CONFLICT ("id") DO NOTHING')


def test_a_stage_has_the_copied_columns_alone() -> None:
    assert sql_upsert.build_stage(KEYED, "s0", ("id", 'no"te', "other"), ("id",)) == (
        'DROP TABLE IF EXISTS "pg_temp"."s0"; '
        'CREATE TEMPORARY TABLE "pg_temp"."s0" (LIKE "public"."events" INCLUDING CONSTRAINTS) ON COMMIT DELETE ROWS; '
        'ALTER TABLE "pg_temp"."s0" DROP COLUMN "no""te", DROP COLUMN "other"'
    )
    assert "ALTER" not in sql_upsert.build_stage(KEYED, "s0", ("id",), ("id",))


def test_a_deletion_compares_every_key_column() -> None:
    assert sql_upsert.build_delete(KEYED, "s0") == (
        'DELETE FROM "public"."events" AS forebay_target USING "pg_temp"."s0" AS forebay_key '
        'WHERE forebay_target."state" = forebay_key."state" AND forebay_target."id" = forebay_key."id"'
    )
