"""How the rows of one stream get into the table, inside the open transaction: what both modes promise, and Append."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from forebay_consumer.copy_stream import CopyStream
from forebay_consumer.postgres_sink.catalog import Target
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.records import Batch


@dataclass(slots=True)
class Tally:
    """What a batch has cost so far."""

    copies: int = 0
    retries: int = 0


class RowWriter(Protocol):
    """One connection's way into the table. Every method may raise Refused."""

    async def prepare(self, batch: Batch) -> None:
        """Make what the batch needs. Called outside of any transaction."""

    async def rest(self) -> None:
        """Let go of what the database should not hold for long. Called outside of any transaction, also while idle."""

    def begin(self) -> None:
        """A transaction has begun; whatever an earlier one left behind is gone."""

    async def put(self, stream: CopyStream, tally: Tally, *, is_piece: bool) -> None:
        """Write all rows of the stream, or be refused.

        is_piece: other rows of the transaction may be tried again after this failed, by way of a savepoint.
        """


@dataclass(frozen=True, slots=True)
class AppendWriter:
    """Mode Append: COPY into the table."""

    session: Session
    target: Target

    async def prepare(self, _batch: Batch) -> None:
        """Nothing is needed."""

    async def rest(self) -> None:
        """Nothing is held."""

    def begin(self) -> None:
        """Nothing is kept from one transaction to the next."""

    async def put(self, stream: CopyStream, tally: Tally, *, is_piece: bool) -> None:
        """See RowWriter."""
        tally.copies += 1
        await self.session.copy(stream, schema=self.target.plan.schema, table=self.target.plan.table)
