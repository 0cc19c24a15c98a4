"""What an API server does with crds/ingestpipelines.yaml, as far as it can be done without one.

Strict field validation, defaults, the structural schema, list maps and CEL rules. What must not live here: the parser.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cel
import jsonschema
import yaml

REPOSITORY = Path(__file__).parents[2]
CRD_FILE = REPOSITORY / "crds" / "ingestpipelines.yaml"

_ROOT_METADATA = {"name", "namespace", "generation", "labels", "annotations", "uid", "resourceVersion"}
"""Fields of ObjectMeta, which the API server knows without the schema."""


@cache
def load_crd() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    crd: dict[str, Any] = yaml.safe_load(CRD_FILE.read_text())
    return crd


@cache
def load_schema() -> dict[str, Any]:
    """The schema of the only version."""
    (version,) = load_crd()["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def judge(body: Any, old: Any = None) -> list[str]:
    """What the API server would say to a resource, or to a change from `old`; empty when it would take it."""
    schema = load_schema()
    body = _without_nulls(body, schema)
    found = [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(body)]
    if found:
        return found
    body = _with_defaults(body, schema)
    former = None if old is None else _with_defaults(_without_nulls(old, schema), schema)
    return [*_list_map_problems(body, schema, "$"), *broken_rules(body, former, schema, "$")]


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of the schema below the root, with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from walk(child, f"{path}.{name}")
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if word in schema:
            yield f"{path}{mark}", schema[word]
            yield from walk(schema[word], f"{path}{mark}")


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_strict(load_schema()))


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields refused, as with --validate=strict, and without Kubernetes' own words."""
    strict = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if "properties" in schema or (schema.get("type") == "object" and "additionalProperties" not in schema):
        strict["properties"] = {name: _strict(child) for name, child in schema.get("properties", {}).items()}
        strict["additionalProperties"] = False
    if "metadata" in strict.get("properties", {}):
        strict["properties"]["metadata"]["properties"] |= {name: {} for name in _ROOT_METADATA - {"name"}}
    for word in ("items", "additionalProperties"):
        if word in schema:
            strict[word] = _strict(schema[word])
    return strict


def _without_nulls(value: Any, schema: dict[str, Any]) -> Any:
    """Null properties that are not nullable are dropped before anything else (items of lists are not)."""
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        return {key: _without_nulls(each, known.get(key, other)) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each, schema.get("items", {})) for each in value]
    return value


def _with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        filled = dict(value)
        for name, child in schema.get("properties", {}).items():
            if name not in filled and "default" in child:
                filled[name] = copy.deepcopy(child["default"])
            if name in filled:
                filled[name] = _with_defaults(filled[name], child)
        return filled
    if isinstance(value, list):
        return [_with_defaults(each, schema.get("items", {})) for each in value]
    return value


def _children(value: Any, old: Any, schema: dict[str, Any], path: str) -> Iterator[tuple[Any, Any, Any, str]]:
    """(value, former value, schema, path) of each part that is there. Items have no former value here."""
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name, each in value.items():
            former = old.get(name) if isinstance(old, dict) else None
            yield each, former, known.get(name, other), f"{path}.{name}"
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield each, None, schema.get("items", {}), f"{path}[{index}]"


def _list_map_problems(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    if schema.get("x-kubernetes-list-type") == "map":
        keys = [tuple(each[key] for key in schema["x-kubernetes-list-map-keys"]) for each in value]
        if len(set(keys)) < len(keys):
            yield f"{path}: duplicate"
    for each, _, child, where in _children(value, None, schema, path):
        yield from _list_map_problems(each, child, where)


@cache
def _compile(rule: str) -> cel.Program:
    return cel.compile(rule)


def broken_rules(value: Any, old: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """The messages of the CEL rules, those of all parts included, that do not hold."""
    for rule in schema.get("x-kubernetes-validations", ()):
        is_transition = "oldSelf" in rule["rule"]
        if is_transition and old is None:
            continue
        variables = {"self": value, "oldSelf": old} if is_transition else {"self": value}
        if not _compile(rule["rule"]).execute(variables):
            yield f"{path}{rule.get('fieldPath', '')}: {rule['message']}"
    for each, former, child, where in _children(value, old, schema, path):
        yield from broken_rules(each, former, child, where)
