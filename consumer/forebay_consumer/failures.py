"""What a failure of the database means: wait (Transient), one row's fault (Data), or a person's turn (Systemic).

Pure: the door to the database turns exceptions into a Symptom; everything that is decided about it is decided here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forebay_consumer.plan import STAGE_TABLE
from forebay_consumer.records import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """An error as it came out of the client library.

    kind: the exception's class name. sqlstate: five characters, None when the error was not made by a server.
    context, detail: the server's, may be in any language.
    """

    kind: str
    message: str
    sqlstate: str | None = None
    context: str | None = None
    detail: str | None = None
    table: str | None = None
    column: str | None = None
    constraint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transient:
    """Drop the connection, back off, connect and claim again. reason: CamelCase word for /state."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A row is at fault: it becomes a dead letter. message never contains the row's values."""

    reason: Reason
    message: str
    column: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Systemic:
    """A person must act; message ends with the remedy."""

    reason: str
    message: str


Failure = Transient | Data | Systemic

_TRANSIENT = {
    "08": "ConnectionLost",
    "40": "Conflicting",
    "53": "OutOfResources",
    "55": "LockTimeout",
    "57": "ServerStopping",
    "58": "ServerError",
    "XX": "ServerError",
    "25006": "ReadOnly",
    "25": "TransactionLost",
    "3B": "TransactionLost",
    "40001": "Conflicting",
    "40P01": "Deadlock",
    "53200": "OutOfMemory",
    "53300": "TooManyConnections",
    "53400": "OutOfResources",
    "55P03": "LockTimeout",
    "57014": "Cancelled",
    "57P03": "ServerStarting",
    "26": "StatementLost",
    "0A000": "PlanOutdated",
    "03": "ServerError",
    "0B": "TransactionLost",
    "72": "Conflicting",
    "HV001": "OutOfMemory",
    "HV00N": "Unreachable",
}
"""SQLSTATE or class -> reason; the longer one wins. 26 and 0A000: a prepared statement vanished or went stale (a schema
change, or a pooler that hands every transaction another session); a new connection prepares anew. HV: of the server
behind a foreign table."""

_TRIGGER_FAILED = ("TriggerFailed", "repair the function that the table's triggers call")

_SYSTEMIC = {
    "28": (
        "AuthenticationFailed",
        "correct user and password in the Secret that spec.sink names, or pg_hba.conf",
    ),
    "3D": (
        "DatabaseMissing",
        "create the database, or correct its name in spec.sink.postgresClusterRef or the Secret that spec.sink names",
    ),
    "21": (
        "KeyColumnsUnfit",
        "keys that differ are equal to the table's index (name other columns in spec.sink.keyColumns), or a BEFORE "
        "trigger writes to other rows of the table (make it an AFTER trigger)",
    ),
    "3F": ("SchemaMissing", "create the schema that spec.sink.table names"),
    "42": ("TableChanged", "make the table fit spec.sink.table and spec.sink.columns"),
    "42P10": ("KeyIndexMissing", "create a unique index over exactly the columns of spec.sink.keyColumns"),
    "42501": ("PermissionDenied", "grant the missing right to the user in the Secret that spec.sink names"),
    "42P01": ("TableMissing", "create the table, or correct spec.sink.table"),
    "42703": ("ColumnMissing", "add the column, or correct spec.sink.columns"),
    "53100": ("DiskFull", "free disk space on the database server"),
    "F0": ("ServerMisconfigured", "repair the server's configuration"),
    "58P01": ("ServerDamaged", "look at the database server's log"),
    "XX001": ("ServerDamaged", "a data page is corrupt: look at the database server's log"),
    "XX002": ("ServerDamaged", "an index is corrupt: REINDEX it"),
    "0A": ("NotSupported", "the table cannot be written by COPY: see the server's message"),
    "54": ("LimitExceeded", "see the server's message"),
    "55000": ("TableNotReady", "see the server's message"),
    "0F": _TRIGGER_FAILED,
    "0Z": _TRIGGER_FAILED,
    "24": _TRIGGER_FAILED,
    "2D": _TRIGGER_FAILED,
    "2F": _TRIGGER_FAILED,
    "34": _TRIGGER_FAILED,
    "38": _TRIGGER_FAILED,
    "39": _TRIGGER_FAILED,
    "0L": ("PermissionDenied", "grant the missing right to the user in the Secret that spec.sink names"),
    "0P": ("PermissionDenied", "correct the role that the table's triggers set"),
    "2B": ("PermissionDenied", "see the server's message"),
    "HV": ("ForeignServerFailed", "repair the foreign table, or name a table in spec.sink.table"),
}
"""SQLSTATE or class -> (reason, remedy). 0F 0Z 24 2D 2F 34: what no statement of ours does (cursors, transactions ended
inside a function, ...): a function of the table's triggers does, whatever the row."""

