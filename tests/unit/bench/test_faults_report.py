"""What a campaign stores: sums over all rounds, and entries that come back from JSON as they were."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from bench.faults.entry import Entry, FaultFact
from bench.faults.report import build_entry, build_metrics, build_sections, summarize, write_report

GOOD = Entry(
    seed=1,
    kind="database-cut-up",
    mode="Append",
    protocol="classic",
    consumers=2,
    lanes=1,
    faults=(FaultFact(name="database-cut-up", at_seconds=0.5, took_seconds=0.1, hits=1),),
    produced=20_000,
    dead_letters=20,
    lost=0,
    duplicated=0,
    rewound=0,
    retries=3,
    unknown=1,
    fenced=0,
    outage_seconds=0.1,
    consumer_share_seconds=0.2,
    drain_seconds=1.0,
    took_seconds=5.0,
    problems=(),
)
BAD = replace(
    GOOD,
    seed=2,
    kind="kill-consumer+broker-hole",
    mode="Upsert",
    faults=(
        FaultFact(name="kill-consumer", at_seconds=0.1, took_seconds=0.1, hits=1),
        FaultFact(name="broker-hole", at_seconds=0.2, took_seconds=2.0, hits=None),
    ),
    lost=2,
    duplicated=1,
    problems=("2 records of partition 0 are not in the table",),
)


def test_summary_counts_rounds_faults_and_what_was_lost_and_repeated() -> None:
    summary = summarize([GOOD, BAD], planned=3)

    assert (summary["rounds_planned"], summary["rounds_done"], summary["rounds_with_problems"]) == (3, 2, 1)
    assert (summary["faults_done"], summary["records_lost"], summary["records_duplicated"]) == (3, 2, 1)
    assert summary["commits_without_known_outcome"] == 2


def test_entry_comes_back_from_json_as_it_was() -> None:
    assert build_entry(json.loads(json.dumps(asdict(BAD)))) == BAD


def test_metrics_tell_modes_apart_and_faults_that_came_alone() -> None:
    metrics = build_metrics([GOOD, BAD])

    assert metrics["first commit: append, classic"].values == [0.2]
    assert metrics["drained: upsert, classic"].values == [1.0]
    assert [name for name in metrics if name.startswith("alone")] == ["alone: database-cut-up"]


def test_page_names_every_kind_with_what_it_cost() -> None:
    page = build_sections([GOOD, BAD], planned=2)

    assert "| broker-hole | 1 |  | 0 | 1 | 2 | 1 | 0.20 (at most 0.20) |" in page
    assert "| database-cut-up | 1 | 1 | 1 | 0 | 0 | 0 | 0.20 (at most 0.20) |" in page


def test_report_stored_elsewhere_holds_every_round(tmp_path: Path) -> None:
    file = write_report({"cpus": 2}, [GOOD, BAD], 2, tmp_path / "faults.json")
    stored = json.loads(file.read_text())

    assert [each["seed"] for each in stored["faults"]] == [1, 2]
    assert stored["faults"][0]["kind"] == "database-cut-up"
    assert stored["summary"]["records_lost"] == 2
