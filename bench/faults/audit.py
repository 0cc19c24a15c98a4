"""The tables against the ledger of one round. Judging is pure; gathering asks SQL, never Forebay's counters."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from forebay_api.v1alpha1 import SinkMode
from forebay_cli.demo.audit import AuditFacts, Gap, Verdict, judge_facts
from forebay_cli.demo.audit_database import gather_facts, open_connection
from forebay_cli.demo.ledger import Entry, Poison, read_entries, summarize_entries

from bench.faults.records import LastWord, Record, find_certain_poison, find_last_words

_ROWS = "SELECT account, id, amount_cents FROM payments"
_LETTERS = 'SELECT "partition", record_offset FROM forebay.dead_letters WHERE "group" = $1 AND topic = $2'
_POSITIONS = 'SELECT "partition", next_offset FROM forebay.positions WHERE "group" = $1 AND topic = $2'


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the database holds after a round of mode Upsert. rows: account, its last word.

    letters: (partition, offset) of each dead letter. positions: partition -> next offset.
    """

    rows: Sequence[tuple[str, LastWord]]
    letters: Sequence[tuple[int, int]]
    positions: Mapping[int, int]


def audit_round(mode: SinkMode, dsn: str, ledger: Path, records: Sequence[Record], *, group: str) -> Verdict:
    """Compare what is stored with what was delivered; the consumers must have ended. group: the topic's name, too."""
    return asyncio.run(_audit(mode, dsn, ledger, records, group))


async def _audit(mode: SinkMode, dsn: str, ledger: Path, records: Sequence[Record], group: str) -> Verdict:
    async with open_connection(dsn) as connection:
        if mode is SinkMode.APPEND:
            facts = await gather_facts(connection, ledger=ledger, table="payments", group=group, topic=group)
            return judge_facts(facts)
        rows = await connection.fetch(_ROWS)
        letters = await connection.fetch(_LETTERS, group, group)
        positions = await connection.fetch(_POSITIONS, group, group)
    found = Found(
        rows=[(each[0], LastWord(each[1], each[2])) for each in rows],
        letters=[(each[0], each[1]) for each in letters],
        positions={each[0]: each[1] for each in positions},
    )
    return judge_last_words(found, records, list(read_entries(ledger)))


def judge_last_words(found: Found, records: Sequence[Record], delivered: Sequence[Entry]) -> Verdict:
    """Every way in which the table is not what the last record of each key says.

    lost: keys without a row, rows of an earlier record and rows that a tombstone should have removed, and poison
    without a dead letter. duplicated: rows and dead letters beyond the first of their kind.
    """
    expected = find_last_words(records, delivered)
    stored = dict(found.rows)
    stale = sorted(key for key, row in stored.items() if key in expected and row != expected[key])
    undead = sorted(key for key in stored if key not in expected)
    verdict = judge_facts(_build_facts(found, expected, records, delivered))
    more = [f"{len(keys)} {what}: {keys[:5]}" for keys, what in ((stale, _STALE), (undead, _UNDEAD)) if keys]
    return replace(
        verdict,
        produced=len(delivered),
        lost=verdict.lost + len(stale) + len(undead),
        problems=(*verdict.problems, *more),
    )


_STALE = "rows are not of the last record of their key"
_UNDEAD = "rows should not be there"


def _build_facts(
    found: Found, expected: Mapping[str, LastWord], records: Sequence[Record], delivered: Sequence[Entry]
) -> AuditFacts:
    """The facts as the audit of mode Append has them, where a key takes the place of a record."""
    stored = {key for key, _ in found.rows}
    missing = [word.id for key, word in expected.items() if key not in stored]
    places = {entry.id: entry for entry in delivered}
    poison = {(entry.partition, entry.offset) for entry in delivered if entry.poison != Poison.NONE}
    letters = Counter(found.letters)
    certain = find_certain_poison(records, delivered)
    replaced = len(poison - certain - letters.keys())
    ledger = summarize_entries(delivered)
    return AuditFacts(
        ledger=replace(ledger, good=len(expected), poison=len(poison) - replaced),
        rows=len(found.rows) - len(stored - expected.keys()),
        distinct_ids=len(stored & expected.keys()),
        gaps=_find_gaps([places[number] for number in missing]),
        surplus_rows=len(found.rows) - len(stored),
        foreign_rows=0,
        dead_letters=len(found.letters),
        missing_dead_letters=len(certain - letters.keys()),
        surplus_dead_letters=len(found.letters) - len(letters),
        foreign_dead_letters=len(letters.keys() - poison),
        positions=found.positions,
    )


def _find_gaps(missing: Sequence[Entry]) -> tuple[Gap, ...]:
    partitions = sorted({entry.partition for entry in missing})
    offsets = {p: [entry.offset for entry in missing if entry.partition == p] for p in partitions}
    return tuple(
        Gap(partition=p, records=len(own), first_offset=min(own), last_offset=max(own)) for p, own in offsets.items()
    )
