"""How a PipelineView looks on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay_cli.local.view import ConditionLine, ConsumerLine, PipelineView

BAR_CELLS = 16
_EIGHTHS = " ▏▎▍▌▋▊▉"
_GOOD_WHEN = {"Ready": "True", "Scaling": "True", "LagAvailable": "True", "SinkReady": "True"}
"""Conditions that are good when true; any other one is good when false."""


def build_status(view: PipelineView) -> RenderableType:
    """Everything about one pipeline."""
    parts: list[RenderableType] = [build_summary(view), Text()]
    if view.consumers:
        parts += [build_consumers(view.consumers, cap=view.cap_rows_per_second), Text()]
    parts.append(build_decision(view))
    parts.append(build_conditions(view.conditions))
    if view.problem is not None:
        parts.append(Text(view.problem, style="red"))
    return Group(*parts)


def build_summary(view: PipelineView) -> Table:
    """Replicas, lag, age and rates."""
    grid = Table.grid(padding=(0, 3))
    for _ in range(5):
        grid.add_column(justify="right")
    grid.add_row(*(Text(word, style="dim") for word in ("consumers", "lag", "age", "arriving", "written")))
    grid.add_row(
        Text(show_replicas(view), style="bold"),
        show_count(view.lag_records),
        show_age(view),
        show_rate(view.arrival),
        show_rate(view.written),
    )
    return grid


def build_consumers(consumers: tuple[ConsumerLine, ...], *, cap: int | None) -> RenderableType:
    """One row a consumer, with its busy bar; below the table what is wrong with each. cap: its rows/s, None = none."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("consumer", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("parts", justify="right", no_wrap=True)
    table.add_column("busy", no_wrap=True, min_width=BAR_CELLS + len(" 100%"))
    table.add_column("records/s", justify="right", no_wrap=True)
    table.add_column("cap", justify="right", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    troubles = Text()
    for line in consumers:
        table.add_row(
            line.name,
            Text(line.phase or "silent", style="green" if line.phase == "Running" and not line.trouble else "yellow"),
            "?" if line.partitions is None else str(line.partitions),
            show_bar(line.busy_fraction),
            "?" if line.records_per_second is None else f"{line.records_per_second:,.0f}",
            "none" if cap is None else f"{cap:,}",
            show_count(line.rows),
        )
        if line.trouble:
            troubles.append(f"\n{line.name}: {line.trouble}", "red")
    return Group(table, troubles) if troubles else table


def build_decision(view: PipelineView) -> Text:
    """The last decision in words."""
    text = Text.assemble(("decision  ", "dim"), (view.verdict, "bold"), ": ", view.because)
    if view.would_change_if:
        text.append(f"\n          would change if {view.would_change_if}", style="dim")
    return text


def build_conditions(conditions: tuple[ConditionLine, ...]) -> Text:
    """Conditions that are as they should be in one line, each other one with its message."""
    good = [line for line in conditions if is_good(line)]
    text = Text.assemble(
        ("\nconditions  ", "dim"), (" ".join(line.type for line in good if line.status == "True"), "green")
    )
    for line in conditions:
        if line not in good:
            text.append(f"\n{line.type}={line.status} {line.reason}: {line.message}", style="yellow")
    return text


def is_good(line: ConditionLine) -> bool:
    """Whether nobody needs to look at it."""
    return line.status == _GOOD_WHEN.get(line.type, "False")


def show_replicas(view: PipelineView) -> str:
    """What runs, what is asked for where it differs, and the bounds."""
    running = "?" if view.running is None else str(view.running)
    asked = "" if view.running == view.changed_to else f" → {view.changed_to}"
    return f"{running}{asked} (of {view.min_replicas}-{view.max_replicas})"


def show_age(view: PipelineView) -> str:
    """Age of the oldest unwritten record."""
    if view.age_s is None:
        return "?"
    return f"{'≥ ' if view.age_is_lower_bound else ''}{view.age_s:.1f} s"


def show_rate(rate: float | None) -> str:
    """Records a second."""
    return "?" if rate is None else f"{rate:,.0f}/s"


def show_count(count: int | None) -> str:
    """A number with thousands' separators."""
    return "?" if count is None else f"{count:,}"


def show_bar(fraction: float | None, *, cells: int = BAR_CELLS) -> Text:
    """A horizontal bar with a percentage: green, from 70 % yellow, from 95 % red."""
    if fraction is None:
        return Text("·" * cells + "    ?", style="dim")
    bounded = min(max(fraction, 0.0), 1.0)
    whole, rest = divmod(round(bounded * cells * 8), 8)
    bar = ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(cells, " ")
    colour = "red" if bounded >= 0.95 else "yellow" if bounded >= 0.7 else "green"
    return Text.assemble((bar, f"{colour} on grey15"), f" {bounded:4.0%}")
