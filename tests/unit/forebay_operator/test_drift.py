"""Which differences between what was rendered and what lives count."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from forebay_operator.drift import find_drift, read_quantity
from hypothesis import given
from hypothesis import strategies as st
from support.rendering import FULL, render_kinds

CASES = [
    pytest.param({"a": 1}, {"a": 1, "b": 2}, None, id="more-is-no-drift"),
    pytest.param({"a": 1}, {"a": 2}, "a is 2 instead of 1", id="other-value"),
    pytest.param({"a": {"b": "x"}}, {"a": {}}, "a.b is missing instead of 'x'", id="missing-value"),
    pytest.param({"a": True}, {"a": 1}, "a is 1 instead of True", id="a-number-is-no-boolean"),
    pytest.param({"a": {}}, {}, None, id="nothing-asked-of-an-absent-object"),
    pytest.param({"a": []}, {}, None, id="nothing-asked-of-an-absent-list"),
    pytest.param({"a": {"b": 1}}, {"a": "text"}, "a is 'text' instead of an object", id="no-object"),
    pytest.param({"a": ["x"]}, {"a": None}, "a is missing instead of a list", id="no-list"),
    pytest.param({"apiVersion": "v1", "kind": "Pod"}, {}, None, id="types-are-left-out-of-lists"),
    pytest.param({"limits": {"cpu": "0.5"}}, {"limits": {"cpu": "500m"}}, None, id="same-quantity"),
    pytest.param({"limits": {"memory": "1024Mi"}}, {"limits": {"memory": "1Gi"}}, None, id="same-memory"),
    pytest.param(
        {"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "limits.cpu is '2' instead of '1'", id="other-quantity"
    ),
    pytest.param({"env": {"a": "1"}}, {"env": {"a": "1.0"}}, "env.a is '1.0' instead of '1'", id="text-is-no-quantity"),
    pytest.param({"l": [1, 2]}, {"l": [2, 1]}, "l[0] is 2 instead of 1", id="order-of-plain-values"),
    pytest.param({"l": [1]}, {"l": [1, 2]}, "l has 2 entries instead of 1", id="plain-list-with-more"),
    pytest.param(
        {"l": [{"name": "a", "v": 1}]},
        {"l": [{"name": "b"}, {"name": "a", "v": 1, "w": 2}]},
        None,
        id="named-entries-in-any-order-with-more",
    ),
    pytest.param({"l": [{"name": "a"}]}, {"l": [{"name": "b"}]}, "l[a] is missing", id="named-entry-is-gone"),
    pytest.param(
        {"l": [{"name": "a", "v": 1}]}, {"l": [{"name": "a", "v": 2}]}, "l[a].v is 2 instead of 1", id="named-differs"
    ),
    pytest.param(
        {"l": [{"key": "a", "v": 1}, {"key": "a", "v": 2}]},
        {"l": [{"key": "a", "v": 1}, {"key": "a", "v": 3}]},
        "l[1].v is 3 instead of 2",
        id="a-name-twice-is-no-name",
    ),
]


@pytest.mark.parametrize(("rendered", "live", "expected"), CASES)
def test_find_drift_tells_the_first_difference_that_counts(
    rendered: dict[str, Any], live: dict[str, Any], expected: str | None
) -> None:
    assert find_drift(rendered, live) == expected


def test_an_object_has_not_drifted_from_itself() -> None:
    assert all(find_drift(wanted, copy.deepcopy(wanted)) is None for wanted in render_kinds(FULL).values())


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key, child in value.items() for leaf in _leaves(child, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for index, child in enumerate(value) for leaf in _leaves(child, (*path, index))]
    return [path]


DEPLOYMENT = render_kinds(FULL)["Deployment"]
LEAVES = [path for path in _leaves(DEPLOYMENT) if path[0] not in ("apiVersion", "kind")]


@given(st.sampled_from(LEAVES))
def test_every_single_value_of_a_deployment_is_watched(path: tuple[Any, ...]) -> None:
    live = copy.deepcopy(DEPLOYMENT)
    node: Any = live
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = "changed by hand"
    assert find_drift(DEPLOYMENT, live) is not None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("0.5", 0.5),
        ("500m", 0.5),
        ("1k", 1000),
        ("1Ki", 1024),
        ("2Gi", 2 * 1024**3),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1E3", 1000),
        ("100n", 1e-7),
        (".5", 0.5),
        (3, 3),
    ],
)
def test_read_quantity_reads_kubernetes_numbers(text: str | int, number: float) -> None:
    assert float(read_quantity(text) or 0) == number


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1kk", True, None, {}])
def test_read_quantity_of_anything_else_is_unknown(text: Any) -> None:
    assert read_quantity(text) is None
