"""What `positions reset --to` can say, and the offsets that it means. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from forebay_cli.errors import UsageProblem
from forebay_cli.kafka_bounds import Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class ToEarliest:
    """The first record that is still in Kafka."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToLatest:
    """Only what is produced from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToOffset:
    """This very offset, in every partition named."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToTime:
    """The first record with this Kafka timestamp or a later one. moment: aware."""

    moment: datetime


Target = ToEarliest | ToLatest | ToOffset | ToTime


def parse_target(text: str) -> Target:
    """`earliest`, `latest`, an offset, or an ISO 8601 time (UTC unless it names its zone). Raises UsageProblem."""
    match text.lower():
        case "earliest":
            return ToEarliest()
        case "latest":
            return ToLatest()
    if text.isascii() and text.isdecimal():
        return ToOffset(offset=int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageProblem(
            f"--to {text}: expected earliest, latest, an offset (0 or more), or a time such as 2026-01-31T12:00:00Z"
        ) from None
    return ToTime(moment=moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def check_offset(offset: int, bounds: Mapping[int, Bounds]) -> None:
    """Raises UsageProblem naming each partition that does not hold the offset."""
    problems = [
        f"--to {offset}: partition {partition} holds offsets {bound.log_start} to {bound.log_end}"
        for partition, bound in sorted(bounds.items())
        if not bound.log_start <= offset <= bound.log_end
    ]
    if problems:
        raise UsageProblem(*problems)


def choose_partitions(wanted: tuple[int, ...], existing: tuple[int, ...]) -> tuple[int, ...]:
    """Those wanted, all when none is. Raises UsageProblem for partitions that the topic does not have."""
    unknown = sorted(set(wanted) - set(existing))
    if unknown:
        raise UsageProblem(f"--partition: the topic has no partition {', '.join(map(str, unknown))}")
    return tuple(sorted(set(wanted))) or existing
