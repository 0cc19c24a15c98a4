"""What a long campaign has done so far, a line of JSON for each part: an interrupted one goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from forebay_cli.local.downloads import choose_cache_folder


def choose_progress(name: str, *, fresh: bool) -> Path:
    """Return the file of the campaign of this name; fresh: forget what an earlier run did."""
    folder = choose_cache_folder(os.environ) / "campaigns"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    if fresh:
        file.unlink(missing_ok=True)
    return file


def read_progress(file: Path | None) -> list[dict[str, Any]]:
    """Return what is done, in the order in which it was; None: nothing is kept."""
    if file is None or not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


def add_progress(file: Path | None, done: dict[str, Any]) -> None:
    """Note one more part."""
    if file is not None:
        with file.open("a") as kept:
            kept.write(json.dumps(done) + "\n")
