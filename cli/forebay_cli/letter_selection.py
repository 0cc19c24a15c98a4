"""What `dead-letters` commands are told to choose: from the words of the command line to a Selection. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from forebay_consumer.letters import Selection
from forebay_consumer.records import Reason

from forebay_cli.errors import UsageProblem

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_AGE = re.compile(r"([0-9]{1,9})([smhdw])")

MOST_ID = 2**63 - 1


def build_selection(
    *,
    ids: Sequence[str] = (),
    reason: str | None = None,
    partition: int | None = None,
    since: str | None = None,
    older_than: str | None = None,
    now: datetime,
) -> Selection:
    """now: aware; ages count from it. Raises UsageProblem naming everything that is wrong."""
    problems: list[str] = []
    selection = Selection(
        ids=_read_ids(ids, problems) if ids else None,
        reason=_read_reason(reason, problems),
        partition=_read_partition(partition, problems),
        since=_read_moment("--since", since, now, problems),
        before=_read_moment("--older-than", older_than, now, problems),
    )
    if problems:
        raise UsageProblem(*problems)
    return selection


def require_choice(selection: Selection, *, wants_all: bool, command: str) -> None:
    """Nothing is changed by leaving something out: `--all` must be said. Raises UsageProblem."""
    chooses = selection != Selection()
    if chooses and wants_all:
        raise UsageProblem("--all: cannot be combined with ids or other options; leave it out")
    if not chooses and not wants_all:
        raise UsageProblem(f"{command}: name ids, or --reason, --partition, --since, --older-than; or --all")


def _read_ids(ids: Sequence[str], problems: list[str]) -> tuple[int, ...]:
    wrong = [text for text in ids if not (text.isascii() and text.isdecimal()) or int(text) > MOST_ID]
    problems += [f"{text}: is no id of a dead letter; `forebay dead-letters list` shows them" for text in wrong]
    return tuple(sorted({int(text) for text in ids if text not in wrong}))


def _read_reason(text: str | None, problems: list[str]) -> Reason | None:
    if text is None:
        return None
    by_name = {reason.value.lower(): reason for reason in Reason}
    reason = by_name.get(text.lower())
    if reason is None:
        problems.append(f"--reason {text}: must be one of {', '.join(Reason)}")
    return reason


def _read_partition(partition: int | None, problems: list[str]) -> int | None:
    if partition is not None and not 0 <= partition < 2**31:
        problems.append(f"--partition {partition}: must be a partition's number, 0 or more")
    return partition


def _read_moment(option: str, text: str | None, now: datetime, problems: list[str]) -> datetime | None:
    """An age (90s, 30m, 1h, 7d, 2w) or an ISO 8601 time, UTC unless it names its zone."""
    if text is None:
        return None
    try:
        if age := _AGE.fullmatch(text):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        problems.append(f"{option} {text}: must be an age such as 90s, 30m, 1h, 7d, or a time as 2026-01-31T12:00:00Z")
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
