"""Whether the topic that is read is the one whose offsets are stored.

A topic that is deleted and made anew keeps its name only: its offsets count other records. Kafka's client reads on as
if nothing had happened once the new log is as long as the old position (librdkafka, rd_kafka_topic_metadata_update:
"an offset reset must be triggered"). Only the id tells. So nothing is written before the brokers have said, after its
records were read, that the topic is the one that it was when the partitions were claimed: ids never come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from forebay_api.v1alpha1 import StartFrom

from forebay_consumer.loss import Loss, MadeAnew, is_another, judge_another_topic, judge_same_topic
from forebay_consumer.ports import PositionLost, Source
from forebay_consumer.positions import Positions
from forebay_consumer.records import Batch, Claim


class TopicGuard:
    """For the partitions in `positions`. Methods that ask raise SourceUnavailable."""

    def __init__(self, source: Source, positions: Positions) -> None:
        self._source = source
        self._positions = positions
        self.topic_id: str | None = None
        """As last answered."""
        self._proven: Mapping[int, tuple[UUID, int]] = {}
        self._has_ids = True

    async def ask(self) -> str | None:
        """The topic's id now; None where the brokers give none."""
        read = self._positions.read_up_to()  # before the question: its answer says nothing about what comes later
        self.topic_id = await self._source.topic_id()
        self._has_ids = self.topic_id is not None
        self._proven = read
        return self.topic_id

    async def admits(self, batch: Batch) -> bool:
        """Whether its records are of the topic that its positions belong to. Asks only if they came since the last
        answer, and not at all where the brokers had no id at the last claim."""
        if not self._has_ids:
            return True
        if not self._covers(batch):
            await self.ask()
        return self.topic_id is None or all(claim.topic_id == self.topic_id for claim in batch.claims.values())

    def _covers(self, batch: Batch) -> bool:
        for partition, next_offset in batch.next_offsets.items():
            owner, read_next = self._proven.get(partition, (None, 0))
            if owner != batch.claims[partition].owner or next_offset > read_next:
                return False
        return True

    def find_made_anew(self, claims: Iterable[Claim], claim_id: int) -> list[MadeAnew]:
        """Those of the claims that belong to another topic than the last answer named."""
        return [
            MadeAnew(partition=claim.partition, claim_id=claim_id, position=claim.next_offset)
            for claim in claims
            if is_another(claim.topic_id, self.topic_id)
        ]

    def is_another_than_claimed(self) -> bool:
        """Whether the last answer named another topic than any claim does. A new topic that is just as long as the old
        one was brings neither a record nor an error."""
        return any(is_another(claim.topic_id, self.topic_id) for claim in self._positions.claims())

    async def explain(self, claim: Claim, event: PositionLost | MadeAnew) -> Loss | None:
        """What became of the position; None if it is good after all: the broker that said so before was behind."""
        topic_id = await self.ask()
        if topic_id is not None and is_another(claim.topic_id, topic_id):
            starts = await self._source.resolve_start(StartFrom.EARLIEST, [claim.partition])
            return judge_another_topic(claim, topic_id, starts[claim.partition])
        return judge_same_topic(event) if isinstance(event, PositionLost) else None
