"""Nothing is lost and nothing written twice, whatever happens to consumers, servers and the network between them.

The campaign of bench/ with twenty rounds, always the same: every kind of fault, both modes, both group protocols.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.campaigns import RUN_S, run_campaign

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.timeout(RUN_S + 30)
def test_twenty_rounds_of_random_faults_lose_and_repeat_nothing(tmp_path: Path) -> None:
    stored = run_campaign("faults", "--short", store=tmp_path / "short.json")

    rounds = stored["faults"]
    assert [(r["lost"], r["duplicated"], r["rewound"], r["problems"]) for r in rounds] == [(0, 0, 0, [])] * 20
    assert {r["mode"] for r in rounds} == {"Append", "Upsert"}
    assert {r["lanes"] for r in rounds} == {1, 2, 3}
    assert all(r["produced"] >= 20_000 and r["dead_letters"] > 0 for r in rounds)
    faults = [fault for r in rounds for fault in r["faults"]]
    assert sum(fault["hits"] or 0 for fault in faults if fault["name"].startswith("database-cut")) > 0
    assert stored["summary"]["commits_without_known_outcome"] > 0, "no COMMIT was met: the faults miss their aim"
