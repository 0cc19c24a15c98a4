"""Turns of the processes that run end-to-end tests side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

import pytest
from support.shared_cluster import Turns

DEADLINE_S = 60.0
LONG_ENOUGH_S = 0.2


def test_several_work_at_a_time_and_none_beside_one_that_is_alone(tmp_path: Path) -> None:
    first, second, loner = (Turns(tmp_path) for _ in range(3))
    with ThreadPoolExecutor(max_workers=2) as threads:
        first.take(alone=False)
        threads.submit(second.take, alone=False).result(DEADLINE_S)
        waiting = threads.submit(loner.take, alone=True)
        first.release()
        with pytest.raises(NotYet):
            waiting.result(LONG_ENOUGH_S)
        second.release()
        waiting.result(DEADLINE_S)

        waiting = threads.submit(first.take, alone=False)
        with pytest.raises(NotYet):
            waiting.result(LONG_ENOUGH_S)
        loner.release()
        waiting.result(DEADLINE_S)
