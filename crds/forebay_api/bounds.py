"""What a value may be: numeric ranges and the legal text of names. Attached to fields with `Annotated`.

What must not live here: reading or judging values (fields.py). Patterns keep to what RE2 and Python's `re` share,
because crds/ingestpipelines.yaml carries the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

JsonObject = Mapping[str, object]
"""A JSON object that is passed on unread. Frozen by the reader (MappingProxyType, tuples), thawed by the writer."""


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
    minimum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """How many entries a mapping of texts may have, and their legal keys and values.

    takes_whole_numbers: a value may be a whole number too and is read as its digits (`cpu: 2`).
    """

    maximum: int
    key: Text
    value: Text
    takes_whole_numbers: bool = False


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
OBJECT_NAME = Text(
    pattern=rf"{_LABEL}(\.{_LABEL})*",
    says="the name of a Kubernetes object: lower-case letters, digits, '-' and '.', at most 253 characters",
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
COLUMN_TYPE = Text(
    pattern=(
        r"[a-zA-Z_][a-zA-Z0-9_.]*( [a-zA-Z_]+)*"
        r"( ?\( ?-?[a-zA-Z0-9_]+( ?, ?-?[a-zA-Z0-9_]+)* ?\))?( [a-zA-Z_]+)*(\[[0-9]*\])*"
    ),
    says="a type's name as PostgreSQL knows it, without quotes: numeric(12,2), timestamp(3) with time zone, text[]",
    max_length=200,
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
LANES = Range(minimum=1, maximum=16)
RATE = Range(minimum=1, maximum=1_000_000_000)
"""Records or rows a second of one consumer; the upper bound only catches slips of the unit."""

SAMPLES = Range(minimum=1, maximum=100)
DAYS = Range(minimum=1, maximum=36_500)
WINDOW_RECORDS = Range(minimum=1, maximum=10_000_000)
"""The breaker's window; its memory is a few counters, so the bound only catches slips."""

MAX_COLUMNS = Items(maximum=1600)
"""PostgreSQL's limit for a table."""

MAX_KEY_COLUMNS = Items(maximum=32)
"""PostgreSQL's limit for the columns of an index."""

DELETE_VALUE = Text(pattern="[^\\x00]{1,249}", says="a text of 1 to 249 characters", max_length=249)
DELETE_VALUES = Items(minimum=1, maximum=16)
"""Words that stand for a deletion: a change stream has one or two."""

CLUSTER_NAME = Text(
    pattern="[a-z]([-a-z0-9]*[a-z0-9])?",
    says="a Zalando cluster's name: lower-case letters, digits and '-', a letter first, at most 58 characters",
    max_length=58,  # the operator appends "-repl" for a Service, whose name ends at 63
)
CLUSTER_USER = Text(
    pattern=r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
    says="a Zalando user's name: lower-case letters, digits, '_', '-' and '.', at most 63 characters",
    max_length=63,
)
DATABASE = Text(
    pattern=r"[^\x00-\x1f]{1,63}",
    says="a database's name of 1 to 63 characters",
    max_length=63,
)
SERVICE_NAME = Text(
    pattern="[a-z]([-a-z0-9]*[a-z0-9])?",
    says="the name of a Service in the pipeline's namespace: lower-case letters, digits and '-', at most 63 characters",
    max_length=63,
)
PORT = Range(minimum=1, maximum=65_535)

IMAGE = Text(
    pattern="[a-zA-Z0-9]([a-zA-Z0-9._:/@-]*[a-zA-Z0-9])?",
    says="an image's name, such as registry.example/forebay-consumer:1.2 (no spaces, no scheme)",
    max_length=512,
)
VARIABLE_NAME = Text(
    pattern="[-._a-zA-Z][-._a-zA-Z0-9]*",
    says="an environment variable's name: letters, digits, '_', '-' and '.', no digit first, at most 256 characters",
    max_length=256,
)
VARIABLE_VALUE = Text(
    pattern="[^\\x00]*", says="text without NUL characters, of at most 8192 characters", max_length=8192
)
UID = Text(pattern="[!-~]*", says="printable ASCII of at most 128 characters", max_length=128)

_QUALIFIED_NAME = Text(
    pattern=rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?",
    says="named as Kubernetes names labels (`name` or `example.com/name`, the name at most 63 characters)",
    max_length=317,
)
_LABEL_VALUE = Text(
    pattern="([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
    says="a label's value: letters, digits, '-', '_' and '.', at most 63 characters",
    max_length=63,
)
_QUANTITY = Text(
    pattern=r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?",
    says="a Kubernetes quantity such as 500m, 2 or 512Mi",
    max_length=32,
)

LABELS = Entries(maximum=64, key=_QUALIFIED_NAME, value=_LABEL_VALUE)
ANNOTATIONS = Entries(
    maximum=64,
    key=_QUALIFIED_NAME,
    value=Text(pattern="[^\\x00]*", says="text without NUL characters, of at most 8192 characters", max_length=8192),
)
QUANTITIES = Entries(maximum=16, key=_QUALIFIED_NAME, value=_QUANTITY, takes_whole_numbers=True)
"""Resource names (`cpu`, `memory`, `example.com/device`) to quantities."""

MAX_VARIABLES = Items(maximum=64)
MAX_PLACEMENTS = Items(maximum=32)
"""Tolerations, spread constraints, pull secrets of one pod."""
