"""Finding each column's field in a record, and what no column takes. Raises only Reject."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NoReturn

from forebay_api.v1alpha1 import UnknownFieldPolicy

from forebay_consumer.decode.json_text import RawObject, kind_of, split_object
from forebay_consumer.decode.rejects import Reject, reject_type
from forebay_consumer.plan import TablePlan
from forebay_consumer.records import Reason


@dataclass(slots=True)
class FieldNode:
    """One object's known keys. columns: those that take the whole value; inner: keys below it that others take."""

    columns: list[int] = field(default_factory=list)
    inner: dict[str, FieldNode] = field(default_factory=dict)


def build_field_tree(plan: TablePlan) -> FieldNode:
    """The paths of the plan's columns as a tree; the root stands for the record.

    The field that marks deletions is among them, as a column after the last, so that it is never an unknown one.
    """
    root = FieldNode()
    paths = [planned.path for planned in plan.columns]
    if plan.delete_when is not None:
        paths.append(plan.delete_when.path)
    for index, path in enumerate(paths):
        if not path:
            continue
        node = root
        for key in path:
            node = node.inner.setdefault(key, FieldNode())
        node.columns.append(index)
    return root


def find_path(record: RawObject, path: tuple[str, ...]) -> bytes | None:
    """The raw slice at a path; None where the record, which split_record has accepted, has no such field."""
    fields = record
    for key in path[:-1]:
        inner = fields.get(key)
        data = b"" if inner is None else bytes(inner)
        if not data.startswith(b"{"):
            return None
        fields = split_object(data)
    raw = fields.get(path[-1])
    return None if raw is None else bytes(raw)


class FieldFinder:
    """Takes records apart as one plan wants it."""

    def __init__(self, plan: TablePlan) -> None:
        self._root = build_field_tree(plan)
        self._names = [planned.column.name for planned in plan.columns]
        self._collector = next((i for i, planned in enumerate(plan.columns) if planned.collects_unknown), None)
        self._collector_nullable = self._collector is not None and not plan.columns[self._collector].column.is_not_null
        self._refuses = plan.unknown_fields is UnknownFieldPolicy.DEAD_LETTER and self._collector is None
        self._wants_rest = self._refuses or self._collector is not None

    def find(self, record: RawObject) -> list[bytes | None]:
        """The raw slice for each column of the plan; None where the record has no such field."""
        slots: list[bytes | None] = [None] * (len(self._names) + 1)  # the last is that of the deletions' marker
        rest = self._walk(record, self._root, slots)
        if self._refuses and rest:
            raise Reject(Reason.UNKNOWN_FIELD, "the record has a field that no column takes")
        if self._collector is not None and (rest or not self._collector_nullable):
            slots[self._collector] = _write_object(rest)
        return slots

    def _walk(self, fields: RawObject, node: FieldNode, slots: list[bytes | None]) -> dict[str, bytes]:
        """Fill the slots below a node; returns the fields that no column takes, if anyone wants them."""
        for key, child in node.inner.items():
            raw = fields.get(key)
            if raw is not None:
                data = bytes(raw)
                for index in child.columns:
                    slots[index] = data
        rest = {k: bytes(v) for k, v in fields.items() if k not in node.inner} if self._wants_rest else {}
        for key, child in node.inner.items():
            if child.inner and key in fields:
                self._descend(key, bytes(fields[key]), child, slots, rest)
        return rest

    def _descend(
        self, key: str, raw: bytes, child: FieldNode, slots: list[bytes | None], rest: dict[str, bytes]
    ) -> None:
        """A null where an object should be means that the fields inside are missing."""
        if raw == b"null":
            return
        if raw[0] != 0x7B:
            first = _first_column(child)
            if first < len(self._names):
                self._refuse_kind(raw, first)
            if self._wants_rest:  # only a deletion's marker is looked for below: here it is a field like any other
                rest[key] = raw
            return
        inner_rest = self._walk(split_object(raw), child, slots)
        if inner_rest and not child.columns:
            rest[key] = _write_object(inner_rest)

    def _refuse_kind(self, raw: bytes, column: int) -> NoReturn:
        try:
            reject_type("an object on the column's path", kind_of(raw))
        except Reject as e:
            e.column = self._names[column]
            raise


def _first_column(node: FieldNode) -> int:
    """The first of the columns that are filled from below a node."""
    if not node.inner:
        return min(node.columns)
    return min(_first_column(child) for child in node.inner.values())


def _write_object(fields: dict[str, bytes]) -> bytes:
    pairs = (json.dumps(key, ensure_ascii=False).encode() + b":" + raw for key, raw in fields.items())
    return b"{" + b",".join(pairs) + b"}"
