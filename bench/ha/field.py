"""Where the faults of one mode happen: Kafka, a highly available PostgreSQL, and two consumers between them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forebay_api.state import ConsumerState
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.faults import HaFaults
from forebay_cli.local.ha.settings import QUICK_PARAMETERS, HaSettings
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from forebay_cli.local.postgres_server import ConnectionParts
from forebay_cli.local.process import create_guarded_folder
from support.flood import TABLE, ConsumerProcess, Flood
from support.testbed.servers import create_database, create_topic, unique_name

from bench.ha.plan import DURABILITY, Mode

PARTITIONS = 6
CONSUMERS = 2
JOIN_S = 90.0
START_S = 180.0
"""Of a cluster on a machine that does a lot besides; 10 s on a free one."""
KAFKA_CONFIG = {"group.protocol": "classic", "session.timeout.ms": "10000", "heartbeat.interval.ms": "1000"}
"""No member is to be lost because a busy machine was slow, and one that dies is to be noticed."""
PARAMETERS = {**QUICK_PARAMETERS, "track_commit_timestamp": "on"}
"""The audit reads from the rows when they were committed."""
MAX_CONNECTIONS = 40
"""Few: to take them all costs a process each."""
_POSITIONS = 'SELECT "partition", next_offset FROM forebay.positions ORDER BY 1;'


class CampaignFailed(Exception):
    """What was waited for did not happen; the message says what, and the ends of the consumers' logs follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Everything runs, and every partition is read."""

    kafka: KafkaServer
    cluster: HaCluster
    faults: HaFaults
    flood: Flood
    mode: Mode

    @property
    def consumers(self) -> list[ConsumerProcess]:
        """The consumers, in the order of their start."""
        return self.flood.processes

    def read_states(self) -> list[ConsumerState]:
        """Return what each consumer says of itself. Raises CampaignFailed when one does not answer."""
        found: dict[int, ConsumerState] = {}

        def has_all() -> bool:
            for number, consumer in enumerate(self.consumers):
                if number not in found and (state := consumer.state()) is not None:
                    found[number] = state
            return len(found) == len(self.consumers)

        if not wait_until(has_all, 20.0):
            raise self.fail("a consumer does not answer at /state")
        return [found[number] for number in sorted(found)]

    def read_positions(self, at: ConnectionParts | None = None) -> dict[int, int]:
        """Return the stored position of each partition, through HAProxy or `at` a member. Raises SqlFailed."""
        parts = at or self.flood.database.admin
        lines = self.cluster.run_sql(_POSITIONS, parts=parts).splitlines()
        return {int(partition): int(offset) for partition, offset in (line.split("\t") for line in lines)}

    def at_member(self, name: str) -> ConnectionParts:
        """Return how to sign in to the pipeline's database at one member, around HAProxy."""
        return self.cluster.nodes[name].admin(self.flood.database.dbname)

    def empty_table(self) -> None:
        """Leave nothing of earlier records; the positions stay."""
        self.cluster.run_sql("TRUNCATE payments;", parts=self.flood.database.admin)

    def fail(self, what: str) -> CampaignFailed:
        """Return the error that says so."""
        return CampaignFailed(f"{what}\n{self.flood.tails()}")


@contextmanager
def start_kafka() -> Iterator[tuple[KafkaServer, Path]]:
    """Start a broker for a whole campaign; yields it and a folder for what else there is."""
    folder = create_guarded_folder(prefix="forebay-campaign-")
    kafka = KafkaServer(folder / "kafka", cache=choose_cache_folder(os.environ), options=KafkaOptions(heap_mb=512))
    try:
        kafka.start()
        yield kafka, folder
    finally:
        kafka.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_field(
    kafka: KafkaServer, folder: Path, mode: Mode, *, network: bool = False, consumers: int = CONSUMERS
) -> Iterator[Field]:
    """Start a cluster in this mode and the consumers; all but Kafka is gone afterwards."""
    settings = HaSettings(
        durability=DURABILITY[mode],
        network=network,
        max_connections=MAX_CONNECTIONS,
        parameters=PARAMETERS,
        start_timeout_s=START_S,
    )
    with HaCluster(settings) as cluster:
        topic = unique_name(f"payments_{mode}")
        create_topic(kafka.bootstrap, topic, PARTITIONS)
        own = folder / topic
        own.mkdir()
        database = create_database(cluster)
        flood = Flood(kafka=kafka, database=database, topic=topic, folder=own, kafka_config=KAFKA_CONFIG)
        field = Field(kafka=kafka, cluster=cluster, faults=HaFaults(cluster), flood=flood, mode=mode)
        try:
            flood.run_sql(TABLE)
            for _ in range(consumers):
                flood.start_consumer()
            if consumers:
                wait_for_claims(field)
            yield field
        finally:
            flood.stop_all()


def wait_for_claims(field: Field) -> None:
    """Wait until every partition is read, and by every consumer some. Raises CampaignFailed."""

    def is_shared_out() -> bool:
        claimed = [consumer.claimed() for consumer in field.consumers]
        return sum(claimed) == PARTITIONS and all(claimed)

    if not wait_until(is_shared_out, JOIN_S, 0.2):
        raise field.fail("the consumers did not share the partitions out among them")


def subtract(ahead: Mapping[int, int], behind: Mapping[int, int]) -> int:
    """Return by how many records `ahead` is further, over all partitions."""
    return sum(offset - behind.get(partition, 0) for partition, offset in ahead.items())
