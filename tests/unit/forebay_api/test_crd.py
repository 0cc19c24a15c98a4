"""The CustomResourceDefinition: property by property the same as the dataclasses, and what only the YAML can say."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import pytest
from forebay_api import bounds, fields, wire
from forebay_api.parse import RULES, SHAPES
from forebay_api.v1alpha1 import PipelineSpec, PodTemplate, ResourcesSpec
from support import crd
from support.resources import build_resource

KINDS = {bool: "boolean", int: "integer", float: "number", str: "string"}
LEGAL_TEXT = re.compile(r"self\.matches\(r'(.*)'\)")
"""A rule that stands for a pattern: what the API server says of those is their regular expression alone."""

UNREAD_PATHS = tuple(
    f".consumer.podTemplate.{name}" for name in ("tolerations[]", "affinity", "topologySpreadConstraints[]")
)
"""What the parser passes on without reading it."""

UNFILLED = (ResourcesSpec, PodTemplate)
"""Absent parts of these stay absent, so that `kubectl get -o yaml` does not show ten empty ones."""

COMPARED = {
    "type",
    "enum",
    "minimum",
    "maximum",
    "pattern",
    "maxLength",
    "maxItems",
    "minItems",
    "required",
    "default",
    "properties",
    "items",
    "additionalProperties",
    "maxProperties",
    "x-kubernetes-int-or-string",
}


def test_every_property_of_the_spec_is_a_field_with_the_same_bounds_and_default() -> None:
    schema = crd.load_schema()["properties"]["spec"]
    expected = _object(PipelineSpec)
    expected["properties"]["source"]["required"].remove("group")  # the parser makes it of the name

    assert _compared(schema) == expected


def is_int_or_string(node: dict[str, Any]) -> bool:
    """The one form of it that a structural schema may have."""
    forms = [{"type": "integer"}, {"type": "string"}]
    return node.get("x-kubernetes-int-or-string") is True and node.get("anyOf") == forms


def test_every_node_is_described_and_typed() -> None:
    nodes = list(crd.walk(crd.load_schema()))

    assert [path for path, node in nodes if "description" not in node] == [".metadata"]  # forbidden there
    assert [path for path, node in nodes if "type" not in node and not is_int_or_string(node)] == []
    assert [path for path, node in nodes if "x-kubernetes-preserve-unknown-fields" in node] == []


def test_rules_hold_for_the_defaults_before_these_are_filled() -> None:
    """The API server refuses the whole definition otherwise."""
    nodes = [node for _, node in crd.walk(crd.load_schema()) if node.get("default") == {}]

    assert [problem for node in nodes for problem in crd.broken_rules({}, None, node, "$")] == []


def test_every_text_and_list_of_the_spec_is_bounded() -> None:
    """Without bounds the API server refuses CEL rules as too expensive, and one resource can fill its memory."""
    nodes = crd.walk(crd.load_schema()["properties"]["spec"])
    unbounded = [
        path
        for path, node in nodes
        if (node.get("type", "string") == "string" and not {"enum", "maxLength"} & set(node))
        or (node.get("type") == "array" and "maxItems" not in node)
        or ("additionalProperties" in node and "maxProperties" not in node)
        or (node.get("type") in ("integer", "number") and not {"minimum", "maximum"} <= set(node))
    ]

    assert unbounded == []


def test_names_are_those_of_the_wire() -> None:
    spec = crd.load_crd()["spec"]

    assert (spec["group"], spec["names"]["plural"], spec["names"]["kind"]) == (wire.GROUP, wire.PLURAL, wire.KIND)
    assert crd.load_crd()["metadata"]["name"] == f"{wire.PLURAL}.{wire.GROUP}"
    assert [version["name"] for version in spec["versions"]] == [wire.VERSION]


@pytest.mark.parametrize("path", ["specReplicasPath", "statusReplicasPath", "labelSelectorPath"])
def test_scale_subresource_points_to_properties(path: str) -> None:
    (version,) = crd.load_crd()["spec"]["versions"]
    known = {name for name, _ in crd.walk(version["schema"]["openAPIV3Schema"])}

    assert version["subresources"]["scale"][path] in known
    assert version["subresources"]["status"] == {}


def test_printer_columns_point_to_properties() -> None:
    (version,) = crd.load_crd()["spec"]["versions"]
    known = {name for name, _ in crd.walk(version["schema"]["openAPIV3Schema"])}

    plain = [each["jsonPath"].split("[?")[0] for each in version["additionalPrinterColumns"]]

    assert [path for path in plain if path not in known and not path.startswith(".metadata.")] == []


def test_every_rule_of_the_parser_has_its_like_in_the_schema() -> None:
    spec = crd.load_schema()["properties"]["spec"]
    nodes = [spec, *(node for path, node in crd.walk(spec) if not path.startswith(UNREAD_PATHS))]
    cel_rules = [
        rule
        for node in nodes
        for rule in node.get("x-kubernetes-validations", ())
        if "oldSelf" not in rule["rule"] and not LEGAL_TEXT.fullmatch(rule["rule"])
    ]
    list_maps = [node for node in nodes if node.get("x-kubernetes-list-type") == "map"]

    assert len(cel_rules) + len(list_maps) == sum(len(rules) for rules in RULES.values())


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        pytest.param("", "", [], id="same"),
        pytest.param("", "spec: {suspend: true}", [], id="suspended"),
        pytest.param("", "spec: {sink: {table: other}}", ["$.spec.sink.table"], id="table-changed"),
        pytest.param("", "spec: {source: {group: g}}", ["$.spec.source.group"], id="group-added"),
        pytest.param("spec: {source: {group: g}}", "", ["$.spec.source.group"], id="group-removed"),
        pytest.param(
            "spec: {source: {group: g}}", "spec: {source: {group: h}}", ["$.spec.source.group"], id="group-changed"
        ),
        pytest.param("spec: {source: {group: g}}", "spec: {source: {group: g, topic: t}}", [], id="group-kept"),
    ],
)
def test_group_and_table_are_immutable(old: str, new: str, refused: list[str]) -> None:
    problems = crd.judge(build_resource(new), build_resource(old))

    assert [problem.split(":")[0] for problem in problems] == refused


def _compared(schema: dict[str, Any], path: str = "") -> dict[str, Any]:
    if path in UNREAD_PATHS:
        return {"type": schema["type"]}
    kept = {key: value for key, value in schema.items() if key in COMPARED}
    for rule in schema.get("x-kubernetes-validations", ()):
        if match := LEGAL_TEXT.fullmatch(rule["rule"]):
            kept |= {"pattern": match[1], "message": rule["message"]}
    if "properties" in kept:
        kept["properties"] = {name: _compared(child, f"{path}.{name}") for name, child in kept["properties"].items()}
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if word in kept:
            kept[word] = _compared(kept[word], path + mark)
    return kept


def _object(cls: type) -> dict[str, Any]:
    cls = SHAPES[cls].like if cls in SHAPES else cls
    found = fields.members(cls)
    schema: dict[str, Any] = {"type": "object"}
    if found:
        schema["properties"] = {member.key: _property(member, cls) for member in found}
    if required := [member.key for member in found if member.is_required]:
        schema["required"] = required
    return schema


def _property(member: fields.Member, owner: type) -> dict[str, Any]:
    schema = _value(member.type) | dict(_limits(member.bounds))
    if member.is_required or member.default is None or owner in UNFILLED or member.type in UNFILLED:
        return schema
    if dataclasses.is_dataclass(member.type):
        return schema | {"default": {}}
    default = list(member.default) if isinstance(member.default, tuple) else member.default
    return schema | {"default": default}


def _value(kind: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind):
        return _object(typing.cast(type, kind))
    if typing.get_origin(kind) is tuple:
        item, item_bounds = fields.split_annotation(typing.get_args(kind)[0])
        return {"type": "array", "items": _value(item) | dict(_limits(item_bounds))}
    if typing.get_origin(kind) is Mapping:
        return {"type": "object"}
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [choice.value for choice in kind]}
    return {"type": KINDS[kind]}


def _limits(limits: tuple[fields.Bound, ...]) -> Iterator[tuple[str, Any]]:
    for limit in limits:
        match limit:
            case bounds.Range():
                yield from (("minimum", limit.minimum), ("maximum", limit.maximum))
            case bounds.Text():
                yield from (("pattern", f"^({limit.pattern})$"), ("maxLength", limit.max_length))
                if limit is not bounds.QUANTITIES.value:  # int-or-string has no length, rules on it cost too much
                    yield "message", f"must be {limit.says}"
            case bounds.Items():
                yield "maxItems", limit.maximum
                if limit.minimum:
                    yield "minItems", limit.minimum
            case bounds.Entries():
                kind = {"x-kubernetes-int-or-string": True} if limit.takes_whole_numbers else {"type": "string"}
                yield "maxProperties", limit.maximum
                yield "additionalProperties", kind | dict(_limits((limit.value,)))
