"""`--embedded`: a Kafka and a PostgreSQL of this program's own, in place of those that the pipeline names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline, SecretRef, TlsMode, TlsSpec

from forebay_cli.kafka_admin import KafkaAdmin
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.postgres_server import ConnectionParts, PostgresServer
from forebay_cli.local.process import create_guarded_folder
from forebay_cli.local.secrets import write_secret

SECRET_NAME = "forebay-embedded-postgres"  # noqa: S105  a name, not a secret
DATABASE = "forebay"
DEFAULT_PARTITIONS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedOptions:
    """keep: servers' folder that is kept between runs; None = a temporary one. init_sql: run once in a new database."""

    keep: Path | None = None
    partitions: int = DEFAULT_PARTITIONS
    init_sql: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The running servers. secret: folder that stands for the Secret SECRET_NAME."""

    bootstrap: str
    database: ConnectionParts
    secret: Path

    def redirect(self, pipeline: Pipeline) -> Pipeline:
        """The same pipeline, between these servers."""
        spec = pipeline.spec
        source = replace(spec.source, bootstrap_servers=self.bootstrap, config_secret_ref=None)
        reference = SecretRef(name=SECRET_NAME)
        tls = TlsSpec(mode=TlsMode.DISABLE)
        sink = replace(spec.sink, postgres_cluster_ref=None, connection_secret_ref=reference, tls=tls)
        return replace(pipeline, spec=replace(spec, source=source, sink=sink))


@contextmanager
def run_embedded(topic: str, options: EmbeddedOptions) -> Iterator[Embedded]:
    """Start both servers, make the topic and the database, and stop the servers in the end.

    Raises ServerError (a program is missing or a server did not start).
    """
    folder = options.keep or create_guarded_folder(prefix="forebay-embedded-")
    folder.mkdir(parents=True, exist_ok=True)
    postgres = PostgresServer(folder / "postgres")
    kafka = KafkaServer(folder / "kafka", cache=choose_cache_folder(os.environ))
    try:
        postgres.start()
        kafka.start()
        KafkaAdmin(kafka.bootstrap).create_topic(topic, options.partitions)
        _make_database(postgres, options.init_sql)
        parts = postgres.admin(DATABASE)
        yield Embedded(
            bootstrap=kafka.bootstrap, database=parts, secret=write_secret(folder / SECRET_NAME, parts.secret)
        )
    finally:
        kafka.stop()
        postgres.stop()


def _make_database(postgres: PostgresServer, init_sql: Path | None) -> None:
    exists = postgres.run_sql("SELECT count(*) FROM pg_database WHERE datname = :'name';", variables={"name": DATABASE})
    if exists.strip() != "0":
        return
    postgres.create_database(DATABASE)
    if init_sql is not None:
        postgres.run_sql(init_sql.read_text(encoding="utf-8"), parts=postgres.admin(DATABASE))
