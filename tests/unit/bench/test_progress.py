"""A campaign's progress outlives its process, and is forgotten when asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.progress import add_progress, choose_progress, read_progress


def test_what_was_added_is_read_again_until_a_fresh_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_CACHE", str(tmp_path))
    file = choose_progress("some", fresh=False)
    add_progress(file, {"number": 1})
    add_progress(file, {"number": 2})

    assert read_progress(choose_progress("some", fresh=False)) == [{"number": 1}, {"number": 2}]
    assert read_progress(choose_progress("some", fresh=True)) == []


def test_progress_that_is_not_kept_is_nothing() -> None:
    add_progress(None, {"number": 1})

    assert read_progress(None) == []
