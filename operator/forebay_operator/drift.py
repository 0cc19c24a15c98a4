"""Whether a live object still is what was rendered. Pure.

What must not live here: repair, and any knowledge of a particular kind of object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_LEFT_OUT = ("apiVersion", "kind")
"""The API server leaves them out of the objects in a list."""

_IDENTITIES = ("name", "uid", "mountPath", "key", "topologyKey", "containerPort")
"""Keys of which one names the entries of a list, as server-side apply merges them; tried in this order."""

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")

_FACTORS = {
    **{letter: Decimal(10) ** (3 * power) for power, letter in enumerate("num", start=-3)},
    **{letter: Decimal(10) ** (3 * power) for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}

_QUANTITY_FIELDS = ("requests", "limits")
"""Maps whose values are quantities; elsewhere "1" and "1.0" are two texts."""


def find_drift(rendered: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """Where the live object lacks a rendered value, for people; None when it has them all.

    The live object may have more: defaults of the API server, and what others added. Quantities are compared as
    numbers, lists of named things by name, other lists as a whole and in order.
    """
    wanted = {key: value for key, value in rendered.items() if key not in _LEFT_OUT}
    return _compare(wanted, live, "")


def _compare(wanted: Any, live: Any, path: str) -> str | None:
    if isinstance(wanted, Mapping):
        return _compare_maps(wanted, live, path)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _compare_lists(wanted, live, path)
    if type(wanted) is type(live) and wanted == live:
        return None
    return f"{path} is {_show(live)} instead of {_show(wanted)}"


def _compare_maps(wanted: Mapping[str, Any], live: Any, path: str) -> str | None:
    if not isinstance(live, Mapping):
        # an empty object says nothing, and the API server may leave it out
        return f"{path} is {_show(live)} instead of an object" if wanted or live is not None else None
    is_quantities = path.rpartition(".")[2] in _QUANTITY_FIELDS
    for key, value in wanted.items():
        if is_quantities and read_quantity(value) == read_quantity(live.get(key)) is not None:
            continue
        found = _compare(value, live.get(key), f"{path}.{key}" if path else key)
        if found is not None:
            return found
    return None


def _compare_lists(wanted: Sequence[Any], live: Any, path: str) -> str | None:
    if not isinstance(live, Sequence) or isinstance(live, str):
        return f"{path} is {_show(live)} instead of a list" if wanted or live is not None else None
    identity = _identity_of(wanted)
    if identity is not None:
        return _compare_named(wanted, live, identity, path)
    if len(wanted) != len(live):
        return f"{path} has {len(live)} entries instead of {len(wanted)}"
    for index, (one, other) in enumerate(zip(wanted, live, strict=True)):
        found = _compare(one, other, f"{path}[{index}]")
        if found is not None:
            return found
    return None


def _identity_of(wanted: Sequence[Any]) -> str | None:
    """The key that tells the entries apart; None: only their order does."""
    if not wanted or not all(isinstance(entry, Mapping) for entry in wanted):
        return None
    for key in _IDENTITIES:
        names = [entry.get(key) for entry in wanted]
        if all(isinstance(name, str | int) for name in names) and len(set(names)) == len(names):
            return key
    return None


def _compare_named(wanted: Sequence[Any], live: Sequence[Any], identity: str, path: str) -> str | None:
    by_name = {entry.get(identity): entry for entry in live if isinstance(entry, Mapping)}
    for entry in wanted:
        name = entry[identity]
        if name not in by_name:
            return f"{path}[{name}] is missing"
        found = _compare(entry, by_name[name], f"{path}[{name}]")
        if found is not None:
            return found
    return None


def read_quantity(text: Any) -> Decimal | None:
    """The number that a Kubernetes quantity stands for; None when it is none. Whole numbers are quantities as well."""
    if isinstance(text, int) and not isinstance(text, bool):
        return Decimal(text)
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2]
    if suffix is None:
        return number
    if suffix in _FACTORS:
        return number * _FACTORS[suffix]
    return number.scaleb(int(suffix[1:]))


def _show(value: Any) -> str:
    return "missing" if value is None else repr(value)
