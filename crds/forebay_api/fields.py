"""Frozen dataclasses from and to JSON objects, driven by their annotations and defaults alone.

What lives here: the generic reader and writer. What must not: anything that knows a particular field; rules that need
several fields, and values whose YAML has another shape than the dataclass, are handed in as `Rule`s and `Shape`s.

null means the same as an absent key, as it does to Kubernetes for properties that are not nullable.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Final

from forebay_api.bounds import Entries, Items, JsonObject, Range, Text

Bound = Range | Text | Items | Entries
_MAX_SHOWN = 60
"""Characters of a wrong value that a message repeats: enough to find it, too few to flood a terminal."""

_MAX_NUMBER = 2**63 - 1
"""Beyond it a number is no int64 in Kubernetes, and a whole number may be too large for a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """path: the field from the outside in, `spec.sink.columns[2].name`; message: what is wrong, with any remedy."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule over several fields of one dataclass, judged as soon as all that it needs could be read.

    needs: field names, handed to `check` in this order. blames: the field whose path the message gets.
    check: None when kept, else the message.
    """

    needs: tuple[str, ...]
    blames: str
    check: Callable[..., str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A dataclass whose JSON looks like another one (`like`); build and show convert from and to that one."""

    like: type
    build: Callable[[Any], Any]
    show: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One field of a dataclass, annotations resolved. default: MISSING when the key is required."""

    name: str
    key: str
    type: Any
    bounds: tuple[Bound, ...]
    is_optional: bool
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether a key must be there."""
        return self.default is MISSING


MISSING: Final = object()
UNREADABLE: Final = object()


def json_key(name: str) -> str:
    """`max_age_s` is `maxAgeSeconds`; a trailing underscore, which Python's keywords need, goes."""
    head, *rest = name.rstrip("_").split("_")
    if rest and rest[-1] == "s":
        rest[-1] = "seconds"
    return head + "".join(part.capitalize() for part in rest)


@cache
def members(cls: type) -> tuple[Member, ...]:
    """The fields of a dataclass in their order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(_member(each, hints[each.name]) for each in dataclasses.fields(cls))


def _member(each: dataclasses.Field[Any], hint: Any) -> Member:
    is_optional = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
        is_optional = True
    hint, bounds = split_annotation(hint)
    default = each.default
    if each.default_factory is not dataclasses.MISSING:
        default = each.default_factory()
    if default is dataclasses.MISSING:
        default = MISSING
    return Member(
        name=each.name,
        key=json_key(each.name),
        type=hint,
        bounds=bounds,
        is_optional=is_optional,
        default=default,
    )


def split_annotation(hint: Any) -> tuple[Any, tuple[Bound, ...]]:
    """A type and what `Annotated` says of it."""
    if typing.get_origin(hint) is not Annotated:
        return hint, ()
    kind, *found = typing.get_args(hint)
    return kind, tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads values and collects every problem instead of stopping at the first.

    lenient: dataclasses whose unknown keys are passed over; None: all of them.
    """

    rules: Mapping[type, Sequence[Rule]] = field(default_factory=dict)
    shapes: Mapping[type, Shape] = field(default_factory=dict)
    lenient: frozenset[type] | None = frozenset()
    problems: list[Problem] = field(default_factory=list)

    def read(self, cls: Any, value: object, path: str, bounds: tuple[Bound, ...] = ()) -> Any:
        """The value as `cls`, or UNREADABLE with the reasons among the problems."""
        if shape := self.shapes.get(cls):
            read = self.read(shape.like, value, path)
            return read if read is UNREADABLE else shape.build(read)
        if dataclasses.is_dataclass(cls):
            return self._read_object(typing.cast(type, cls), value, path)
        if typing.get_origin(cls) is tuple:
            return self._read_list(typing.get_args(cls)[0], value, path, bounds)
        if typing.get_origin(cls) is Mapping:
            return self._read_mapping(cls, value, path, bounds)
        converted, message = _convert(cls, value)
        message = message or _judge(converted, bounds)
        return converted if message is None else self._refuse(path, message)

    def _refuse(self, path: str, message: str) -> object:
        self.problems.append(Problem(path=path, message=message))
        return UNREADABLE

    def _read_object(self, cls: type, value: object, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self._refuse(path, f"must be an object, is {_show(value)}")
        before = len(self.problems)
        if self.lenient is not None and cls not in self.lenient:
            self._refuse_unknown(cls, value, path)
        found = {member.name: self._read_member(member, value, path) for member in members(cls)}
        self._apply_rules(cls, found, path)
        return cls(**found) if len(self.problems) == before else UNREADABLE

    def _read_member(self, member: Member, value: Mapping[Any, object], path: str) -> Any:
        raw = value.get(member.key)
        if raw is not None:
            return self.read(member.type, raw, _join(path, member.key), member.bounds)
        if not member.is_required:
            return member.default
        if member.is_optional and member.key in value:
            return None
        return self._refuse(_join(path, member.key), "is required")

    def _refuse_unknown(self, cls: type, value: Mapping[Any, object], path: str) -> None:
        known = [member.key for member in members(cls)]
        for key in value:
            if key in known:
                continue
            close = difflib.get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known)) or 'none'}"
            self._refuse(_join(path, str(key)), f"unknown field; {remedy}")

    def _apply_rules(self, cls: type, found: Mapping[str, object], path: str) -> None:
        keys = {member.name: member.key for member in members(cls)}
        for rule in self.rules.get(cls, ()):
            values = [found[name] for name in rule.needs]
            if UNREADABLE in values:
                continue
            if message := rule.check(*values):
                self._refuse(_join(path, keys[rule.blames]) if rule.blames else path, message)

    def _read_mapping(self, cls: Any, value: object, path: str, bounds: tuple[Bound, ...]) -> Any:
        if not isinstance(value, Mapping):
            return self._refuse(path, f"must be an object, is {_show(value)}")
        if cls == JsonObject:
            frozen = freeze(value)
            return self._refuse(path, "must hold what JSON can carry") if frozen is UNREADABLE else frozen
        before = len(self.problems)
        (bound,) = bounds
        assert isinstance(bound, Entries)
        if len(value) > bound.maximum:
            self._refuse(path, f"must have at most {bound.maximum} entries, has {len(value)}")
        found = {key: self._read_entry(bound, key, each, path) for key, each in value.items()}
        return types.MappingProxyType(found) if len(self.problems) == before else UNREADABLE

    def _read_entry(self, bound: Entries, key: object, value: object, path: str) -> Any:
        where = f"{path}[{key}]"
        if not isinstance(key, str) or _judge_one(key, bound.key):
            return self._refuse(where, f"the key must be {bound.key.says}")
        if bound.takes_whole_numbers and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return self.read(str, value, where, (bound.value,))

    def _read_list(self, item: Any, value: object, path: str, bounds: tuple[Bound, ...]) -> Any:
        if not isinstance(value, list | tuple):
            return self._refuse(path, f"must be a list, is {_show(value)}")
        before = len(self.problems)
        if message := _judge(value, bounds):
            self._refuse(path, message)
        item, item_bounds = split_annotation(item)
        items = tuple(self.read(item, each, f"{path}[{index}]", item_bounds) for index, each in enumerate(value))
        return items if len(self.problems) == before else UNREADABLE


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _show(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return f"{value!r}" if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]!r}... ({len(value)} characters)"
        case int() | float():
            return str(value)[:_MAX_SHOWN]
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def _convert(cls: type, value: object) -> tuple[Any, str | None]:
    """The scalar as cls and None, or anything and a message. A bool is no number; a whole float is a whole number."""
    if cls is bool:
        return value, None if isinstance(value, bool) else f"must be true or false, is {_show(value)}"
    if cls is str:
        return value, None if isinstance(value, str) else f"must be text, is {_show(value)}"
    if issubclass(cls, StrEnum):
        names = [choice.value for choice in cls]
        if isinstance(value, str) and value in names:
            return cls(value), None
        return value, f"must be one of {', '.join(names)}, is {_show(value)}"
    return _convert_number(cls, value)


