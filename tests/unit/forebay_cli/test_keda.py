"""What a ScaledObject is here, and what has no equal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from forebay_api.parse import parse_pipeline
from forebay_cli.__main__ import main
from forebay_cli.errors import UsageProblem
from forebay_cli.keda import Translation, find_scaled_objects, render, translate

PAGE = Path(__file__).parents[3] / "docs" / "migrate-from-keda.md"

TRIGGER = {
    "bootstrapServers": "kafka:9092",
    "topic": "payments",
    "consumerGroup": "pay",
    "lagThreshold": "1000",
    "offsetResetPolicy": "earliest",
}


def scaled(trigger: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> Any:
    """A ScaledObject with one Kafka trigger; trigger: what else it says."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "payments", "namespace": "bank", "annotations": annotations or {}},
        "spec": {
            "scaleTargetRef": {"name": "old-writer"},
            "triggers": [{"type": "kafka", "metadata": {**TRIGGER, **(trigger or {})}}],
            **spec,
        },
    }


def fields(translation: Translation) -> list[str]:
    """What the warnings are about."""
    return [warning.partition(":")[0] for warning in translation.warnings]


def behavior(**rules: Any) -> dict[str, Any]:
    """spec.advanced with these rules of the HorizontalPodAutoscaler."""
    return {"horizontalPodAutoscalerConfig": {"behavior": rules}}


def test_bounds_and_windows_are_kedas_where_nothing_is_said() -> None:
    found = translate(scaled())

    assert found.name == "bank/payments"
    assert found.source == {
        "bootstrapServers": "kafka:9092",
        "topic": "payments",
        "group": "pay",
        "startFrom": "Committed",
    }
    assert found.scaling == {"minReplicas": 0, "maxReplicas": 100, "timing": {"scaleInWindowSeconds": 300}}
    assert fields(found) == ["spec.triggers[0].metadata.lagThreshold", "spec.scaleTargetRef"]


def test_a_known_capacity_turns_the_threshold_into_seconds_of_work() -> None:
    found = translate(scaled({"lagThreshold": "20000"}), capacity=250.0)

    assert found.scaling["objective"] == {"catchUpSeconds": 80.0}
    assert found.scaling["capacityPerReplica"] == 250.0
    assert fields(found) == ["spec.scaleTargetRef"]


def test_a_threshold_of_moments_is_not_taken_over() -> None:
    found = translate(scaled(), capacity=250.0)

    assert found.scaling["objective"] == {"catchUpSeconds": 30}
    assert found.warnings[0].startswith("spec.triggers[0].metadata.lagThreshold: 1,000 waiting records are 4.0 s")


def test_what_it_prints_is_a_pipelines() -> None:
    spec: dict[str, Any] = {
        "minReplicaCount": 2,
        "maxReplicaCount": 24,
        "advanced": behavior(scaleDown={"stabilizationWindowSeconds": 900}, scaleUp={"selectPolicy": "Disabled"}),
    }
    text = render(translate(scaled(**spec), capacity=20.0))
    body = yaml.safe_load(text)
    body |= {
        "apiVersion": "forebay.dev/v1alpha1",
        "kind": "IngestPipeline",
        "metadata": {"name": "p", "namespace": "b"},
    }
    body["spec"]["sink"] = {"table": "payments", "connectionSecretRef": {"name": "db"}}

    pipeline = parse_pipeline(body).spec

    assert (pipeline.source.group, pipeline.source.start_from.value) == ("pay", "Committed")
    scaling = pipeline.scaling
    assert (scaling.min_replicas, scaling.max_replicas, scaling.timing.scale_in_window_s) == (2, 24, 900.0)
    assert (scaling.pause_scale_out, scaling.pause_scale_in) == (True, False)
    assert (scaling.objective.catch_up_s, scaling.capacity_per_replica) == (50.0, 20.0)
    assert text.startswith("# From the ScaledObject bank/payments.\n")


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({"paused": "true"}, {"mode": "Paused"}, id="paused"),
        pytest.param({"paused-replicas": "3", "paused": "true"}, {"mode": "Manual", "replicas": 3}, id="fixed"),
        pytest.param({"paused-replicas": "0"}, {"mode": "Manual", "replicas": 0}, id="fixed-at-zero"),
        pytest.param({"paused-scale-in": "true"}, {"pauseScaleIn": True}, id="in"),
        pytest.param({"paused-scale-out": "true"}, {"pauseScaleOut": True}, id="out"),
        pytest.param({"paused": "yes"}, {"mode": "Paused"}, id="paused-in-other-words"),
        pytest.param({"paused": "false"}, {}, id="not-paused"),
        pytest.param({"paused": "0"}, {}, id="not-paused-in-a-digit"),
    ],
)
def test_annotations_pause(annotations: dict[str, str], expected: dict[str, Any]) -> None:
    found = translate(scaled(annotations={f"autoscaling.keda.sh/{k}": v for k, v in annotations.items()}))
    plain = translate(scaled())

    assert found.scaling == {**plain.scaling, **expected}


def test_zero_is_left_to_the_longer_of_both_windows() -> None:
    assert translate(scaled(cooldownPeriod=1200)).scaling["timing"] == {"scaleInWindowSeconds": 1200}
    kept = translate(scaled(cooldownPeriod=1200, minReplicaCount=1))
    assert kept.scaling["timing"] == {"scaleInWindowSeconds": 300}


