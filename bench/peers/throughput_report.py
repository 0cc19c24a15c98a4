"""What the trials of the comparison are stored as: bench/results/peers.json, and the page and plot made from it."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.peers.throughput_tables import build_sections
from bench.peers.trial_plan import Kind, Trial
from bench.peers.variants import Engine, Task, Variant
from bench.results import RESULTS, Metric, write_results

NAME = "peers"
TITLE = "Forebay beside Debezium's JDBC sink"
DRAIN_FIGURES = {
    "rows_per_cpu_second": "rows/CPU-s",
    "rows_per_second": "rows/s",
    "peak_memory_mb": "MB",
    "sink_cpu_seconds": "CPU-s",
    "postgres_cpu_seconds": "CPU-s",
}
BEST_FIGURES = ("rows_per_cpu_second", "rows_per_second")
STEADY_FIGURES = {"p50_ms": "ms", "p99_ms": "ms", "busy_processors": "processors"}
MISHAP_FIGURES = {
    "rows_lost": "rows",
    "rows_twice": "rows",
    "bad_rows_written": "rows",
    "dead_letters": "records",
    "stopped": "times",
    "restarts_by_hand": "times",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is stored. variants: those that occur and more, by name. settings: Debezium's, by variant."""

    environment: Mapping[str, object]
    variants: Mapping[str, Variant]
    settings: Mapping[str, Mapping[str, str]]
    trials: Sequence[Trial]


def write_report(report: Report) -> Path:
    """Store everything; return the JSON's path."""
    rate = report.environment["records_per_second"]
    metrics = build_metrics(report.trials, report.variants, f"{rate}")
    used = {trial.variant for trial in report.trials}
    more = {
        "settings": {name: dict(settings) for name, settings in report.settings.items() if name in used},
        "trials": [asdict(trial) for trial in report.trials],
    }
    return write_results(
        NAME,
        TITLE,
        report.environment,
        metrics,
        "peers.throughput",
        more=more,
        sections=build_sections(report.trials, report.variants, report.settings),
        shown={name: metric for name, metric in metrics.items() if is_shown(name)},
    )


def read_stored() -> tuple[dict[str, object], list[Trial]] | None:
    """Return environment and trials of the stored run; None where there is none."""
    file = RESULTS / f"{NAME}.json"
    if not file.exists():
        return None
    stored = json.loads(file.read_text())
    trials = [Trial(**{**trial, "said": tuple(trial["said"])}) for trial in stored["trials"]]
    return stored["environment"], trials


def build_metrics(trials: Sequence[Trial], variants: Mapping[str, Variant], rate: str) -> dict[str, Metric]:
    """Return every figure by its published name. rate: of the even load, records/s, for the names."""
    drains = {v: _collect(trials, Kind.DRAIN, v) for v in _find(trials, Kind.DRAIN, variants)}
    steady = {v: _collect(trials, Kind.STEADY, v) for v in _find(trials, Kind.STEADY, variants)}
    return {
        **_name_drains(drains),
        **_name_best(drains),
        **_name_steady(steady, rate),
        **_name_mishaps(trials),
    }


def choose_best(metrics: Iterable[Metric], *, lowest: bool = False) -> Metric:
    """Return the metric with the best median: the highest, or the lowest. There must be one."""
    choose = min if lowest else max
    return choose(metrics, key=lambda metric: statistics.median(metric.values))


def is_shown(name: str) -> bool:
    """Tell whether the plot has this metric: what is compared, and of Debezium its best."""
    if "_ms_at_" in name:
        return re.search(r"_ms_at_\d+$", name) is not None
    if not re.search(r"_rows_per_(cpu_)?second_", name) or name.startswith(("bare_polars", "bare_msgspec")):
        return False
    return name.endswith("_best") or not name.startswith("debezium")


Figures = Mapping[str, Sequence[float]]


def _name_drains(drains: Mapping[Variant, Figures]) -> dict[str, Metric]:
    return {
        f"{_prefix(variant)}_{figure}_{_suffix(variant)}": Metric(values=figures[figure], unit=unit)
        for figure, unit in DRAIN_FIGURES.items()
        for variant, figures in drains.items()
    }


def _name_best(drains: Mapping[Variant, Figures]) -> dict[str, Metric]:
    """Of Debezium the best of all settings, of the bare loops the best encoder for each number of processes."""
    best: dict[str, list[Metric]] = {}
    for figure in BEST_FIGURES:
        for variant, figures in drains.items():
            metric = Metric(values=figures[figure], unit=DRAIN_FIGURES[figure])
            if variant.engine is Engine.DEBEZIUM:
                best.setdefault(f"{_prefix(variant)}_{figure}_best", []).append(metric)
            elif variant.engine.is_bare:
                best.setdefault(f"bare_loop_{figure}_{variant.members}", []).append(metric)
    return {name: choose_best(metrics) for name, metrics in best.items()}


def _name_steady(steady: Mapping[Variant, Figures], rate: str) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {}
    best: dict[str, list[Metric]] = {}
    for figure, unit in STEADY_FIGURES.items():
        for variant, figures in steady.items():
            name = f"{_prefix(variant)}_{figure}_at_{rate}"
            metric = Metric(values=figures[figure], unit=unit)
            metrics[f"{name}_{_suffix(variant)}"] = metric
            best.setdefault(name, []).append(metric)
    return {**{name: choose_best(found, lowest=True) for name, found in best.items()}, **metrics}


def _name_mishaps(trials: Sequence[Trial]) -> dict[str, Metric]:
    found: dict[tuple[str, str], list[float]] = {}
    for trial in trials:
        if trial.kind in (Kind.POISON, Kind.KILL):
            name = "_".join(part for part in (trial.kind, trial.case, trial.variant) if part).replace("-", "_")
            for figure, unit in MISHAP_FIGURES.items():
                found.setdefault((f"{name}_{figure}", unit), []).append(trial.figures[figure])
    return {name: Metric(values=values, unit=unit) for (name, unit), values in found.items()}


def _find(trials: Sequence[Trial], kind: Kind, variants: Mapping[str, Variant]) -> list[Variant]:
    """Those that occur, in the order of the list."""
    used = {trial.variant for trial in trials if trial.kind == kind}
    return [variant for name, variant in variants.items() if name in used]


def _collect(trials: Sequence[Trial], kind: Kind, variant: Variant) -> Figures:
    own = [trial.figures for trial in trials if trial.kind == kind and trial.variant == variant.name]
    return {figure: [each[figure] for each in own] for figure in own[0]}


def _prefix(variant: Variant) -> str:
    task = {Task.APPEND: "append", Task.UPSERT: "upsert", Task.REPEATS: "upsert_repeats"}[variant.task]
    engines = {Engine.FOREBAY: "", Engine.DEBEZIUM: "debezium_"}
    return f"{engines[variant.engine]}{task}" if variant.engine in engines else variant.engine.replace("-", "_")


def _suffix(variant: Variant) -> str:
    return str(variant.members) + ("" if variant.batch_size is None else f"_b{variant.batch_size}")
