"""The demo with failovers, small: the primary is lost with a tail, all arrives once; and a spoilt row fails it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEADLINE_S = 540.0
"""A minute and a half on two free cores; with other tests beside it the cluster alone may need as long to start."""

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(DEADLINE_S + 30)]

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
RECORDS, SECONDS = 30_000, 24
"""A flood of some 3,800 records/s for 7 s."""


def run_demo(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the last line, all output."""
    body = yaml.safe_load((SAMPLES / "payments.yaml").read_text())
    body["spec"]["consumer"]["maxRowsPerSecond"] = 1_500
    body["spec"]["scaling"]["maxReplicas"] = 3
    body["spec"]["scaling"]["timing"]["scaleInWindowSeconds"] = 8
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(body))
    files = ["--pipeline", str(folder / "pipeline.yaml"), "--table-sql", str(SAMPLES / "payments.sql")]
    wave = ["--records", str(RECORDS), "--seconds", str(SECONDS)]
    command = [sys.executable, "-m", "forebay_cli", "demo", "--ha", *files, *wave, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_primary_lost_with_a_tail_in_the_flood_costs_no_record(tmp_path: Path) -> None:
    code, last, output = run_demo(tmp_path)

    assert code == 0, output
    assert last["produced"] == RECORDS == last["rows"] + last["dead_letters"]
    assert (last["lost"], last["duplicated"]) == (0, 0)
    assert last["failovers"] >= 1
    assert all(0 < seconds < 60 for seconds in last["outage_seconds"][:1]), output
    assert 0 < last["rewound"] <= last["lost_on_old_primary"], output
    for words in (
        "is KILLED",
        "leads now, without them",
        "SinkNotReadyOver",
        "Rewound",
        "none was restarted",
        "PASSED",
    ):
        assert words in output, words


def test_a_lost_row_fails_the_demo_with_failovers(tmp_path: Path) -> None:
    code, last, output = run_demo(tmp_path, "--break", "lose")

    assert (code, last["lost"], last["duplicated"]) == (1, 1, 0), output
    assert "FAILED" in output
