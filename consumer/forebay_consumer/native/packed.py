"""What the library fetched, as the rest of the consumer reads records: sequences that copy only what is asked for."""

from __future__ import annotations

import ctypes
import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import overload

from forebay_consumer.native.library import PackedView, RunView, View

_LENGTH = struct.Struct("<I")
_ABSENT = 0xFFFFFFFF

NO_TIMESTAMP = -(2**63)
"""Stands for None among timestamps, both ways."""


class Run:
    """Owner of the memory of one run; every sequence made of it keeps it alive."""

    def __init__(self, library: ctypes.CDLL, view: RunView) -> None:
        self._free = library.forebay_run_free
        self.view = view

    def __del__(self) -> None:
        self._free(self.view.run)


class PackedRows:
    """Rows that were made of a run's records while they were fetched, by a compiled plan.

    address: where the library has them, as long as this lives.
    """

    __slots__ = ("_run", "address", "plan")

    def __init__(self, run: Run, address: int, plan: bytes) -> None:
        self._run = run
        self.address = address
        self.plan = plan


class PackedBytes(Sequence[bytes | None]):
    """Byte strings in the library's memory, some None."""

    __slots__ = ("_absent", "_data", "_ends", "_run", "view")

    def __init__(self, run: Run, view: PackedView) -> None:
        self._run = run
        self.view = view
        self._data = view.data.look("B")
        self._ends = view.ends.look("Q")
        self._absent = view.absent.look("Q")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes | None]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes | None] | None:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        end = self._ends[index]
        index %= len(self._ends)
        at = bisect_left(self._absent, index)
        if at < len(self._absent) and self._absent[at] == index:
            return None
        return bytes(self._data[self._ends[index - 1] if index else 0 : end])


class PackedTimestamps(Sequence[int | None]):
    """Milliseconds since 1970, some None. view: what the library packed."""

    __slots__ = ("_run", "view")

    def __init__(self, run: Run, view: View) -> None:
        self._run = run
        self.view = view.look("q")

    def __len__(self) -> int:
        return len(self.view)

    @overload
    def __getitem__(self, index: int) -> int | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[int | None]: ...
    def __getitem__(self, index: int | slice) -> int | list[int | None] | None:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at_ms: int = self.view[index]
        return None if at_ms == NO_TIMESTAMP else at_ms


class PackedHeaders(Sequence[Sequence[tuple[str, bytes | None]]]):
    """The headers of each record."""

    __slots__ = ("_packed",)

    def __init__(self, run: Run, view: PackedView) -> None:
        self._packed = PackedBytes(run, view)

    def __len__(self) -> int:
        return len(self._packed)

    @overload
    def __getitem__(self, index: int) -> Sequence[tuple[str, bytes | None]]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sequence[tuple[str, bytes | None]]]: ...
    def __getitem__(
        self, index: int | slice
    ) -> Sequence[tuple[str, bytes | None]] | Sequence[Sequence[tuple[str, bytes | None]]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return _split_headers(self._packed[index] or b"")


def _split_headers(packed: bytes) -> list[tuple[str, bytes | None]]:
    headers: list[tuple[str, bytes | None]] = []
    at = 0
    while at < len(packed):
        name, at = _take(packed, at)
        value, at = _take(packed, at)
        headers.append(((name or b"").decode("utf-8", "replace"), value))
    return headers


def _take(packed: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(packed, at)
    at += _LENGTH.size
    return (None, at) if length == _ABSENT else (packed[at : at + length], at + length)
