"""The audit of a round: it says so when something is lost, doubled or stale, and is silent when nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from forebay_api.v1alpha1 import SinkMode
from forebay_cli.demo.ledger import Entry, Poison

from bench.faults.audit import Found, judge_last_words
from bench.faults.plan import PlannedRound, plan_round
from bench.faults.records import (
    LastWord,
    Record,
    build_records,
    find_amount,
    find_certain_poison,
    find_last_words,
)

RECORDS = (
    Record(0, b"a", b"{}", Poison.NONE),
    Record(1, b"b", b"{}", Poison.NONE),
    Record(2, b"a", b"{}", Poison.NONE),
    Record(3, b"c", b"{}", Poison.NONE),
    Record(4, b"c", None, Poison.NONE),
    Record(5, b"b", b"!", Poison.INVALID_JSON),
    Record(6, b"a", b"!", Poison.CONSTRAINT),
    Record(7, b"a", b"{}", Poison.NONE),
)
"""a: three versions, the last counts, and one that the database refuses. b: one, then poison. c: made and deleted."""


def deliver(records: Sequence[Record]) -> list[Entry]:
    """As if all had gone to partition 0, each at the offset of its id."""
    return [Entry(0, int(record.poison), record.id, record.id) for record in records]


def word(number: int) -> LastWord:
    return LastWord(number, find_amount(number))


GOOD = Found(rows=(("a", word(7)), ("b", word(1))), letters=((0, 5),), positions={0: 8})


def judge(found: Found) -> tuple[int, int, str]:
    verdict = judge_last_words(found, RECORDS, deliver(RECORDS))
    assert verdict.produced == len(RECORDS)
    return verdict.lost, verdict.duplicated, "; ".join(verdict.problems)


def test_last_words_with_every_dead_letter_pass() -> None:
    assert judge(GOOD) == (0, 0, "")


def test_refused_record_that_was_replaced_may_have_a_dead_letter() -> None:
    assert judge(replace(GOOD, letters=((0, 5), (0, 6)))) == (0, 0, "")


@pytest.mark.parametrize(
    ("found", "lost", "duplicated", "says"),
    [
        pytest.param(replace(GOOD, rows=GOOD.rows[1:]), 1, 0, "1 records of partition 0", id="row-lost"),
        pytest.param(replace(GOOD, rows=(*GOOD.rows, GOOD.rows[0])), 0, 1, "more than once", id="row-doubled"),
        pytest.param(
            replace(GOOD, rows=(("a", word(2)), GOOD.rows[1])), 1, 0, "not of the last record", id="row-stale"
        ),
        pytest.param(
            replace(GOOD, rows=(("a", LastWord(7, 1)), GOOD.rows[1])), 1, 0, "not of the last record", id="row-mixed"
        ),
        pytest.param(replace(GOOD, rows=(*GOOD.rows, ("c", word(3)))), 1, 0, "should not be there", id="deletion-lost"),
        pytest.param(
            replace(GOOD, rows=(*GOOD.rows, ("z", word(3)))), 1, 0, "should not be there", id="row-of-no-record"
        ),
        pytest.param(replace(GOOD, letters=()), 1, 0, "no dead letter", id="dead-letter-lost"),
        pytest.param(replace(GOOD, letters=((0, 5), (0, 5))), 0, 1, "more than once", id="dead-letter-doubled"),
        pytest.param(replace(GOOD, letters=((0, 5), (0, 2))), 0, 0, "of no spoilt record", id="dead-letter-of-a-good"),
        pytest.param(replace(GOOD, positions={0: 7}), 0, 0, "stands at 7", id="position-behind"),
        pytest.param(replace(GOOD, positions={0: 9}), 0, 0, "stands at 9", id="position-ahead"),
        pytest.param(replace(GOOD, positions={0: 8, 1: 3}), 0, 0, "nothing was sent", id="position-of-nothing"),
    ],
)
def test_audit_says_what_is_wrong(found: Found, lost: int, duplicated: int, says: str) -> None:
    judged = judge(found)

    assert judged[:2] == (lost, duplicated)
    assert says in judged[2]


def test_audit_refuses_a_ledger_with_a_hole() -> None:
    verdict = judge_last_words(GOOD, RECORDS, [entry for entry in deliver(RECORDS) if entry.id != 3])

    assert any("1 holes" in problem for problem in verdict.problems)


def test_last_word_follows_offsets_and_not_the_order_of_reports() -> None:
    assert find_last_words(RECORDS, reversed(deliver(RECORDS))) == {"a": word(7), "b": word(1)}


def test_refused_record_that_nothing_replaces_must_have_a_dead_letter() -> None:
    records = RECORDS[:7]

    assert find_certain_poison(records, deliver(records)) == {(0, 5), (0, 6)}
    assert find_certain_poison(RECORDS, deliver(RECORDS)) == {(0, 5)}


def find_round(mode: SinkMode) -> PlannedRound:
    return next(planned for planned in map(plan_round, range(1, 100)) if planned.mode is mode)


@pytest.mark.parametrize("mode", list(SinkMode))
def test_records_follow_from_the_plan_and_hold_some_poison(mode: SinkMode) -> None:
    planned = find_round(mode)
    records = build_records(planned)

    assert records == build_records(planned)
    assert [record.id for record in records] == list(range(planned.records))
    assert 0 < sum(record.poison is not Poison.NONE for record in records) < 0.01 * len(records)


def test_changes_repeat_keys_and_delete_some() -> None:
    planned = find_round(SinkMode.UPSERT)
    records = build_records(planned)

    assert len({record.key for record in records}) <= planned.keys < len(records) / 3
    tombstones = sum(record.value is None for record in records)
    assert 0.5 * planned.tombstones < tombstones / len(records) < 2 * planned.tombstones
