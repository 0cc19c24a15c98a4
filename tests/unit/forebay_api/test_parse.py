"""The parser and the CRD's schema, on one table of good and bad resources, and what the parser says of the bad ones."""

from __future__ import annotations

import json

import pytest
import yaml
from forebay_api import bounds
from forebay_api.parse import InvalidPipeline, parse_pipeline, pipeline_to_body, read_path, show_path
from forebay_api.v1alpha1 import ColumnSource, EpochUnit, Pipeline, TlsMode, UnknownFieldPolicy
from hypothesis import HealthCheck, given, settings
from support import crd
from support.consumer_resources import BAD_FOR_KUBERNETES, CONSUMERS_BAD, CONSUMERS_GOOD, BadForKubernetes
from support.pipelines import json_keys, pipelines
from support.resources import BAD, GOOD, Bad, Good, build_resource

FIVE_MISTAKES = """
spec:
  source: {topic: pay/ments, startForm: Latest}
  sink: {tls: {mode: verify-full}}
  scaling: {minReplicas: true, maxReplicas: 0}
"""


@pytest.mark.parametrize("good", [pytest.param(each, id=each.id) for each in (*GOOD, *CONSUMERS_GOOD)])
def test_good_resource_is_taken_by_parser_and_schema(good: Good) -> None:
    body = build_resource(good.changes)

    parsed = parse_pipeline(body)

    assert parsed.key == "bank/payments"
    assert crd.judge(body) == []


@pytest.mark.parametrize("bad", [pytest.param(each, id=each.id) for each in (*BAD, *CONSUMERS_BAD)])
def test_bad_resource_is_refused_by_parser_and_schema(bad: Bad) -> None:
    body = build_resource(bad.changes)

    with pytest.raises(InvalidPipeline) as refused:
        parse_pipeline(body)

    assert [problem.path for problem in refused.value.problems] == [bad.path]
    assert bool(crd.judge(body)) is not bool(bad.parser_only)
    assert any(bad.says in problem for problem in crd.judge(body)) or bad.parser_only


@pytest.mark.parametrize("bad", [pytest.param(each, id=each.id) for each in BAD_FOR_KUBERNETES])
def test_bad_part_that_is_passed_on_is_refused_by_the_schema(bad: BadForKubernetes) -> None:
    body = build_resource(bad.changes)

    (problem,) = crd.judge(body)

    assert problem.startswith(f"{bad.path}: ")
    assert bad.says in problem
    assert parse_pipeline(body).name == "payments"


def test_schema_tells_in_words_what_a_text_must_be() -> None:
    """A regular expression alone is left where no rule is possible: the resource's own name, and quantities."""
    told = [(bad.path, problem) for bad in (*BAD, *CONSUMERS_BAD) for problem in crd.judge(build_resource(bad.changes))]

    bare = {path.partition("[")[0] for path, problem in told if "does not match" in problem}

    assert bare == {"metadata.name", "spec.consumer.resources.limits"}
    assert ("spec.source.topic", f"$.spec.source.topic: must be {bounds.TOPIC.says}") in told


def test_five_mistakes_print_five_messages() -> None:
    with pytest.raises(InvalidPipeline) as refused:
        parse_pipeline(build_resource(FIVE_MISTAKES))

    assert sorted(str(refused.value).splitlines()) == [
        "spec.scaling.maxReplicas: must be at least 1, is 0",
        "spec.scaling.minReplicas: must be a whole number, is true",
        "spec.sink.tls.caSecretRef: is required by mode verify-full: name a Secret whose key ca.crt holds the CA",
        "spec.source.startForm: unknown field; did you mean startFrom?",
        "spec.source.topic: must be a Kafka topic name: letters, digits, '.', '_', '-', not only dots,"
        " at most 249 characters, is 'pay/ments'",
    ]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="empty-file"),
        pytest.param([], id="list"),
        pytest.param("payments", id="text"),
        pytest.param({5: 6}, id="numbers-as-keys"),
        pytest.param({"metadata": [], "spec": {"source": {}}}, id="wrong-kinds"),
    ],
)
def test_anything_that_is_no_resource_is_refused_and_nothing_else_raised(body: object) -> None:
    with pytest.raises(InvalidPipeline) as refused:
        parse_pipeline(body)  # type: ignore[arg-type]  # what YAML may hold

    assert str(refused.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, -(10**400), 2.0**70])
def test_number_that_json_cannot_carry_is_refused(number: float) -> None:
    body = build_resource("")
    body["spec"]["scaling"] = {"capacityPerReplica": number, "replicas": number}

    with pytest.raises(InvalidPipeline) as refused:
        parse_pipeline(body)

    assert len(refused.value.problems) == 2


def test_long_wrong_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidPipeline) as refused:
        parse_pipeline(build_resource(f"spec: {{source: {{topic: {'x' * 5000}}}}}"))

    assert len(str(refused.value)) < 300


def test_group_defaults_to_namespace_and_name() -> None:
    assert parse_pipeline(build_resource("")).spec.source.group == "bank.payments"
    assert parse_pipeline(build_resource("metadata: {namespace: null}")).spec.source.group == "default.payments"
    assert parse_pipeline(build_resource("spec: {source: {group: own}}")).spec.source.group == "own"


def test_all_parts_of_a_full_resource_reach_the_value() -> None:
    changes = """
    metadata: {generation: 7}
    spec:
      sink:
        tls: {mode: verify-ca, caSecretRef: {name: ca}}
        unknownFields: {column: extra}
        columns:
          - {name: at, from: {path: "/event.time/0"}, epochUnit: Nanoseconds}
          - {name: trace, from: {header: trace-id}}
          - {name: part, from: {partition: {}}}
    """

    pipeline = parse_pipeline(build_resource(changes))

    at, trace, part = pipeline.spec.sink.columns
    assert pipeline.generation == 7
    assert pipeline.spec.sink.tls.mode is TlsMode.VERIFY_CA
    assert pipeline.spec.sink.unknown_fields.policy is UnknownFieldPolicy.IGNORE
    assert (at.source, at.path, at.epoch_unit) == (ColumnSource.PATH, ("event.time", "0"), EpochUnit.NANOSECONDS)
    assert (trace.source, trace.header, trace.path) == (ColumnSource.HEADER, "trace-id", ())
    assert part.source is ColumnSource.PARTITION


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pipeline=pipelines())
def test_pipeline_survives_the_way_through_json(pipeline: Pipeline) -> None:
    body = json.loads(json.dumps(pipeline_to_body(pipeline)))

    assert parse_pipeline(body) == pipeline
    assert crd.judge(body) == []


@given(keys=json_keys())
def test_path_survives_being_shown_and_read(keys: tuple[str, ...]) -> None:
    assert read_path(show_path(keys)) == keys


def test_sample_pipelines_are_legal() -> None:
    samples = sorted((crd.REPOSITORY / "manifests" / "samples").glob("*.yaml"))

    bodies = [body for sample in samples for body in yaml.safe_load_all(sample.read_text())]

    assert bodies
    for body in bodies:
        assert parse_pipeline(body).name
        assert crd.judge(body) == []
