"""The story and how it looks: on a terminal, and as lines."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from forebay_cli.demo.screen import build_line, build_screen, build_sparkline
from forebay_cli.demo.story import Progress, Story
from forebay_cli.demo.wave import Wave
from forebay_cli.local.tables import BAR_CELLS, build_status, show_bar
from forebay_cli.local.view import ConditionLine, ConsumerLine, PipelineView, view_from_plain, view_to_plain
from rich.console import Console, RenderableType

VIEW = PipelineView(
    pipeline="bank/payments",
    taken_at="2026-01-01T12:00:00.000+00:00",
    running=2,
    changed_to=3,
    min_replicas=1,
    max_replicas=6,
    partitions=12,
    lag_records=4_711,
    age_s=1.25,
    age_is_lower_bound=False,
    arrival=9_000.0,
    written=8_000.0,
    capacity=5_500.0,
    cap_rows_per_second=6_000,
    verdict="ScalingUp",
    because="9,000 records/s arrive",
    would_change_if="",
    conditions=(
        ConditionLine(type="Ready", status="True", reason="Running", message="fine"),
        ConditionLine(type="SinkReady", status="False", reason="TableMissing", message="create it"),
    ),
    consumers=(
        ConsumerLine(name="payments-1", phase="Running", partitions=12, busy_fraction=0.5, records_per_second=5_000.0),
        ConsumerLine(name="payments-2"),
    ),
    problem=None,
)


def render(what: RenderableType, width: int = 120) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def story_under_way() -> Story:
    story = Story(wave=Wave(records=1_000, seconds=90), started_at=100.0)
    story.see(replace(VIEW, running=1))
    story.see(VIEW)
    story.advance(Progress(elapsed_s=1.0, delivered=700, poison=1), 0.5)
    story.note("Scaled: 2 → 3 consumers", now=112.0)
    return story


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_screen_shows_what_matters_at_every_width(width: int) -> None:
    shown = render(build_screen(story_under_way(), now=120.0, width=width, max_age_s=10.0), width)
    for words in ("flood", "1,400/s", "4,711", "2 → 3 (of 1-6)", "payments-2", "ScalingUp", "12.0 s", "6,000"):
        assert words in shown, words
    assert max(len(line) for line in shown.splitlines()) <= width


def test_the_screen_is_there_before_anything_is_known() -> None:
    story = Story(wave=Wave(records=1_000, seconds=90), stage="starting the first consumer")
    assert "starting the first" in render(build_screen(story, now=0.0, width=100, max_age_s=10.0))
    assert "starting the first consumer" in build_line(story, now=0.0)


def test_the_line_holds_the_same_facts() -> None:
    line = build_line(story_under_way(), now=120.0)
    for words in ("flood", "in   1,400/s", "lag    4,711", "busy 50% ?", "ScalingUp: 9,000 records/s arrive"):
        assert words in line, words


def test_the_status_tells_bad_conditions_in_full() -> None:
    shown = render(build_status(VIEW))
    assert "SinkReady=False TableMissing: create it" in shown
    assert "fine" not in shown


def test_a_view_survives_its_file() -> None:
    assert view_from_plain(view_to_plain(VIEW)) == VIEW


def test_rise_and_fall_need_both() -> None:
    story = story_under_way()
    assert not story.rose_and_fell
    story.see(replace(VIEW, running=1, changed_to=1))
    assert story.rose_and_fell
    assert (story.replicas_first, story.replicas_peak, story.replicas_end) == (1, 2, 1)
    assert story.has_fallen


def test_unknown_lag_is_not_drained() -> None:
    story = story_under_way()
    for lag, arrival, drained in ((None, 0.0, False), (0, None, False), (5, 0.0, False), (0, 0.0, True)):
        story.see(replace(VIEW, lag_records=lag, arrival=arrival))
        assert story.is_drained is drained


def test_a_sparkline_scales_and_leaves_unknown_blank() -> None:
    assert build_sparkline([0, 7, None, 14]) == "▁▅ █"
    assert build_sparkline([7], top=14) == "▅"
    assert build_sparkline([0, 0]) == "▁▁"
    assert build_sparkline([]) == ""


@pytest.mark.parametrize(("fraction", "shown"), [(0.0, "0%"), (0.5, "████████ "), (1.7, "100%"), (None, "?")])
def test_a_bar_stays_within_its_cells(fraction: float | None, shown: str) -> None:
    text = show_bar(fraction).plain
    assert shown in text
    assert len(text) == BAR_CELLS + len(" 100%")
