"""What is made of the comparison's trials: names of metrics, the best of several settings, the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import results
from bench.peers import throughput_report
from bench.peers.steady_trial import summarize_ages
from bench.peers.throughput_report import Report, build_metrics, choose_best, is_shown, read_stored, write_report
from bench.peers.throughput_tables import build_sections, describe_spread, find_ratio
from bench.peers.trial_plan import Kind, Trial, list_variants
from bench.peers.variants import Task
from bench.results import Metric

VARIANTS = list_variants((3000, 500))
MISHAP = {
    "rows_lost": 0,
    "rows_twice": 0,
    "bad_rows_written": 0,
    "dead_letters": 0,
    "stopped": 0,
    "stays_stopped": 0,
    "restarts_by_hand": 0,
    "process_restarts": 0,
    "rows_before_kill": 10,
}


def drain(variant: str, rate: float, per_cpu: float = 100.0, turn: int = 0) -> Trial:
    figures = {
        "rows_per_second": rate,
        "rows_per_cpu_second": per_cpu,
        "sink_cpu_seconds": 1.0,
        "postgres_cpu_seconds": 1.0,
        "seconds_to_first_commit": 0.5,
        "peak_memory_mb": 50.0,
    }
    return Trial(kind=Kind.DRAIN.value, variant=variant, turn=turn, figures=figures)


def steady(variant: str, p99_ms: float) -> Trial:
    figures = {"p50_ms": 1.0, "p99_ms": p99_ms, "max_ms": p99_ms, "rows": 10.0, "busy_processors": 0.5}
    return Trial(kind=Kind.STEADY.value, variant=variant, turn=0, figures=figures)


def mishap(kind: Kind, variant: str, case: str = "", said: tuple[str, ...] = (), **figures: float) -> Trial:
    return Trial(kind=kind.value, variant=variant, turn=0, case=case, said=said, figures={**MISHAP, **figures})


DRAINS = [
    drain("forebay-append-1", 300.0),
    drain("forebay-append-2", 400.0, 150.0),
    drain("debezium-append-1-b3000", 100.0, 90.0),
    drain("debezium-append-2-b3000", 130.0, 80.0),
    drain("debezium-append-2-b500", 50.0, 70.0),
    drain("bare-polars-append-2", 390.0),
]


def test_append_metrics_have_the_published_names() -> None:
    metrics = build_metrics(DRAINS, VARIANTS, "5000")

    assert metrics["append_rows_per_second_1"].values == [300.0]
    assert metrics["append_rows_per_cpu_second_2"].values == [150.0]
    assert metrics["bare_loop_rows_per_second_2"].values == [390.0]
    assert metrics["debezium_append_rows_per_second_2_b500"].values == [50.0]


def test_debeziums_best_is_looked_for_figure_by_figure() -> None:
    metrics = build_metrics(DRAINS, VARIANTS, "5000")

    assert metrics["debezium_append_rows_per_second_best"].values == [130.0]
    assert metrics["debezium_append_rows_per_cpu_second_best"].values == [90.0]


def test_upsert_metrics_have_the_published_names() -> None:
    trials = [drain("forebay-upsert-2", 200.0), drain("debezium-upsert-1-b3000", 80.0)]
    trials += [drain("forebay-upsert-repeats-2", 150.0), drain("debezium-upsert-repeats-2-b3000", 60.0)]

    metrics = build_metrics(trials, VARIANTS, "5000")

    assert metrics["upsert_rows_per_second_2"].values == [200.0]
    assert metrics["debezium_upsert_rows_per_cpu_second_best"].values == [100.0]
    assert metrics["upsert_repeats_rows_per_second_2"].values == [150.0]
    assert metrics["debezium_upsert_repeats_rows_per_second_best"].values == [60.0]


def test_best_latency_is_the_lowest() -> None:
    trials = [steady("forebay-append-1", 20.0), steady("debezium-append-1-b3000", 70.0)]
    metrics = build_metrics([*trials, steady("debezium-append-2-b3000", 60.0)], VARIANTS, "5000")

    assert metrics["append_p99_ms_at_5000"].values == [20.0]
    assert metrics["debezium_append_p99_ms_at_5000"].values == [60.0]
    assert metrics["debezium_append_p99_ms_at_5000_1_b3000"].values == [70.0]


def test_best_has_the_best_median_not_the_best_value() -> None:
    lucky, steadier = (Metric(values=values, unit="rows/s") for values in ([1.0, 2.0, 90.0], [10.0, 11.0, 12.0]))

    assert choose_best([lucky, steadier]) is steadier
    assert choose_best([lucky, steadier], lowest=True) is lucky


def test_percentiles_are_ages_that_occurred() -> None:
    summary = summarize_ages([float(age) for age in range(200, 0, -1)])

    assert (summary["p50_ms"], summary["p99_ms"], summary["max_ms"], summary["rows"]) == (100.0, 198.0, 200.0, 200)


def test_ratio_compares_the_best_of_both() -> None:
    assert find_ratio(DRAINS, VARIANTS, Task.APPEND, "rows_per_second") == pytest.approx(400 / 130)
    assert find_ratio(DRAINS, VARIANTS, Task.UPSERT, "rows_per_second") is None


def test_spread_is_said_only_where_there_is_one() -> None:
    assert describe_spread([5.0, 5.0]) == "5"
    assert describe_spread([1000.0, 3000.0, 2000.0]) == "2,000 (1,000 to 3,000)"
    assert describe_spread([]) == "not taken"


def test_page_says_what_became_of_a_bad_record_and_of_the_sink() -> None:
    page = build_sections(
        [
            mishap(Kind.POISON, "forebay-append-1", "text", dead_letters=1),
            mishap(Kind.POISON, "debezium-append-1-b3000", "text", ("written: {}",), bad_rows_written=1),
            mishap(
                Kind.POISON,
                "debezium-append-1-b3000-dlq",
                "text",
                rows_lost=9,
                stopped=1,
                stays_stopped=1,
                restarts_by_hand=2,
            ),
            mishap(Kind.KILL, "debezium-append-1-b3000", rows_twice=77, process_restarts=1),
        ],
        VARIANTS,
        {},
    )

    assert "| text in an integer column | Forebay, 1 process | 0 | 0 | kept as a dead letter | went on | 1 |" in page
    assert "| 0 | 0 | written, wrongly | went on | 1 |" in page
    assert "| still the next one | stopped in 1 of 1, stays so after 2 restarts by hand | 1 |" in page
    assert "| Debezium, batch 3000, 1 task | append | 0 | 77 | 10 | went on | 1 |" in page


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("append_rows_per_second_2", True),
        ("bare_loop_rows_per_second_1", True),
        ("bare_polars_rows_per_second_1", False),
        ("debezium_append_rows_per_second_best", True),
        ("debezium_append_rows_per_second_2_b3000", False),
        ("append_peak_memory_mb_1", False),
        ("append_p99_ms_at_5000", True),
        ("append_p99_ms_at_5000_1", False),
        ("debezium_append_p99_ms_at_5000", True),
        ("debezium_append_p99_ms_at_5000_2_b3000", False),
        ("kill_forebay_append_1_rows_lost", False),
    ],
)
def test_plot_has_of_debezium_the_best(name: str, shown: bool) -> None:
    assert is_shown(name) is shown


def test_stored_trials_are_read_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (results, throughput_report):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "PAGES", tmp_path)
    trials = [*DRAINS, mishap(Kind.POISON, "forebay-append-1", "nul", ("a reason",))]
    report = Report(environment={"records_per_second": 5000}, variants=VARIANTS, settings={}, trials=trials)

    assert read_stored() is None
    write_report(report)

    assert read_stored() == (report.environment, trials)
    assert "Forebay's best beside Debezium's best: 3.08 times its rows/s" in (tmp_path / "peers.md").read_text()
