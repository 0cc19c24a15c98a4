"""The demo as a whole, small: a wave that needs several consumers, audited; and a spoilt one that must fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEADLINE_S = 420.0
"""A minute on two free cores."""

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(DEADLINE_S + 30)]

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
RECORDS, SECONDS = 40_000, 24
"""A flood of some 5,000 records/s for 7 s."""


def run_demo(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the last line, all output."""
    body = yaml.safe_load((SAMPLES / "payments.yaml").read_text())
    body["spec"]["consumer"]["maxRowsPerSecond"] = 1_500
    body["spec"]["scaling"]["maxReplicas"] = 3
    body["spec"]["scaling"]["timing"]["scaleInWindowSeconds"] = 8
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(body))
    files = ["--pipeline", str(folder / "pipeline.yaml"), "--table-sql", str(SAMPLES / "payments.sql")]
    wave = ["--records", str(RECORDS), "--seconds", str(SECONDS)]
    command = [sys.executable, "-m", "forebay_cli", "demo", *files, *wave, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_every_record_arrives_once_while_consumers_rise_and_fall(tmp_path: Path) -> None:
    code, last, output = run_demo(tmp_path)
    assert code == 0, output
    assert last["produced"] == RECORDS == last["rows"] + last["dead_letters"]
    assert last["dead_letters"] > 0
    assert (last["lost"], last["duplicated"]) == (0, 0)
    assert last["replicas_peak"] > last["replicas_end"] == 1


def test_a_lost_row_fails_the_demo(tmp_path: Path) -> None:
    code, last, output = run_demo(tmp_path, "--break", "lose")
    assert (code, last["lost"], last["duplicated"]) == (1, 1, 0), output
    assert "FAILED" in output
