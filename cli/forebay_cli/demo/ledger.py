"""What the producer knows: for each delivered record its partition, offset, id and kind of poison.

The ledger is written from Kafka's delivery reports and from nothing else, so that it can contradict every counter.
A binary file: MAGIC, then entries of ENTRY. A torn last entry (the producer was killed) is an error on reading.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from forebay_cli.errors import BrokenLedger

MAGIC = b"FBLEDG01"
ENTRY = struct.Struct("<HBqq")
"""partition, poison kind, offset, id."""

_READ_ENTRIES = 65_536
"""Entries read at once: about 1.2 MB."""


class Poison(IntEnum):
    """What is wrong with a record on purpose; NONE is a good one. The numbers stand in ledgers."""

    NONE = 0
    INVALID_JSON = 1
    WRONG_TYPE = 2
    MISSING_FIELD = 3
    NULL_FIELD = 4
    NUL_CHARACTER = 5
    INVALID_UTF8 = 6
    OUT_OF_RANGE = 7
    CONSTRAINT = 8


class Entry(NamedTuple):
    """One delivered record. A tuple, because there are millions."""

    partition: int
    poison: int
    offset: int
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSummary:
    """ends: partition -> last offset + 1. holes: partition -> offsets between the first and the last without an entry.

    A hole is a record that Kafka may hold although its report never came (or one of another producer).
    """

    good: int
    poison: int
    ends: dict[int, int]
    holes: dict[int, int]

    @property
    def produced(self) -> int:
        """Records delivered."""
        return self.good + self.poison


class LedgerWriter:
    """Appends entries; `close` makes them durable."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._file.write(MAGIC)
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Append one delivered record."""
        self._file.write(ENTRY.pack(*entry))
        self.count += 1

    def flush(self) -> None:
        """Hand everything added so far to the operating system, so that it outlives this process."""
        self._file.flush()

    def close(self) -> None:
        """Write everything out."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_entries(path: Path) -> Iterator[Entry]:
    """All entries in the order of their reports. Raises BrokenLedger."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BrokenLedger(f"{path}: not a ledger")
        while block := file.read(ENTRY.size * _READ_ENTRIES):
            if len(block) % ENTRY.size:
                raise BrokenLedger(f"{path}: the last entry is torn")
            for fields in ENTRY.iter_unpack(block):
                yield Entry._make(fields)


def summarize_entries(entries: Iterable[Entry]) -> LedgerSummary:
    """Count entries and look at each partition's offsets."""
    counts: dict[int, int] = {}
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    poison = 0
    for entry in entries:
        poison += entry.poison != Poison.NONE
        counts[entry.partition] = counts.get(entry.partition, 0) + 1
        first[entry.partition] = min(first.get(entry.partition, entry.offset), entry.offset)
        last[entry.partition] = max(last.get(entry.partition, entry.offset), entry.offset)
    holes = {p: last[p] - first[p] + 1 - counts[p] for p in sorted(counts)}
    return LedgerSummary(
        good=sum(counts.values()) - poison,
        poison=poison,
        ends={p: last[p] + 1 for p in sorted(last)},
        holes={p: n for p, n in holes.items() if n},
    )