_DATA = {
    "01": Reason.REJECTED,
    "02": Reason.REJECTED,
    "09": Reason.REJECTED,
    "10": Reason.REJECTED,
    "20": Reason.REJECTED,
    "22": Reason.REJECTED,
    "23": Reason.CONSTRAINT,
    "27": Reason.REJECTED,
    "44": Reason.CONSTRAINT,
    "P0": Reason.REJECTED,
    "54000": Reason.REJECTED,
    "22001": Reason.OUT_OF_RANGE,
    "22003": Reason.OUT_OF_RANGE,
    "22007": Reason.WRONG_TYPE,
    "22008": Reason.OUT_OF_RANGE,
    "22021": Reason.INVALID_UTF8,
    "22P02": Reason.WRONG_TYPE,
    "22P03": Reason.WRONG_TYPE,
    "22P05": Reason.NUL_CHARACTER,
    "23502": Reason.NULL_FIELD,
}
"""SQLSTATE or class -> reason. P0: raised by a trigger, as 01, 02 and 09 can be, too. 20: its CASE has no branch for
the row. 10: XQuery. 54000: the row or its index entry is larger than a page.
27: a BEFORE trigger has written to a row that the same statement was still to write; each by itself is accepted."""

_ROW_IF_COPY = {"08P01": Reason.WRONG_TYPE, "XX000": Reason.REJECTED}
"""What a type's input function raises when it cannot read a row; without a COPY row they are the server's own trouble.
08P01 is "insufficient data left in message": as a lost connection it would be retried with the same row for ever."""

_KINDS = {
    "TimeoutError": "TimedOut",
    "gaierror": "HostUnknown",
    "ConnectionRefusedError": "Unreachable",
    "SSLError": "TLSFailed",
    "SSLCertVerificationError": "TLSFailed",
    "CertificateError": "TLSFailed",
    "InterfaceError": "ConnectionLost",
    "InternalClientError": "ConnectionLost",
    "ProtocolError": "ConnectionLost",
    "RuntimeError": "ConnectionLost",
    "TargetServerAttributeNotMatched": "ReadOnly",
    "OutdatedSchemaCacheError": "PlanOutdated",
    "PostgresError": "DatabaseError",
    "FatalPostgresError": "DatabaseError",
    "UnknownPostgresError": "DatabaseError",
}
"""Errors without SQLSTATE, by class name; everything else that is no server's error is Unreachable.
InternalClientError: asyncpg raises it when the connection breaks between two states; a net of PostgresError,
InterfaceError and OSError misses it. RuntimeError: uvloop's, for the same moment."""

_CLIENT_CONFIGURATION = frozenset(
    {"ClientConfigurationError", "UnsupportedClientFeatureError", "UnsupportedServerFeatureError"}
)


def classify(symptom: Symptom) -> Failure:
    """What to do about it. Unknown errors are Transient: retried for ever, loudly, with nothing lost.

    An unknown SQLSTATE from inside a function or a COPY is a trigger's own (RAISE ... USING ERRCODE = 'MY001'): Data.
    """
    if symptom.sqlstate is None:
        return _classify_client_error(symptom)
    if symptom.sqlstate in _ROW_IF_COPY and (symptom.context or "").startswith("COPY "):
        return Data(reason=_ROW_IF_COPY[symptom.sqlstate], message=_describe_row(symptom), column=symptom.column)
    for code in (symptom.sqlstate, symptom.sqlstate[:2]):
        if code in _TRANSIENT and not _is_unsupported(symptom):
            return Transient(reason=_TRANSIENT[code], message=_told(symptom))
        if code in _SYSTEMIC:
            reason, remedy = _SYSTEMIC[code]
            return Systemic(reason=reason, message=f"{_told(symptom)}; {remedy}")
        if code in _DATA:
            return Data(
                reason=_data_reason(symptom, _DATA[code]), message=_describe_row(symptom), column=symptom.column
            )
    if (symptom.context or "").startswith("COPY ") or _FUNCTION.search(symptom.context or ""):
        return Data(reason=Reason.REJECTED, message=_describe_row(symptom), column=symptom.column)
    return Transient(reason="DatabaseError", message=_told(symptom))


