"""The audit: what the database holds against the ledger of what was delivered. Pure; judges, never queries.

Every good record must be exactly one row, every spoilt one exactly one dead letter, and nothing else may be there.
Facts are gathered in audit_database.py by set operations on ids and offsets, never from counters of Forebay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from forebay_cli.demo.ledger import LedgerSummary


class Spoil(StrEnum):
    """How one row is spoilt on purpose, to show that the audit sees it."""

    LOSE = "lose"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records of one partition that are missing: how many, and the first and last of their offsets."""

    partition: int
    records: int
    first_offset: int
    last_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFacts:
    """What SQL found after the drain.

    rows, distinct_ids: of the table. gaps: good records without a row. surplus_rows: rows beyond the first of each id.
    foreign_rows: rows whose id is of no good record of the ledger.
    dead_letters: of this group and topic. missing_dead_letters: spoilt records without one.
    surplus_dead_letters: beyond the first of each (partition, offset).
    foreign_dead_letters: whose (partition, offset) is of no spoilt record.
    positions: partition -> next offset as stored.
    """

    ledger: LedgerSummary
    rows: int
    distinct_ids: int
    gaps: tuple[Gap, ...]
    surplus_rows: int
    foreign_rows: int
    dead_letters: int
    missing_dead_letters: int
    surplus_dead_letters: int
    foreign_dead_letters: int
    positions: Mapping[int, int]
    dead_letters_by_reason: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """lost: records that are neither where they belong nor anywhere. duplicated: rows and dead letters too many.

    problems: one sentence each; empty if and only if the audit passed.
    """

    produced: int
    rows: int
    dead_letters: int
    lost: int
    duplicated: int
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


def judge_facts(facts: AuditFacts) -> Verdict:
    """Every way in which the facts differ from exactly once."""
    missing_rows = sum(gap.records for gap in facts.gaps)
    return Verdict(
        produced=facts.ledger.produced,
        rows=facts.rows,
        dead_letters=facts.dead_letters,
        lost=missing_rows + facts.missing_dead_letters,
        duplicated=facts.surplus_rows + facts.surplus_dead_letters,
        problems=(
            *_judge_ledger(facts.ledger),
            *_judge_rows(facts),
            *_judge_dead_letters(facts),
            *_judge_positions(facts),
        ),
    )


def _judge_ledger(ledger: LedgerSummary) -> list[str]:
    problems = [
        f"the ledger of partition {partition} has {count} holes: it cannot prove anything"
        for partition, count in ledger.holes.items()
    ]
    if ledger.produced == 0:
        problems.append("nothing was produced: there is nothing to prove")
    return problems


def _judge_rows(facts: AuditFacts) -> list[str]:
    problems = [
        f"{gap.records} records of partition {gap.partition} are not in the table "
        f"(offsets {gap.first_offset} to {gap.last_offset})"
        for gap in facts.gaps
    ]
    if facts.surplus_rows:
        problems.append(f"{facts.surplus_rows} rows are there more than once")
    if facts.foreign_rows:
        problems.append(f"{facts.foreign_rows} rows are of no good record")
    expected = facts.ledger.good
    if not problems and (facts.rows != expected or facts.distinct_ids != expected):
        problems.append(f"{facts.rows} rows with {facts.distinct_ids} distinct ids, expected {expected} of each")
    return problems


def _judge_dead_letters(facts: AuditFacts) -> list[str]:
    problems = []
    if facts.missing_dead_letters:
        problems.append(f"{facts.missing_dead_letters} spoilt records have no dead letter")
    if facts.surplus_dead_letters:
        problems.append(f"{facts.surplus_dead_letters} dead letters are there more than once")
    if facts.foreign_dead_letters:
        problems.append(f"{facts.foreign_dead_letters} dead letters are of no spoilt record")
    if not problems and facts.dead_letters != facts.ledger.poison:
        problems.append(f"{facts.dead_letters} dead letters, expected {facts.ledger.poison}")
    return problems


def _judge_positions(facts: AuditFacts) -> list[str]:
    problems = []
    for partition, end in facts.ledger.ends.items():
        stored = facts.positions.get(partition)
        if stored != end:
            problems.append(f"partition {partition} stands at {stored}, expected {end}")
    extra = {p: n for p, n in facts.positions.items() if p not in facts.ledger.ends and n != 0}
    problems += [f"partition {p} stands at {n} although nothing was sent to it" for p, n in sorted(extra.items())]
    return problems
