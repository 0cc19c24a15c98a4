"""Server-side apply and field ownership, as far as the operator leans on them. Pure.

A field is a path: keys of maps, and for entries of lists with a known key `name=value`. Lists without such a key are
one field. What differs from Kubernetes: no schema (the keys of lists are guessed), no shared ownership of a map itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

Path = tuple[str, ...]

_LIST_KEYS = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "imagePullSecrets": "name",
}

_NOT_OWNED = {
    ("apiVersion",),
    ("kind",),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("metadata", "uid"),
    ("metadata", "resourceVersion"),
}


def list_fields(value: Any, path: Path = ()) -> set[Path]:
    """Paths of all leaves."""
    if isinstance(value, Mapping) and value:
        return set().union(*(list_fields(child, (*path, key)) for key, child in value.items())) - _NOT_OWNED
    key = _key_of_list(value, path)
    if key is not None:
        return set().union(*(list_fields(entry, (*path, f"{key}={entry[key]}")) for entry in value))
    return {path} - _NOT_OWNED


def apply(live: Mapping[str, Any], wanted: Mapping[str, Any], before: Iterable[Path]) -> dict[str, Any]:
    """The live object with every wanted value, without what `before` (fields of this manager alone) has and wanted has
    not."""
    result = copy.deepcopy(dict(live))
    kept = list_fields(wanted)
    for path in sorted(set(before) - kept, key=len, reverse=True):
        _remove(result, path)
    merged: dict[str, Any] = _merge(result, wanted, ())
    return merged


def merge_patch(live: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(live) if isinstance(live, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[Path]:
    """Leaves of `after` that `before` has not, or with another value."""
    return {path for path in list_fields(after) if _read(before, path) != _read(after, path)}


def show_fields(paths: Iterable[Path]) -> dict[str, Any]:
    """As managedFields has them (fieldsV1)."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for part in path:
            name, _, value = part.partition("=")
            node = node.setdefault(f'k:{{"{name}":"{value}"}}' if value else f"f:{part}", {})
    return tree


def _key_of_list(value: Any, path: Path) -> str | None:
    if not isinstance(value, list) or not value or not path:
        return None
    key = _LIST_KEYS.get(path[-1])
    return key if key is not None and all(isinstance(e, Mapping) and key in e for e in value) else None


def _merge(live: Any, wanted: Any, path: Path) -> Any:
    if isinstance(wanted, Mapping):
        base = dict(live) if isinstance(live, Mapping) else {}
        return {**base, **{name: _merge(base.get(name), value, (*path, name)) for name, value in wanted.items()}}
    key = _key_of_list(wanted, path)
    if key is None or not isinstance(live, list):
        return copy.deepcopy(wanted)
    entries = {entry[key]: entry for entry in live if key in entry}
    for entry in wanted:
        entries[entry[key]] = _merge(entries.get(entry[key]), entry, (*path, f"{key}={entry[key]}"))
    return list(entries.values())


def _find_entry(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    key, _, name = part.partition("=")
    found = [entry for entry in node or () if isinstance(entry, Mapping) and str(entry.get(key)) == name]
    return found[0] if found else None


def _read(node: Any, path: Path) -> Any:
    for part in path:
        node = _find_entry(node, part)
    return node


def _remove(root: dict[str, Any], path: Path) -> None:
    """The leaf, and what it leaves empty; an entry of a list goes with its key."""
    parent = _read(root, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    if parent == {} and len(path) > 1:
        _drop(root, path[:-1])


def _drop(root: dict[str, Any], path: Path) -> None:
    parent = _read(root, path[:-1])
    child = _read(root, path)
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    elif isinstance(parent, list) and child in parent:
        parent.remove(child)
