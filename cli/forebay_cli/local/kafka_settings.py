"""What one embedded Kafka node is told: its options, its server.properties, the formatting of its storage."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forebay_cli.local.free_ports import LOOPBACK
from forebay_cli.local.kafka_java import KafkaJava
from forebay_cli.local.process import run_step

FORMAT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """How the broker runs. Both group protocols are on; groups form and time out in seconds instead of a minute."""

    heap_mb: int = 512
    min_session_ms: int = 1000
    """Lowest session.timeout.ms that a member of a classic group may ask for."""
    consumer_session_ms: int = 5000
    """Session timeout of groups of the consumer protocol, whose members cannot ask for one."""
    consumer_heartbeat_ms: int = 500
    """Heartbeat of the consumer protocol; with the broker's default of 5 s every hand-over takes 5 s."""
    broker_session_ms: int = 3000
    """A killed broker's successor is let in only when the dead one's session has ended; with the default of 9 s a
    restart takes 12 s, with this 4 s."""
    retention_check_ms: int = 1000
    """How often the broker looks for expired segments (retention.ms, retention.bytes of a topic)."""
    start_timeout_s: float = 180.0
    second_listener: tuple[int, int] | None = None
    """Port of a further listener, and the one that its clients are told: something may stand between."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Further lines of server.properties; they win."""


def write_properties(file: Path, properties: Mapping[str, str]) -> None:
    """Write server.properties."""
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def format_storage(java: KafkaJava, properties_file: Path, log_file: Path) -> None:
    """Give the data folder its identity, once."""
    cluster = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "A")
    tool = java.command("kafka.tools.StorageTool", "format", heap_mb=128)
    command = [*tool, "--cluster-id", cluster, "--config", properties_file]
    run_step("formatting Kafka's storage", command, log_file, FORMAT_S)


def build_properties(options: KafkaOptions, ports: tuple[int, int], data: Path) -> dict[str, str]:
    """Return server.properties: one node that is broker and controller; ports are the clients' and the controller's."""
    _, controller = ports
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        **_build_listeners(options.second_listener, ports),
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "broker.session.timeout.ms": str(options.broker_session_ms),
        "broker.heartbeat.interval.ms": "250",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": str(options.min_session_ms),
        "group.consumer.min.session.timeout.ms": str(options.min_session_ms),
        "group.consumer.session.timeout.ms": str(options.consumer_session_ms),
        "group.consumer.min.heartbeat.interval.ms": str(min(500, options.consumer_heartbeat_ms)),
        "group.consumer.heartbeat.interval.ms": str(options.consumer_heartbeat_ms),
        "offsets.topic.num.partitions": "8",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "log.retention.check.interval.ms": str(options.retention_check_ms),
        "log.initial.task.delay.ms": str(options.retention_check_ms),
        "log.segment.delete.delay.ms": "1000",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        **options.properties,
    }


def _build_listeners(second: tuple[int, int] | None, ports: tuple[int, int]) -> dict[str, str]:
    clients, controller = ports
    listeners = {"PLAINTEXT": clients, "CONTROLLER": controller}
    advertised = {"PLAINTEXT": clients}
    if second is not None:
        listeners["SECOND"], advertised["SECOND"] = second
    protocols = {"listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners)}
    return {
        "listeners": _join_addresses(listeners),
        "advertised.listeners": _join_addresses(advertised),
        **(protocols if second is not None else {}),
    }


def _join_addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items())
