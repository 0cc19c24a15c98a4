"""The definition of IngestPipelines on a real API server: what it refuses, how, and what it explains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forebay_api.parse import parse_pipeline, pipeline_to_body
from forebay_cli.local.deadlines import wait_until
from support.consumer_resources import CONSUMERS_BAD, CONSUMERS_GOOD
from support.programs import program
from support.resources import BAD, GOOD, Bad, Good, build_resource
from support.testbed.control_plane import ControlPlane, Refused
from support.testbed.servers import unique_name

pytestmark = pytest.mark.integration

REFUSED = [bad for bad in (*BAD, *CONSUMERS_BAD) if not bad.parser_only]
TAKEN = [*GOOD, *CONSUMERS_GOOD]
KUBECTL_S = 60.0


@pytest.fixture(scope="module")
def namespace(control_plane: ControlPlane) -> str:
    name = unique_name("judge").replace("_", "-")
    control_plane.create_namespace(name)
    return name


def create(plane: ControlPlane, namespace: str, changes: str, *, is_dry: bool = True) -> dict[str, Any]:
    """As `kubectl create --validate=strict` asks for it."""
    body = build_resource(changes)
    body["metadata"]["namespace"] = namespace
    path = f"/apis/forebay.dev/v1alpha1/namespaces/{namespace}/ingestpipelines"
    return plane.request("POST", f"{path}?fieldValidation=Strict" + ("&dryRun=All" if is_dry else ""), body)


@pytest.mark.parametrize("bad", REFUSED, ids=[bad.id for bad in REFUSED])
def test_a_bad_resource_is_refused_with_the_field_named(control_plane: ControlPlane, namespace: str, bad: Bad) -> None:
    with pytest.raises(Refused) as refusal:
        create(control_plane, namespace, bad.changes)

    said = json.loads(str(refusal.value).partition(": ")[2])["message"]
    field = bad.path.rpartition(".")[2].partition("[")[0]
    assert field in said, said
    assert bad.says in said, said


@pytest.mark.parametrize("good", TAKEN, ids=[good.id for good in TAKEN])
def test_a_good_resource_is_taken_and_means_what_the_parser_says(
    control_plane: ControlPlane, namespace: str, good: Good
) -> None:
    stored = parse_pipeline(create(control_plane, namespace, good.changes))

    resource = build_resource(good.changes)
    resource["metadata"] = {"name": resource["metadata"]["name"], "namespace": namespace}
    assert pipeline_to_body(stored)["spec"] == pipeline_to_body(parse_pipeline(resource))["spec"]


def _kubectl(plane: ControlPlane, *arguments: str, check: bool = True) -> str:
    argv = [str(program("kubectl")), "--kubeconfig", str(plane.kubeconfig), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=KUBECTL_S, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("ingestpipeline", "spec"),
        ("ingest.spec.scaling", "maxReplicas"),
        ("ingest.spec.sink.postgresClusterRef", "serviceName"),
        ("ingest.status.conditions", "reason"),
    ],
)
def test_kubectl_explains_a_field(control_plane: ControlPlane, field: str, said: str) -> None:
    # The API server describes a definition to clients some time after it serves the resource.
    assert wait_until(lambda: said in _kubectl(control_plane, "explain", field, check=False), KUBECTL_S, 0.5)
    text = _kubectl(control_plane, "explain", field)
    assert "<empty>" not in text


@pytest.fixture
def scaled(control_plane: ControlPlane) -> Iterator[tuple[ControlPlane, str]]:
    name = unique_name("scaled").replace("_", "-")
    control_plane.create_namespace(name)
    create(control_plane, name, "spec: {scaling: {mode: Manual}}", is_dry=False)
    yield control_plane, name
    _kubectl(control_plane, "delete", "ingest", "--all", "--namespace", name, "--wait=false")


def test_kubectl_scale_sets_the_replicas_of_a_pipeline(scaled: tuple[ControlPlane, str]) -> None:
    plane, namespace = scaled
    _kubectl(plane, "scale", "ingest", "payments", "--replicas=3", "--namespace", namespace)
    body = json.loads(_kubectl(plane, "get", "ingest", "payments", "--namespace", namespace, "--output", "json"))
    assert body["spec"]["scaling"]["replicas"] == 3


def test_the_definition_is_the_one_in_the_repository(control_plane: ControlPlane) -> None:
    path = Path(__file__).parents[2] / "crds" / "ingestpipelines.yaml"
    text = _kubectl(control_plane, "diff", "--server-side", "--force-conflicts", "--filename", str(path))
    assert text == ""
