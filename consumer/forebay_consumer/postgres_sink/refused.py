"""Turns what asyncpg raises into a Symptom, and a Symptom into the consumer's own errors; failures.py decides which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

import asyncpg

from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.failures import Data, Symptom, Systemic, Transient, classify

_RAISED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, RuntimeError)
"""TimeoutError and ssl.SSLError are OSErrors. InternalClientError derives from Exception alone. RuntimeError: uvloop's
"unable to perform operation on <TCPTransport closed=True ...>" when a connection broke before asyncpg heard of it."""


class Refused(Exception):
    """A statement failed; the symptom says how."""

    def __init__(self, symptom: Symptom) -> None:
        super().__init__(symptom.message)
        self.symptom = symptom


@contextmanager
def converting() -> Iterator[None]:
    """Everything that the client library raises inside becomes Refused."""
    try:
        yield
    except _RAISED as error:
        raise Refused(symptom_of(error)) from error


def symptom_of(error: Exception) -> Symptom:
    """The facts of an exception that came out of asyncpg."""
    if not isinstance(error, asyncpg.PostgresError):
        return Symptom(kind=type(error).__name__, message=str(error))
    return Symptom(
        kind=type(error).__name__,
        message=str(error),
        sqlstate=error.sqlstate,
        context=error.context,
        detail=error.detail,
        table=error.table_name,
        column=error.column_name,
        constraint=error.constraint_name,
    )


def as_sink_error(symptom: Symptom, *, outcome_unknown: bool = False) -> SinkUnavailable | SinkBroken:
    """The error for the pipeline. A data error that no row answers for is retried like a lost connection."""
    match classify(symptom):
        case Transient(reason=reason, message=message):
            return SinkUnavailable(reason, message, outcome_unknown=outcome_unknown)
        case Systemic(reason=reason, message=message):
            return SinkBroken(reason, message)
        case Data(message=message):
            return SinkUnavailable("DatabaseError", message, outcome_unknown=outcome_unknown)
        case failure:
            assert_never(failure)


@contextmanager
def telling() -> Iterator[None]:
    """For those whose every failure ends what they do: Refused becomes the consumer's own error."""
    try:
        yield
    except Refused as refused:
        raise as_sink_error(refused.symptom) from refused
