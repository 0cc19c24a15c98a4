"""Runs a campaign of bench/ as anybody runs it, with fewer parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN_S = 1_200
"""Far more than the five minutes that the longest takes on a free machine."""


def run_campaign(module: str, *arguments: str, store: Path) -> dict[str, Any]:
    """Run a module of bench/, and return what it stored; fails with what it said when anything was wrong."""
    command = [sys.executable, "-m", f"bench.{module}", "--store", str(store), *arguments]
    python_path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": python_path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            said, _ = running.communicate(timeout=RUN_S)
        finally:
            running.kill()  # its servers go with it
    assert running.returncode == 0, said[-8000:]
    stored: dict[str, Any] = json.loads(store.read_text())
    return stored
