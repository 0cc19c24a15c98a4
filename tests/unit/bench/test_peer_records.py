"""What the peers are given: repeated keys and what they must leave behind, records that cannot be written, settings."""

from __future__ import annotations

import json
from random import Random

import pytest

from bench.peers.debezium import build_schema
from bench.peers.keys import draw_repeats, expect_new, expect_repeats
from bench.peers.mishap_trial import poison_records
from bench.peers.poison import Poison, encode_poison
from bench.peers.runners import choose_settings
from bench.peers.throughput import join_environments, repeat_keys
from bench.peers.variants import Engine, Task, Variant
from bench.rig import draw_payment, encode_payment
from bench.steady_load import describe_moment

REPEATS = Variant(engine=Engine.DEBEZIUM, task=Task.REPEATS, members=2, batch_size=500)


def test_half_of_the_repeats_are_keys_that_came_before() -> None:
    drawn = list(draw_repeats(20_000))

    assert len(set(drawn)) == pytest.approx(10_000, rel=0.05)
    assert list(dict.fromkeys(drawn)) == sorted(set(drawn))
    assert drawn == list(draw_repeats(20_000))


def test_expected_of_repeats_is_what_writing_in_order_leaves() -> None:
    table: dict[int, int] = {}
    for _, value in repeat_keys(3000):
        fields = json.loads(value)
        table[fields["id"]] = fields["amount_cents"]

    expected = expect_repeats(3000)

    assert (expected.rows, expected.ids, expected.amounts) == (len(table), sum(table), sum(table.values()))


def test_expected_of_new_keys_has_each_id_once() -> None:
    assert expect_new(1000).ids == sum(range(1000))


@pytest.mark.parametrize("poison", list(Poison))
def test_one_record_in_the_middle_is_bad(poison: Poison) -> None:
    draw = Random(5)
    plain = [(str(number), encode_payment(draw_payment(number, draw))) for number in range(8)]
    spoilt = list(poison_records(poison, 8))

    assert [number for number in range(8) if plain[number] != spoilt[number]] == [4]


def test_invalid_json_does_not_parse_and_others_do() -> None:
    fields = draw_payment(1, Random(1))

    with pytest.raises(json.JSONDecodeError):
        json.loads(encode_poison(fields, Poison.INVALID_JSON))
    assert json.loads(encode_poison(fields, Poison.NUL))["merchant"] == "merchant\x00zero"
    assert json.loads(encode_poison(fields, Poison.TEXT))["amount_cents"] == "twelve"
    assert json.loads(encode_poison(fields, Poison.NULL))["merchant"] is None


def test_schema_lets_only_the_named_fields_be_null() -> None:
    fields = build_schema(frozenset({"merchant"}))["fields"]

    assert isinstance(fields, list)
    assert [each["field"] for each in fields if each.get("optional")] == ["merchant"]


def test_debezium_reduces_its_batches_only_where_keys_repeat() -> None:
    plain = Variant(engine=Engine.DEBEZIUM, task=Task.UPSERT, members=1, batch_size=3000)

    assert choose_settings(REPEATS).extra == {"use.reduction.buffer": "true"}
    assert choose_settings(REPEATS).batch_size == 500
    assert choose_settings(plain).extra == {}


def test_moment_of_a_record_keeps_every_millisecond() -> None:
    assert describe_moment(1_700_000_000_001) == "2023-11-14T22:13:20.001+00:00"
    assert describe_moment(1_700_000_000_999) == "2023-11-14T22:13:20.999+00:00"


def test_environment_of_a_run_that_went_on_names_every_commit_once() -> None:
    stored: dict[str, object] = {"commit": "a1", "date": "2026-01-01", "cpus": 2}

    joined = join_environments(stored, {"commit": "b2", "date": "2026-01-01", "cpus": 4})

    assert joined == {"commit": "a1, b2", "date": "2026-01-01", "cpus": 2}
    assert join_environments(joined, {"commit": "a1", "date": "2026-01-01"})["commit"] == "a1, b2"