def test_an_idle_count_of_zero_lets_it_sleep() -> None:
    found = translate(scaled(idleReplicaCount=0, minReplicaCount=3))

    assert found.scaling["minReplicas"] == 0
    assert "spec.idleReplicaCount" in fields(found)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (scaled({"activationLagThreshold": "5"}), "spec.triggers[0].metadata.activationLagThreshold"),
        (scaled({"partitionLimitation": "1-3"}), "spec.triggers[0].metadata.partitionLimitation"),
        (scaled({"allowIdleConsumers": "true"}), "spec.triggers[0].metadata.allowIdleConsumers"),
        (scaled({"excludePersistentLag": "true"}), "spec.triggers[0].metadata.excludePersistentLag"),
        (scaled({"scaleToZeroOnInvalidOffset": "true"}), "spec.triggers[0].metadata.scaleToZeroOnInvalidOffset"),
        (scaled({"sasl": "scram_sha512"}), "spec.triggers[0].metadata.sasl"),
        (scaled({"offsetResetPolicy": "latest"}), "spec.triggers[0].metadata.offsetResetPolicy"),
        (scaled({"topic": ""}), "spec.triggers[0].metadata.topic"),
        (scaled({"topic": "a,b"}), "spec.triggers[0].metadata.topic"),
        (scaled({"topicFromEnv": "TOPIC"}), "spec.triggers[0].metadata.topicFromEnv"),
        (
            scaled(triggers=[{"type": "kafka", "metricType": "Value", "metadata": TRIGGER}]),
            "spec.triggers[0].metricType",
        ),
        (scaled(fallback={"failureThreshold": 3, "replicas": 6}), "spec.fallback"),
        (scaled(advanced={"scalingModifiers": {"formula": "a + b"}}), "spec.advanced.scalingModifiers"),
        (scaled(maxReplicaCount=5000), "spec.maxReplicaCount"),
        (
            scaled(advanced=behavior(scaleUp={"policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]})),
            "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies",
        ),
        (
            scaled(advanced=behavior(scaleUp={"stabilizationWindowSeconds": 60})),
            "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.stabilizationWindowSeconds",
        ),
        (
            scaled(annotations={"autoscaling.keda.sh/force-activation": "true"}),
            "metadata.annotations.autoscaling.keda.sh/force-activation",
        ),
    ],
)
def test_what_has_no_equal_is_told_with_its_field(body: Any, field: str) -> None:
    assert field in fields(translate(body))


def test_fallback_to_the_present_number_is_what_forebay_does() -> None:
    fallback = {"failureThreshold": 3, "replicas": 6, "behavior": "currentReplicas"}
    assert "spec.fallback" not in fields(translate(scaled(fallback=fallback)))


def test_other_triggers_are_told() -> None:
    body = scaled()
    body["spec"]["triggers"] = [
        {"type": "cron", "metadata": {}},
        {"type": "apache-kafka", "metadata": TRIGGER, "authenticationRef": {"name": "kafka"}},
        {"type": "cpu", "metadata": {}},
        {"type": "kafka", "metadata": {**TRIGGER, "topic": "refunds"}},
    ]

    found = translate(body)

    assert found.source["topic"] == "payments"
    told = fields(found)
    assert [f"spec.triggers[{n}]" in told for n in range(4)] == [True, False, True, True]
    assert "spec.triggers[1].authenticationRef" in told


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (scaled({"lagThreshold": "many"}), "spec.triggers[0].metadata.lagThreshold: 'many' is no number"),
        (scaled(maxReplicaCount=float("inf")), "spec.maxReplicaCount: inf is no number"),
        (scaled({"lagThreshold": "0"}), "spec.triggers[0].metadata.lagThreshold: must be positive"),
        (scaled({"consumerGroup": ""}), "spec.triggers[0].metadata.consumerGroup: is missing"),
        (scaled(triggers=[{"type": "cpu"}]), "spec.triggers: none is of type kafka"),
        (scaled(triggers="kafka"), "spec.triggers: expected a list"),
        (scaled(advanced="fast"), "spec.advanced: expected an object"),
        (scaled(minReplicaCount=5, maxReplicaCount=2), "spec.minReplicaCount: 5 is not between"),
        ({"spec": "x"}, "spec: expected an object"),
    ],
)
def test_what_is_wrong_is_named(body: Any, message: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        translate(body)
    assert message in str(refused.value)


def test_scaled_objects_are_found_among_others_and_in_lists() -> None:
    items = {"kind": "List", "items": [scaled(), {"kind": "Service"}]}
    assert len(list(find_scaled_objects([None, {"kind": "Deployment"}, items, scaled()]))) == 2
    with pytest.raises(UsageProblem, match="expected a ScaledObject"):
        list(find_scaled_objects([{"kind": "Deployment"}]))


def test_the_command_prints_pipelines_and_tells_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scaled.yaml"
    file.write_text(yaml.safe_dump_all([scaled(), scaled({"topic": "refunds"})]))
    monkeypatch.setattr("sys.argv", ["forebay", "migrate", "keda", str(file), "--capacity", "500"])

    assert main() == 0

    said = capsys.readouterr()
    assert [body["spec"]["source"]["topic"] for body in yaml.safe_load_all(said.out)] == ["payments", "refunds"]
    assert said.err.count("bank/payments: spec.scaleTargetRef: old-writer is another program") == 2


def test_the_command_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scaled.yaml"
    file.write_text("kind: Deployment")
    monkeypatch.setattr("sys.argv", ["forebay", "migrate", "keda", str(file)])

    assert main() == 2

    assert "expected a ScaledObject" in capsys.readouterr().err


def test_the_page_shows_what_comes_out() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    assert render(translate(yaml.safe_load(blocks[0]))) == blocks[1]
