"""Waiting for a condition, never for a time: the only clock of the embedded servers."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.03
"""Pause between two looks at a condition; small beside the start of a server, no load worth mentioning."""


def wait_until(condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Look until the condition holds; False when it still does not after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True