def _convert_number(cls: type, value: object) -> tuple[Any, str | None]:
    kind = "a whole number" if cls is int else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value, f"must be {kind}, is {_show(value)}"
    if abs(value) > _MAX_NUMBER or math.isnan(value) or (cls is int and value != int(value)):
        return value, f"must be {kind}, is {_show(value)}"
    return cls(value), None


def _judge(value: Any, bounds: tuple[Bound, ...]) -> str | None:
    for bound in bounds:
        if message := _judge_one(value, bound):
            return message
    return None


def _judge_one(value: Any, bound: Bound) -> str | None:
    match bound:
        case Range():
            if value < bound.minimum:
                return f"must be at least {bound.minimum}, is {_show(value)}"
            return f"must be at most {bound.maximum}, is {_show(value)}" if value > bound.maximum else None
        case Text():
            is_legal = len(value) <= bound.max_length and re.fullmatch(bound.pattern, value)
            return None if is_legal else f"must be {bound.says}, is {_show(value)}"
        case Items():
            if len(value) < bound.minimum:
                return f"must have at least {bound.minimum} items, has {len(value)}"
            return f"must have at most {bound.maximum} items, has {len(value)}" if len(value) > bound.maximum else None
        case Entries():  # judged entry by entry, so that the path names the wrong one
            return None
        case _:
            typing.assert_never(bound)


def freeze(value: object) -> Any:
    """A JSON value as JsonObject describes it; UNREADABLE when JSON cannot carry it or a key is no text."""
    match value:
        case Mapping():
            found = {key: freeze(each) for key, each in value.items()}
            is_legal = all(isinstance(key, str) for key in found) and UNREADABLE not in found.values()
            return types.MappingProxyType(found) if is_legal else UNREADABLE
        case list() | tuple():
            items = tuple(freeze(each) for each in value)
            return UNREADABLE if UNREADABLE in items else items
        case None | bool() | str():
            return value
        case int() | float():
            return UNREADABLE if abs(value) > _MAX_NUMBER or math.isnan(value) else value
        case _:
            return UNREADABLE


def write(value: Any, shapes: Mapping[type, Shape]) -> Any:
    """The JSON value of a dataclass (or a part of one). Every field is written, None as null."""
    if shape := shapes.get(type(value)):
        return write(shape.show(value), shapes)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {member.key: write(getattr(value, member.name), shapes) for member in members(type(value))}
    if isinstance(value, Mapping):
        return {key: write(each, shapes) for key, each in value.items()}
    if isinstance(value, tuple):
        return [write(each, shapes) for each in value]
    return str(value) if isinstance(value, StrEnum) else value