def _is_unsupported(symptom: Symptom) -> bool:
    """0A000 means a stale plan only when PostgreSQL's plan cache says so; otherwise COPY cannot write such a table."""
    return symptom.sqlstate == "0A000" and symptom.kind != "InvalidCachedStatementError"


SUPERSEDED = "Superseded"
"""Symptom.kind of what a replay's writer says of its own accord: the row of this key must be left as it is."""


def _classify_client_error(symptom: Symptom) -> Failure:
    if symptom.kind == SUPERSEDED:
        return Data(reason=Reason.SUPERSEDED, message=symptom.message)
    if symptom.kind in _CLIENT_CONFIGURATION:
        return Systemic(
            reason="BadConnectionSettings", message=f"{symptom.message}; correct the Secret that spec.sink names"
        )
    return Transient(reason=_KINDS.get(symptom.kind, "Unreachable"), message=symptom.message or symptom.kind)


def _told(symptom: Symptom) -> str:
    return f"{symptom.message} (SQLSTATE {symptom.sqlstate})"


def _data_reason(symptom: Symptom, reason: Reason) -> Reason:
    if symptom.sqlstate == "22021" and "0x00" in symptom.message:
        return Reason.NUL_CHARACTER
    return reason


_FUNCTION = re.compile(r"function (\w+(?:\.\w+)?)\(")

_CLASS_NAMES = {"22": "the database could not take a value", "23": "a constraint refused the row"}


def _describe_row(symptom: Symptom) -> str:
    """Why the row was refused, without the server's own message: that one quotes values."""
    assert symptom.sqlstate is not None
    if symptom.constraint:
        what = f'constraint "{symptom.constraint}" refused the row'
    elif symptom.sqlstate == "23502" and symptom.column:
        what = f'column "{symptom.column}" must not be NULL'
    elif function := _FUNCTION.search(symptom.context or ""):
        what = f"function {function.group(1)} refused the row"
    else:
        what = _CLASS_NAMES.get(symptom.sqlstate[:2], "the database refused the row")
    return f"{what} (SQLSTATE {symptom.sqlstate})"


def copy_line(symptom: Symptom, table: str) -> int | None:
    """The row that COPY names in the error's context ("COPY t, line 7, column c"), from 1; None if it names none.

    table: the target; rows on their way into it stand in a table of another name (plan.STAGE_TABLE).
    Words are skipped, not read: lc_messages may be any language.
    """
    copied_into = re.compile(rf"COPY (?:{re.escape(table)}|{STAGE_TABLE}\d+), \D*(\d+)?")
    for line in (symptom.context or "").splitlines():
        if found := copied_into.match(line):
            return int(found.group(1)) if found.group(1) else None
    return None


_KEY = re.compile(r"\((?P<columns>[^()]+)\)=\((?P<values>.*)\)", re.DOTALL)
"""Greedy: values may hold parentheses, and half a value could be another row's whole one."""

REPEATED_KEY = "23505"
ABSENT_KEY = "23503"
CLASHES = frozenset({REPEATED_KEY, ABSENT_KEY, "23P01"})
"""What depends on the other rows of the table, and so may be gone when these have changed. 23P01: EXCLUDE."""


def violated_key(symptom: Symptom, table: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Columns and values (as text) that the detail names ("Key (a, b)=(1, 2) already exists."); None if it names none.

    Only for unique and foreign keys of the table itself: a trigger may have broken another table's.
    """
    if symptom.sqlstate not in (REPEATED_KEY, ABSENT_KEY) or symptom.table != table or not symptom.detail:
        return None
    found = _KEY.search(symptom.detail)
    if found is None:
        return None
    columns, values = tuple(found["columns"].split(", ")), tuple(found["values"].split(", "))
    if len(columns) != len(values) and len(columns) == 1:
        values = (found["values"],)
    if len(columns) != len(values):
        return None
    return tuple(column.strip('"') for column in columns), values
