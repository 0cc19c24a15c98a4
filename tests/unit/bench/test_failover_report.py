"""What is made of the trials under faults: pauses, figures, the page, and the care for a stopped sink."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until

from bench.peers import failover_report
from bench.peers.attendant import Attendant, Care
from bench.peers.failover_report import Report, Trial, build_metrics, build_page
from bench.peers.failover_trial import FaultName, Outcome, find_longest_pause

DEADLINE_S = 20.0
NO_CARE = Care(process_restarts=0, hand_restarts=0, stops=())


def build_trial(peer: str, turn: int = 0, *, lost: int = 0, pause_s: float | None = 1.5, care: Care = NO_CARE) -> Trial:
    outcome = Outcome(
        produced=1000,
        rows=1000 - lost,
        lost=lost,
        duplicated=0,
        tail_rows=10,
        rewound=None,
        start_up_s=None,
        seconds_without_writes=pause_s,
        database_outage_s=1.0,
        care=care,
    )
    return Trial(peer=peer, fault=FaultName.LOST_TAIL, turn=turn, outcome=outcome)


def build_report(trials: Sequence[Trial]) -> Report:
    peers = dict.fromkeys(trial.peer for trial in trials)
    return Report(
        environment={"cpus": 2},
        labels={peer: f"label of {peer}" for peer in peers},
        settings={},
        notes=("a note",),
        trials=trials,
    )


@pytest.mark.parametrize(
    ("commits", "pause"),
    [
        pytest.param([8.0, 9.0, 12.0, 13.0], 2.0, id="from-the-fault-to-the-next-commit"),
        pytest.param([10.5, 11.0, 14.5, 15.0], 3.5, id="between-two-later-commits"),
        pytest.param([13.0, 11.0], 2.0, id="in-any-order"),
        pytest.param([8.0, 9.0], None, id="nothing-after-the-fault"),
    ],
)
def test_longest_pause_is_looked_for_from_the_fault_on(commits: list[float], pause: float | None) -> None:
    assert find_longest_pause(10.0, commits) == pause


def test_metrics_hold_each_repeat_and_leave_out_what_is_unknown() -> None:
    metrics = build_metrics([build_trial("a-b", 0, lost=5), build_trial("a-b", 1, lost=7, pause_s=None)])

    assert metrics["a_b_lost_tail_rows_lost"].values == [5, 7]
    assert metrics["a_b_lost_tail_seconds_without_writes"].values == [1.5]
    assert "a_b_lost_tail_records_read_again" not in metrics


def test_page_says_who_lost_and_who_needed_a_person() -> None:
    stopped = Care(process_restarts=0, hand_restarts=1, stops=("a.Reason: gone",))
    page = build_page(build_report([build_trial("good"), build_trial("bad", lost=42, care=stopped)]))

    assert "| label of good | 0 | 0 | 0 of 1 |" in page
    assert "| label of bad | 42 | 0 | 1 of 1, a person restarted it |" in page
    assert "a.Reason: gone" in page


def test_page_says_when_a_sink_never_wrote_again() -> None:
    page = build_page(build_report([build_trial("bad", pause_s=None)]))

    assert "never wrote again in 1 of 1" in page


def test_stored_trials_are_read_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover_report, "RESULTS", tmp_path)
    monkeypatch.setattr(failover_report, "PAGES", tmp_path)
    care = Care(process_restarts=2, hand_restarts=1, stops=("a.Reason: gone",))
    report = build_report([build_trial("good"), build_trial("bad", lost=42, pause_s=None, care=care)])

    failover_report.write_report(report)

    assert failover_report.read_stored() == (report.environment, report.trials)


class StoppedSink:
    """A sink that stands still until a person restarts it, and whose process then dies once."""

    group = "group"

    def __init__(self) -> None:
        self.stop: str | None = "a.Reason: gone"
        self.alive = True

    def start(self) -> None:
        self.alive = True

    def launch(self) -> None:
        self.alive = True

    def is_alive(self) -> bool:
        return self.alive

    def find_stop(self) -> str | None:
        return self.stop

    def restart_by_hand(self) -> bool:
        self.stop = None
        self.alive = False
        return True

    def count_rewound(self) -> int | None:
        return None

    def kill(self) -> None:
        self.alive = False


def test_attendant_restarts_a_stopped_task_by_hand_and_a_dead_process_by_itself() -> None:
    sink = StoppedSink()

    with Attendant(sink, notice_s=0.0) as attendant:
        assert wait_until(lambda: attendant.report().process_restarts == 1, DEADLINE_S)

    assert attendant.report() == Care(process_restarts=1, hand_restarts=1, stops=("a.Reason: gone",))
