"""Mode Upsert from Kafka to the table by the consumer program: it holds what the last record of each key says."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from support.flood import Flood, eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
TENANTS, ACCOUNTS = ("north", "south"), 400

REWIND = """
BEGIN;
SELECT count(*) FROM (SELECT FROM forebay.positions ORDER BY partition FOR UPDATE) AS held;
UPDATE forebay.positions SET next_offset = next_offset * {tenths} / 10;
COMMIT;
"""
"""Locks in the order of the consumers: no deadlock."""

Accounts = dict[tuple[str, int], tuple[str | None, int]]


def produce(run: Flood, dice: random.Random, records: int, model: Accounts) -> None:
    """Changes and deletions of accounts, each also made in the model; keys as a JSON object, so one partition each."""
    producer = Producer({"bootstrap.servers": run.kafka.bootstrap, "enable.idempotence": True, "linger.ms": 20})
    for number in range(records):
        key = (dice.choice(TENANTS), dice.randrange(ACCOUNTS))
        value: dict[str, Any] | None = {"op": "u", "tenant": key[0], "id": key[1], "owner": f"owner {number}"}
        assert value is not None
        match dice.randrange(8):
            case 0:
                value = None
            case 1:
                value["op"] = "d"
            case 2:
                pass  # the balance is left to its default
            case _:
                value["balance_cents"] = number
        if value is None or value["op"] == "d":
            model.pop(key, None)
        else:
            model[key] = (value["owner"], value.get("balance_cents", 0))
        name = json.dumps({"tenant": key[0], "id": key[1]}).encode()
        producer.produce(run.topic, None if value is None else json.dumps(value).encode(), key=name)
        producer.poll(0)
    assert producer.flush(60) == 0


def read_table(run: Flood) -> Accounts:
    """The accounts that are there."""
    lines = run.run_sql("SELECT tenant, id, owner, balance_cents FROM accounts").splitlines()
    rows = [line.split("\t") for line in lines]
    return {(tenant, int(number)): (owner, int(balance)) for tenant, number, owner, balance in rows}


async def test_the_table_holds_the_last_record_of_each_key_after_kills_and_rewinds(
    flood: Callable[..., Flood],
) -> None:
    dice, model = random.Random(6), Accounts()
    sink = yaml.safe_load((SAMPLES / "accounts.yaml").read_text())["spec"]["sink"]
    run = flood(partitions=3, table=(SAMPLES / "accounts.sql").read_text())
    run.sink = {name: sink[name] for name in ("table", "mode", "keyColumns", "deleteWhen")}
    for _ in range(2):
        run.start_consumer()
    await eventually(lambda: sum(c.claimed() for c in run.processes) == 3, 90, run.tails)
    for turn in range(6):
        await asyncio.to_thread(produce, run, dice, 4_000, model)
        if turn % 2:
            run.kill(dice.choice(run.processes))
            run.start_consumer()
        else:  # as a failover does that loses commits, only that it loses no row
            run.run_sql(REWIND.format(tenths=dice.randrange(10)))
    await eventually(lambda: read_table(run) == model, 90, lambda: f"{len(model)} accounts; {run.tails()}")
    await asyncio.sleep(1)  # nothing that is still under way may undo it
    assert read_table(run) == model
    assert run.run_sql("SELECT count(*) FROM forebay.dead_letters") == "0"
