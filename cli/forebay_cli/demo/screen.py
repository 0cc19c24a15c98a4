"""The demo on a terminal: a live view, or one line a second where there is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from forebay_cli.demo.failovers import DatabaseScene, MemberRole
from forebay_cli.demo.story import Story
from forebay_cli.demo.wave import Wave, WavePhase
from forebay_cli.local.tables import build_consumers, show_age, show_count, show_rate, show_replicas
from forebay_cli.local.view import PipelineView

SHOWN_EVENTS = 7
_STEPS = "▁▂▃▄▅▆▇█"
_BESIDE_CURVES = 36
"""Columns that labels, numbers and borders take beside a curve."""


def build_screen(story: Story, *, now: float, width: int, max_age_s: float) -> RenderableType:
    """The whole view. max_age_s: the pipeline's objective."""
    view = story.view
    cells = max(20, min(width - _BESIDE_CURVES, 120))
    parts: list[RenderableType] = [build_wave_line(story, now=now, cells=cells), Text()]
    if story.database is not None:
        parts += [build_database_line(story.database, now=now), Text()]
    parts += [build_curves(story, cells=cells, max_age_s=max_age_s), Text()]
    if view is not None:
        parts += [build_consumers(view.consumers, cap=view.cap_rows_per_second), Text()]
        parts += [_build_decision(view), Text()]
    parts.append(build_events(story))
    title = Text.assemble((" Forebay ", "bold"), "· a flood from Kafka into PostgreSQL, exactly once ")
    return Panel(Group(*parts), title=title, title_align="left", subtitle=_build_footnote(view), border_style="cyan")


def build_wave_line(story: Story, *, now: float, cells: int) -> Text:
    """The wave's shape with a mark where we are, the phase in words, and the time."""
    elapsed = story.elapsed_s(now)
    wave = story.wave
    phase = wave.phase_at(elapsed)
    here = int(elapsed / wave.seconds * cells) if story.started_at is not None else -1
    text = Text.assemble((f"{'wave':<10}", "dim"))
    for cell in range(cells):
        is_flood = wave.phase_at((cell + 0.5) / cells * wave.seconds) is WavePhase.FLOOD
        text.append("█" if is_flood else "▁", "bold white" if cell == here else "blue" if cell < here else "grey37")
    text.append(f"  {_describe_phase(phase, story)}", "bold")
    if story.started_at is not None:
        text.append(f" {elapsed:.0f} s", "dim")
    return text


_ROLE_LOOKS = {
    MemberRole.LEADS: ("●", "bold green"),
    MemberRole.FOLLOWS: ("○", "green"),
    MemberRole.DOWN: ("✗", "bold red"),
}


def build_database_line(scene: DatabaseScene, *, now: float) -> Text:
    """Each member and what it does, and whether anybody can write."""
    text = Text.assemble((f"{'database':<10}", "dim"))
    for member in scene.members:
        mark, style = _ROLE_LOOKS[member.role]
        text.append(f"{mark} {member.name} {member.role.value}".ljust(16), style)
    if scene.outage_since is not None:
        text.append(f"  nobody can write, for {now - scene.outage_since:.1f} s now", "bold red")
    return text


def _describe_phase(phase: WavePhase, story: Story) -> str:
    return story.stage if story.started_at is None or phase is WavePhase.OVER else phase.value


def build_curves(story: Story, *, cells: int, max_age_s: float) -> Table:
    """Rates in and out on one scale, lag, consumers, and the numbers beside them."""
    samples = list(story.samples)[-cells:]
    view = story.view
    rates_in = [s.sent_rate for s in samples]
    rates_out = [s.written_rate for s in samples]
    top = max([1.0, *rates_in, *(rate for rate in rates_out if rate is not None)])
    lags = [None if s.lag_records is None else float(s.lag_records) for s in samples]
    counts = [None if s.consumers is None else float(s.consumers) for s in samples]
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", width=9)
    table.add_column(width=cells)
    table.add_column(justify="right")
    table.add_row(
        "in", Text(build_sparkline(rates_in, top=top), "yellow"), show_rate(rates_in[-1] if samples else None)
    )
    table.add_row(
        "out", Text(build_sparkline(rates_out, top=top), "green"), show_rate(rates_out[-1] if samples else None)
    )
    table.add_row("lag", Text(build_sparkline(lags), "magenta"), show_count(None if view is None else view.lag_records))
    most = 1.0 if view is None else float(view.max_replicas)
    shown = "?" if view is None else show_replicas(view)
    table.add_row("consumers", Text(build_sparkline(counts, top=most), "cyan"), shown)
    age = "?" if view is None else show_age(view)
    sent = f"{story.progress.delivered:,} records sent, {story.progress.poison:,} of them spoilt on purpose"
    table.add_row("sent", Text(sent), Text(f"age {age}", _age_style(view, max_age_s)))
    return table


