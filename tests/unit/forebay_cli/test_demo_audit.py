"""The audit fails for every way in which a table can differ from exactly once."""

from __future__ import annotations

import dataclasses

import pytest
from forebay_cli.demo.audit import AuditFacts, Gap, judge_facts
from forebay_cli.demo.ledger import LedgerSummary

CLEAN = AuditFacts(
    ledger=LedgerSummary(good=98, poison=2, ends={0: 60, 1: 40}, holes={}),
    rows=98,
    distinct_ids=98,
    gaps=(),
    surplus_rows=0,
    foreign_rows=0,
    dead_letters=2,
    missing_dead_letters=0,
    surplus_dead_letters=0,
    foreign_dead_letters=0,
    positions={0: 60, 1: 40},
)
GAP = Gap(partition=1, records=3, first_offset=10, last_offset=12)


def test_audit_passes_when_everything_is_there_once() -> None:
    verdict = judge_facts(CLEAN)
    assert verdict.passed
    assert (verdict.produced, verdict.rows, verdict.dead_letters) == (100, 98, 2)
    assert (verdict.lost, verdict.duplicated) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "lost", "duplicated", "words"),
    [
        pytest.param(
            {"rows": 95, "distinct_ids": 95, "gaps": (GAP,)}, 3, 0, "3 records of partition 1", id="lost-rows"
        ),
        pytest.param({"rows": 99, "surplus_rows": 1}, 0, 1, "1 rows are there more than once", id="row-twice"),
        pytest.param(
            {"rows": 98, "distinct_ids": 97, "gaps": (dataclasses.replace(GAP, records=1),), "surplus_rows": 1},
            1,
            1,
            "1 records of partition 1",
            id="one-lost-and-one-twice-cancel-out-in-counts",
        ),
        pytest.param({"foreign_rows": 1}, 0, 0, "of no good record", id="row-of-a-spoilt-record"),
        pytest.param({"rows": 97}, 0, 0, "97 rows with 98 distinct", id="count-alone-differs"),
        pytest.param(
            {"dead_letters": 1, "missing_dead_letters": 1}, 1, 0, "have no dead letter", id="dead-letter-lost"
        ),
        pytest.param(
            {"dead_letters": 3, "surplus_dead_letters": 1}, 0, 1, "dead letters are there", id="dead-letter-twice"
        ),
        pytest.param({"foreign_dead_letters": 1}, 0, 0, "of no spoilt record", id="good-record-dead-lettered"),
        pytest.param({"dead_letters": 3}, 0, 0, "3 dead letters, expected 2", id="dead-letter-count-alone-differs"),
        pytest.param({"positions": {0: 60, 1: 39}}, 0, 0, "partition 1 stands at 39", id="position-behind"),
        pytest.param({"positions": {0: 60}}, 0, 0, "partition 1 stands at None", id="position-missing"),
        pytest.param({"positions": {0: 60, 1: 40, 2: 5}}, 0, 0, "nothing was sent", id="position-of-nothing"),
    ],
)
def test_audit_fails(changes: dict[str, object], lost: int, duplicated: int, words: str) -> None:
    verdict = judge_facts(dataclasses.replace(CLEAN, **changes))  # type: ignore[arg-type]
    assert not verdict.passed
    assert (verdict.lost, verdict.duplicated) == (lost, duplicated)
    assert any(words in problem for problem in verdict.problems)


@pytest.mark.parametrize(
    ("ledger", "words"),
    [
        pytest.param(LedgerSummary(good=98, poison=2, ends={0: 60, 1: 40}, holes={1: 4}), "4 holes", id="holes"),
        pytest.param(LedgerSummary(good=0, poison=0, ends={}, holes={}), "nothing was produced", id="empty"),
    ],
)
def test_audit_fails_when_the_ledger_proves_nothing(ledger: LedgerSummary, words: str) -> None:
    verdict = judge_facts(dataclasses.replace(CLEAN, ledger=ledger))
    assert not verdict.passed
    assert any(words in problem for problem in verdict.problems)


def test_an_untouched_partition_at_its_start_is_no_problem() -> None:
    assert judge_facts(dataclasses.replace(CLEAN, positions={0: 60, 1: 40, 2: 0})).passed
