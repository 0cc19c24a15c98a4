"""What each failure of the database means."""

from __future__ import annotations

import pytest
from forebay_consumer.failures import Data, Failure, Symptom, Systemic, Transient, classify, copy_line, violated_key
from forebay_consumer.records import Reason

COPY = "COPY events, line 7, column id"


def symptom(sqlstate: str | None = None, message: str = "told", kind: str = "PostgresError", **more: str) -> Symptom:
    return Symptom(kind=kind, message=message, sqlstate=sqlstate, **more)


@pytest.mark.parametrize(
    ("sqlstate", "expected", "reason"),
    [
        ("08003", Transient, "ConnectionLost"),
        ("08006", Transient, "ConnectionLost"),
        ("25006", Transient, "ReadOnly"),
        ("40001", Transient, "Conflicting"),
        ("40P01", Transient, "Deadlock"),
        ("53300", Transient, "TooManyConnections"),
        ("53200", Transient, "OutOfMemory"),
        ("55P03", Transient, "LockTimeout"),
        ("57P01", Transient, "ServerStopping"),
        ("57P03", Transient, "ServerStarting"),
        ("57014", Transient, "Cancelled"),
        ("XX000", Transient, "ServerError"),
        ("99999", Transient, "DatabaseError"),
        ("28P01", Systemic, "AuthenticationFailed"),
        ("28000", Systemic, "AuthenticationFailed"),
        ("3D000", Systemic, "DatabaseMissing"),
        ("42501", Systemic, "PermissionDenied"),
        ("42P01", Systemic, "TableMissing"),
        ("42703", Systemic, "ColumnMissing"),
        ("42601", Systemic, "TableChanged"),
        ("42P10", Systemic, "KeyIndexMissing"),
        ("21000", Systemic, "KeyColumnsUnfit"),
        ("53100", Systemic, "DiskFull"),
        ("0A000", Systemic, "NotSupported"),
        ("XX001", Systemic, "ServerDamaged"),
        ("22001", Data, Reason.OUT_OF_RANGE),
        ("22003", Data, Reason.OUT_OF_RANGE),
        ("22012", Data, Reason.REJECTED),
        ("22021", Data, Reason.INVALID_UTF8),
        ("22P02", Data, Reason.WRONG_TYPE),
        ("22P05", Data, Reason.NUL_CHARACTER),
        ("23502", Data, Reason.NULL_FIELD),
        ("23503", Data, Reason.CONSTRAINT),
        ("23505", Data, Reason.CONSTRAINT),
        ("23514", Data, Reason.CONSTRAINT),
        ("23P01", Data, Reason.CONSTRAINT),
        ("54000", Data, Reason.REJECTED),
        ("P0001", Data, Reason.REJECTED),
    ],
)
def test_a_sqlstate_has_its_class_and_reason(sqlstate: str, expected: type[Failure], reason: str) -> None:
    failure = classify(symptom(sqlstate))
    assert type(failure) is expected
    assert failure.reason == reason


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("TimeoutError", "TimedOut"),
        ("ConnectionRefusedError", "Unreachable"),
        ("ConnectionError", "Unreachable"),
        ("gaierror", "HostUnknown"),
        ("InterfaceError", "ConnectionLost"),
        ("InternalClientError", "ConnectionLost"),
        ("TargetServerAttributeNotMatched", "ReadOnly"),
        ("SSLCertVerificationError", "TLSFailed"),
    ],
)
def test_an_error_without_sqlstate_is_transient(kind: str, reason: str) -> None:
    assert classify(symptom(kind=kind)) == Transient(reason=reason, message="told")


def test_a_message_that_is_empty_is_replaced_by_the_kind() -> None:
    assert classify(symptom(kind="TimeoutError", message="")) == Transient(reason="TimedOut", message="TimeoutError")


def test_wrong_connection_settings_need_a_person() -> None:
    assert isinstance(classify(symptom(kind="ClientConfigurationError")), Systemic)


def test_a_stale_prepared_statement_is_prepared_anew() -> None:
    stale = symptom("0A000", kind="InvalidCachedStatementError")
    assert classify(stale) == Transient(reason="PlanOutdated", message="told (SQLSTATE 0A000)")


@pytest.mark.parametrize("sqlstate", ["08P01", "XX000"])
def test_a_row_that_copy_cannot_read_is_data_whatever_the_sqlstate(sqlstate: str) -> None:
    assert isinstance(classify(symptom(sqlstate)), Transient)
    assert isinstance(classify(symptom(sqlstate, context=COPY)), Data)


def test_a_nul_character_is_told_from_other_bad_utf8() -> None:
    failure = classify(symptom("22021", 'invalid byte sequence for encoding "UTF8": 0x00'))
    assert failure.reason == Reason.NUL_CHARACTER


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (symptom("23514", constraint="positive"), 'constraint "positive" refused the row (SQLSTATE 23514)'),
        (symptom("23502", column="id"), 'column "id" must not be NULL (SQLSTATE 23502)'),
        (
            symptom("P0001", context="PL/pgSQL function app.refuse() line 1 at RAISE"),
            "function app.refuse refused the row (SQLSTATE P0001)",
        ),
        (symptom("22003", "value 99999 is out of range"), "the database could not take a value (SQLSTATE 22003)"),
    ],
)
def test_a_row_is_described_without_its_values(given: Symptom, message: str) -> None:
    failure = classify(given)
    assert isinstance(failure, Data)
    assert failure.message == message


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (COPY, 7),
        ('COPY events, line 12: "1\t9"', 12),
        ("COPY events, Zeile 5, Spalte id", 5),
        ("PL/pgSQL function refuse() line 3 at RAISE\nCOPY events, line 40", 40),
        ("PL/pgSQL function refuse() line 3 at RAISE", None),
        ("COPY others, line 2", None),
        ("COPY forebay_stage3, line 8, column note", 8),
        ("COPY forebay_stages, line 8", None),
        (None, None),
    ],
)
def test_the_line_is_found_in_any_language_but_only_of_our_copy(context: str | None, line: int | None) -> None:
    assert copy_line(Symptom(kind="e", message="", context=context), "events") == line


@pytest.mark.parametrize(
    ("sqlstate", "table", "detail", "key"),
    [
        ("23505", "events", "Key (a, b)=(1, x) already exists.", (("a", "b"), ("1", "x"))),
        ("23503", "events", 'Key (id)=(7) is not present in table "parents".', (("id",), ("7",))),
        ("23505", "events", "Schlüssel »(id)=(7)« existiert bereits.", (("id",), ("7",))),
        ("23505", "events", "Key (note)=(a, b) already exists.", (("note",), ("a, b",))),
        ("23505", "events", "Key (note)=(a) b) already exists.", (("note",), ("a) b",))),
        ("23505", "events", "Key (lower(note))=(a) already exists.", None),
        ("23505", "events", "Key (a, b)=(1, x, y) already exists.", None),
        ("23505", "others", "Key (id)=(7) already exists.", None),
        ("23514", "events", "Failing row contains (1, x).", None),
        ("23505", "events", "", None),
    ],
)
def test_the_key_in_the_detail(
    sqlstate: str, table: str, detail: str, key: tuple[tuple[str, ...], tuple[str, ...]] | None
) -> None:
    assert violated_key(symptom(sqlstate, table=table, detail=detail), "events") == key
