"""What a person must repair is said with its remedy, and mended without a restart; positions by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forebay_api.v1alpha1 import PostgresClusterRef, TlsMode
from forebay_consumer.errors import Fenced, SinkBroken, SinkUnavailable
from forebay_consumer.postgres_sink.admin import PositionsHeld, open_positions
from forebay_consumer.postgres_sink.connection import build_ssl
from forebay_consumer.schema_ddl import schema_sql
from support.rows import rows_batch, rows_chunk
from support.sinks import SinkRig, make_pipeline, write_secret
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration

TABLE = "CREATE TABLE events (id bigint, note text)"


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        await sink.close()


@pytest.fixture
async def guest(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    """A rig whose role owns nothing and may create nothing."""
    made = SinkRig(database(owner=False), tmp_path / "secret")
    yield made
    for sink in made.opened:
        await sink.close()
    await made.run(f'DROP OWNED BY "{made.database.user}"', as_user=False)


async def test_a_missing_table_is_named_and_found_once_it_exists(rig: SinkRig) -> None:
    sink = rig.sink()
    with pytest.raises(SinkBroken, match=r"spec\.sink\.table.*public\.events") as broken:
        await sink.connect()
    assert broken.value.reason == "TableMissing"
    await rig.run(TABLE)
    assert (await sink.connect()).table == "events"


@pytest.mark.parametrize(
    "ddl",
    [
        pytest.param("CREATE VIEW events AS SELECT 1::bigint AS id", id="view"),
        pytest.param("CREATE MATERIALIZED VIEW events AS SELECT 1::bigint AS id", id="materialized-view"),
        pytest.param(
            "CREATE TABLE events (id bigint); ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            id="row-level-security",
        ),
    ],
)
async def test_what_copy_cannot_fill_is_refused_at_connect(rig: SinkRig, ddl: str) -> None:
    await rig.run(ddl)
    with pytest.raises(SinkBroken, match=r"spec\.sink\.table") as broken:
        await rig.sink().connect()
    assert broken.value.reason == "TableNotWritable"


async def test_a_required_column_that_nothing_fills_is_named(rig: SinkRig) -> None:
    await rig.run("CREATE TABLE events (id bigint, at timestamptz NOT NULL)")
    pipeline = make_pipeline(columns=("id",))
    with pytest.raises(SinkBroken, match=r"\bat\b") as broken:
        await rig.sink(pipeline).connect()
    assert broken.value.reason == "ColumnUnfilled"


async def test_a_wrong_password_is_read_again_at_the_next_connect(rig: SinkRig) -> None:
    await rig.run(TABLE)
    right = (rig.folder / "password").read_text()
    sink = rig.sink()
    write_secret(rig.folder, password="wrong")
    with pytest.raises(SinkBroken, match="Secret") as broken:
        await sink.connect()
    assert broken.value.reason == "AuthenticationFailed"
    write_secret(rig.folder, password=right)
    assert await sink.connect()


async def test_a_rotated_user_is_read_at_the_next_connect(rig: SinkRig) -> None:
    """The user's name changes with the rotation, and its Secret holds nothing of where the database is."""
    await rig.run(TABLE)
    parts, rotated = rig.database.parts, f"{rig.database.user}_260131"
    folder = write_secret(rig.folder.parent / "zalando", username=parts.user, password=parts.password)
    cluster = PostgresClusterRef(
        name="acid", user="ingest", database=parts.dbname, service_name=parts.host, port=parts.port
    )
    sink = rig.sink(make_pipeline(cluster=cluster), folder=folder)
    await sink.connect()
    assert await rig.consumer_users() == [parts.user]
    await rig.run(f'CREATE ROLE "{rotated}" LOGIN PASSWORD \'new\' IN ROLE "{parts.user}"', as_user=False)
    try:
        write_secret(folder, username=rotated, password="new")
        await sink.connect()
        assert await rig.consumer_users() == [rotated]
        await sink.initialize({0: 0}, first_start=True)
        assert (await sink.write(rows_batch(await sink.claim([0]), rows_chunk([(1, "x")])))).rows == 1
    finally:
        await sink.close()
        await rig.wait_until_gone()
        await rig.run(f'DROP OWNED BY "{rotated}"', f'DROP ROLE "{rotated}"', as_user=False)


async def test_an_unreachable_server_is_unavailable(rig: SinkRig) -> None:
    write_secret(rig.folder, port=1)
    with pytest.raises(SinkUnavailable):
        await rig.sink().connect()


async def test_a_session_that_may_only_read_is_unavailable(rig: SinkRig) -> None:
    await rig.run(f'ALTER ROLE "{rig.database.user}" SET default_transaction_read_only = on', as_user=False)
    with pytest.raises(SinkUnavailable) as seen:
        await rig.sink().connect()
    assert seen.value.reason == "ReadOnly"


