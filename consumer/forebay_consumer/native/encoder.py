"""The library's encoder for one compiled plan."""

from __future__ import annotations

import ctypes
import weakref


class Encoder:
    """Used by one thread at a time. plan: as decode/native.py compiles it."""

    def __init__(self, library: ctypes.CDLL, plan: bytes, handle: int) -> None:
        self.library = library
        self.plan = plan
        self.handle = ctypes.c_void_p(handle)
        weakref.finalize(self, library.forebay_encoder_free, self.handle)


def make_encoder(library: ctypes.CDLL, plan: bytes) -> Encoder | None:
    """None if the library does not understand the plan."""
    handle = library.forebay_encoder_new(plan, len(plan))
    return None if handle is None else Encoder(library, plan, handle)
