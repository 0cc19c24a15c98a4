"""What a consumer process is given, and where the folder of a cluster's Secret leads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from forebay_api.v1alpha1 import (
    ConsumerSpec,
    Pipeline,
    PodTemplate,
    PostgresClusterRef,
    SecretRef,
    SinkSpec,
    Variable,
)
from forebay_cli.errors import UsageProblem
from forebay_cli.local.environment import (
    SecretFolders,
    build_environment,
    find_secrets,
    lead_to_database,
    revision_of,
)
from forebay_cli.local.secrets import SecretPlaces, write_secret
from support.pipeline_builders import build_pipeline

SECRET = "ingest.acid-payments.credentials.postgresql.acid.zalan.do"


def with_sink(sink: SinkSpec) -> Pipeline:
    pipeline = build_pipeline()
    return replace(pipeline, spec=replace(pipeline.spec, sink=sink))


def with_consumer(consumer: ConsumerSpec) -> Pipeline:
    pipeline = build_pipeline()
    return replace(pipeline, spec=replace(pipeline.spec, consumer=consumer))


OF_CLUSTER = with_sink(
    SinkSpec(
        table="payments",
        postgres_cluster_ref=PostgresClusterRef(name="acid-payments", user="ingest", database="bank"),
    )
)


def places(folder: Path) -> SecretPlaces:
    return SecretPlaces(folders=(folder,), overrides={}, written_to=folder / "written")


def test_folder_of_a_clusters_secret_has_the_name_that_zalando_gives(tmp_path: Path) -> None:
    folder = write_secret(tmp_path / SECRET, {"username": "u", "password": "p"})

    assert find_secrets(OF_CLUSTER, places(tmp_path)).sink == folder


def test_missing_secret_of_a_cluster_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=rf"spec\.sink\.postgresClusterRef: Secret '{SECRET}' not found"):
        find_secrets(OF_CLUSTER, places(tmp_path))


def test_cluster_with_a_users_secret_stays_what_it_is(tmp_path: Path) -> None:
    folder = write_secret(tmp_path / SECRET, {"username": "u", "password": "p"})

    assert lead_to_database(OF_CLUSTER, SecretFolders(sink=folder)) is OF_CLUSTER


@pytest.mark.parametrize("key", ["host", "uri"])
def test_cluster_whose_folder_says_where_the_database_is_is_led_there(tmp_path: Path, key: str) -> None:
    folder = write_secret(tmp_path / SECRET, {key: "localhost"})

    sink = lead_to_database(OF_CLUSTER, SecretFolders(sink=folder)).spec.sink

    assert (sink.postgres_cluster_ref, sink.connection_secret_ref) == (None, SecretRef(name=SECRET))


def test_variables_of_the_pod_template_reach_the_process_and_replace_none_of_its_own(tmp_path: Path) -> None:
    env = (Variable(name="TZ", value="Europe/Berlin"), Variable(name="FOREBAY_HTTP_PORT", value="1"))

    variables = build_environment(
        consumer="c",
        pipeline=with_consumer(ConsumerSpec(pod_template=PodTemplate(env=env))),
        pipeline_file=tmp_path / "p",
        port_file=tmp_path / "q",
        secrets=SecretFolders(sink=tmp_path),
        grace_s=30,
        log_level="INFO",
    )

    assert (variables["TZ"], variables["FOREBAY_HTTP_PORT"]) == ("Europe/Berlin", "0")


@pytest.mark.parametrize(
    ("changed", "restarts"),
    [
        pytest.param(with_consumer(ConsumerSpec(max_rows_per_second=5)), True, id="cap"),
        pytest.param(
            with_consumer(ConsumerSpec(pod_template=PodTemplate(env=(Variable(name="A"),)))), True, id="variable"
        ),
        pytest.param(OF_CLUSTER, True, id="sink"),
        pytest.param(with_consumer(ConsumerSpec(image="other")), False, id="image-has-no-meaning-here"),
        pytest.param(build_pipeline(max_replicas=3), False, id="scaling"),
    ],
)
def test_processes_are_replaced_when_what_they_read_changes(changed: Pipeline, restarts: bool) -> None:
    assert (revision_of(changed) != revision_of(build_pipeline())) is restarts
