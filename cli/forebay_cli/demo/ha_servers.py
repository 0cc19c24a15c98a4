"""The servers of `forebay demo --ha`: a Kafka, and a PostgreSQL of three Patroni members behind HAProxy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forebay_cli.demo.director import Director
from forebay_cli.demo.wave import Wave
from forebay_cli.kafka_admin import KafkaAdmin
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.embedded import DATABASE, DEFAULT_PARTITIONS, SECRET_NAME, Embedded
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.primary_watch import PrimaryWatch
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.secrets import write_secret


@contextmanager
def run_ha_servers(topic: str, folder: Path, table_sql: Path, wave: Wave) -> Iterator[tuple[Embedded, Director]]:
    """Start everything, make the topic, the database and its table; stop everything in the end.

    folder: for Kafka's data; the database's is temporary. Raises ServerError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kafka = KafkaServer(folder / "kafka", cache=choose_cache_folder(os.environ))
    try:
        kafka.start()
        KafkaAdmin(kafka.bootstrap).create_topic(topic, DEFAULT_PARTITIONS)
        with HaCluster() as cluster, PrimaryWatch(cluster.admin()) as watch:
            cluster.create_database(DATABASE)
            parts = cluster.admin(DATABASE)
            cluster.run_sql(table_sql.read_text(encoding="utf-8"), parts=parts)
            secret = write_secret(folder / SECRET_NAME, parts.secret)
            servers = Embedded(bootstrap=kafka.bootstrap, database=parts, secret=secret)
            yield servers, Director(cluster, watch, dbname=DATABASE, wave=wave)
    finally:
        kafka.stop()
