"""Whose an existing object is, told by its owner references. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay_api import wire
from forebay_api.v1alpha1 import Pipeline


def find_controller(live: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference of the object's controller."""
    references = live["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def belongs_to(live: Mapping[str, Any], pipeline: Pipeline) -> bool:
    """Whether this very pipeline, not one of the same name before it, is the object's controller."""
    controller = find_controller(live)
    return controller is not None and controller.get("uid") == pipeline.uid


def find_obstacle(live: Mapping[str, Any], pipeline: Pipeline) -> str | None:
    """Why the pipeline may not write to this object, for people; None when it may."""
    name = f"{live.get('kind', 'object')} {live['metadata']['name']}"
    if belongs_to(live, pipeline):
        return f"{name} is being deleted" if "deletionTimestamp" in live["metadata"] else None
    controller = find_controller(live) or {}
    group = str(controller.get("apiVersion", "")).partition("/")[0]
    if (group, controller.get("kind"), controller.get("name")) == (wire.GROUP, wire.KIND, pipeline.name):
        return f"{name} of the deleted pipeline of the same name is being removed"
    owner = f"{controller.get('kind')} {controller.get('name')}" if controller else "nobody"
    return (
        f"{name} exists and does not belong to this pipeline (controller: {owner}): remove it, or rename the pipeline"
    )
