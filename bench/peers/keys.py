"""Keys that come again, and what a table holds when every record was written once and in order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is in the table when everything was written once: rows, the sum of ids, and of the last amounts.

    amounts: None = any; otherwise it grows with every record, so that a table with all keys may still lack changes.
    """

    rows: int
    ids: int
    amounts: int | None = None


def draw_repeats(records: int, seed: int = 11) -> Iterator[int]:
    """Yield ids 0, 1, 2, ..., each second one, by chance, replaced by one that came before, evenly from all of them."""
    draw = Random(seed)
    known = 0
    for _ in range(records):
        if known and draw.random() < 0.5:
            yield draw.randrange(known)
        else:
            yield known
            known += 1


def expect_new(records: int) -> Expected:
    """Return what ids 0 to records - 1 leave behind."""
    return Expected(rows=records, ids=records * (records - 1) // 2)


@cache
def expect_repeats(records: int) -> Expected:
    """Return what draw_repeats() leaves behind where each record's amount is its number."""
    last = {identity: number for number, identity in enumerate(draw_repeats(records))}
    return Expected(rows=len(last), ids=sum(last), amounts=sum(last.values()))
