"""The audit's result on a terminal, and as the demo's last line."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from forebay_cli.demo.audit import AuditFacts, Verdict
from forebay_cli.demo.failovers import FailoverKind, build_failover_facts, judge_failovers
from forebay_cli.demo.story import Story


def print_verdict(console: Console, facts: AuditFacts, verdict: Verdict, story: Story) -> None:
    """What was expected, what is there, and every problem."""
    ledger = facts.ledger
    table = Table(title="Audit: the database against the producer's ledger", title_justify="left")
    table.add_column("")
    for heading in ("expected", "found"):
        table.add_column(heading, justify="right")
    table.add_row("rows of good records", f"{ledger.good:,}", f"{facts.rows:,}")
    table.add_row("distinct ids", f"{ledger.good:,}", f"{facts.distinct_ids:,}")
    table.add_row("dead letters of spoilt records", f"{ledger.poison:,}", f"{facts.dead_letters:,}")
    table.add_row("records lost", "0", str(verdict.lost))
    table.add_row("records twice", "0", str(verdict.duplicated))
    right = sum(facts.positions.get(partition) == end for partition, end in ledger.ends.items())
    table.add_row("partitions at their end", str(len(ledger.ends)), str(right))
    console.print(table)
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in facts.dead_letters_by_reason.items())
    console.print(Text(f"dead letters by reason: {reasons or 'none'}"))
    peak = f"consumers: {story.replicas_first} at first, {story.replicas_peak} at most, {story.replicas_end} in the end"
    console.print(Text(f"{peak}; oldest unwritten record at most {story.max_age_s:.1f} s old"))
    _print_failovers(console, story)
    for problem in list_problems(verdict, story):
        console.print(Text(f"FAILED: {problem}", style="bold red"))
    if not list_problems(verdict, story):
        console.print(Text("PASSED: every record is there exactly once", style="bold green"))


def _print_failovers(console: Console, story: Story) -> None:
    if story.database is None:
        return
    for each in story.database.failovers:
        words = f"{each.old} {each.kind.value}, {each.new} took over: {each.outage_s:.1f} s without a primary"
        if each.kind is FailoverKind.KILLED:
            lost = "an unknown number of" if each.lost_records is None else f"{each.lost_records:,}"
            words += f", {lost} committed records gone with {each.old}"
        console.print(Text(words))
    restarts = f"{len(story.troubles)} restarted" if story.troubles else "none was restarted"
    console.print(Text(f"consumers read {story.rewound:,} records again, by themselves; {restarts}"))


def list_problems(verdict: Verdict, story: Story) -> tuple[str, ...]:
    """The audit's problems, those of failovers, and consumers that did not rise and fall."""
    problems = verdict.problems
    if story.database is not None:
        problems += judge_failovers(story.database, rewound=story.rewound, troubles=story.troubles)
    if story.rose_and_fell:
        return problems
    return (
        *problems,
        f"consumers did not rise and fall: {story.replicas_first} at first, {story.replicas_peak} at most, "
        f"{story.replicas_end} in the end",
    )


def build_last_line(verdict: Verdict, story: Story) -> str:
    """One JSON object for programs; what failovers did only where there were some."""
    database = story.database
    more = {} if database is None else build_failover_facts(database, rewound=story.rewound)
    return json.dumps(
        {
            "produced": verdict.produced,
            "rows": verdict.rows,
            "dead_letters": verdict.dead_letters,
            "lost": verdict.lost,
            "duplicated": verdict.duplicated,
            "replicas_peak": story.replicas_peak,
            "replicas_end": story.replicas_end,
            "max_age_seconds": round(story.max_age_s, 1),
            **more,
        }
    )
