"""The demo with failovers: what it says, what it shows, and when it has failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import pytest
from forebay_cli.arguments import build_parser
from forebay_cli.demo.audit import AuditFacts, judge_facts
from forebay_cli.demo.failovers import (
    DatabaseScene,
    Failover,
    FailoverKind,
    MemberLine,
    MemberRole,
    describe_members,
    judge_failovers,
    kill_at_s,
    switch_at_s,
    tail_records,
    tell_failover,
    tell_lost,
)
from forebay_cli.demo.ledger import LedgerSummary
from forebay_cli.demo.screen import build_database_line, build_line
from forebay_cli.demo.story import Story
from forebay_cli.demo.verdict_table import build_last_line, list_problems, print_verdict
from forebay_cli.demo.wave import Wave, WavePhase
from forebay_cli.local.view import ConsumerLine, PipelineView
from rich.console import Console

KILLED = Failover(kind=FailoverKind.KILLED, old="pg1", new="pg3", outage_s=2.34, lost_records=1_500)
SWITCHED = Failover(kind=FailoverKind.HANDED_OVER, old="pg3", new="pg2", outage_s=1.16)
MEMBERS = (
    MemberLine(name="pg1", role=MemberRole.DOWN),
    MemberLine(name="pg2", role=MemberRole.FOLLOWS),
    MemberLine(name="pg3", role=MemberRole.LEADS),
)
VIEW = PipelineView(
    pipeline="bank/payments",
    taken_at="2026-01-01T12:00:00.000+00:00",
    running=1,
    changed_to=1,
    min_replicas=1,
    max_replicas=6,
    partitions=12,
    lag_records=0,
    age_s=0.0,
    age_is_lower_bound=False,
    arrival=0.0,
    written=0.0,
    capacity=None,
    cap_rows_per_second=None,
    verdict="Steady",
    because="",
    would_change_if="",
    conditions=(),
    consumers=(),
    problem=None,
)
RIGHT = AuditFacts(
    ledger=LedgerSummary(good=10, poison=0, ends={0: 10}, holes={}),
    rows=10,
    distinct_ids=10,
    gaps=(),
    surplus_rows=0,
    foreign_rows=0,
    dead_letters=0,
    missing_dead_letters=0,
    surplus_dead_letters=0,
    foreign_dead_letters=0,
    positions={0: 10},
)


def story_with(failovers: Sequence[Failover], *, rewound: Sequence[int] = (), problem: str | None = None) -> Story:
    """Consumers rose and fell; each number: what one consumer read again."""
    story = Story(wave=Wave(records=10, seconds=90), database=DatabaseScene(failovers=list(failovers)))
    lines = tuple(ConsumerLine(name=f"payments-{i}", rewound_records=n) for i, n in enumerate(rewound))
    for running in (1, 3, 1):
        story.see(replace(VIEW, running=running, consumers=lines, problem=problem))
    story.see(VIEW)  # all those have left
    return story


# --- the verdict ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failovers", "rewound", "troubles", "words"),
    [
        pytest.param([KILLED, SWITCHED], 1_480, [], [], id="as-it-should-be"),
        pytest.param([SWITCHED], 0, [], [], id="nothing-lost-nothing-read-again"),
        pytest.param([KILLED], 0, [], ["1,500 records were lost", "none of them"], id="lost-and-not-read-again"),
        pytest.param([], 0, [], ["nothing to prove"], id="no-failover"),
        pytest.param([KILLED], 1_500, ["payments-2 ended by itself"], ["restarted: payments-2"], id="a-crash"),
        pytest.param([replace(KILLED, lost_records=None)], 0, [], [], id="loss-unknown"),
    ],
)
def test_failovers_are_judged(failovers: list[Failover], rewound: int, troubles: list[str], words: list[str]) -> None:
    problems = "\n".join(judge_failovers(DatabaseScene(failovers=failovers), rewound=rewound, troubles=troubles))

    assert bool(problems) == bool(words)
    for each in words:
        assert each in problems


def test_loss_of_all_failovers_is_unknown_when_one_is() -> None:
    unknown = replace(KILLED, lost_records=None)

    assert DatabaseScene(failovers=[KILLED, KILLED, SWITCHED]).lost_on_old_primary == 3_000
    assert DatabaseScene(failovers=[KILLED, unknown]).lost_on_old_primary is None


def test_last_line_has_the_facts_of_failovers_beside_those_of_the_demo() -> None:
    story = story_with([KILLED, SWITCHED], rewound=[700, 780])

    last = json.loads(build_last_line(judge_facts(RIGHT), story))

    assert list_problems(judge_facts(RIGHT), story) == ()
    assert (last["lost"], last["duplicated"], last["replicas_peak"]) == (0, 0, 3)
    assert (last["failovers"], last["outage_seconds"]) == (2, [2.3, 1.2])
    assert (last["rewound"], last["lost_on_old_primary"]) == (1_480, 1_500)


def test_demo_without_failovers_says_nothing_of_them() -> None:
    story = story_with([])
    story.database = None

    assert "failovers" not in json.loads(build_last_line(judge_facts(RIGHT), story))
    assert list_problems(judge_facts(RIGHT), story) == ()


def test_lost_row_fails_the_demo_whatever_was_read_again() -> None:
    verdict = judge_facts(replace(RIGHT, rows=9, distinct_ids=9))

    assert list_problems(verdict, story_with([KILLED], rewound=[1_500])) != ()


def test_consumer_that_ended_by_itself_fails_the_demo_even_when_it_is_back() -> None:
    problems = list_problems(judge_facts(RIGHT), story_with([SWITCHED], problem="payments-1 ended by itself"))

    assert problems == ("a consumer was restarted: payments-1 ended by itself",)


def test_printed_verdict_tells_each_failover() -> None:
    console = Console(file=StringIO(), width=120, force_terminal=False)

    print_verdict(console, RIGHT, judge_facts(RIGHT), story_with([KILLED, SWITCHED], rewound=[1_500]))

    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    for words in ("pg1 killed, pg3 took over: 2.3 s", "1,500 committed records gone", "pg3 handed over", "PASSED"):
        assert words in shown, words
    assert "consumers read 1,500 records again, by themselves; none was restarted" in shown


# --- the story ------------------------------------------------------------------------------------------------------


def test_story_is_told_in_plain_words() -> None:
    assert tell_failover(KILLED) == "pg3 leads now, without them; nobody could write for 2.3 s"
    assert "had pg3 hand over: pg2 leads now; nobody could write for 1.2 s" in tell_failover(SWITCHED)
    assert "nobody noticed" in tell_failover(replace(SWITCHED, outage_s=0.0))
    assert "1,500 committed records that no other member has" in tell_lost("pg1", 1_500)
    assert "not known" in tell_lost("pg1", None)


def test_members_are_described_by_what_they_do() -> None:
    follows = (MemberLine(name="pg4", role=MemberRole.FOLLOWS), MemberLine(name="pg5", role=MemberRole.DOWN))

    assert describe_members(DatabaseScene(members=MEMBERS)) == "pg3 leads, pg2 follows, pg1 is down"
    assert describe_members(DatabaseScene(members=MEMBERS + follows)) == (
        "pg3 leads, pg2 and pg4 follow, pg1 and pg5 are down"
    )
    assert "nothing is known" in describe_members(DatabaseScene())


def test_screen_and_lines_say_who_leads_and_for_how_long_nobody_can_write() -> None:
    scene = DatabaseScene(members=MEMBERS)
    story = Story(wave=Wave(records=10, seconds=90), database=scene, view=VIEW)
    before, before_line = build_database_line(scene, now=100.0).plain, build_line(story, now=100.0)

    scene.outage_since = 98.5

    assert "● pg3 leads" in before
    assert "✗ pg1 is down" in before
    assert "nobody" not in before
    assert "primary pg3" in before_line
    assert "nobody can write, for 1.5 s now" in build_database_line(scene, now=100.0).plain
    assert "NO PRIMARY" in build_line(story, now=100.0)


@pytest.mark.parametrize("wave", [Wave(), Wave(records=40_000, seconds=24)])
def test_primary_is_killed_in_the_flood_and_hands_over_after_it(wave: Wave) -> None:
    assert wave.phase_at(kill_at_s(wave)) is WavePhase.FLOOD
    assert wave.phase_at(switch_at_s(wave)) is WavePhase.CALM
    flood_left_s = wave.flood_ends_s - kill_at_s(wave)
    assert tail_records(wave) < flood_left_s * wave.flood_rate / 2


def test_demo_is_the_plain_one_unless_asked() -> None:
    parser = build_parser()

    assert (parser.parse_args(["demo"]).ha, parser.parse_args(["demo", "--ha"]).ha) == (False, True)
