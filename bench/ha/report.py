"""A campaign's entries as they are stored: JSON, a page and a plot. Measures nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.ha.entry import Entry
from bench.results import PAGES, RESULTS, Metric, plot

NAME = "faults_ha"
TITLE = "Faults of a highly available PostgreSQL under load"
SHARE_GOAL_S = 1.0


def find_percentile(values: Sequence[float], hundredths: int) -> float:
    """Return the smallest value that so many hundredths of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * hundredths // 100) - 1)]


def build_metrics(entries: Sequence[Entry]) -> dict[str, object]:
    """Return what is stored under metrics: the sums, the spreads, and each fault."""
    shares = [e.consumer_share_seconds for e in entries if e.consumer_share_seconds is not None]
    slowest = [e.slowest_consumer_share_seconds for e in entries if e.slowest_consumer_share_seconds is not None]
    tails = [e for e in entries if e.lost_tail_records]
    return {
        "faults_done": len(entries),
        "records_produced": sum(e.produced for e in entries),
        "records_lost": sum(e.lost for e in entries),
        "records_duplicated": sum(e.duplicated for e in entries),
        "faults_with_problems": sum(bool(e.find_problems()) for e in entries),
        "tails_lost": len(tails),
        "tail_records_lost": sum(e.lost_tail_records or 0 for e in tails),
        "tail_records_rewound": sum(e.rewound_records for e in tails),
        "consumer_share_p95_seconds": find_percentile(shares, 95) if shares else None,
        "consumer_share_median_seconds": statistics.median(shares) if shares else None,
        "slowest_consumer_share_p95_seconds": find_percentile(slowest, 95) if slowest else None,
        "consumer_share_goal_seconds": SHARE_GOAL_S,
        "load_average_median": statistics.median(e.load_average for e in entries) if entries else None,
        "faults": [asdict(entry) for entry in entries],
    }


def write_report(environment: Mapping[str, object], entries: Sequence[Entry], file: Path | None) -> Path:
    """Store a campaign; file: only its JSON, there; None: where everybody looks for it, with page and plot."""
    return _store({"environment": dict(environment), "metrics": build_metrics(entries)}, file)


def add_everything_down(facts: Mapping[str, object], file: Path | None) -> Path:
    """Store the figures of the scenario beside those of a campaign; file as in write_report()."""
    return _store({"everything_down": dict(facts)}, file)


def _store(part: Mapping[str, object], file: Path | None) -> Path:
    """Replace this part of what is stored."""
    target = file or RESULTS / f"{NAME}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    body = {**(json.loads(target.read_text()) if target.exists() else {}), **part}
    target.write_text(json.dumps(body, indent=1) + "\n")
    if file is None and "metrics" in body:
        write_page(body)
    return target


def write_page(body: Mapping[str, object]) -> None:
    """Make page and plot from what is stored."""
    metrics, environment = body["metrics"], body["environment"]
    assert isinstance(metrics, dict)
    assert isinstance(environment, dict)
    entries = [Entry(**fault) for fault in metrics["faults"]]
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / f"{NAME}.svg").write_text(plot(TITLE, _spread(entries)))
    down = body.get("everything_down")
    (PAGES / f"{NAME}.md").write_text(
        _build_page(environment, metrics, entries, down if isinstance(down, dict) else {})
    )


def _spread(entries: Sequence[Entry]) -> dict[str, Metric]:
    """Outage and share of each kind, for the plot."""
    found: dict[str, Metric] = {}
    for kind in sorted({entry.kind for entry in entries}):
        own = [entry for entry in entries if entry.kind == kind]
        found[f"{kind}: outage"] = Metric(values=[e.outage_seconds for e in own], unit="outage, seconds")
    for kind in sorted({entry.kind for entry in entries}):
        shares = [e.consumer_share_seconds for e in entries if e.kind == kind and e.consumer_share_seconds is not None]
        if shares:
            found[f"{kind}: consumers"] = Metric(values=shares, unit="the consumers' share of it, seconds")
    return found


def _build_page(
    environment: Mapping[str, object],
    metrics: Mapping[str, object],
    entries: Sequence[Entry],
    down: Mapping[str, object],
) -> str:
    facts = [f"- {key}: {value}" for key, value in environment.items()]
    sums = [f"| {key} | {value} |" for key, value in metrics.items() if key != "faults"]
    parts = [
        f"# {TITLE}\n",
        f"Made by `make faults`; the figures are in `bench/results/{NAME}.json`. A steady load through real Kafka into "
        "three Patroni members behind HAProxy; each fault is drawn from a seed, and after each the table is compared "
        "with the producer's ledger.\n",
        f"![{TITLE}]({NAME}.svg)\n",
        "| figure | value |\n|---|---|\n" + "\n".join(sums) + "\n",
        "- outage: last commit before to first commit after, of a tiny client beside the consumers.",
        "- the consumers' share: from the moment when that client could commit again to the first commit of the "
        "consumers; where there was no outage, the longest pause in their commits.",
        "- tail: records whose commits the old primary had acknowledged and the new one did not have. The consumers "
        "must have counted exactly as many as rewound.\n",
        "## By kind and mode\n",
        _build_table(entries),
        *(
            ["## Everything down\n", "\n".join(f"- {key}: {value}" for key, value in down.items()) + "\n"]
            if down
            else []
        ),
        "## Environment\n",
        *facts,
    ]
    return "\n".join(parts) + "\n"


def _build_table(entries: Sequence[Entry]) -> str:
    lines = [
        "| fault | mode | n | lost | twice | outage, s | consumers' share, s | rewound | lost tails |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, mode in sorted({(entry.kind, entry.mode) for entry in entries}):
        own = [entry for entry in entries if (entry.kind, entry.mode) == (kind, mode)]
        shares = [e.consumer_share_seconds for e in own if e.consumer_share_seconds is not None]
        tails = [e.lost_tail_records for e in own if e.lost_tail_records is not None]
        cells = [
            kind,
            mode,
            str(len(own)),
            str(sum(e.lost for e in own)),
            str(sum(e.duplicated for e in own)),
            _range([e.outage_seconds for e in own]),
            _range(shares),
            str(sum(e.rewound_records for e in own)),
            str(sum(tails)) if tails else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _range(values: Sequence[float]) -> str:
    """Median, and from least to most where there are several."""
    if not values:
        return ""
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"
