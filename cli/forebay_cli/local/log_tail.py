"""Reading the consumers' logs: their ends, and what is added to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 0.3

_BYTES_PER_LINE = 500
"""Generous length of a line, to find where the last ones begin."""


def read_last_lines(log: Path, count: int) -> tuple[list[str], int]:
    """The last lines, and how far the file has been read (whole lines only)."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - count * _BYTES_PER_LINE)
        file.seek(start)
        block = file.read()
    whole = block[: block.rfind(b"\n") + 1]
    lines = whole.decode(errors="replace").splitlines()
    if start > 0:
        lines = lines[1:]
    return lines[-count:] if count else [], start + len(whole)


def read_new_lines(log: Path, position: int) -> tuple[list[str], int]:
    """Whole lines added since, and the new position."""
    with log.open("rb") as file:
        file.seek(position)
        block = file.read()
    whole = block[: block.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), position + len(whole)


def follow_logs(folder: Path, positions: dict[Path, int], show: Callable[[Path, str], None]) -> None:
    """Show what is added to any log of the folder, new logs included, until interrupted."""
    while True:
        for log in sorted(folder.glob("*.log")):
            lines, positions[log] = read_new_lines(log, positions.get(log, 0))
            for line in lines:
                show(log, line)
        time.sleep(LOOK_EVERY_S)
