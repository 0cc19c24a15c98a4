"""The reduction by the native library (native/reduce.rs)."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence

from forebay_consumer.native import SourceView, StreamView, View, load_library
from forebay_consumer.reduction.parts import KeyKind, Reduced, Source


def reduce_natively(sources: Sequence[Source], kinds: Sequence[KeyKind], stream_count: int) -> list[Reduced] | None:
    """As reduce_in_python, for rows in binary format; None where there is no library, or it cannot do it."""
    library = load_library()
    if library is None:
        return None
    kept: list[object] = []  # what the views point at
    views = (SourceView * len(sources))(*(_view(source, kept) for source in sources))
    numbers = bytes(kinds)
    handle = library.forebay_reduce(views, len(sources), numbers, len(numbers), stream_count)
    if handle is None:
        return None
    try:
        return [_read(library, handle, number) for number in range(stream_count)]
    finally:
        library.forebay_reduced_free(handle)


def _view(source: Source, kept: list[object]) -> SourceView:
    group, places = source.group, array("H", source.places)
    payload = group.payload if isinstance(group.payload, bytes) else bytes(group.payload)
    kept += (payload, places)
    address = ctypes.cast(ctypes.c_char_p(payload), ctypes.c_void_p).value or 0
    return SourceView(
        View(address, len(payload)),
        View(*group.row_ends.buffer_info()),
        View(*group.record_index.buffer_info()),
        View(*places.buffer_info()),
        source.chunk,
        source.stream,
        group.is_delete,
    )


def _read(library: ctypes.CDLL, handle: int, number: int) -> Reduced:
    view = StreamView()
    library.forebay_reduced(handle, number, ctypes.byref(view))
    return Reduced(
        payload=view.payload.copy(),
        row_ends=view.row_ends.copy_words(),
        chunks=view.chunks.copy_words(),
        records=view.records.copy_words(),
    )
