"""Nothing is lost and nothing written twice, whatever happens to a highly available PostgreSQL under load.

The campaign of bench/ as anybody runs it, with fewer faults: one of each kind that interrupts clients.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.campaigns import RUN_S, run_campaign

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KINDS = {
    "cut-network",
    "fill-connections",
    "freeze-etcd",
    "freeze-node",
    "kill-node",
    "kill-patroni",
    "kill-postmaster",
    "lose-tail",
    "restart",
    "stop-all",
    "switchover",
    "terminate-backends",
}


@pytest.mark.timeout(RUN_S + 30)
def test_twelve_faults_of_every_interrupting_kind_lose_and_repeat_nothing(tmp_path: Path) -> None:
    metrics = run_campaign("faults_ha", "--scenario", "short", store=tmp_path / "short.json")["metrics"]

    faults = metrics["faults"]
    assert {fault["kind"] for fault in faults} == KINDS
    assert {fault["mode"] for fault in faults} == {"async", "sync", "quorum"}
    assert [fault["lost"] + fault["duplicated"] + fault["disordered"] for fault in faults] == [0] * 12
    assert all(fault["produced"] > 0 and fault["outage_seconds"] > 0 for fault in faults)
    (tail,) = (fault for fault in faults if fault["kind"] == "lose-tail")
    assert tail["rewound_records"] >= tail["primary_tail_records"] > 0
    # None: a consumer on a busy machine was not asked between the loss and its next claim.
    assert tail["lost_tail_records"] in (None, tail["rewound_records"])


@pytest.mark.timeout(RUN_S + 30)
def test_all_servers_down_loses_nothing_and_no_consumer_leaves_its_group(tmp_path: Path) -> None:
    words = ["--scenario", "everything-down", "--down", "25", "--rate", "1000"]
    # The prediction is from what the consumers drained before, and the machine may have become busier since.
    stored = run_campaign("faults_ha", *words, "--slack", "120", store=tmp_path / "down.json")

    down = stored["everything_down"]
    assert down["backlog_records"] > 20 * 1000
    assert down["looks"] > 5
    assert (down["lost"], down["duplicated"], down["members_lost"], down["processes_restarted"]) == (0, 0, 0, 0)
