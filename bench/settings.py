"""What the consumer's lanes, and the settings of Kafka's client, are worth: each changed alone, in the same run.

    PYTHONPATH=tests python -m bench.settings [--records 2000000 --repeats 5 --only append upsert]

Drains as in bench.write_path, by one consumer; "append" is what Forebay sets by itself. The other names say what is
different: how many lanes, or a client's setting (those with "default" have the value of librdkafka). In mode Upsert all
keys are new.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from forebay_api.wire import Env

from bench.results import Metric, describe_environment, write_results
from bench.rig import Rig, preload, start_rig
from bench.write_path import (
    PARTITIONS,
    TOPIC,
    Figures,
    Variant,
    consumer_environment,
    drain,
    prepare_database,
    server_version,
)

OURS = Variant(name="forebay", members=1)
UPSERT = {"mode": "Upsert", "keyColumns": ["id"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is different from the pipeline with nothing but its must. kafka: settings of the client."""

    name: str
    sink: Mapping[str, Any] = field(default_factory=dict)
    lanes: int = 1
    kafka: Mapping[str, str] = field(default_factory=dict)


CHANGES = (
    Change(name="append"),
    Change(name="append_lanes_2", lanes=2),
    Change(name="append_lanes_3", lanes=3),
    Change(name="append_queue_backoff_1000_default", kafka={"fetch.queue.backoff.ms": "1000"}),
    Change(name="append_queue_backoff_50", kafka={"fetch.queue.backoff.ms": "50"}),
    Change(name="append_wait_500_default", kafka={"fetch.wait.max.ms": "500"}),
    Change(name="append_min_bytes_100000", kafka={"fetch.min.bytes": "100000"}),
    Change(name="append_partition_bytes_4_mib", kafka={"max.partition.fetch.bytes": "4194304"}),
    Change(name="append_no_crc_default", kafka={"check.crcs": "false"}),
    Change(name="append_socket_buffer_1_mib", kafka={"socket.receive.buffer.bytes": "1048576"}),
    Change(name="upsert", sink=UPSERT),
    Change(name="upsert_lanes_2", sink=UPSERT, lanes=2),
    Change(name="upsert_lanes_3", sink=UPSERT, lanes=3),
)


async def measure(rig: Rig, change: Change, records: int, turn: int) -> Figures:
    """Drain the topic once into an empty table, with a primary key in mode Upsert."""
    connection = await asyncpg.connect(rig.dsn)
    await connection.execute("ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_pkey; TRUNCATE payments")
    if change.sink:
        await connection.execute("ALTER TABLE payments ADD PRIMARY KEY (id)")
    await connection.close()
    group = build_group(change, turn)
    return await drain(rig, OURS, group, records, lambda _number: start(rig, change, group))


def build_group(change: Change, turn: int) -> str:
    """The group's name, and the pipeline's: as Kubernetes has names."""
    return f"{change.name.replace('_', '-')}-{turn}"


def start(rig: Rig, change: Change, group: str) -> subprocess.Popen[bytes]:
    """The consumer process."""
    folder = rig.folder / f"kafka-{group}"
    folder.mkdir(exist_ok=True)
    for name, value in change.kafka.items():
        (folder / name).write_text(value)
    told = consumer_environment(rig, group, sink=change.sink, consumer={"lanes": change.lanes})
    log = (rig.folder / f"{group}.log").open("wb")
    environment = {**os.environ, **told, Env.KAFKA_CONFIG_DIR: str(folder)}
    return subprocess.Popen([sys.executable, "-m", "forebay_consumer"], env=environment, stdout=log, stderr=log)


async def run(records: int, repeats: int, prefixes: Sequence[str]) -> Path:
    """All changes, interleaved, after one round that does not count."""
    changes = [c for c in CHANGES if not prefixes or c.name.startswith(tuple(prefixes))]
    taken: dict[str, list[Figures]] = {c.name: [] for c in changes}
    with start_rig() as rig:
        preload(rig.kafka.bootstrap, TOPIC, records, PARTITIONS)
        await prepare_database(rig)
        for turn in range(-1, repeats):
            for change in changes:
                figures = await measure(rig, change, records, turn)
                print(
                    f"{turn:3d} {change.name:34s}: {figures.rows_per_s:9,.0f} rows/s "
                    f"{figures.rows_per_cpu_s:9,.0f} rows/CPU-s {figures.memory_mb:5.0f} MB",
                    flush=True,
                )
                if turn >= 0:
                    taken[change.name].append(figures)
        server = await server_version(rig)
    environment = describe_environment(postgresql=server, kafka="4.4.0", records=records, partitions=PARTITIONS)
    metrics = {
        f"{name}_{label}": Metric(values=[getattr(f, label) for f in figures], unit=unit)
        for label, unit in (("rows_per_s", "rows/s"), ("rows_per_cpu_s", "rows/CPU-s"), ("memory_mb", "MB"))
        for name, figures in taken.items()
    }
    return write_results("settings", "Lanes, and settings of Kafka's client", environment, metrics)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="changes whose names begin so")
    args = parser.parse_args()
    print(asyncio.run(run(args.records, args.repeats, args.only)))
