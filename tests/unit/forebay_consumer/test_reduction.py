"""Mode Upsert's reduction: the last word of each key, the native library against the reference, and a plain model."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

import pytest
from forebay_consumer.copy_stream import CopyStream
from forebay_consumer.decode.numbers import Numeric, numeric_to_binary, numeric_to_text
from forebay_consumer.native.library import LIBRARY
from forebay_consumer.plan import CopyFormat, TablePlan
from forebay_consumer.records import EncodedChunk, RawChunk, Reason, RowGroup
from forebay_consumer.reduction import build_key_streams
from forebay_consumer.reduction.native import reduce_natively
from forebay_consumer.reduction.parts import KeyKind, Source
from forebay_consumer.reduction.reference import reduce_in_python, split_value
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chunks import claim
from support.decoding import column, plan, sink
from support.rows import Value, encode_row, rows_batch, rows_chunk

CATALOG = [column("note", "text"), column("id", "int8"), column("state", "text", has_default=True)]
PLAN = plan(CATALOG, sink(key=("id",)))
DELETE = "delete"


def keyed_chunk(
    words: Sequence[tuple[int, str | None]], *, partition: int = 0, first: int = 0, table_plan: TablePlan = PLAN
) -> EncodedChunk:
    """Records (id, note); note DELETE deletes, None leaves the state to its default as well."""
    made: dict[tuple[bool, tuple[int, ...]], list[tuple[int, bytes]]] = {}
    for index, (number, note) in enumerate(words):
        row: tuple[Value, ...] = (note, number, "s")
        kind: tuple[bool, tuple[int, ...]] = (False, ())
        if note == DELETE:
            row, kind = (number,), (True, (0, 2))
        elif note is None:
            row, kind = (None, number), (False, (2,))
        made.setdefault(kind, []).append((index, encode_row(row, table_plan.copy_format)))
    source = RawChunk(
        partition=partition,
        claim_id=1,
        offsets=range(first, first + len(words)),
        values=[repr(word).encode() for word in words],
        keys=[str(number).encode() for number, _ in words],
    )
    groups = tuple(build_group(rows, *kind) for kind, rows in sorted(made.items()))
    return EncodedChunk(source=source, groups=groups, dead=())


def build_group(rows: Sequence[tuple[int, bytes]], is_delete: bool, omitted: tuple[int, ...]) -> RowGroup:
    """Encoded rows, each with its record's index."""
    ends, end = array("Q"), 0
    for _, row in rows:
        end += len(row)
        ends.append(end)
    return RowGroup(
        omitted=omitted,
        payload=b"".join(row for _, row in rows),
        row_ends=ends,
        record_index=array("Q", [index for index, _ in rows]),
        is_delete=is_delete,
    )


def reduce(*chunks: EncodedChunk, without: frozenset[tuple[int, int]] = frozenset()) -> list[CopyStream]:
    """The streams of a batch of these chunks."""
    claims = {chunk.source.partition: claim(chunk.source.partition) for chunk in chunks}
    return list(build_key_streams(rows_batch(claims, *chunks), PLAN, without))


def sent(stream: CopyStream) -> bytes:
    """Its rows without header and trailer."""
    return b"".join(stream.pieces())[19:-2]


def test_of_each_key_the_last_record_is_left_in_the_order_of_the_keys() -> None:
    (stream,) = reduce(keyed_chunk([(9, "a"), (1, "b"), (9, "c")]), keyed_chunk([(1, "d"), (4, "e")], first=3))
    assert sent(stream) == b"".join(map(encode_row, [("d", 1, "s"), ("e", 4, "s"), ("c", 9, "s")]))
    assert stream.list_records() == [(0, 3), (0, 4), (0, 2)]
    assert stream.columns == ("note", "id", "state")


def test_a_row_after_a_deletion_is_written_after_its_key_is_deleted() -> None:
    deletions, rows = reduce(keyed_chunk([(1, "a"), (1, DELETE), (1, "b")]))
    assert (deletions.is_delete, deletions.columns, sent(deletions)) == (True, ("id",), encode_row((1,)))
    assert (rows.is_delete, sent(rows)) == (False, encode_row(("b", 1, "s")))


def test_a_deletion_after_a_row_leaves_nothing_to_write() -> None:
    (deletions,) = reduce(keyed_chunk([(1, DELETE), (1, "a"), (1, DELETE)]))
    assert deletions.is_delete
    assert deletions.list_records() == [(0, 2)]


def test_rows_that_leave_out_columns_have_a_stream_of_their_own() -> None:
    full, partial = reduce(keyed_chunk([(1, "a"), (2, None), (2, "b"), (1, None)]))
    assert (full.columns, sent(full)) == (("note", "id", "state"), encode_row(("b", 2, "s")))
    assert (partial.columns, sent(partial)) == (("note", "id"), encode_row((None, 1)))


def test_a_row_is_traced_back_to_its_record() -> None:
    (stream,) = reduce(keyed_chunk([(5, "a")]), keyed_chunk([(3, "b"), (5, "c")], partition=2, first=70))
    letter = stream.cut(1, 2).dead_letter(0, Reason.CONSTRAINT, "why", "note")
    assert (letter.partition, letter.offset, letter.value, letter.key) == (2, 71, b"(5, 'c')", b"5")


def test_without_a_record_the_one_before_it_is_the_last_word() -> None:
    chunks = keyed_chunk([(1, "a"), (1, "b"), (2, "c")]), keyed_chunk([(2, DELETE)], first=3)
    (stream,) = reduce(*chunks, without=frozenset({(0, 1), (0, 3)}))
    assert stream.list_records() == [(0, 0), (0, 2)]


