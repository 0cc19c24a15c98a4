"""Records that cannot be written as they are. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never


class Poison(StrEnum):
    """What is wrong with the one record."""

    INVALID_JSON = "invalid-json"
    NULL = "null"
    """NULL for a column that is NOT NULL."""
    NULL_BY_SCHEMA = "null-by-schema"
    """The same where the schema that Debezium is given lets the field be null, which the table does not."""
    TEXT = "text"
    """A word for an integer column."""
    NUL = "nul"
    """The character U+0000, which PostgreSQL's text cannot hold."""


CASES = {
    Poison.INVALID_JSON: "invalid JSON",
    Poison.NULL: "NULL into NOT NULL",
    Poison.NULL_BY_SCHEMA: "NULL into NOT NULL, allowed by the schema of the values",
    Poison.TEXT: "text in an integer column",
    Poison.NUL: "a NUL character",
}


def encode_poison(fields: Mapping[str, object], poison: Poison) -> bytes:
    """Return the record's bytes, spoilt. fields: of a good payment."""
    match poison:
        case Poison.INVALID_JSON:
            return json.dumps(fields).encode()[:-9]
        case Poison.NULL | Poison.NULL_BY_SCHEMA:
            return json.dumps({**fields, "merchant": None}).encode()
        case Poison.TEXT:
            return json.dumps({**fields, "amount_cents": "twelve"}).encode()
        case Poison.NUL:
            return json.dumps({**fields, "merchant": "merchant\x00zero"}).encode()
        case _:
            assert_never(poison)
