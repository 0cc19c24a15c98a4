"""How figures are stored: medians with their spread and the environment as JSON, and a table and a plot made from that.

Nothing here measures. Nothing in docs/benchmarks/ is typed by hand.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGES = ROOT / "docs" / "benchmarks"
PACKAGES = ("asyncpg", "confluent-kafka", "msgspec", "pgpq", "polars", "uvloop")

COLOURS = {"bare": "#9aa5b1", "debezium": "#d97706"}
"""Of bars in whose name the word is."""
OWN_COLOUR = "#2563eb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Repeats of one figure. at_most: the goal that it is measured against; None: there is none.

    about: how it was taken, for the page.
    """

    values: Sequence[float]
    unit: str
    at_most: float | None = None
    about: str = ""

    def to_json(self) -> dict[str, object]:
        """Median, spread and count."""
        return {
            "median": round(statistics.median(self.values), 3),
            "min": round(min(self.values), 3),
            "max": round(max(self.values), 3),
            "n": len(self.values),
            "unit": self.unit,
            **({} if self.at_most is None else {"at_most": self.at_most}),
            **({"about": self.about} if self.about else {}),
            "values": [round(value, 3) for value in self.values],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Metric:
        """The inverse of to_json()."""
        return cls(values=body["values"], unit=body["unit"], at_most=body.get("at_most"), about=body.get("about", ""))

    def judge(self) -> str:
        """Whether the goal was met, in a word or two; nothing without a goal."""
        if self.at_most is None:
            return ""
        met = sum(value <= self.at_most for value in self.values)
        return "met" if met == len(self.values) else f"missed in {len(self.values) - met} of {len(self.values)}"


def describe_environment(packages: Sequence[str] = PACKAGES, **more: object) -> dict[str, object]:
    """What the figures depend on besides the code."""
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kb / 2**20, 1),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        **more,
    }


def write_results(
    name: str,
    title: str,
    environment: Mapping[str, object],
    metrics: Mapping[str, Metric],
    made_by: str | None = None,
    *,
    more: Mapping[str, object] | None = None,
    sections: str = "",
    shown: Mapping[str, Metric] | None = None,
) -> Path:
    """Store bench/results/NAME.json, and the page and plot made from it; returns the JSON's path.

    made_by: the module of bench/ that measured, where its name is another. more: further keys of the JSON.
    sections: of the page, before the table of all metrics. shown: what the plot has; None = every metric.
    """
    PAGES.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{name}.json"
    write_json(file, environment, metrics, more)
    (PAGES / f"{name}.svg").write_text(plot(title, metrics if shown is None else shown))
    (PAGES / f"{name}.md").write_text(_page(name, made_by or name, title, environment, metrics, sections))
    return file


def write_json(
    file: Path, environment: Mapping[str, object], metrics: Mapping[str, Metric], more: Mapping[str, object] | None
) -> None:
    """Store the figures alone; see write_results."""
    file.parent.mkdir(parents=True, exist_ok=True)
    body = {"environment": dict(environment), "metrics": {key: metric.to_json() for key, metric in metrics.items()}}
    draft = file.with_suffix(".tmp")  # an interrupted run must not leave half a file to go on from
    draft.write_text(json.dumps({**body, **(more or {})}, indent=2) + "\n")
    draft.replace(file)


def _page(
    name: str,
    made_by: str,
    title: str,
    environment: Mapping[str, object],
    metrics: Mapping[str, Metric],
    sections: str,
) -> str:
    has_goals = any(m.at_most is not None for m in metrics.values())
    rows = [
        f"| {key} | {_number(m, 'median')} | {_number(m, 'min')} | {_number(m, 'max')} | {len(m.values)} | {m.unit} |"
        + (f" {_goal(m)} |" if has_goals else "")
        for key, m in metrics.items()
    ]
    facts = "\n".join(f"- {key}: {value}" for key, value in environment.items())
    notes = "\n".join(f"- {key}: {m.about}" for key, m in metrics.items() if m.about)
    goal, line = (" goal |", "---|") if has_goals else ("", "")
    return (
        f"# {title}\n\nMade by `python -m bench.{made_by}`; the figures are in `bench/results/{name}.json`. "
        "Variants of one run are interleaved: compare them with each other, not with another machine's.\n\n"
        f"![{title}]({name}.svg)\n\n"
        + (f"{sections}\n\n## All figures\n\n" if sections else "")
        + f"| metric | median | min | max | n | unit |{goal}\n|---|---|---|---|---|---|{line}\n"
        + "\n".join(rows)
        + (f"\n\n## How each was taken\n\n{notes}" if notes else "")
        + f"\n\n## Environment\n\n{facts}\n"
    )


def _goal(metric: Metric) -> str:
    return "" if metric.at_most is None else f"≤ {metric.at_most:g}: {metric.judge()}"


def _number(metric: Metric, which: str) -> str:
    value = metric.to_json()[which]
    assert isinstance(value, float | int)
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def plot(title: str, metrics: Mapping[str, Metric]) -> str:
    """Horizontal bars of the medians, one panel a unit, whiskers from minimum to maximum."""
    parts: list[str] = []
    y = 30
    for unit in dict.fromkeys(m.unit for m in metrics.values()):
        panel = {k: m for k, m in metrics.items() if m.unit == unit}
        scale = 380 / (max(max(m.values) for m in panel.values()) or 1.0)
        parts.append(f'<text x="8" y="{y + 14}" font-weight="bold">{unit}</text>')
        y += 22
        for key, m in panel.items():
            middle, low, high = statistics.median(m.values) * scale, min(m.values) * scale, max(m.values) * scale
            colour = next((colour for word, colour in COLOURS.items() if word in key), OWN_COLOUR)
            parts.append(
                f'<text x="300" y="{y + 12}" text-anchor="end">{key}</text>'
                f'<rect x="308" y="{y}" width="{middle:.0f}" height="14" fill="{colour}"/>'
                f'<path d="M{308 + low:.0f} {y + 7}H{308 + high:.0f}" stroke="#111"/>'
                f'<text x="{316 + high:.0f}" y="{y + 12}">{_number(m, "median")}</text>'
            )
            y += 19
        y += 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{y}" font-family="sans-serif" font-size="11">'
        f'<rect width="800" height="{y}" fill="#fff"/><text x="8" y="18" font-size="14">{title}</text>'
        + "".join(parts)
        + "</svg>\n"
    )
