"""Mode Upsert: which records delete a row, and how their keys are read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from forebay_api.v1alpha1 import ColumnSource, DeleteWhen, UnknownFieldPolicy
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import Decoder
from forebay_consumer.records import DeadLetter, Reason, RowGroup
from support.decoding import VARCHAR_5, chunk, column, from_path, from_source, native, plan, rows_of, sink

CATALOG = [column("id", "int4"), column("note", "text"), column("state", "text", has_default=True, is_not_null=True)]
MARKED = DeleteWhen(path=("meta", "op"), values=("d", "true", "1"))
BY_ID = plan(CATALOG, sink(key=("id",), delete_when=MARKED))
BY_TWO = plan([*CATALOG, column("tenant", "text")], sink(key=("tenant", "id"), delete_when=MARKED))
BY_TEXT = plan([column("code", "text"), column("n", "int4")], sink(key=("code",)))

both = pytest.mark.parametrize("make", [ReferenceDecoder, native])
DecoderFactory = Callable[[TablePlan], Decoder]


def deletions(table_plan: TablePlan, key: bytes | None) -> tuple[tuple[RowGroup, ...], tuple[DeadLetter, ...]]:
    """What a tombstone with this key becomes."""
    result = ReferenceDecoder(table_plan).decode(chunk([None], keys=[key]))
    return result.groups, result.dead


def int4(value: int) -> bytes:
    return b"\0\0\0\4" + value.to_bytes(4, "big", signed=True)


def text(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


@both
@pytest.mark.parametrize(
    ("value", "is_delete"),
    [
        pytest.param(b'{"id":1,"meta":{"op":"d"}}', True, id="text"),
        pytest.param(b'{"id":1,"meta":{"op":true}}', True, id="true"),
        pytest.param(b'{"id":1,"meta":{"op":1}}', True, id="number"),
        pytest.param(b'{"id":1,"meta":{"op":"\\u0064"}}', True, id="escaped"),
        pytest.param(b'{"id":1,"meta":{"op":"u"},"meta":{"op":"d"}}', True, id="repeated-last-counts"),
        pytest.param(b'{"id":1,"note":5,"state":null,"meta":{"op":"d"}}', True, id="other-columns-are-not-read"),
        pytest.param(b'{"id":1,"meta":{"op":"dd"}}', False, id="other-text"),
        pytest.param(b'{"id":1,"meta":{"op":1.0}}', False, id="other-number"),
        pytest.param(b'{"id":1,"meta":{"op":["d"]}}', False, id="array"),
        pytest.param(b'{"id":1,"meta":{"op":null}}', False, id="null"),
        pytest.param(b'{"id":1,"meta":{}}', False, id="missing"),
        pytest.param(b'{"id":1,"meta":"d"}', False, id="no-object-on-the-way"),
        pytest.param(b'{"id":1}', False, id="nothing"),
    ],
)
def test_a_marked_record_deletes_its_row(make: DecoderFactory, value: bytes, is_delete: bool) -> None:
    (group,) = make(BY_ID).decode(chunk([value], keys=[None])).groups
    assert group.is_delete is is_delete
    if is_delete:
        assert (group.omitted, rows_of(group)) == ((1, 2), [b"\0\1" + int4(1)])


@both
def test_rows_and_deletions_of_a_chunk_are_groups_of_their_own(make: DecoderFactory) -> None:
    narrow = plan([column("id", "int4"), column("note", "text", has_default=True)], sink(key=("id",)))
    result = make(narrow).decode(chunk([b'{"id":1}', None, b'{"id":2}'], keys=[None, b"7", None]))
    found = [(group.is_delete, group.omitted, list(group.record_index)) for group in result.groups]
    assert found == [(False, (1,), [0, 2]), (True, (1,), [1])]


@pytest.mark.parametrize(
    ("table_plan", "key", "row"),
    [
        pytest.param(BY_ID, b"7", b"\0\1" + int4(7), id="bare-number"),
        pytest.param(BY_ID, b' {"id": -7, "x": 1} ', b"\0\1" + int4(-7), id="object"),
        pytest.param(BY_TEXT, b"ab c", b"\0\1" + text(b"ab c"), id="plain-text"),
        pytest.param(BY_TEXT, b" ab", b"\0\1" + text(b" ab"), id="plain-text-keeps-spaces"),
        pytest.param(BY_TEXT, b'"a\\u0062"', b"\0\1" + text(b"ab"), id="json-string"),
        pytest.param(BY_TEXT, b"12", b"\0\1" + text(b"12"), id="digits-as-text"),
        pytest.param(BY_TEXT, b'{"code":"x"}', b"\0\1" + text(b"x"), id="object-with-text"),
        pytest.param(BY_TWO, b'{"tenant":"t","id":3}', b"\0\2" + int4(3) + text(b"t"), id="two-columns-in-table-order"),
    ],
)
def test_a_tombstone_names_its_row_by_the_records_key(table_plan: TablePlan, key: bytes, row: bytes) -> None:
    groups, dead = deletions(table_plan, key)
    assert not dead
    assert [(group.is_delete, rows_of(group)) for group in groups] == [(True, [row])]


def test_a_key_column_that_is_filled_from_the_records_key_takes_the_key_itself() -> None:
    spec = sink(from_source("id", ColumnSource.KEY), from_path("note"), from_path("state"), key=("id",))
    groups, dead = deletions(plan(CATALOG, spec), b"12")
    assert not dead
    assert rows_of(groups[0]) == [b"\0\1" + int4(12)]


@pytest.mark.parametrize(
    ("table_plan", "key", "at", "says"),
    [
        pytest.param(BY_ID, None, None, "it has none", id="no-key"),
        pytest.param(BY_ID, b"x", "id", "expected a number", id="not-a-number"),
        pytest.param(BY_ID, b"null", "id", "field is null", id="null"),
        pytest.param(BY_ID, b'{"di":1}', "id", "lacks its field", id="other-field"),
        pytest.param(BY_ID, b'{"id":1', None, "not valid JSON", id="broken-object"),
        pytest.param(BY_ID, b"[1]", None, "not an object", id="array"),
        pytest.param(BY_TWO, b"7", None, "several columns identify a row", id="one-value-for-two-columns"),
        pytest.param(BY_TEXT, b'"a', None, "not valid JSON", id="broken-string"),
        pytest.param(BY_TEXT, b"\xff", "code", "invalid UTF-8", id="not-text"),
        pytest.param(BY_TEXT, b"a\0", "code", "NUL", id="nul"),
    ],
)
def test_a_tombstone_without_a_readable_key_is_dead(
    table_plan: TablePlan, key: bytes | None, at: str | None, says: str
) -> None:
    groups, (letter,) = deletions(table_plan, key)
    assert not groups
    assert (letter.reason, letter.key) == (Reason.TOMBSTONE, key)
    assert at is None or letter.column == at
    assert says in letter.message
    assert "let the producer write the record's key as a JSON object that holds" in letter.message


def test_in_append_mode_a_tombstone_is_dead() -> None:
    groups, (letter,) = deletions(plan(CATALOG), b"7")
    assert not groups
    assert (letter.reason, letter.message) == (Reason.TOMBSTONE, "the record has no value")


@both
@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        pytest.param(b'{"note":"x"}', Reason.MISSING_FIELD, "identifies the row", id="missing"),
        pytest.param(b'{"id":null}', Reason.NULL_FIELD, "identifies the row", id="null"),
        pytest.param(b'{"meta":{"op":"d"}}', Reason.MISSING_FIELD, "identifies the row", id="deletion-without-key"),
    ],
)
def test_a_record_without_its_key_is_dead(make: DecoderFactory, value: bytes, reason: Reason, says: str) -> None:
    """Neither NULL nor a default may stand in for a key, whatever the table allows."""
    lenient = [column("id", "int4", has_default=True), *CATALOG[1:]]
    table_plan = plan(lenient, sink(key=("id",), delete_when=MARKED))
    (letter,) = make(table_plan).decode(chunk([value], keys=[None])).dead
    assert (letter.reason, letter.column) == (reason, "id")
    assert says in letter.message


@both
@pytest.mark.parametrize(
    ("policy", "collector"),
    [(UnknownFieldPolicy.DEAD_LETTER, None), (UnknownFieldPolicy.IGNORE, "extra")],
    ids=["refused", "collected"],
)
def test_the_marker_is_no_unknown_field(
    make: DecoderFactory, policy: UnknownFieldPolicy, collector: str | None
) -> None:
    spec = sink(policy=policy, collector=collector, key=("id",), delete_when=DeleteWhen(path=("op",), values=("d",)))
    table_plan = plan([column("id", "int4"), column("extra", "jsonb")], spec)
    result = make(table_plan).decode(chunk([b'{"id":1,"op":"c"}'], keys=[None]))
    assert not result.dead
    assert rows_of(result.groups[0]) == [b"\0\2" + int4(1) + b"\xff\xff\xff\xff"]


@both
def test_a_marker_where_no_object_is_counts_as_any_unknown_field(make: DecoderFactory) -> None:
    spec = sink(policy=UnknownFieldPolicy.DEAD_LETTER, key=("id",), delete_when=MARKED)
    (letter,) = make(plan(CATALOG, spec)).decode(chunk([b'{"id":1,"meta":5}'], keys=[None])).dead
    assert letter.reason is Reason.UNKNOWN_FIELD


@both
@pytest.mark.parametrize(
    ("target", "field"),
    [
        pytest.param(column("id", "varchar", modifier=VARCHAR_5), b'"abcde "', id="spaces-that-would-be-cut"),
        pytest.param(
            column("id", "numeric", modifier=((10 << 16) | 2) + 4), b"1.005", id="digits-that-would-be-rounded"
        ),
    ],
)
def test_a_key_that_the_table_would_change_is_dead(make: DecoderFactory, target: object, field: bytes) -> None:
    """Two keys that become one in the table could not be told apart from one key."""
    table_plan = plan([target, column("note", "text")], sink(key=("id",)))  # type: ignore[list-item]
    (letter,) = make(table_plan).decode(chunk([b'{"id":' + field + b"}"], keys=[None])).dead
    assert letter.reason is Reason.OUT_OF_RANGE


@both
@pytest.mark.parametrize("field", [b"1.500", b'"100.000"', b"0.000", b"15000e-4"])
def test_zeros_behind_a_keys_decimal_places_do_no_harm(make: DecoderFactory, field: bytes) -> None:
    target = column("id", "numeric", modifier=((10 << 16) | 2) + 4)
    table_plan = plan([target, column("note", "text")], sink(key=("id",)))
    encoded = make(table_plan).decode(chunk([b'{"id":' + field + b"}"], keys=[None]))
    assert not encoded.dead
