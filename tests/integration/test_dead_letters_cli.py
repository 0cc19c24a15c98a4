"""`forebay dead-letters` as a person uses it, and killed in the middle of a replay."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from forebay_cli.__main__ import LETTERS_LEFT
from support.letters import feeder
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(420)]

FOREBAY = (sys.executable, "-m", "forebay_cli", "dead-letters")
EVENTS = "CREATE TABLE events (id bigint, note varchar(3))"
WIDEN = "ALTER TABLE events ALTER COLUMN note TYPE text"
KILLED_LETTERS = 10_000
DEADLINE_S = 120.0
SLOW_ROWS = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.0005); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
"""Else a replay may be over before a look at it has come back."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder with a pipeline file and its Secret, and a database with that pipeline's letters."""

    rig: SinkRig
    folder: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        command, *more = words
        arguments = [*FOREBAY, command, "pipeline.yaml", *more, "--state-dir", "state"]
        pipe = subprocess.PIPE
        return subprocess.Popen(arguments, cwd=self.folder, text=True, stdout=pipe, stderr=pipe)

    def run(self, *words: str) -> tuple[int, str]:
        """Exit code and everything that was said."""
        process = self.start(*words)
        out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out + err


@pytest.fixture
async def desk(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[Desk]:
    rig = SinkRig(database(), tmp_path / "secrets" / "db")
    spec = {
        "source": {"bootstrapServers": "unused:9092", "topic": "payments"},
        "sink": {"connectionSecretRef": {"name": "db"}, "table": "events"},
    }
    body = {"apiVersion": "forebay.dev/v1alpha1", "kind": "IngestPipeline", "spec": spec}
    body["metadata"] = {"name": "payments", "namespace": "bank"}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(body))
    await rig.run(EVENTS)
    yield Desk(rig, tmp_path)
    for sink in rig.opened:
        await sink.close()


async def test_letters_are_found_shown_replayed_and_purged(desk: Desk) -> None:
    consumer = await feeder(desk.rig, make_pipeline())
    await consumer.write(
        {"id": 1, "note": "too long"}, b"{\xff", {"id": 2, "note": "too long"}, keys=[b"k-1", None, None]
    )

    code, text = desk.run("list")
    assert (code, text.count("OutOfRange"), text.count("InvalidUTF8")) == (0, 3, 2)
    code, text = desk.run("list", "--reason", "outofrange", "--since", "1h", "--limit", "1", "--format", "json")
    told = json.loads(text)
    assert (code, told["counts"][0]["letters"], [letter["offset"] for letter in told["letters"]]) == (0, 2, [2])

    code, text = desk.run("show", "1", "2")
    assert code == 0
    for part in ("k-1", '{"id": 1, "note": "too long"}', "remedy:    widen", "hex 7bff"):
        assert part in text
    code, text = desk.run("show", "1", "77")
    assert (code, "no dead letter 77 of bank/payments" in text) == (1, True)

    code, text = desk.run("replay", "--all")
    assert (code, "2 left: OutOfRange: widen the column's type, then replay" in text) == (LETTERS_LEFT, True)
    await desk.rig.run(WIDEN)
    code, text = desk.run("replay", "--reason", "OutOfRange")
    assert (code, text) == (0, "2 written and no longer dead letters\n")
    assert await desk.rig.value("SELECT count(*) FROM events") == 2

    code, text = desk.run("purge", "--all")
    assert (code, text) == (1, "1 dead letters would be deleted for good; say --yes to do it\n")
    code, text = desk.run("purge", "--all", "--yes")
    assert (code, text) == (0, "1 dead letters deleted\n")
    assert desk.run("list") == (0, "no dead letters\n")


async def test_wrong_words_are_told_with_the_remedy(desk: Desk) -> None:
    assert desk.run("replay") == (
        2,
        "dead-letters replay: name ids, or --reason, --partition, --since, --older-than; or --all\n",
    )
    code, text = desk.run("list", "--reason", "Ugly")
    assert (code, "must be one of InvalidJSON" in text) == (2, True)
    await desk.rig.run("DROP TABLE events")
    code, text = desk.run("replay", "--all")
    assert (code, "TableMissing" in text, "Traceback" in text) == (1, True, False)


async def test_a_replay_that_is_killed_over_and_over_writes_each_row_once(desk: Desk) -> None:
    consumer = await feeder(desk.rig, make_pipeline())
    await consumer.write({"id": -1, "note": "too long"})  # makes the schema
    columns = '"group", topic, partition, record_offset, reason, message, record_value, target'
    value = "convert_to(json_build_object('id', n)::text, 'UTF8')"
    chosen = f'"group", topic, n % 3, n, reason, message, {value}, target'
    source = f"forebay.dead_letters, generate_series(1, {KILLED_LETTERS}) n"
    await desk.rig.run(
        WIDEN,
        SLOW_ROWS,
        f"INSERT INTO forebay.dead_letters ({columns}) SELECT {chosen} FROM {source}",
        "DELETE FROM forebay.dead_letters WHERE partition = 0 AND record_offset = 0",
    )
    chance = random.Random(7)
    kills = 0
    for _ in range(6):
        before = await desk.rig.value("SELECT count(*) FROM forebay.dead_letters")
        process = desk.start("replay", "--all")
        until = time.monotonic() + DEADLINE_S
        while process.poll() is None and time.monotonic() < until:
            left = await desk.rig.value("SELECT count(*) FROM forebay.dead_letters")
            if left < before:
                await asyncio.sleep(chance.random() * 0.05)
                break
        kills += process.poll() is None
        process.kill()
        process.communicate()
    left = await desk.rig.value("SELECT count(*) FROM forebay.dead_letters")
    assert kills >= 3, "the replays were over before they were killed"
    assert 0 < left < KILLED_LETTERS
    assert await desk.rig.value("SELECT count(*) FROM events") == KILLED_LETTERS - left

    await desk.rig.run("DROP TRIGGER slow ON events")
    code, text = desk.run("replay", "--all")

    assert code == 0, text
    assert await desk.rig.value("SELECT count(*) FROM forebay.dead_letters") == 0
    found = await desk.rig.query("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM events")
    assert found == [(KILLED_LETTERS, KILLED_LETTERS, 1, KILLED_LETTERS)]
