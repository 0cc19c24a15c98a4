"""What is rendered for a pipeline: as a whole against stored YAML, and its rules one by one.

To store a new one: delete the file, run the test twice, and read what was written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from forebay_api.parse import parse_pipeline
from forebay_operator.resources import (
    CONFIG_REVISION_ANNOTATION,
    PIPELINE_FILE,
    REVISION_ANNOTATION,
    SCALING_REVISION_ANNOTATION,
    ConsumerImage,
    render,
    selector_text,
)
from support.rendering import FULL, IMAGE, build_owned_pipeline, render_kinds

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_rendered_objects_are_those_of_the_stored_yaml(name: str) -> None:
    rendered = render(build_owned_pipeline("" if name == "minimal" else FULL), IMAGE)
    stored = GOLDEN / f"{name}.yaml"
    if not stored.exists():
        stored.write_text(yaml.safe_dump_all(rendered, sort_keys=False, width=120), encoding="utf-8")
        pytest.fail(f"{stored.name} was missing and has been written: read it, then run again")
    assert list(rendered) == list(yaml.safe_load_all(stored.read_text(encoding="utf-8")))


def _annotations(changes: str, *, image: ConsumerImage = IMAGE) -> tuple[str, str, str]:
    deployment = render_kinds(changes, image=image)["Deployment"]
    own, pods = deployment["metadata"]["annotations"], deployment["spec"]["template"]["metadata"]["annotations"]
    return own[REVISION_ANNOTATION], pods[CONFIG_REVISION_ANNOTATION], own[SCALING_REVISION_ANNOTATION]


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        pytest.param("spec: {scaling: {maxReplicas: 3}}", (False, False, True), id="scaling-touches-no-pod"),
        pytest.param("spec: {suspend: true}", (False, False, False), id="suspend-touches-nothing"),
        pytest.param("spec: {source: {topic: other}}", (True, True, False), id="source-replaces-pods"),
        pytest.param("spec: {consumer: {maxRowsPerSecond: 7}}", (True, True, False), id="cap-replaces-pods"),
        pytest.param(
            "spec: {consumer: {podTemplate: {labels: {a: b}}}}", (True, False, False), id="labels-are-no-configuration"
        ),
    ],
)
def test_a_change_of_the_spec_changes_its_own_revisions_alone(changes: str, changed: tuple[bool, ...]) -> None:
    pairs = zip(_annotations(""), _annotations(changes), strict=True)
    assert tuple(before != after for before, after in pairs) == changed


def test_another_image_changes_the_revision() -> None:
    assert _annotations("")[0] != _annotations("", image=ConsumerImage(name="forebay-consumer:9"))[0]


def test_replicas_are_never_rendered() -> None:
    assert "replicas" not in render_kinds("spec: {scaling: {mode: Manual, replicas: 4}}")["Deployment"]["spec"]


def test_the_stored_configuration_reads_back_as_the_same_source_and_sink() -> None:
    pipeline = build_owned_pipeline(FULL)
    stored = parse_pipeline(json.loads(render_kinds(FULL)["ConfigMap"]["data"][PIPELINE_FILE]))
    assert (stored.key, stored.spec.source, stored.spec.sink) == (
        pipeline.key,
        pipeline.spec.source,
        pipeline.spec.sink,
    )


def test_everything_is_owned_by_this_very_pipeline_and_blocks_nothing() -> None:
    pipeline = build_owned_pipeline()
    owners = [wanted["metadata"]["ownerReferences"] for wanted in render(pipeline, IMAGE)]
    assert all(
        (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (pipeline.uid, True, False)
        for [owner] in owners
    )


def test_the_deployment_comes_last_so_that_its_pods_find_what_they_mount() -> None:
    assert [wanted["kind"] for wanted in render(build_owned_pipeline(), IMAGE)][-1] == "Deployment"


def test_a_pipeline_without_uid_is_refused() -> None:
    with pytest.raises(ValueError, match="uid"):
        render(build_owned_pipeline(uid=""), IMAGE)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param("{}", {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}}, id="none"),
        pytest.param("{limits: {memory: 64Mi}}", {"limits": {"memory": "64Mi"}}, id="a-limit-below-our-request"),
        pytest.param("{requests: {memory: 2Gi}}", {"requests": {"memory": "2Gi"}}, id="a-request-above-our-limit"),
    ],
)
def test_resources_are_the_specs_or_the_defaults_never_a_mixture(resources: str, expected: dict[str, Any]) -> None:
    deployment = render_kinds(f"spec: {{consumer: {{resources: {resources}}}}}")["Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"] == expected


def test_selector_text_finds_the_pods() -> None:
    deployment = render_kinds()["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    wanted = dict(part.split("=") for part in selector_text("payments").split(","))
    assert wanted == deployment["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= labels.items()
