"""A campaign's entries as they are stored: JSON, a page and a plot. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.faults.entry import Entry, FaultFact
from bench.results import Metric, write_json, write_results

NAME = "faults"
TITLE = "Random faults of the write path"


def build_entry(body: Mapping[str, Any]) -> Entry:
    """Return what asdict() and JSON made of an entry."""
    faults = tuple(FaultFact(**fault) for fault in body["faults"])
    return Entry(**{**body, "faults": faults, "problems": tuple(body["problems"])})


def summarize(entries: Sequence[Entry], planned: int) -> dict[str, object]:
    """Return the sums over all rounds."""
    return {
        "rounds_planned": planned,
        "rounds_done": len(entries),
        "rounds_with_problems": sum(bool(each.problems) for each in entries),
        "faults_done": sum(len(each.faults) for each in entries),
        "records_produced": sum(each.produced for each in entries),
        "dead_letters": sum(each.dead_letters for each in entries),
        "records_lost": sum(each.lost for each in entries),
        "records_duplicated": sum(each.duplicated for each in entries),
        "records_rewound": sum(each.rewound for each in entries),
        "commits_without_known_outcome": sum(each.unknown for each in entries),
        "batches_fenced": sum(each.fenced for each in entries),
        "transactions_retried": sum(each.retries for each in entries),
        "seconds": round(sum(each.took_seconds for each in entries)),
    }


def build_metrics(entries: Sequence[Entry]) -> dict[str, Metric]:
    """Return the spreads: by mode and protocol, and of rounds that had only one fault, by its kind."""
    made: dict[str, Metric] = {}
    for mode, protocol in sorted({(each.mode, each.protocol) for each in entries}):
        own = [each for each in entries if (each.mode, each.protocol) == (mode, protocol)]
        name = f"{mode.lower()}, {protocol}"
        made[f"first commit: {name}"] = _measure(own, lambda each: each.consumer_share_seconds, _FIRST)
        made[f"drained: {name}"] = _measure(own, lambda each: each.drain_seconds, _DRAINED)
    alone = [each for each in entries if len(each.faults) == 1]
    for kind in sorted({each.kind for each in alone}):
        own = [each for each in alone if each.kind == kind]
        made[f"alone: {kind}"] = _measure(own, lambda each: each.consumer_share_seconds, _ALONE)
    return made


_FIRST = "seconds from the last fault's end to the first commit"
_DRAINED = "seconds from the end of faults and load to the last record"
_ALONE = "seconds from the end of a fault that came alone to the first commit"


def _measure(entries: Iterable[Entry], read: Callable[[Entry], float], unit: str) -> Metric:
    return Metric(values=[read(each) for each in entries], unit=unit)


def write_report(environment: Mapping[str, object], entries: Sequence[Entry], planned: int, file: Path | None) -> Path:
    """Store a campaign; file: only its JSON, there; None: where everybody looks for it, with page and plot."""
    metrics = build_metrics(entries)
    more = {"summary": summarize(entries, planned), "faults": [asdict(entry) for entry in entries]}
    if file is not None:
        write_json(file, environment, metrics, more)
        return file
    return write_results(NAME, TITLE, environment, metrics, more=more, sections=build_sections(entries, planned))


def build_sections(entries: Sequence[Entry], planned: int) -> str:
    """Return the page's own part: the sums, and a line for each kind of fault."""
    sums = [f"| {key} | {value} |" for key, value in summarize(entries, planned).items()]
    return "\n".join(
        [
            "Each round is drawn from a seed: a fresh topic, table and group, one to three consumers with one to three "
            "lanes behind proxies, a load of payments some of which are poison, and one to four faults at random "
            "moments, which may overlap. When all is drained, the tables are compared with the producer's ledger: each "
            "record is one row or one dead letter; in mode Upsert the table holds the last word of each key; positions "
            "are at the ends of the logs.\n",
            "| figure | value |\n|---|---|\n" + "\n".join(sums) + "\n",
            "## By kind of fault\n",
            "Rounds that had it, with whatever else they had. hits: processes, connections or sessions that it met.\n",
            _build_table(entries),
        ]
    )


def _build_table(entries: Sequence[Entry]) -> str:
    lines = [
        "| fault | times | hits | rounds Append | rounds Upsert | lost | twice | first commit after, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted({fault.name for each in entries for fault in each.faults}):
        own = [each for each in entries if any(fault.name == name for fault in each.faults)]
        met = [fault for each in own for fault in each.faults if fault.name == name]
        hits = [fault.hits for fault in met if fault.hits is not None]
        shares = [each.consumer_share_seconds for each in own]
        cells = [
            name,
            str(len(met)),
            str(sum(hits)) if hits else "",
            str(sum(each.mode == "Append" for each in own)),
            str(sum(each.mode == "Upsert" for each in own)),
            str(sum(each.lost for each in own)),
            str(sum(each.duplicated for each in own)),
            f"{median(shares):.2f} (at most {max(shares):.2f})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
