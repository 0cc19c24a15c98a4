"""KafkaSource: ports.Source over one thread and Kafka's client. Lives in the event loop; the thread is worker.py."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from forebay_api.v1alpha1 import SourceSpec, StartFrom

from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_config import build_admin_config, check_properties
from forebay_consumer.kafka_source.budget import Budget
from forebay_consumer.kafka_source.lookups import Lookups
from forebay_consumer.kafka_source.mailbox import Mailbox
from forebay_consumer.kafka_source.session import Session
from forebay_consumer.kafka_source.worker import Settings, Worker, read_properties
from forebay_consumer.ports import Beginning, SourceEvent, Wanted
from forebay_consumer.records import Claim, WriteReceipt

DEFAULT_BUFFER_BYTES = 64 * 2**20
"""Record bytes between Kafka and the database: a process stays below 300 MB."""


class KafkaSource:
    """A member of the pipeline's consumer group; see ports.Source for what each method promises."""

    def __init__(
        self,
        *,
        spec: SourceSpec,
        consumer_id: str,
        config_dir: Path | None = None,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
    ) -> None:
        """config_dir: folder of librdkafka properties, one file a key, read again for each client. Raises BadConfig."""
        check_properties(read_properties(config_dir))
        self._settings = Settings(spec=spec, consumer_id=consumer_id, config_dir=config_dir, buffer_bytes=buffer_bytes)
        self._lookups = Lookups(spec)
        self._budget = Budget(buffer_bytes)
        self._mailbox: Mailbox | None = None
        self._worker: Worker | None = None
        self._wanted = Wanted()

    async def start(self) -> None:
        """As Source.start."""
        mailbox = Mailbox(asyncio.get_running_loop(), self._budget)
        worker = Worker(settings=self._settings, lookups=self._lookups, mailbox=mailbox, budget=self._budget)
        worker.wanted = self._wanted
        self._mailbox, self._worker = mailbox, worker
        with contextlib.suppress(KafkaException, OSError, ValueError):  # the thread meets the same and reports it
            properties = read_properties(self._settings.config_dir)
            settings = self._settings
            self._lookups.connect(build_admin_config(settings.spec, properties, consumer_id=settings.consumer_id))
        # A daemon: a client that hangs in leaving the group must not keep the process.
        threading.Thread(target=worker.run, name="kafka", daemon=True).start()

    async def next_event(self) -> SourceEvent:
        """As Source.next_event."""
        mailbox, _ = self._running()
        return await mailbox.next_event()

    def set_wanted(self, wanted: Wanted) -> None:
        """As Source.set_wanted."""
        self._wanted = wanted
        worker = self._worker
        if worker is not None:
            worker.submit(lambda: setattr(worker, "wanted", wanted))

    async def begin(self, beginnings: Mapping[int, Beginning]) -> None:
        """As Source.begin."""
        await self._order(beginnings.keys(), lambda session: session.begin(beginnings))

    async def hold(self, partitions: Iterable[int]) -> None:
        """As Source.hold. What waits of these partitions and was not taken yet is forgotten: begin() reads it again."""
        await self._order(partitions, lambda session: None)

    async def leave(self) -> None:
        """As Source.leave."""
        self._set_aside(True)

    async def rejoin(self) -> None:
        """As Source.rejoin."""
        self._set_aside(False)

    def _set_aside(self, is_aside: bool) -> None:
        _, worker = self._running()
        worker.submit(lambda: setattr(worker, "is_aside", is_aside))

    def release(self, size_bytes: int) -> None:
        """As Source.release."""
        self._budget.release(size_bytes)

    @property
    def buffered_bytes(self) -> int:
        """Bytes handed over (or waiting to be) and not released."""
        return self._budget.used_bytes

    async def topic_partitions(self) -> tuple[int, ...]:
        """As Source.topic_partitions."""
        return await self._lookups.topic_partitions()

    async def topic_id(self) -> str | None:
        """As Source.topic_id."""
        return await self._lookups.topic_id()

    async def resolve_start(self, start_from: StartFrom, partitions: Iterable[int]) -> Mapping[int, int]:
        """As Source.resolve_start."""
        return await self._lookups.resolve_start(start_from, partitions)

    async def log_bounds(self, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
        """As Source.log_bounds."""
        return await self._lookups.log_bounds(partitions)

    def commit(self, receipt: WriteReceipt) -> None:
        """As Source.commit."""
        self._mirror(dict(receipt.next_offsets))

    def mirror_claims(self, claims: Iterable[Claim]) -> None:
        """As Source.mirror_claims."""
        self._mirror({claim.partition: claim.next_offset for claim in claims})

    async def close(self, deadline_s: float) -> None:
        """As Source.close. Before start() there is nothing to close."""
        worker = self._worker
        if worker is None:
            return
        worker.submit(lambda: worker.leave(deadline_s))
        await asyncio.to_thread(worker.ended.wait, deadline_s)

    def _mirror(self, positions: Mapping[int, int]) -> None:
        worker = self._worker
        if worker is not None:
            worker.submit(lambda: worker.mirror.want(positions))

    async def _order(self, partitions: Iterable[int], then: Callable[[Session], None]) -> None:
        """Have the thread stop reading the partitions, forget what waits of them, and go on with `then`."""
        mailbox, worker = self._running()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stopped = frozenset(partitions)

        def run() -> None:
            try:
                if worker.session is not None:
                    worker.session.hold(stopped)
                    mailbox.forget(stopped)
                    then(worker.session)
            finally:  # a client that fails here is replaced; whoever waits must not wait for ever
                mailbox.resolve(done)

        worker.submit(run)
        if not worker.ended.is_set():
            await done

    def _running(self) -> tuple[Mailbox, Worker]:
        if self._mailbox is None or self._worker is None:
            raise SourceUnavailable("the source was not started")
        return self._mailbox, self._worker
