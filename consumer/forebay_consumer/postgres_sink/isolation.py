"""Writes all rows that the database accepts when several are bad: pieces inside savepoints, within one transaction.

A piece that fails is cut at the rows at fault, or in halves when nothing tells which they are: at most 2 log2 n COPYs a
bad row, never one a good row. Constraints are checked at the end of each piece, deferred ones too; a row that refers to
a later row of the same batch may so be refused, and becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from forebay_consumer import sql
from forebay_consumer.blame import find_guilty
from forebay_consumer.copy_stream import CopyStream
from forebay_consumer.failures import CLASHES, Data, Symptom, classify
from forebay_consumer.plan import TablePlan
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.refused import Refused
from forebay_consumer.postgres_sink.writers import RowWriter, Tally
from forebay_consumer.records import DeadLetter

SMALLEST_PIECE = 64
"""Rows. Pieces shrink after a bad row and double after a good piece: dense poison does not send the batch's rest again
for each bad row, and rare poison costs few statements."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row that the database refuses, and why."""

    row: CopyStream
    symptom: Symptom

    def dead_letter(self) -> DeadLetter:
        """The row's record."""
        return bury(self.row, (0,), self.symptom)[0]


@dataclass(slots=True)
class _Walk:
    """Pieces still to copy, the next one last; limit: most rows in one piece."""

    pieces: list[tuple[int, int]]
    limit: int
    refused: list[Refusal] = field(default_factory=list)

    def take(self) -> tuple[int, int]:
        first, end = self.pieces.pop()
        if end - first > self.limit:
            self.pieces.append((first + self.limit, end))
            end = first + self.limit
        return first, end

    def put_back_around(self, first: int, end: int, guilty: tuple[int, ...]) -> None:
        """The rows between the guilty ones, so that the first of them is next."""
        starts = (first, *(row + 1 for row in guilty))
        gaps = [gap for gap in zip(starts, (*guilty, end), strict=True) if gap[0] < gap[1]]
        self.pieces += reversed(gaps)
        self.limit = max(SMALLEST_PIECE, 2 * (guilty[0] - first))

    def put_back_halves(self, first: int, end: int) -> None:
        middle = (first + end) // 2
        self.pieces += [(middle, end), (first, middle)]


async def write_acceptable_rows(
    writer: RowWriter, session: Session, plan: TablePlan, stream: CopyStream, tally: Tally, judge: Callable[[int], None]
) -> list[Refusal]:
    """Write every row that is accepted; the others are returned. Inside an open transaction.

    judge: told the number of refused rows after each new one; may raise to end it all.
    """
    walk = _Walk(pieces=[(0, stream.rows)], limit=max(stream.rows, 1))
    await session.execute(sql.CHECK_DEFERRED)
    while walk.pieces:
        first, end = walk.take()
        piece = stream.cut(first, end)
        symptom = await _try_piece(writer, session, piece, tally)
        if symptom is None:
            walk.limit = min(2 * walk.limit, stream.rows)
            continue
        guilty = find_guilty(symptom, (piece,), plan)[0] or ((0,) if end - first == 1 else ())
        if not guilty:
            walk.put_back_halves(first, end)
            continue
        walk.refused += [Refusal(piece.cut(row, row + 1), symptom) for row in guilty]
        judge(len(walk.refused))
        walk.put_back_around(first, end, tuple(first + row for row in guilty))
    return walk.refused


async def try_again(
    writer: RowWriter, session: Session, refusals: Sequence[Refusal], tally: Tally
) -> tuple[Refusal, ...]:
    """Rows of mode Upsert that stood in each other's way: a value that must be unique may have become free meanwhile.

    Returns those that are refused whatever their order.
    """
    left, tried = tuple(refusals), -1
    while len(left) != tried:
        tried = len(left)
        again = [
            refusal
            for refusal in left
            if refusal.symptom.sqlstate not in CLASHES or await _try_piece(writer, session, refusal.row, tally)
        ]
        left = tuple(again)
    return left


def bury(stream: CopyStream, rows: tuple[int, ...], symptom: Symptom) -> list[DeadLetter]:
    """Dead letters for rows that the database refused with this symptom, which classify must take for Data."""
    failure = classify(symptom)
    assert isinstance(failure, Data)
    return [stream.dead_letter(row, failure.reason, failure.message, failure.column) for row in rows]


async def _try_piece(writer: RowWriter, session: Session, piece: CopyStream, tally: Tally) -> Symptom | None:
    """None when all its rows are in; else the data error that removed them again. Other failures are raised."""
    await session.execute(sql.SAVEPOINT)
    try:
        await writer.put(piece, tally, is_piece=True)
    except Refused as refused:
        if not isinstance(classify(refused.symptom), Data):
            raise
        await session.execute(f"{sql.ROLLBACK_TO_SAVEPOINT}; {sql.RELEASE_SAVEPOINT}")
        return refused.symptom
    await session.execute(sql.RELEASE_SAVEPOINT)
    return None
