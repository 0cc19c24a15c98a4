"""What is compared, by name: an engine, what it is given to write, and how many write. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

DEBEZIUM_BATCH = 3000
"""batch.size that is tried by default; others by option, so that its best can be looked for."""


class Engine(StrEnum):
    """Who writes."""

    FOREBAY = "forebay"
    POLARS = "bare-polars"
    """The bare loop with the better encoder."""
    MSGSPEC = "bare-msgspec"
    DEBEZIUM = "debezium"

    @property
    def is_bare(self) -> bool:
        """Tell whether it is a bare loop."""
        return self in (Engine.POLARS, Engine.MSGSPEC)


class Task(StrEnum):
    """What it has to write."""

    APPEND = "append"
    """Into a table without a key."""
    UPSERT = "upsert"
    """By primary key, every key new."""
    REPEATS = "upsert-repeats"
    """By primary key; half of the records repeat a key that came before."""

    @property
    def has_key(self) -> bool:
        """Tell whether the table has a primary key."""
        return self is not Task.APPEND


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of the comparison.

    members: processes of Forebay or of the bare loop, tasks of Debezium. batch_size: Debezium's; None = another engine.
    dead_letters: Debezium's dead-letter topic is on, with errors.tolerance=all; others have nothing to turn on.
    """

    engine: Engine
    task: Task
    members: int
    batch_size: int | None = None
    dead_letters: bool = False

    @property
    def name(self) -> str:
        """As it is stored and asked for."""
        batch = "" if self.batch_size is None else f"-b{self.batch_size}"
        return f"{self.engine}-{self.task}-{self.members}{batch}{'-dlq' if self.dead_letters else ''}"

    @property
    def label(self) -> str:
        """For people."""
        if self.engine is Engine.DEBEZIUM:
            letters = ", dead-letter topic" if self.dead_letters else ""
            return f"Debezium, batch {self.batch_size}, {_count(self.members, 'task')}{letters}"
        named = {Engine.FOREBAY: "Forebay", Engine.POLARS: "bare loop, polars", Engine.MSGSPEC: "bare loop, msgspec"}
        return f"{named[self.engine]}, {_count(self.members, 'process')}"


def list_drains(batch_sizes: Sequence[int]) -> tuple[Variant, ...]:
    """Return what drains a full topic."""
    found: list[Variant] = []
    for task in Task:
        for members in (1, 2):
            found.append(Variant(engine=Engine.FOREBAY, task=task, members=members))
            if task is Task.APPEND:
                found.append(Variant(engine=Engine.POLARS, task=task, members=members))
            found.extend(_list_debezium(task, members, batch_sizes))
    return tuple(found)


def list_steady(batch_sizes: Sequence[int]) -> tuple[Variant, ...]:
    """Return whose latency is measured: one process suffices for such a load; Debezium may do better with two tasks."""
    found: list[Variant] = []
    for task in (Task.APPEND, Task.UPSERT):
        found.append(Variant(engine=Engine.FOREBAY, task=task, members=1))
        for members in (1, 2):
            found.extend(_list_debezium(task, members, batch_sizes[:1]))
    return tuple(found)


def list_poisoned(batch_sizes: Sequence[int]) -> tuple[Variant, ...]:
    """Return who is given one record that cannot be written."""
    debezium = (
        Variant(engine=Engine.DEBEZIUM, task=Task.APPEND, members=1, batch_size=size, dead_letters=letters)
        for size in batch_sizes[:1]
        for letters in (False, True)
    )
    return (Variant(engine=Engine.FOREBAY, task=Task.APPEND, members=1), *debezium)


def list_killed(batch_sizes: Sequence[int]) -> tuple[Variant, ...]:
    """Return who is killed."""
    return tuple(variant for variant in list_steady(batch_sizes) if variant.members == 1)


def choose_variants(variants: Iterable[Variant], only: Sequence[str]) -> tuple[Variant, ...]:
    """Return those whose names are one of the words, or begin with one that is no name; all where there is no word."""
    variants = tuple(variants)
    names = {variant.name for variant in variants}
    beginnings = tuple(word for word in only if word not in names)
    return tuple(v for v in variants if not only or v.name in only or v.name.startswith(beginnings))


def find_unknown_mode(variants: Iterable[Variant], modes: Iterable[str]) -> str | None:
    """Return why some of the variants cannot run, None when all can. modes: that the API has for spec.sink.mode."""
    if "Upsert" in set(modes):
        return None
    refused = [v.name for v in variants if v.engine is Engine.FOREBAY and v.task.has_key]
    if not refused:
        return None
    return (
        f"this version has no spec.sink.mode: Upsert, which {', '.join(dict.fromkeys(refused))} need; "
        "choose others with --only, as in --only forebay-append bare debezium"
    )


def _list_debezium(task: Task, members: int, batch_sizes: Sequence[int]) -> list[Variant]:
    return [Variant(engine=Engine.DEBEZIUM, task=task, members=members, batch_size=size) for size in batch_sizes]


def _count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
