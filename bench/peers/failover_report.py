"""What the trials under faults are stored as: bench/results/failover_peers.json, and the page and plot made from it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.peers.attendant import Care
from bench.peers.failover_trial import FaultName, Outcome
from bench.results import PAGES, RESULTS, Metric, plot

NAME = "failover_peers"
TITLE = "Failovers: Forebay and Debezium's JDBC sink"

FIGURES: Mapping[str, tuple[str, Callable[[Outcome], float | None]]] = {
    "rows_lost": ("rows", lambda o: o.lost),
    "rows_duplicated": ("rows", lambda o: o.duplicated),
    "stopped_for_good": ("times", lambda o: len(o.care.stops)),
    "restarts_by_hand": ("times", lambda o: o.care.hand_restarts),
    "seconds_without_writes": ("s", lambda o: o.seconds_without_writes),
    "start_up_seconds": ("s", lambda o: o.start_up_s),
    "database_outage_seconds": ("s", lambda o: o.database_outage_s),
    "rows_of_the_lost_tail_at_least": ("rows", lambda o: o.tail_rows),
    "records_read_again": ("records", lambda o: o.rewound),
}
"""Names of metrics: their unit and where they are; None is left out."""

FAULTS = {
    FaultName.LOST_TAIL: "The primary dies, and with it commits that it had acknowledged and no replica has",
    FaultName.SWITCHOVER: "Switchover: the primary hands over in order",
    FaultName.KILL_SINK: "kill -9 of the sink; a supervisor starts it again at once",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One sink, one fault, once."""

    peer: str
    fault: FaultName
    turn: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is stored. labels: of each sink, for people. settings: of each sink. notes: how it was done."""

    environment: Mapping[str, object]
    labels: Mapping[str, str]
    settings: Mapping[str, Mapping[str, object]]
    notes: Sequence[str]
    trials: Sequence[Trial]


def write_report(report: Report) -> Path:
    """Store everything; return the JSON's path."""
    metrics = build_metrics(report.trials)
    RESULTS.mkdir(parents=True, exist_ok=True)
    PAGES.mkdir(parents=True, exist_ok=True)
    body = {
        "environment": dict(report.environment),
        "metrics": {key: metric.to_json() for key, metric in metrics.items()},
        "settings": {peer: dict(settings) for peer, settings in report.settings.items()},
        "trials": [asdict(trial) for trial in report.trials],
    }
    file = RESULTS / f"{NAME}.json"
    file.write_text(json.dumps(body, indent=2) + "\n")
    shown = {key: metric for key, metric in metrics.items() if key.endswith(("_rows_lost", "_rows_duplicated"))}
    (PAGES / f"{NAME}.svg").write_text(plot(TITLE, shown))
    (PAGES / f"{NAME}.md").write_text(build_page(report))
    return file


def read_stored() -> tuple[dict[str, object], list[Trial]]:
    """Return environment and trials of the stored run, to make its page again."""
    stored = json.loads((RESULTS / f"{NAME}.json").read_text())
    return stored["environment"], [_read_trial(each) for each in stored["trials"]]


def _read_trial(stored: dict[str, Any]) -> Trial:
    outcome = stored["outcome"]
    care = Care(**{**outcome["care"], "stops": tuple(outcome["care"]["stops"])})
    return Trial(**{**stored, "fault": FaultName(stored["fault"]), "outcome": Outcome(**{**outcome, "care": care})})


def build_metrics(trials: Sequence[Trial]) -> dict[str, Metric]:
    """Return every figure of every sink and fault, by name."""
    metrics: dict[str, Metric] = {}
    for peer, fault in dict.fromkeys((trial.peer, trial.fault) for trial in trials):
        for figure, (unit, _) in FIGURES.items():
            values = _select(trials, peer, fault, figure)
            if values:
                metrics[f"{peer}_{fault}_{figure}".replace("-", "_")] = Metric(values=values, unit=unit)
    return metrics


def build_page(report: Report) -> str:
    """Return the page."""
    parts = [
        f"# {TITLE}\n",
        f"Made by `python -m bench.peers.failover`; the figures are in `bench/results/{NAME}.json`. Each cell is the "
        "median of its repeats, with the least and the most where they differ. "
        "[Why the sinks differ](../offsets-and-failover.md).\n",
        f"![{TITLE}]({NAME}.svg)\n",
    ]
    parts.extend(_build_table(report, fault) for fault in dict.fromkeys(trial.fault for trial in report.trials))
    parts.append("## How it was done\n")
    parts.extend(f"- {note}" for note in report.notes)
    parts.append("\n## Settings\n")
    for peer, settings in report.settings.items():
        said = ", ".join(f"`{key}={value}`" for key, value in settings.items()) or "what it does by itself"
        parts.append(f"- **{report.labels[peer]}**: {said}")
    parts.append("\n## Environment\n")
    parts.extend(f"- {key}: {value}" for key, value in report.environment.items())
    return "\n".join(parts) + "\n"


def _build_table(report: Report, fault: FaultName) -> str:
    has_tail = fault is FaultName.LOST_TAIL
    heads = ["sink", "rows lost", "rows twice", "stopped for good", "seconds without writes", "n"]
    columns = ["rows_lost", "rows_duplicated", "restarts_by_hand", "seconds_without_writes"]
    if has_tail:
        heads[-1:-1] = ["records read again", "rows that the primary died with, at least"]
        columns += ["records_read_again", "rows_of_the_lost_tail_at_least"]
    if fault is FaultName.KILL_SINK:
        heads.insert(-1, "a start takes (s)")
        columns.append("start_up_seconds")
    lines = [f"## {FAULTS[fault]}\n", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for peer, label in report.labels.items():
        own = [trial for trial in report.trials if trial.peer == peer and trial.fault is fault]
        if own:
            cells = [_build_cell(own, peer, fault, column) for column in columns]
            lines.append(f"| {' | '.join([label, *cells, str(len(own))])} |")
    stops = sorted({stop for trial in report.trials if trial.fault is fault for stop in trial.outcome.care.stops})
    lines.extend(["", *(f"Stopped with: `{stop}`\n" for stop in stops)])
    return "\n".join(lines)


def _build_cell(trials: Sequence[Trial], peer: str, fault: FaultName, figure: str) -> str:
    values = _select(trials, peer, fault, figure)
    if figure == "restarts_by_hand":
        return _describe_stops(trials)
    if figure == "seconds_without_writes" and len(values) < len(trials):
        return f"never wrote again in {len(trials) - len(values)} of {len(trials)}"
    if not values:
        return "cannot know" if figure == "records_read_again" else "not taken"
    middle, low, high = statistics.median(values), min(values), max(values)
    return _number(middle) if low == high else f"{_number(middle)} ({_number(low)} to {_number(high)})"


def _describe_stops(trials: Sequence[Trial]) -> str:
    stopped = sum(bool(trial.outcome.care.stops) for trial in trials)
    by_hand = max(trial.outcome.care.hand_restarts for trial in trials)
    return f"{stopped} of {len(trials)}, a person restarted it" if by_hand else f"{stopped} of {len(trials)}"


def _number(value: float) -> str:
    return f"{value:,.1f}" if isinstance(value, float) and value % 1 else f"{value:,.0f}"


def _select(trials: Sequence[Trial], peer: str, fault: FaultName, figure: str) -> list[float]:
    read = FIGURES[figure][1]
    found = [read(trial.outcome) for trial in trials if trial.peer == peer and trial.fault is fault]
    return [round(value, 3) for value in found if value is not None]
