"""One of the watched namespaces goes, and with it the operator's rights there: the others are served all the same.

The operator runs as the chart's ServiceAccount, against a bare control plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from support.charted_operator import RIGHTS, ChartedOperator, install_rights
from support.operator_process import running_operators
from support.pipeline_resources import PipelineResources
from support.testbed.control_plane import ControlPlane
from support.testbed.servers import unique_name

pytestmark = pytest.mark.integration

SEEN_S = 60.0

NO_BROKER = "127.0.0.1:1"


@pytest.fixture
def pipelines(control_plane: ControlPlane) -> Iterator[PipelineResources]:
    """IngestPipelines in the namespace that stays."""
    resources = PipelineResources(control_plane.kubeconfig, unique_name("stays").replace("_", "-"), NO_BROKER, "t")
    resources.create_namespace()
    yield resources
    resources.delete_all()


@pytest.fixture
def installed(control_plane: ControlPlane, pipelines: PipelineResources) -> ChartedOperator:
    """It watches that namespace and another one, where its rights are taken away as the deletion of it would do."""
    namespace, goes = (unique_name(stem).replace("_", "-") for stem in ("ops", "goes"))
    for name in (namespace, goes):
        control_plane.create_namespace(name)
    operator = install_rights(control_plane, namespace, {"watchNamespaces": [goes, pipelines.namespace]})
    binding = next(
        each for each in operator.objects if each["kind"] == "RoleBinding" and each["metadata"]["namespace"] == goes
    )
    control_plane.request("DELETE", RIGHTS["RoleBinding"].format(**binding["metadata"]))
    return operator


def test_namespace_without_rights_keeps_no_other_from_being_served(
    installed: ChartedOperator, pipelines: PipelineResources, tmp_path: Path
) -> None:
    replica = installed.replica("replica-a", tmp_path)
    with running_operators(replica):
        pipelines.apply("payments")

        assert wait_until(lambda: "deployment" in pipelines.owned("payments"), SEEN_S)
        assert replica.probe("/readyz") == 200
