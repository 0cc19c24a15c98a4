"""The tables of the comparison's page, made from the trials."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.peers.poison import CASES, Poison
from bench.peers.throughput_notes import NOTES
from bench.peers.trial_plan import Kind, Trial
from bench.peers.variants import Engine, Task, Variant

TASKS = {
    Task.APPEND: "Append, table without a key",
    Task.UPSERT: "Upsert by primary key, every key new",
    Task.REPEATS: "Upsert by primary key, half of the records repeat a key",
}
DRAIN_COLUMNS = {
    "rows_per_second": "rows/s",
    "rows_per_cpu_second": "rows per CPU-second",
    "sink_cpu_seconds": "sink CPU s",
    "postgres_cpu_seconds": "PostgreSQL CPU s",
    "seconds_to_first_commit": "first commit after s",
    "peak_memory_mb": "memory MB",
}
RATIOS = ("rows_per_second", "rows_per_cpu_second")
STEADY_COLUMNS = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "max_ms": "longest ms", "busy_processors": "processors busy"}


def build_sections(
    trials: Sequence[Trial], variants: Mapping[str, Variant], settings: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the sections, each only where there are trials for it."""
    found = [_build_drains(trials, variants, task) for task in Task]
    found += [_build_steady(trials, variants), _build_poison(trials, variants), _build_kill(trials, variants)]
    notes = "\n".join(f"- {note}" for note in NOTES)
    return "\n\n".join(
        [
            *(section for section in found if section),
            f"## How it was done\n\n{notes}",
            f"## Settings of Debezium's sink\n\n{_describe_settings(trials, settings)}",
        ]
    )


def find_ratio(trials: Sequence[Trial], variants: Mapping[str, Variant], task: Task, figure: str) -> float | None:
    """Return Forebay's best median over Debezium's best; None where one of them is missing."""
    best = {}
    for engine in (Engine.FOREBAY, Engine.DEBEZIUM):
        own = [v.name for v in variants.values() if v.engine is engine and v.task is task]
        medians = [statistics.median(values) for name in own if (values := _select(trials, Kind.DRAIN, name, figure))]
        best[engine] = max(medians, default=None)
    ours, theirs = best[Engine.FOREBAY], best[Engine.DEBEZIUM]
    return None if ours is None or theirs is None else ours / theirs


def _build_drains(trials: Sequence[Trial], variants: Mapping[str, Variant], task: Task) -> str:
    rows = [
        [
            variant.label,
            *(describe_spread(_select(trials, Kind.DRAIN, name, figure)) for figure in DRAIN_COLUMNS),
            str(len(_select(trials, Kind.DRAIN, name, "rows_per_second"))),
        ]
        for name, variant in _find(trials, Kind.DRAIN, variants).items()
        if variant.task is task
    ]
    if not rows:
        return ""
    table = build_table([TASKS[task], *DRAIN_COLUMNS.values(), "n"], rows)
    ratios = {figure: find_ratio(trials, variants, task, figure) for figure in RATIOS}
    said = [f"{ratio:.2f} times its {DRAIN_COLUMNS[figure]}" for figure, ratio in ratios.items() if ratio is not None]
    compared = f"\n\nForebay's best beside Debezium's best: {', '.join(said)}." if said else ""
    return f"## {TASKS[task]}\n\n{table}{compared}"


def _build_steady(trials: Sequence[Trial], variants: Mapping[str, Variant]) -> str:
    rows = [
        [
            variant.label,
            variant.task.value,
            *(describe_spread(_select(trials, Kind.STEADY, name, figure)) for figure in STEADY_COLUMNS),
            str(len(_select(trials, Kind.STEADY, name, "p99_ms"))),
        ]
        for name, variant in _find(trials, Kind.STEADY, variants).items()
    ]
    if not rows:
        return ""
    return "## Latency under an even load\n\n" + build_table(["sink", "task", *STEADY_COLUMNS.values(), "n"], rows)


