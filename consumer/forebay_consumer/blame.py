"""Which rows of a COPY are at fault, from what the server says of its failure. Pure.

The line that COPY names is there for conversion, NOT NULL, CHECK and immediate unique errors. Foreign keys and deferred
constraints name the key instead; AFTER triggers name nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from forebay_consumer.copy_stream import CopyStream, find_rows
from forebay_consumer.failures import REPEATED_KEY, Symptom, copy_line, violated_key
from forebay_consumer.plan import TablePlan


def find_guilty(symptom: Symptom, streams: Sequence[CopyStream], plan: TablePlan) -> tuple[tuple[int, ...], ...]:
    """For each stream its rows at fault, ascending; all empty when nothing tells.

    streams: the one that was refused, or, when COMMIT failed, all of the transaction.
    Of several rows with a repeated key some may be innocent: mode Upsert tries them again.
    """
    nothing: tuple[tuple[int, ...], ...] = ((),) * len(streams)
    line = copy_line(symptom, plan.table)
    if line is not None:
        return ((line - 1,),) if len(streams) == 1 and 1 <= line <= streams[0].rows else nothing
    key = violated_key(symptom, plan.table)
    if key is None:
        return nothing
    found = [find_rows(stream, plan, *key) for stream in streams]
    rows = tuple(rows if rows is not None else () for rows in found)
    if symptom.sqlstate == REPEATED_KEY and None not in found:
        return _keep_first(rows)
    return rows if symptom.sqlstate != REPEATED_KEY else nothing


def _keep_first(found: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """Of several rows with one key the first may stay: if the table has it too, the next attempt blames that one."""
    if sum(map(len, found)) < 2:
        return found
    spared = False
    kept = []
    for rows in found:
        kept.append(rows[1:] if rows and not spared else rows)
        spared = spared or bool(rows)
    return tuple(kept)
