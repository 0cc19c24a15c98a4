"""ISO 8601 text and epoch numbers to PostgreSQL's dates and times. Raises only Reject.

Moments are whole microseconds since 2000-01-01 00:00 UTC, dates whole days since that day: PostgreSQL's own counts.
Digits beyond the microsecond are dropped (towards the past), never rounded up into a moment that has not come.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import assert_never

from forebay_api.v1alpha1 import EpochUnit

from forebay_consumer.decode.json_text import kind_of, read_string
from forebay_consumer.decode.numbers import floor_scaled, is_number, split_number
from forebay_consumer.decode.rejects import reject_range, reject_type

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
EPOCH_DAYS = date(2000, 1, 1).toordinal()
UNIX_EPOCH_US = (date(1970, 1, 1).toordinal() - EPOCH_DAYS) * DAY_US
FIRST_US = (date.min.toordinal() - EPOCH_DAYS) * DAY_US
END_US = (date.max.toordinal() + 1 - EPOCH_DAYS) * DAY_US
"""Years 1 to 9999 and no further: milliseconds read as seconds land beyond and are caught."""

INFINITY_US = 2**63 - 1
MINUS_INFINITY_US = -(2**63)
INFINITY_DAYS = 2**31 - 1
MINUS_INFINITY_DAYS = -(2**31)
"""What PostgreSQL stores for 'infinity' and '-infinity'."""

_DATE = r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?)?"
_OFFSET = r"(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
_DATE_ONLY = re.compile(_DATE)
_TIME_ONLY = re.compile(_TIME)
_TIME_WITH_OFFSET = re.compile(_TIME + _OFFSET)
_MOMENT = re.compile(f"{_DATE}(?:[Tt ]{_TIME} ?{_OFFSET}?)?")

MAX_OFFSET_HOURS = 15
"""PostgreSQL takes zone offsets up to 15:59."""


@dataclass(frozen=True, slots=True)
class MomentReader:
    """timestamp and timestamptz: text without an offset is UTC, text with one is converted to UTC, for both types."""

    epoch_unit: EpochUnit | None

    def read(self, raw: bytes) -> int:
        """Microseconds since 2000-01-01 UTC."""
        if raw[0] != 0x22 and self.epoch_unit is not None:
            return _read_epoch(raw, self.epoch_unit)
        text = read_string(raw, _expected("an ISO 8601 timestamp", self.epoch_unit))
        if text in ("infinity", "-infinity"):
            return INFINITY_US if text == "infinity" else MINUS_INFINITY_US
        match = _MOMENT.fullmatch(text)
        if match is None:
            reject_type("an ISO 8601 timestamp", "other text")
        moment = _days(match) * DAY_US
        if match["hour"] is not None:
            moment += _time_us(match) - _offset_s(match["offset"]) * SECOND_US
        return _check_moment(moment)


@dataclass(frozen=True, slots=True)
class DateReader:
    """date: YYYY-MM-DD, or the UTC day of an epoch number. A timestamp's text is refused, not cut."""

    epoch_unit: EpochUnit | None

    def read(self, raw: bytes) -> int:
        """Days since 2000-01-01."""
        if raw[0] != 0x22 and self.epoch_unit is not None:
            return _read_epoch(raw, self.epoch_unit) // DAY_US
        text = read_string(raw, _expected("a date (YYYY-MM-DD)", self.epoch_unit))
        if text in ("infinity", "-infinity"):
            return INFINITY_DAYS if text == "infinity" else MINUS_INFINITY_DAYS
        match = _DATE_ONLY.fullmatch(text)
        if match is None:
            reject_type("a date (YYYY-MM-DD)", "other text")
        return _days(match)


def read_time(raw: bytes) -> int:
    """time: HH:MM[:SS[.fraction]] without an offset -> microseconds since midnight."""
    match = _TIME_ONLY.fullmatch(read_string(raw, "a time (HH:MM:SS)"))
    if match is None:
        reject_type("a time (HH:MM:SS)", "other text")
    return _time_us(match)


def read_timetz(raw: bytes) -> tuple[int, int]:
    """timetz: a time with an offset -> (microseconds since local midnight, offset in seconds east of UTC)."""
    match = _TIME_WITH_OFFSET.fullmatch(read_string(raw, "a time with an offset"))
    if match is None:
        reject_type("a time with an offset", "other text")
    return _time_us(match), _offset_s(match["offset"])


def moment_to_text(moment: int) -> str:
    """As timestamp_in reads it; append +00 for timestamptz."""
    if moment in (INFINITY_US, MINUS_INFINITY_US):
        return "infinity" if moment > 0 else "-infinity"
    return (datetime(2000, 1, 1) + timedelta(microseconds=moment)).isoformat(" ")  # noqa: DTZ001 - UTC by definition


def date_to_text(days: int) -> str:
    """As date_in reads it."""
    if days in (INFINITY_DAYS, MINUS_INFINITY_DAYS):
        return "infinity" if days > 0 else "-infinity"
    return date.fromordinal(days + EPOCH_DAYS).isoformat()


def time_to_text(microseconds: int) -> str:
    """As time_in reads it; up to 24:00:00."""
    seconds, fraction = divmod(microseconds, SECOND_US)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"


def offset_to_text(offset_s: int) -> str:
    """+HH:MM."""
    return f"{'-' if offset_s < 0 else '+'}{abs(offset_s) // 3600:02d}:{abs(offset_s) // 60 % 60:02d}"


def _expected(text_form: str, epoch_unit: EpochUnit | None) -> str:
    return text_form if epoch_unit is None else f"{text_form} or a number of {epoch_unit.value.lower()}"


def _read_epoch(raw: bytes, unit: EpochUnit) -> int:
    if not is_number(raw):
        reject_type(f"a number of {unit.value.lower()} or ISO 8601 text", kind_of(raw))
    since_1970 = floor_scaled(split_number(raw.decode()), _power(unit), 20)
    if since_1970 is None:
        reject_range("the moment is outside the years 1 to 9999")
    return _check_moment(since_1970 + UNIX_EPOCH_US)


def _power(unit: EpochUnit) -> int:
    """Power of ten from the unit to microseconds."""
    match unit:
        case EpochUnit.SECONDS:
            return 6
        case EpochUnit.MILLISECONDS:
            return 3
        case EpochUnit.MICROSECONDS:
            return 0
        case EpochUnit.NANOSECONDS:
            return -3
        case _:
            assert_never(unit)


def _check_moment(moment: int) -> int:
    if not FIRST_US <= moment < END_US:
        reject_range("the moment is outside the years 1 to 9999")
    return moment


def _days(match: re.Match[str]) -> int:
    try:
        day = date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        reject_range("there is no such day")
    return day.toordinal() - EPOCH_DAYS


def _time_us(match: re.Match[str]) -> int:
    """A second of 60 (a leap second) is the next minute's first, 24:00 the next day's start, as PostgreSQL has it."""
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"] or "0")
    fraction = int((match["fraction"] or "")[:6].ljust(6, "0"))
    total = (hour * 3600 + minute * 60 + second) * SECOND_US + fraction
    if minute > 59 or second > 60 or total > DAY_US:
        reject_range("there is no such time of day")
    return total


def _offset_s(text: str | None) -> int:
    if text is None or text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or "0")
    if hours > MAX_OFFSET_HOURS or minutes > 59:
        reject_range("there is no such offset from UTC")
    seconds = hours * 3600 + minutes * 60
    return -seconds if text[0] == "-" else seconds
