"""What a consumer process is given: the environment of wire.Env, and the folders of the Secrets that the spec names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline, SecretRef, sink_secret_name
from forebay_api.wire import Env

from forebay_cli.errors import UsageProblem
from forebay_cli.local.secrets import SecretPlaces, find_secret

LOOPBACK = "127.0.0.1"
"""Consumers of this machine answer this machine only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFolders:
    """sink: connection. kafka: librdkafka properties, None = none. ca_file: PEM, None = none."""

    sink: Path
    kafka: Path | None = None
    ca_file: Path | None = None


def find_secrets(pipeline: Pipeline, places: SecretPlaces) -> SecretFolders:
    """The folder of every Secret that the spec names. Raises UsageProblem with all that are missing."""
    problems: list[str] = []
    source, sink = pipeline.spec.source, pipeline.spec.sink

    def find(name: str | None, field: str) -> Path | None:
        if name is None:
            return None
        try:
            return find_secret(name, places, field=field)
        except UsageProblem as error:
            problems.extend(error.problems)
            return None

    reference = "connectionSecretRef" if sink.postgres_cluster_ref is None else "postgresClusterRef"
    connection = find(sink_secret_name(sink), f"spec.sink.{reference}")
    kafka = find(_name(source.config_secret_ref), "spec.source.configSecretRef")
    ca = find(_name(sink.tls.ca_secret_ref), "spec.sink.tls.caSecretRef")
    if problems or connection is None:
        raise UsageProblem(*problems)
    return SecretFolders(sink=connection, kafka=kafka, ca_file=None if ca is None else ca / "ca.crt")


def _name(reference: SecretRef | None) -> str | None:
    return None if reference is None else reference.name


def lead_to_database(pipeline: Pipeline, secrets: SecretFolders) -> Pipeline:
    """The pipeline as consumers outside of Kubernetes can follow it.

    Where postgresClusterRef's Service has no meaning, the folder that stands for the Secret may say where the database
    is, with the keys that connectionSecretRef takes; in a cluster only the spec may.
    """
    sink = pipeline.spec.sink
    if sink.postgres_cluster_ref is None or not any((secrets.sink / key).is_file() for key in ("host", "uri")):
        return pipeline
    reference = SecretRef(name=sink_secret_name(sink))
    sink = replace(sink, postgres_cluster_ref=None, connection_secret_ref=reference)
    return replace(pipeline, spec=replace(pipeline.spec, sink=sink))


def build_environment(
    *,
    consumer: str,
    pipeline: Pipeline,
    pipeline_file: Path,
    port_file: Path,
    secrets: SecretFolders,
    grace_s: float,
    log_level: str,
) -> dict[str, str]:
    """The variables of one consumer process; they go on top of this process' own."""
    variables = {each.name: each.value for each in pipeline.spec.consumer.pod_template.env} | {
        Env.PIPELINE_FILE: str(pipeline_file),
        Env.SINK_SECRET_DIR: str(secrets.sink),
        Env.CONSUMER_ID: consumer,
        Env.HTTP_HOST: LOOPBACK,
        Env.HTTP_PORT: "0",
        Env.HTTP_PORT_FILE: str(port_file),
        Env.GRACE_SECONDS: f"{grace_s:g}",
        Env.LOG_LEVEL: log_level,
    }
    if secrets.kafka is not None:
        variables[Env.KAFKA_CONFIG_DIR] = str(secrets.kafka)
    if secrets.ca_file is not None:
        variables[Env.SINK_CA_FILE] = str(secrets.ca_file)
    return {str(name): value for name, value in variables.items()}


EnvironmentFor = Callable[[str, Path, Path], dict[str, str]]
"""(consumer's name, pipeline file, port file) -> its variables."""


def revision_of(pipeline: Pipeline) -> str:
    """Changes with everything that a consumer reads at its start, with nothing else: scaling replaces no process."""
    spec, consumer = pipeline.spec, pipeline.spec.consumer
    parts = repr((spec.source, spec.sink, consumer.max_rows_per_second, consumer.lanes, consumer.pod_template.env))
    return hashlib.sha256(parts.encode()).hexdigest()[:12]
