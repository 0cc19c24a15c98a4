"""How dead letters are stored, chosen for a transaction, and sent to their topic."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from forebay_consumer.failures import SUPERSEDED, Data, Symptom, classify
from forebay_consumer.letter_headers import build_letter_headers
from forebay_consumer.letters import StoredLetter, pack_headers, printable, unpack_headers
from forebay_consumer.postgres_sink.replay import REPLAY_BYTES, choose_letters
from forebay_consumer.records import Header, Reason
from forebay_consumer.schema_ddl import build_grants
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def letter(*headers: Header, reason: str = Reason.WRONG_TYPE, column: str | None = "id") -> StoredLetter:
    return StoredLetter(
        id=1,
        topic="payments",
        partition=3,
        offset=42,
        reason=reason,
        column=column,
        message="expected a number, found a string",
        key=b"k",
        value=b"{}",
        headers=headers,
        timestamp=NOON,
        target="public.payments",
        created_at=NOON,
    )


@given(st.lists(st.tuples(NAMES, st.none() | st.binary()), min_size=1))
def test_headers_come_out_as_they_went_in(headers: list[Header]) -> None:
    packed = pack_headers(headers)
    assert unpack_headers(packed) == tuple(headers)


def test_headers_are_text_that_the_database_takes_whatever_they_hold() -> None:
    assert pack_headers(()) is None
    assert unpack_headers(None) == ()
    packed = pack_headers([("a\x00b", b"\x00\xff"), ("\ud800", None)])
    assert packed is not None
    assert json.loads(packed) == [["a\ufffdb", "AP8="], ["?", None]]
    assert printable(None) is None


@pytest.mark.parametrize(
    ("found", "ids"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([(1, (0, 5), REPLAY_BYTES + 1), (2, (0, 4), 1)], {(0, 5): 1}, id="one-however-large"),
        pytest.param([(1, (0, 5), 1), (2, (0, 4), REPLAY_BYTES)], {(0, 5): 1}, id="as-many-as-fit"),
        pytest.param([(3, (0, 5), 1), (2, (0, 5), 1), (1, (1, 5), 1)], {(0, 5): 3, (1, 5): 1}, id="one-of-a-record"),
    ],
)
def test_letters_of_one_transaction_are_bounded(
    found: list[tuple[int, tuple[int, int], int]], ids: dict[tuple[int, int], int]
) -> None:
    assert choose_letters(found) == ids


def test_headers_in_the_topic_are_those_of_kafka_connect() -> None:
    told = build_letter_headers(letter(("trace", b"t"), ("empty", None)), "bank/payments")
    assert told == [
        ("trace", b"t"),
        ("empty", None),
        ("__connect.errors.topic", b"payments"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"42"),
        ("__connect.errors.connector.name", b"bank/payments"),
        ("__connect.errors.task.id", b"3"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.class.name", b"forebay"),
        ("__connect.errors.exception.class.name", b"WrongType"),
        ("__connect.errors.exception.message", b"id: expected a number, found a string"),
        ("forebay.timestamp", b"1769860800000"),
    ]


def test_headers_that_the_record_has_already_are_left_as_they_are() -> None:
    told = build_letter_headers(letter(("__connect.errors.topic", b"first")), "bank/payments")
    assert [value for name, value in told if name == "__connect.errors.topic"] == [b"first"]


def test_what_the_database_refused_has_the_stage_of_writing() -> None:
    told = dict(build_letter_headers(letter(reason=Reason.CONSTRAINT, column=None), "bank/payments"))
    assert told["__connect.errors.stage"] == b"TASK_PUT"
    assert told["__connect.errors.exception.message"] == b"expected a number, found a string"


def test_a_row_that_must_be_left_alone_is_the_letters_fault_and_not_the_databases() -> None:
    failure = classify(Symptom(kind=SUPERSEDED, message="a later record"))
    assert failure == Data(reason=Reason.SUPERSEDED, message="a later record")


def test_the_role_may_change_what_is_said_of_a_record_but_not_the_record() -> None:
    (granted,) = [grant for grant in build_grants("app") if "dead_letters" in grant]
    assert granted == (
        "GRANT SELECT, INSERT, DELETE, UPDATE (column_name, message, mirrored_at, reason, replayed_at) "
        'ON forebay.dead_letters TO "app"'
    )
