"""Which trials make a run, in which order, and which of them are left when some are stored. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bench.peers.poison import Poison
from bench.peers.variants import (
    Engine,
    Variant,
    choose_variants,
    list_drains,
    list_killed,
    list_poisoned,
    list_steady,
)


class Kind(StrEnum):
    """What is measured."""

    DRAIN = "drain"
    """A full topic into an empty table."""
    STEADY = "steady"
    """Latency under an even load."""
    POISON = "poison"
    """One record that cannot be written."""
    KILL = "kill"
    """kill -9 in the middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One trial to run. case: which poison; empty for other kinds. turn: from 0, repeats of the same."""

    kind: Kind
    variant: Variant
    turn: int
    case: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes it the same trial as a stored one."""
        return (self.kind.value, self.variant.name, self.case, self.turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial that was run, as it is stored. figures: by name. said: what was written wrongly, why it stopped."""

    kind: str
    variant: str
    turn: int
    case: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, int]:
        """As Job.key."""
        return (self.kind, self.variant, self.case, self.turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asks for. only: beginnings of variants' names; empty = all. repeats: of each kind."""

    kinds: tuple[Kind, ...]
    only: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    repeats: Mapping[Kind, int]

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is left out, so that it may replace what is stored."""
        return set(self.kinds) == set(Kind) and not self.only


LISTS = {Kind.DRAIN: list_drains, Kind.STEADY: list_steady, Kind.POISON: list_poisoned, Kind.KILL: list_killed}


def plan_jobs(wishes: Wishes) -> tuple[Job, ...]:
    """Return all trials in order: kind by kind, and within a kind A B C A B C, so that noise hits all alike.

    Raises ValueError when a word of `only` fits no variant of any kind.
    """
    listed = {kind: LISTS[kind](wishes.batch_sizes) for kind in wishes.kinds}
    chosen = {kind: choose_variants(variants, wishes.only) for kind, variants in listed.items()}
    names = sorted(list_variants(wishes.batch_sizes))
    for word in wishes.only:
        if not any(name.startswith(word) for name in names):
            raise ValueError(f"--only {word} fits none of {', '.join(names)}")
    return tuple(
        Job(kind=kind, variant=variant, case=case, turn=turn)
        for kind, variants in chosen.items()
        for turn in range(wishes.repeats[kind])
        for case in (list_cases(kind))
        for variant in variants
        if is_sensible(variant, case)
    )


def list_variants(batch_sizes: Iterable[int], stored: Iterable[Trial] = ()) -> dict[str, Variant]:
    """Return every variant of every kind by name, also those with the batch sizes of stored trials."""
    found = (re.search(r"-b(\d+)", trial.variant) for trial in stored)
    sizes = tuple(dict.fromkeys([*batch_sizes, *(int(each[1]) for each in found if each)]))
    return {variant.name: variant for listing in LISTS.values() for variant in listing(sizes)}


def list_cases(kind: Kind) -> tuple[str, ...]:
    """Return the cases of a kind; one without a name where it has none."""
    return tuple(str(each) for each in Poison) if kind is Kind.POISON else ("",)


def is_sensible(variant: Variant, case: str) -> bool:
    """Tell whether the case is a case of its own there: only Debezium is given a schema of the values."""
    return case != Poison.NULL_BY_SCHEMA or variant.engine is Engine.DEBEZIUM


def leave_out_stored(jobs: Iterable[Job], stored: Iterable[Trial]) -> tuple[Job, ...]:
    """Return the trials that are not stored yet, in their order."""
    done = {trial.key for trial in stored}
    return tuple(job for job in jobs if job.key not in done)


def choose_warm_ups(jobs: Sequence[Job], *, goes_on: bool) -> tuple[Variant, ...]:
    """Return what drains once before anything counts: each variant; where a run goes on, one, for the servers' sake."""
    drains = tuple(dict.fromkeys(job.variant for job in jobs if job.kind is Kind.DRAIN))
    return drains[:1] if goes_on else drains
