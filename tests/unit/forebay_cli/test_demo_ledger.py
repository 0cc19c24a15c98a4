"""The ledger keeps what it was given, and says so when it cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from forebay_cli.demo.ledger import Entry, LedgerWriter, Poison, read_entries, summarize_entries
from forebay_cli.errors import BrokenLedger

ENTRIES = [Entry(0, Poison.NONE, 0, 10), Entry(1, Poison.CONSTRAINT, 0, 11), Entry(0, Poison.NONE, 1, 2**40)]


def write_ledger(path: Path, entries: list[Entry]) -> Path:
    with LedgerWriter(path) as writer:
        for entry in entries:
            writer.add(entry)
    return path


def test_entries_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = write_ledger(tmp_path / "ledger", ENTRIES)
    assert list(read_entries(path)) == ENTRIES


def test_an_empty_ledger_has_no_entries(tmp_path: Path) -> None:
    assert list(read_entries(write_ledger(tmp_path / "ledger", []))) == []


@pytest.mark.parametrize("cut", [1, 18])
def test_a_torn_ledger_is_refused(tmp_path: Path, cut: int) -> None:
    path = write_ledger(tmp_path / "ledger", ENTRIES)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(BrokenLedger, match="torn"):
        list(read_entries(path))


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"id,partition\n1,2\n")
    with pytest.raises(BrokenLedger, match="not a ledger"):
        list(read_entries(tmp_path / "other"))


def test_summary_counts_and_finds_ends() -> None:
    summary = summarize_entries(ENTRIES)
    assert (summary.produced, summary.good, summary.poison) == (3, 2, 1)
    assert summary.ends == {0: 2, 1: 1}
    assert summary.holes == {}


def test_summary_finds_holes_in_reports_that_came_out_of_order() -> None:
    offsets = [5, 2, 3, 9]
    summary = summarize_entries(Entry(7, 0, offset, offset) for offset in offsets)
    assert summary.holes == {7: 4}
    assert summary.ends == {7: 10}