def test_nothing_left_gives_no_stream() -> None:
    assert reduce(keyed_chunk([(1, "a")]), without=frozenset({(0, 0)})) == []


def test_text_format_is_reduced_too() -> None:
    table_plan = plan([column("id", "int8"), column("span", "interval")], sink(key=("id",)))
    chunk = rows_chunk([(2, "a"), (1, "b"), (2, "c")], copy_format=CopyFormat.TEXT)
    (stream,) = build_key_streams(rows_batch({0: claim()}, chunk), table_plan)
    assert b"".join(stream.pieces()) == b"1\tb\n2\tc\n"


WORDS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a", "b", None, DELETE])), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(batches=st.lists(WORDS, min_size=1, max_size=4))
def test_written_one_after_the_other_the_streams_leave_what_the_records_say(
    batches: list[list[tuple[int, str | None]]],
) -> None:
    expected: dict[int, str | None] = dict.fromkeys(range(5), "old")
    for number, note in (word for batch in batches for word in batch):
        if note == DELETE:
            expected.pop(number, None)
        else:
            expected[number] = note
    table: dict[int, str | None] = dict.fromkeys(range(5), "old")
    chunks = [keyed_chunk(words, first=10 * n) for n, words in enumerate(batches)]
    words = {(0, 10 * n + i): word for n, batch in enumerate(batches) for i, word in enumerate(batch)}
    for stream in reduce(*chunks):
        for number, note in (words[record] for record in stream.list_records()):
            if stream.is_delete:
                table.pop(number, None)
            else:
                table[number] = note
    assert table == expected


KIND_VALUES: dict[KeyKind, st.SearchStrategy[bytes]] = {
    KeyKind.PLAIN: st.binary(max_size=10) | st.sampled_from([b"", b"ab", b"ab\0", b"abcdefgh", b"abcdefghi"]),
    KeyKind.NUMERIC: st.sampled_from(["0", "0.0", "1", "1.0", "1.00", "-1", "10", "1e1", "12345.6780"]).map(
        lambda text: numeric_to_binary(Numeric(None, 0).read(text.encode()))
    ),
    KeyKind.PADDED: st.sampled_from([b"", b" ", b"a", b"a ", b" a", b"a  b ", b"a  b"]),
    KeyKind.FLOAT: st.sampled_from([0.0, -0.0, 1.0, -1.0, float("nan")]).map(lambda value: struct.pack(">d", value)),
}


@st.composite
def sources(draw: st.DrawFn) -> tuple[tuple[KeyKind, ...], list[Source]]:
    """Groups whose rows hold a key of some kinds at some places."""
    kinds = tuple(draw(st.lists(st.sampled_from(KeyKind), min_size=1, max_size=3)))
    made = []
    for number in range(draw(st.integers(0, 4))):
        is_delete = draw(st.booleans())
        fields = list(range(len(kinds) + (0 if is_delete else 2)))
        places = tuple(draw(st.permutations(fields)))[: len(kinds)]
        rows = []
        for index in range(draw(st.integers(1, 5))):
            row: list[Value] = [draw(st.none() | st.binary(max_size=4)) for _ in fields]
            for kind, place in zip(kinds, places, strict=True):
                row[place] = draw(KIND_VALUES[kind])
            rows.append((3 * index + number % 3, encode_row(row)))
        group = build_group(rows, is_delete, ())
        stream = 0 if is_delete else draw(st.integers(1, 2))
        made.append(Source(group=group, chunk=number // 3, stream=stream, places=places))
    return kinds, made


@settings(max_examples=400, deadline=None)
@given(drawn=sources())
def test_the_native_reduction_gives_what_the_reference_gives(drawn: tuple[tuple[KeyKind, ...], list[Source]]) -> None:
    if not LIBRARY.exists():
        pytest.skip("no native library: put rustc on the PATH and install Forebay again")
    kinds, made = drawn
    expected = reduce_in_python(made, kinds, CopyFormat.BINARY, 3)
    assert reduce_natively(made, kinds, 3) == expected


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\1\0\0\0\5abc", id="cut"),
        pytest.param(encode_row((None,)), id="null"),
        pytest.param(b"\0\1\xff\xff\xff\xf0", id="negative-length"),
    ],
)
def test_a_row_that_does_not_hold_its_key_is_refused_by_the_library(row: bytes) -> None:
    made = [Source(group=build_group([(0, row)], False, ()), chunk=0, stream=1, places=(0,))]
    assert reduce_natively(made, (KeyKind.PLAIN,), 2) is None


@pytest.mark.parametrize(
    ("kind", "one", "other", "equal"),
    [
        (KeyKind.NUMERIC, "1.0", "1.00", True),
        (KeyKind.NUMERIC, "100", "1e2", True),
        (KeyKind.NUMERIC, "-0.0", "0", True),
        (KeyKind.NUMERIC, "1", "10", False),
        (KeyKind.NUMERIC, "1", "-1", False),
    ],
)
def test_numbers_are_compared_by_value_in_both_formats(kind: KeyKind, one: str, other: str, equal: bool) -> None:
    read = Numeric(None, 0).read
    for copy_format, write in ((CopyFormat.BINARY, numeric_to_binary), (CopyFormat.TEXT, numeric_to_text)):
        made = [write(read(text.encode())) for text in (one, other)]
        left, right = (split_value(kind, copy_format, m if isinstance(m, bytes) else m.encode()) for m in made)
        assert (left == right) is equal
