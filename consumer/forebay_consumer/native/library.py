"""The library's functions and structures, as library.rs declares them."""

from __future__ import annotations

import ctypes
from array import array
from functools import cache
from pathlib import Path
from typing import Literal

INTERFACE = 4
"""Must equal INTERFACE in library.rs: a library left over from another build is not used."""

LIBRARY = Path(__file__).with_name("_forebay.so")

_PYBUF_READ = 0x100
_view_memory = ctypes.pythonapi.PyMemoryView_FromMemory
_view_memory.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_view_memory.restype = ctypes.py_object


class View(ctypes.Structure):
    """An array in the library's memory; length in items."""

    _fields_ = (("address", ctypes.c_size_t), ("length", ctypes.c_size_t))

    address: int
    length: int

    def copy(self, item_bytes: int = 1) -> bytes:
        """The bytes as they are now."""
        return ctypes.string_at(self.address, self.length * item_bytes) if self.length else b""

    def copy_words(self) -> array[int]:
        """The same as unsigned 64-bit words."""
        words = array("Q")
        words.frombytes(self.copy(words.itemsize))
        return words

    def look(self, typecode: Literal["B", "q", "Q"]) -> memoryview:
        """The items without a copy: b"B", "q" or "Q". The caller keeps the memory alive."""
        if not self.length:
            return memoryview(array(typecode))
        size = self.length if typecode == "B" else 8 * self.length
        memory: memoryview = _view_memory(self.address, size, _PYBUF_READ)
        return memory if typecode == "B" else memory.cast(typecode)


class GroupView(ctypes.Structure):
    """Rows that leave out the same columns; valid until what they are of is freed or used again."""

    _fields_ = (
        ("mask_low", ctypes.c_uint64),
        ("mask_high", ctypes.c_uint64),
        ("payload", View),
        ("row_ends", View),
        ("record_index", View),
    )

    mask_low: int
    mask_high: int
    payload: View
    row_ends: View
    record_index: View


class PackedView(ctypes.Structure):
    """Byte strings end to end; absent: indexes of those that are not there at all."""

    _fields_ = (("data", View), ("ends", View), ("absent", View))

    data: View
    ends: View
    absent: View


class RunView(ctypes.Structure):
    """Records of one partition; valid until `run` is freed."""

    _fields_ = (
        ("run", ctypes.c_void_p),
        ("partition", ctypes.c_int64),
        ("first_timestamp", ctypes.c_int64),
        ("header_count", ctypes.c_uint64),
        ("offsets", View),
        ("timestamps", View),
        ("values", PackedView),
        ("keys", PackedView),
        ("headers", PackedView),
        ("encoded", ctypes.c_void_p),
    )

    run: int
    partition: int
    first_timestamp: int
    header_count: int
    offsets: View
    timestamps: View
    values: PackedView
    keys: PackedView
    headers: PackedView
    encoded: int | None


class FailureView(ctypes.Structure):
    """An error that came in the place of a record; valid until the poll is freed."""

    _fields_ = (("partition", ctypes.c_int64), ("error", ctypes.c_int64), ("text", View))

    partition: int
    error: int
    text: View


class PollView(ctypes.Structure):
    """What one poll brought: the number of runs and of failures."""

    _fields_ = (("poll", ctypes.c_void_p), ("runs", ctypes.c_size_t), ("failures", ctypes.c_size_t))

    poll: int | None
    runs: int
    failures: int


class SourceView(ctypes.Structure):
    """Rows of one chunk to be reduced, as reduce_boundary.rs reads them."""

    _fields_ = (
        ("payload", View),
        ("row_ends", View),
        ("record_index", View),
        ("places", View),
        ("chunk", ctypes.c_uint64),
        ("stream", ctypes.c_uint64),
        ("is_delete", ctypes.c_uint64),
    )


class StreamView(ctypes.Structure):
    """Reduced rows; valid until the reduction is freed."""

    _fields_ = (("payload", View), ("row_ends", View), ("chunks", View), ("records", View))

    payload: View
    row_ends: View
    chunks: View
    records: View


class Client(ctypes.Structure):
    """Addresses of librdkafka's functions, in the order of fetch.rs."""

    _fields_ = (
        ("consume_batch_queue", ctypes.c_void_p),
        ("message_destroy", ctypes.c_void_p),
        ("message_timestamp", ctypes.c_void_p),
        ("message_headers", ctypes.c_void_p),
        ("header_get_all", ctypes.c_void_p),
    )

    @classmethod
    def of(cls, librdkafka: ctypes.CDLL) -> Client:
        """Those of a loaded librdkafka. Raises AttributeError when it lacks one."""
        functions = (getattr(librdkafka, f"rd_kafka_{field[0]}") for field in cls._fields_)
        return cls(*(ctypes.cast(function, ctypes.c_void_p) for function in functions))


@cache
def load_library(path: Path = LIBRARY) -> ctypes.CDLL | None:
    """None where there is none, or one of another build."""
    try:
        library = ctypes.CDLL(str(path))
        if library.forebay_interface() != INTERFACE:
            return None
    except (OSError, AttributeError):
        return None
    _declare(library)
    return library


def _declare(library: ctypes.CDLL) -> None:
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    signatures: dict[str, tuple[list[object], object]] = {
        "forebay_encoder_new": ([text, size], pointer),
        "forebay_encoder_free": ([pointer], None),
        "forebay_encode": ([pointer, pointer, size, pointer, size, ctypes.c_int64, pointer, pointer], ctypes.c_int32),
        "forebay_encoded": ([pointer], pointer),
        "forebay_group_count": ([pointer], size),
        "forebay_group": ([pointer, size, ctypes.POINTER(GroupView)], ctypes.c_int32),
        "forebay_unhandled": ([pointer, ctypes.POINTER(View)], None),
        "forebay_poll": (
            [
                ctypes.POINTER(Client),
                pointer,
                ctypes.c_int32,
                ctypes.c_int32,
                size,
                ctypes.c_uint32,
                pointer,
                ctypes.POINTER(PollView),
            ],
            ctypes.c_int32,
        ),
        "forebay_poll_free": ([pointer], None),
        "forebay_poll_take": ([pointer, size, ctypes.POINTER(RunView)], ctypes.c_int32),
        "forebay_poll_failure": ([pointer, size, ctypes.POINTER(FailureView)], ctypes.c_int32),
        "forebay_run_free": ([pointer], None),
        "forebay_reduce": ([ctypes.POINTER(SourceView), size, text, size, size], pointer),
        "forebay_reduced": ([pointer, size, ctypes.POINTER(StreamView)], ctypes.c_int32),
        "forebay_reduced_free": ([pointer], None),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = result
