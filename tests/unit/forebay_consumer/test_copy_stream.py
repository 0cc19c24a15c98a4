"""Cutting, joining and finding rows of a COPY."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from forebay_consumer.blame import find_guilty
from forebay_consumer.copy_stream import PIECE_BYTES, CopyStream, build_streams, find_rows, split_row
from forebay_consumer.failures import Symptom
from forebay_consumer.plan import CopyFormat, TablePlan
from forebay_consumer.records import Reason
from hypothesis import given
from hypothesis import strategies as st
from support.chunks import claim
from support.fake_sink import fake_plan
from support.rows import Value, encode_row, rows_batch, rows_chunk

PLAN = fake_plan()
TEXT_PLAN = TablePlan(
    schema="public",
    table="events",
    columns=PLAN.columns,
    copy_format=CopyFormat.TEXT,
    unknown_fields=PLAN.unknown_fields,
)


def stream_of(*chunks: Sequence[tuple[Value, ...]], plan: TablePlan = PLAN) -> CopyStream:
    """One stream of several chunks, each of a partition of its own, offsets from 0."""
    made = [rows_chunk(rows, partition=p, copy_format=plan.copy_format) for p, rows in enumerate(chunks)]
    (stream,) = build_streams(rows_batch({p: claim(p) for p in range(len(chunks))}, *made), plan)
    return stream


def sent(stream: CopyStream) -> bytes:
    """The stream's rows without header and trailer."""
    return b"".join(stream.pieces())[19:-2]


def test_the_pieces_are_header_rows_and_trailer() -> None:
    stream = stream_of([(1, "a")], [(2, None)])
    assert bytes(next(stream.pieces())).startswith(b"PGCOPY\n\xff\r\n\x00")
    assert sent(stream) == encode_row((1, "a")) + encode_row((2, None))


def test_no_piece_is_longer_than_a_message_should_be() -> None:
    stream = stream_of([(1, "a" * PIECE_BYTES), (2, "b" * PIECE_BYTES)])
    assert {len(piece) for piece in stream.pieces()} > {PIECE_BYTES}
    assert max(len(piece) for piece in stream.pieces()) == PIECE_BYTES
    assert sent(stream) == encode_row((1, "a" * PIECE_BYTES)) + encode_row((2, "b" * PIECE_BYTES))


def test_rows_that_leave_out_columns_have_a_stream_of_their_own() -> None:
    batch = rows_batch({0: claim()}, rows_chunk([(1, "a")]), rows_chunk([(2,)], first=1, omitted=(1,)))
    streams = build_streams(batch, PLAN)
    assert [(stream.columns, stream.rows) for stream in streams] == [(("id", "note"), 1), (("id",), 1)]


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    data=st.data(),
)
def test_cutting_gives_exactly_those_rows(sizes: list[int], data: st.DataObject) -> None:
    numbers = iter(range(100))
    chunks: list[list[tuple[Value, ...]]] = [[(next(numbers), "x") for _ in range(size)] for size in sizes]
    rows = [row for chunk in chunks for row in chunk]
    stream = stream_of(*chunks)
    first = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(first, len(rows)))
    removed = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    assert sent(stream.cut(first, end)) == b"".join(map(encode_row, rows[first:end]))
    kept = [row for index, row in enumerate(rows) if index not in removed]
    assert sent(stream.without(sorted(removed))) == b"".join(map(encode_row, kept))


def test_leaving_out_nearly_all_rows_costs_few_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode Upsert does so for every refused record of a key, with all rows of the batch that were tried before."""
    stream = stream_of([(n, "a") for n in range(100)])
    cut, cuts = CopyStream.cut, []

    def counted(self: CopyStream, first: int, end: int) -> CopyStream:
        cuts.append((first, end))
        return cut(self, first, end)

    monkeypatch.setattr(CopyStream, "cut", counted)
    assert sent(stream.without([n for n in range(100) if n != 40])) == encode_row((40, "a"))
    assert cuts == [(40, 41), (100, 100)]


def test_a_row_is_traced_back_to_its_record() -> None:
    stream = stream_of([(1, "a"), (2, "b")], [(3, "c"), (4, "d")]).without([1])
    letter = stream.dead_letter(2, Reason.CONSTRAINT, "why", None)
    assert (letter.partition, letter.offset, letter.value) == (1, 1, b'["4", "d"]')


@pytest.mark.parametrize("plan", [PLAN, TEXT_PLAN], ids=["binary", "text"])
@pytest.mark.parametrize(
    ("columns", "values", "rows"),
    [
        (("id",), ("2",), (1, 4)),
        (("id", "note"), ("2", "z"), (4,)),
        (("note",), ("b",), (1,)),
        (("id",), ("99",), ()),
        (("missing",), ("1",), None),
    ],
)
def test_rows_are_found_by_their_values(
    plan: TablePlan, columns: tuple[str, ...], values: tuple[str, ...], rows: tuple[int, ...] | None
) -> None:
    stream = stream_of([(1, "a"), (2, "b"), (3, "2")], [(12, "c"), (2, "z")], plan=plan)
    assert find_rows(stream, plan, columns, values) == rows


def test_a_row_splits_into_its_fields() -> None:
    assert split_row(CopyFormat.BINARY, encode_row((None, "ab"))) == [None, b"ab"]
    assert split_row(CopyFormat.TEXT, b"\\N\tab\n") == [None, b"ab"]


def refused(sqlstate: str, *, line: int | None = None, key: str | None = None) -> Symptom:
    return Symptom(
        kind="e",
        message="",
        sqlstate=sqlstate,
        context=f"COPY events, line {line}" if line is not None else None,
        detail=f"Key (id)=({key}) ..." if key is not None else None,
        table="events",
    )


@pytest.mark.parametrize(
    ("symptom", "guilty"),
    [
        pytest.param(refused("23514", line=2), (1,), id="line"),
        pytest.param(refused("23514", line=0), (), id="line-below"),
        pytest.param(refused("23514", line=9), (), id="line-beyond"),
        pytest.param(refused("23503", key="2"), (1, 3), id="absent-parent-blames-all"),
        pytest.param(refused("23505", key="2"), (3,), id="repeated-key-spares-the-first"),
        pytest.param(refused("23505", key="1"), (0,), id="key-that-the-table-has"),
        pytest.param(refused("23505", key="77"), (), id="key-of-no-row"),
        pytest.param(refused("P0001"), (), id="nothing-told"),
    ],
)
def test_who_is_guilty(symptom: Symptom, guilty: tuple[int, ...]) -> None:
    stream = stream_of([(1, "a"), (2, "b"), (3, "c"), (2, "d")])
    assert find_guilty(symptom, (stream,), PLAN) == (guilty,)


def test_a_key_repeated_in_two_streams_spares_the_first_stream() -> None:
    one, two = stream_of([(1, "a")]), stream_of([(1, "b")])
    assert find_guilty(refused("23505", key="1"), (one, two), PLAN) == ((), (0,))