def _age_style(view: PipelineView | None, max_age_s: float) -> str:
    if view is None or view.age_s is None:
        return "dim"
    return "red" if view.age_s > max_age_s else "green"


def _build_decision(view: PipelineView) -> Text:
    return Text.assemble(("decision  ", "dim"), (view.verdict, "bold"), f": {view.because}", overflow="ellipsis")


def _build_footnote(view: PipelineView | None) -> Text:
    if view is None or view.cap_rows_per_second is None:
        return Text("")
    return Text(f" demo only: at most {view.cap_rows_per_second:,} rows/s a consumer (maxRowsPerSecond), short timing ")


def build_events(story: Story) -> Text:
    """The last events, newest last, always the same number of lines."""
    events = list(story.events)[-SHOWN_EVENTS:]
    lines = [Text.assemble((f"{event.at_s:6.1f} s  ", "dim"), event.text) for event in events]
    lines += [Text()] * (SHOWN_EVENTS - len(lines))
    for line in lines:
        line.truncate(400)
    text = Text("\n").join(lines)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def build_sparkline(values: Sequence[float | None], *, top: float | None = None) -> str:
    """One character a value; a blank where it is unknown. top: the value of a full block, None = the largest."""
    known = [value for value in values if value is not None]
    highest = top if top is not None else max(known, default=0.0)
    return "".join(_step(value, highest) for value in values)


def _step(value: float | None, highest: float) -> str:
    if value is None:
        return " "
    if highest <= 0:
        return _STEPS[0]
    return _STEPS[min(len(_STEPS) - 1, max(0, round(value / highest * (len(_STEPS) - 1))))]


def build_line(story: Story, *, now: float) -> str:
    """One line for logs and pipes."""
    view, samples = story.view, story.samples
    phase = _describe_phase(story.wave.phase_at(story.elapsed_s(now)), story)
    sample = samples[-1] if samples else None
    rate_in = show_rate(None if sample is None else sample.sent_rate)
    rate_out = show_rate(None if sample is None else sample.written_rate)
    head = f"{story.elapsed_s(now):5.0f} s  {phase:<12} in {rate_in:>9}  out {rate_out:>9}"
    if story.database is not None:
        head += f"  {_name_primary(story.database):<11}"
    if view is None:
        return head
    busy = " ".join("?" if c.busy_fraction is None else f"{c.busy_fraction:.0%}" for c in view.consumers)
    return (
        f"{head}  lag {show_count(view.lag_records):>8}  age {show_age(view):>8}  "
        f"consumers {show_replicas(view)} busy {busy or '-'}  {view.verdict}: {view.because}"
    )


def _name_primary(scene: DatabaseScene) -> str:
    """A few words for a line."""
    leaders = [each.name for each in scene.members if each.role is MemberRole.LEADS]
    return "NO PRIMARY" if scene.outage_since is not None or not leaders else f"primary {leaders[0]}"


def describe_wave(wave: Wave) -> str:
    """The load in words."""
    quiet, flood = f"{wave.quiet_rate:,.0f}/s", f"{wave.flood_rate:,.0f}/s"
    when = f"from second {wave.flood_starts_s:.0f} to {wave.flood_ends_s:.0f}"
    return f"{wave.records:,} records in {wave.seconds:.0f} s: {quiet}, {when} a flood of {flood}, then {quiet}"
