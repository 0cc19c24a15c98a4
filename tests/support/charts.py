"""Charts as Helm renders them, and HAProxy's configuration out of one.

What must not live here: what a chart should contain (tests/unit/charts), and writing into the checkout (tools).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from support.programs import program

REPOSITORY = Path(__file__).parents[2]
CHARTS = REPOSITORY / "charts"
HELM_S = 60.0
"""Deadline of one call of Helm, which takes a tenth of a second on a free core."""


class HelmRefused(Exception):
    """Helm ended with an error; `said` is its own explanation."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


@cache
def find_helm() -> Path:
    """Return Helm's path; looked for once a process, since looking asks it for its version."""
    return program("helm")


def helm(*arguments: str, stdin: str = "") -> str:
    """Return what Helm prints; HelmRefused when it fails."""
    done = subprocess.run(
        [find_helm(), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=HELM_S,
        check=False,
    )
    if done.returncode != 0:
        raise HelmRefused(done.stderr)
    return done.stdout


def render_text(chart: str, values: Mapping[str, Any], *, release: str, namespace: str, only: str = "") -> str:
    """Return the release as text; only: path of a single template inside the chart."""
    return _render(chart, json.dumps(values, sort_keys=True), release, namespace, only)


@cache
def _render(chart: str, values: str, release: str, namespace: str, only: str) -> str:
    """Tests ask for the same release again and again; the charts do not change while they run."""
    selection = ["--show-only", only] if only else []
    command = ["template", release, str(CHARTS / chart), "--namespace", namespace, "--values", "-", *selection]
    return helm(*command, stdin=values)


def render(
    chart: str, values: Mapping[str, Any] | None = None, *, release: str = "forebay", namespace: str = "ops"
) -> list[dict[str, Any]]:
    """Return the release's objects."""
    text = render_text(chart, values or {}, release=release, namespace=namespace)
    return [document for document in yaml.safe_load_all(text) if document is not None]


def render_notes(chart: str, values: Mapping[str, Any]) -> str:
    """Return what Helm tells the user after an installation in the namespace `ops`."""
    command = ["install", "forebay", str(CHARTS / chart), "--namespace", "ops", "--dry-run=client", "--values", "-"]
    return helm(*command, stdin=json.dumps(values)).partition("NOTES:\n")[2]


def render_haproxy_config(values: Mapping[str, Any]) -> str:
    """Return haproxy.cfg for these values of the chart patroni-haproxy, as usable on a machine as in a pod."""
    text = render_text("patroni-haproxy", values, release="ha", namespace="bank", only="templates/configmap.yaml")
    config: str = yaml.safe_load(text)["data"]["haproxy.cfg"]
    return config


def pick(objects: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """Return the only object of the kind (and name)."""
    (found,) = (each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found
