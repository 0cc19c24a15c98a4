"""The door to the native library (library.rs and what it uses).

Optional: without a compiler at build time there is none. ctypes releases the interpreter lock during a call.
Why this way: docs/decisions/0004-native-encoder.md and 0010.
"""

from forebay_consumer.native.encoder import Encoder, make_encoder
from forebay_consumer.native.library import (
    Client,
    FailureView,
    GroupView,
    PollView,
    RunView,
    SourceView,
    StreamView,
    View,
    load_library,
)
from forebay_consumer.native.packed import NO_TIMESTAMP, PackedBytes, PackedHeaders, PackedRows, PackedTimestamps, Run

__all__ = [
    "NO_TIMESTAMP",
    "Client",
    "Encoder",
    "FailureView",
    "GroupView",
    "PackedBytes",
    "PackedHeaders",
    "PackedRows",
    "PackedTimestamps",
    "PollView",
    "Run",
    "RunView",
    "SourceView",
    "StreamView",
    "View",
    "load_library",
    "make_encoder",
]