async def test_without_rights_the_sql_to_run_is_shown_and_suffices(guest: SinkRig) -> None:
    user = guest.database.user
    await guest.run(TABLE, as_user=False)
    sink = guest.sink()
    with pytest.raises(SinkBroken) as broken:
        await sink.connect()
    assert (broken.value.reason, schema_sql(grantee=user) in broken.value.message) == ("SchemaMissing", True)
    await guest.run(schema_sql(grantee=user), as_user=False)
    with pytest.raises(SinkBroken, match="GRANT INSERT ON") as broken:
        await sink.connect()
    assert broken.value.reason == "PermissionDenied"
    await guest.run(broken.value.message.split("run as its owner: ")[1], as_user=False)
    await sink.connect()
    await sink.initialize({0: 0}, first_start=True)
    receipt = await sink.write(rows_batch(await sink.claim([0]), rows_chunk([(1, "x")])))
    assert receipt.rows == 1


async def test_missing_rights_in_the_schema_are_named_with_the_grants(guest: SinkRig) -> None:
    await guest.run(TABLE, schema_sql(), as_user=False)
    sink = guest.sink()
    with pytest.raises(SinkBroken, match="USAGE ON SCHEMA forebay") as broken:
        await sink.connect()
    await guest.run(broken.value.message.split("owner of schema forebay: ")[1], as_user=False)
    await guest.run(f'REVOKE UPDATE ON forebay.positions FROM "{guest.database.user}"', as_user=False)
    with pytest.raises(SinkBroken, match=r"lacks UPDATE ON forebay\.positions"):
        await sink.connect()


async def test_the_schema_belongs_to_the_owner_role_if_one_is_named(rig: SinkRig) -> None:
    text = schema_sql(owner=rig.database.user, grantee=None)
    await rig.run(text, text, as_user=False)
    owners = await rig.query("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'forebay'")
    assert owners == [(rig.database.user,)]


async def test_a_newer_schema_is_refused(rig: SinkRig) -> None:
    await rig.run(TABLE)
    await rig.sink().connect()
    await rig.run("INSERT INTO forebay.schema_version (version) VALUES (99)")
    with pytest.raises(SinkBroken, match="version 99") as broken:
        await rig.sink().connect()
    assert broken.value.reason == "SchemaTooNew"


async def test_consumers_that_start_together_make_the_schema_once(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sinks = [rig.sink() for _ in range(4)]
    plans = await asyncio.gather(*(sink.connect() for sink in sinks))
    assert [plan.table for plan in plans] == ["events"] * 4
    assert await rig.query("SELECT version FROM forebay.schema_version") == [(1,)]


async def test_the_session_tells_who_it_is_and_waits_for_no_lock_for_long(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink = rig.sink(consumer="c" * 80)
    await sink.connect()
    assert sink._session is not None
    pid = sink._session.backend.pid
    name = await rig.value("SELECT application_name FROM pg_stat_activity WHERE pid = $1", pid)
    assert name == f"forebay:bank/payments:{'c' * 80}"[:63]
    settings = await sink._session.fetch(
        "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), "
        "current_setting('client_connection_check_interval'), current_setting('TimeZone')"
    )
    assert tuple(settings[0]) == ("2s", "10s", "5s", "UTC")


async def test_a_lost_connection_is_unavailable_and_comes_back(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed()
    assert sink._session is not None
    await rig.value("SELECT pg_terminate_backend($1, 5000)", sink._session.backend.pid)
    with pytest.raises(SinkUnavailable):
        await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    await sink.connect()
    assert (await sink.claim([0]))[0].next_offset == 0


async def test_positions_are_listed_and_reset_only_while_nobody_holds_them(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed((0, 1))
    async with open_positions(make_pipeline(), secret_dir=rig.folder) as admin:
        assert [(p.partition, p.is_held) for p in await admin.list()] == [(0, True), (1, True)]
        with pytest.raises(PositionsHeld, match=r"consumers hold partitions \[0, 1\]"):
            await admin.reset({0: 5}, "topic-2")
        assert sink._session is not None
        await sink.close()
        await rig.wait_until_gone()
        await admin.reset({0: 5, 2: 7}, "topic-2")
        assert [(p.partition, p.next_offset, p.topic_id, p.is_held) for p in await admin.list()] == [
            (0, 5, "topic-2", False),
            (1, 0, None, False),
            (2, 7, "topic-2", False),
        ]
    await sink.connect()
    with pytest.raises(Fenced):
        await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    assert (await sink.claim([0]))[0].next_offset == 5


async def test_a_reset_hands_positions_to_another_pipeline(rig: SinkRig) -> None:
    await rig.run(TABLE, "CREATE TABLE others (id bigint)")
    sink, _ = await rig.claimed()
    await sink.close()
    await rig.wait_until_gone()
    other = make_pipeline("others", name="moved")
    async with open_positions(other, secret_dir=rig.folder) as admin:
        await admin.reset({0: 9}, None)
    _, claims = await rig.claimed(pipeline=other)
    assert claims[0].next_offset == 9


def test_a_ca_that_cannot_be_read_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(SinkBroken, match=r"spec\.sink\.tls\.caSecretRef"):
        build_ssl(TlsMode.VERIFY_FULL, tmp_path / "missing.pem")
