"""How a dead letter's parts stand in `forebay.dead_letters`, and come out of it again. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from forebay_consumer.records import Header


def printable(text: str | None) -> str | None:
    """Without what a text column refuses (NUL, lone surrogates): a dead letter must never be refused itself."""
    if text is None:
        return None
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def pack_headers(headers: Sequence[Header]) -> str | None:
    """A JSON array of pairs: the name, and the value in base64 (null if it has none). None: there are no headers."""
    if not headers:
        return None
    pairs = [
        [printable(name), None if value is None else base64.b64encode(value).decode("ascii")] for name, value in headers
    ]
    return json.dumps(pairs)


def unpack_headers(packed: str | None) -> tuple[Header, ...]:
    """The inverse of pack_headers."""
    if packed is None:
        return ()
    return tuple((name, None if value is None else base64.b64decode(value)) for name, value in json.loads(packed))
