"""Reject: how the inside of the decoder says that a value cannot become a column. Never leaves this package."""

from __future__ import annotations

from typing import NoReturn

from forebay_consumer.records import Reason


class Reject(Exception):
    """Turned into a DeadLetter at the record's boundary. message: for people, never contains the value."""

    def __init__(self, reason: Reason, message: str, column: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.column = column


def reject_type(expected: str, found: str) -> NoReturn:
    """The value is of another kind than the column takes."""
    raise Reject(Reason.WRONG_TYPE, f"expected {expected}, found {found}")


def reject_range(message: str) -> NoReturn:
    """The value is of the right kind but the column cannot hold it."""
    raise Reject(Reason.OUT_OF_RANGE, message)
