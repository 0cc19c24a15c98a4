"""What a watch or a list shows of an IngestPipeline, as a value. Pure.

What must not live here: what is done about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forebay_api.parse import InvalidPipeline, parse_pipeline
from forebay_api.v1alpha1 import Pipeline

Key = tuple[str, str]
"""Namespace and name."""

Body = Mapping[str, Any]
"""An object as the API server has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a list of all pipelines found. hidden: namespaces that would not be listed; what is in them is not known."""

    bodies: Sequence[Body]
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """An IngestPipeline as last seen. version: its resource version, a number that grows with each write.

    pipeline: what it says, or why it says nothing that can be followed.
    """

    uid: str
    version: int
    generation: int
    pipeline: Pipeline | InvalidPipeline
    status: Body


def identify(body: Body) -> tuple[Key, str, int]:
    """Key, uid and resource version. Raises KeyError for what is no resource."""
    metadata = body["metadata"]
    version = str(metadata.get("resourceVersion", ""))
    return (metadata["namespace"], metadata["name"]), metadata["uid"], int(version) if version.isdecimal() else 0


def read_resource(body: Body, before: Resource | None) -> Resource:
    """before: what was known of this name; the same generation of the same resource is not parsed again."""
    _, uid, version = identify(body)
    generation = int(body["metadata"].get("generation", 0))
    same = before is not None and (before.uid, before.generation) == (uid, generation)
    pipeline = before.pipeline if before is not None and same else _parse(body, uid)
    status = body.get("status") or {}
    return Resource(uid=uid, version=version, generation=generation, pipeline=pipeline, status=status)


def _parse(body: Body, uid: str) -> Pipeline | InvalidPipeline:
    try:
        return replace(parse_pipeline(body), uid=uid)
    except InvalidPipeline as e:
        return e
