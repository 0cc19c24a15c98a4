"""`forebay positions show|reset`: where a pipeline stands, and moving it by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from forebay_api.v1alpha1 import Pipeline
from forebay_consumer.errors import ForebayError as ConsumerError
from forebay_consumer.postgres_sink.admin import PositionsHeld, StoredPosition, open_positions
from rich.console import Console
from rich.table import Table

from forebay_cli.errors import Refused
from forebay_cli.kafka_admin import KafkaAdmin, read_properties
from forebay_cli.kafka_bounds import Bounds
from forebay_cli.local.environment import SecretFolders
from forebay_cli.position_targets import (
    Target,
    ToEarliest,
    ToLatest,
    ToOffset,
    ToTime,
    check_offset,
    choose_partitions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """What was moved: partition -> next offset before (None = it had none) and after. warning: what was not done."""

    before: Mapping[int, int | None]
    after: Mapping[int, int]
    warning: str | None = None


class PositionsCommand:
    """Positions of one pipeline, seen from Kafka and from the database."""

    def __init__(self, pipeline: Pipeline, secrets: SecretFolders) -> None:
        brokers = pipeline.spec.source.bootstrap_servers
        self.pipeline = pipeline
        self.secrets = secrets
        self.kafka = KafkaAdmin(brokers, read_properties(secrets.kafka))

    async def show(self, console: Console) -> None:
        """Print one line a partition."""
        topic = self.pipeline.spec.source.topic
        stored = {position.partition: position for position in await self._read_stored()}
        partitions = await asyncio.to_thread(self.kafka.read_partitions, topic)
        bounds = await asyncio.to_thread(self.kafka.read_bounds, topic, partitions)
        topic_id = await asyncio.to_thread(self.kafka.read_topic_id, topic)
        console.print(build_positions_table(self.pipeline, stored, bounds, topic_id))

    async def reset(self, target: Target, wanted: tuple[int, ...]) -> Reset:
        """Move positions, and the group's offsets in Kafka after them. Raises Refused while consumers hold them."""
        source = self.pipeline.spec.source
        members = await asyncio.to_thread(self.kafka.read_members, source.group)
        if members:
            raise Refused(
                f"group {source.group} has members ({', '.join(members)}): suspend the pipeline (spec.suspend: true) "
                "or stop its consumers first"
            )
        # Before its offsets: those of a topic that is made anew meanwhile must not pass for the old one's.
        topic_id = await asyncio.to_thread(self.kafka.read_topic_id, source.topic)
        offsets = await asyncio.to_thread(self._find_offsets, target, wanted)
        before = {position.partition: position.next_offset for position in await self._read_stored()}
        await self._write(offsets, topic_id)
        return Reset(
            before={partition: before.get(partition) for partition in offsets},
            after=offsets,
            warning=await asyncio.to_thread(self._mirror, offsets),
        )

    def _find_offsets(self, target: Target, wanted: tuple[int, ...]) -> dict[int, int]:
        topic = self.pipeline.spec.source.topic
        partitions = choose_partitions(wanted, self.kafka.read_partitions(topic))
        bounds = self.kafka.read_bounds(topic, partitions)
        match target:
            case ToEarliest():
                return {partition: bound.log_start for partition, bound in bounds.items()}
            case ToLatest():
                return {partition: bound.log_end for partition, bound in bounds.items()}
            case ToOffset(offset=offset):
                check_offset(offset, bounds)
                return dict.fromkeys(partitions, offset)
            case ToTime(moment=moment):
                return self.kafka.read_offsets_at(topic, partitions, moment)
            case _:
                assert_never(target)

    def _mirror(self, offsets: Mapping[int, int]) -> str | None:
        source = self.pipeline.spec.source
        try:
            self.kafka.write_committed(source.group, source.topic, offsets)
        except Refused as error:
            return f"the group's offsets in Kafka were not moved, the next consumer does it: {error}"
        return None

    async def _read_stored(self) -> Sequence[StoredPosition]:
        try:
            async with open_positions(
                self.pipeline, secret_dir=self.secrets.sink, ca_file=self.secrets.ca_file
            ) as admin:
                return await admin.list()
        except ConsumerError as error:
            raise Refused(str(error)) from error

    async def _write(self, offsets: Mapping[int, int], topic_id: str | None) -> None:
        try:
            async with open_positions(
                self.pipeline, secret_dir=self.secrets.sink, ca_file=self.secrets.ca_file
            ) as admin:
                await admin.reset(offsets, topic_id)
        except PositionsHeld as error:
            raise Refused(f"positions are held: {error}") from error
        except ConsumerError as error:
            raise Refused(str(error)) from error


def build_positions_table(
    pipeline: Pipeline, stored: Mapping[int, StoredPosition], bounds: Mapping[int, Bounds], topic_id: str | None
) -> Table:
    """One row a partition, those that only one of Kafka and the database knows included.

    topic_id: the topic's now; None where the brokers give none.
    """
    source = pipeline.spec.source
    table = Table(title=f"{pipeline.key}: group {source.group}, topic {source.topic}", title_justify="left")
    for heading in ("partition", "next offset", "log start", "log end", "behind", "epoch"):
        table.add_column(heading, justify="right")
    table.add_column("topic")
    table.add_column("held")
    table.add_column("moved at")
    for partition in sorted(stored.keys() | bounds.keys()):
        table.add_row(str(partition), *_cells(stored.get(partition), bounds.get(partition), topic_id))
    return table


def _cells(position: StoredPosition | None, bound: Bounds | None, topic_id: str | None) -> tuple[str, ...]:
    log = ("not in Kafka", "") if bound is None else (str(bound.log_start), str(bound.log_end))
    if position is None:
        return ("none yet", *log, "", "", "", "", "")
    is_known = position.topic_id is not None and topic_id is not None
    is_another = is_known and position.topic_id != topic_id
    behind = "" if bound is None or is_another else f"{bound.log_end - position.next_offset:,}"
    topic = "made anew: reset" if is_another else "the same" if is_known else "not to be told"
    held = {True: "yes", False: "no", None: "not to be told"}[position.is_held]
    moved_at = position.updated_at.isoformat(sep=" ", timespec="seconds")
    return (str(position.next_offset), *log, behind, str(position.epoch), topic, held, moved_at)


def describe_reset(result: Reset) -> list[str]:
    """What was done, a line a partition."""
    lines = [
        f"partition {partition}: {'none' if result.before[partition] is None else result.before[partition]} -> {offset}"
        for partition, offset in sorted(result.after.items())
    ]
    return lines if result.warning is None else [*lines, f"note: {result.warning}"]
