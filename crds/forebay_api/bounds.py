"""What a value may be: numeric ranges and the legal text of names. Attached to fields with `Annotated`.

What must not live here: reading or judging values (fields.py). Patterns keep to what RE2 and Python's `re` share,
because crds/ingestpipelines.yaml carries the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Inclusive bounds of a number. Whole ones only: the API server cuts their fraction where the value is whole."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A legal text: `pattern` matches the whole of it; `says` completes "must be ..." in messages."""

    pattern: str
    says: str
    max_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """How many items a list may have."""

    maximum: int


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_IPV6 = r"\[[0-9a-fA-F:.]+\]"
_HOST = "[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_BROKER = f"({_IPV6}|{_HOST}):{_PORT}"

PIPELINE_NAME = Text(
    pattern=_LABEL,
    says="a lower-case DNS label (letters, digits, '-') of at most 50 characters",
    max_length=50,  # names of owned objects append to it and end at 63, the limit of a label's value
)
NAMESPACE = Text(
    pattern=_LABEL,
    says="a lower-case DNS label (letters, digits, '-') of at most 63 characters",
    max_length=63,
)
SECRET_NAME = Text(
    pattern=rf"{_LABEL}(\.{_LABEL})*",
    says="a lower-case DNS name (letters, digits, '-', '.') of at most 253 characters",
    max_length=253,
)
BROKERS = Text(
    pattern=rf"{_BROKER}(, *{_BROKER})*",
    says="a comma-separated list of host:port",
    max_length=4096,
)
TOPIC = Text(
    pattern="[a-zA-Z0-9._-]*[a-zA-Z0-9_-][a-zA-Z0-9._-]*",
    says="a Kafka topic name: letters, digits, '.', '_', '-', not only dots, at most 249 characters",
    max_length=249,
)
GROUP = Text(
    pattern="[!-~]([ -~]*[!-~])?",
    says="a Kafka group name: printable ASCII without spaces at its ends, at most 249 characters",
    max_length=249,
)
TABLE = Text(
    pattern=r'[^.\x00-\x1f"]{1,63}(\.[^.\x00-\x1f"]{1,63})?',
    says="`table` or `schema.table`, each part at most 63 characters without quotes",
    max_length=127,
)
COLUMN = Text(
    pattern=r"[^\x00-\x1f]{1,63}",
    says="a column's name of 1 to 63 characters",
    max_length=63,
)
JSON_PATH = Text(
    pattern=r"[^./][^.]*(\.[^.]+)*|(/([^~/]|~[01])*)+",
    says="keys separated by dots (a.b.c), or a JSON Pointer (/a.b/c, with ~0 for '~' and ~1 for '/')",
    max_length=1024,
)
HEADER = Text(pattern="[^\\x00]{1,249}", says="a header's name of 1 to 249 characters", max_length=249)

SECONDS = Range(minimum=1, maximum=86_400)
"""Time spans that must not be zero; a day is far above any sensible setting."""

SECONDS_OR_ZERO = Range(minimum=0, maximum=86_400)
"""Waiting times; zero means at once."""

FRACTION = Range(minimum=0, maximum=1)
REPLICAS = Range(minimum=0, maximum=1000)
"""Kafka groups beyond a thousand members rebalance for longer than they work."""

REPLICAS_NOT_ZERO = Range(minimum=1, maximum=1000)
RATE = Range(minimum=1, maximum=1_000_000_000)
"""Records or rows a second of one consumer; the upper bound only catches slips of the unit."""

SAMPLES = Range(minimum=1, maximum=100)
WINDOW_RECORDS = Range(minimum=1, maximum=10_000_000)
"""The breaker's window; its memory is a few counters, so the bound only catches slips."""

MAX_COLUMNS = Items(maximum=1600)
"""PostgreSQL's limit for a table."""