def _build_poison(trials: Sequence[Trial], variants: Mapping[str, Variant]) -> str:
    own = [trial for trial in trials if trial.kind == Kind.POISON]
    if not own:
        return ""
    heads = ["the record", "sink", "good records not written", "written twice", "the record itself", "the sink", "n"]
    rows = []
    for case in dict.fromkeys(trial.case for trial in own):
        for name, variant in variants.items():
            same = [trial for trial in own if trial.case == case and trial.variant == name]
            if same:
                cells = [describe_spread([t.figures[figure] for t in same]) for figure in ("rows_lost", "rows_twice")]
                ends = [describe_fate(same[-1]), describe_stop(same)]
                rows.append([CASES[Poison(case)], variant.label, *cells, *ends, str(len(same))])
    return "## One record that cannot be written\n\n" + build_table(heads, rows) + _list_said(own)


def _build_kill(trials: Sequence[Trial], variants: Mapping[str, Variant]) -> str:
    rows = []
    own = [trial for trial in trials if trial.kind == Kind.KILL]
    for name, variant in _find(trials, Kind.KILL, variants).items():
        same = [trial for trial in own if trial.variant == name]
        figures = ("rows_lost", "rows_twice", "rows_before_kill")
        cells = [describe_spread([trial.figures[figure] for trial in same]) for figure in figures]
        rows.append([variant.label, variant.task.value, *cells, describe_stop(same), str(len(same))])
    if not rows:
        return ""
    heads = ["sink", "task", "rows lost", "rows twice", "rows when it was killed", "the sink", "n"]
    return "## kill -9 in the middle\n\n" + build_table(heads, rows) + _list_said(own)


def describe_fate(trial: Trial) -> str:
    """Return what became of a bad record."""
    if trial.figures["bad_rows_written"]:
        return "written, wrongly"
    if trial.figures["dead_letters"]:
        return "kept as a dead letter"
    return "still the next one" if trial.figures["stays_stopped"] else "gone"


def describe_stop(trials: Sequence[Trial]) -> str:
    """Return whether a sink stopped, and what a person could do."""
    stopped = sum(bool(trial.figures["stopped"]) for trial in trials)
    if not stopped:
        unsettled = sum(bool(trial.figures["stays_stopped"]) for trial in trials)
        return f"did not end in {unsettled} of {len(trials)}" if unsettled else "went on"
    by_hand = max(trial.figures["restarts_by_hand"] for trial in trials)
    stays = sum(bool(trial.figures["stays_stopped"]) for trial in trials)
    end = f"stays so after {by_hand:.0f} restarts by hand" if stays else f"{by_hand:.0f} restarts by hand"
    return f"stopped in {stopped} of {len(trials)}, {end}"


def describe_spread(values: Sequence[float]) -> str:
    """Return the median, with the least and the most where they differ."""
    if not values:
        return "not taken"
    middle, low, high = (_number(value) for value in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def build_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    lines.insert(1, f"|{'---|' * len(heads)}")
    return "\n".join(lines)


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"


def _list_said(trials: Sequence[Trial]) -> str:
    said = dict.fromkeys(f"- {trial.variant} {trial.case}: `{word}`" for trial in trials for word in trial.said)
    return "\n\n" + "\n".join(said) if said else ""


def _describe_settings(trials: Sequence[Trial], settings: Mapping[str, Mapping[str, str]]) -> str:
    """Say what all have in common once, and of each what differs."""
    used = {trial.variant for trial in trials}
    own = {name: dict(each) for name, each in settings.items() if name in used}
    if not own:
        return "None took part."
    first = next(iter(own.values()))
    common = {key: value for key, value in first.items() if all(each.get(key) == value for each in own.values())}
    lines = [f"- all: {_join(common)}"]
    lines += [
        f"- {name}: {_join({key: value for key, value in each.items() if key not in common})}"
        for name, each in own.items()
    ]
    return "\n".join(lines)


def _join(settings: Mapping[str, str]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in settings.items()) or "nothing else"


def _find(trials: Sequence[Trial], kind: Kind, variants: Mapping[str, Variant]) -> dict[str, Variant]:
    used = {trial.variant for trial in trials if trial.kind == kind}
    return {name: variant for name, variant in variants.items() if name in used}


def _select(trials: Sequence[Trial], kind: Kind, variant: str, figure: str) -> list[float]:
    return [trial.figures[figure] for trial in trials if trial.kind == kind and trial.variant == variant]
