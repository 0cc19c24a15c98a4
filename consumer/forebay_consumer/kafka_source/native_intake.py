"""Records straight out of librdkafka's queue, without an object for each. Why, and why it is safe: docs/decisions/0010.

The Python client stays the member of the group: it assigns, seeks, pauses, commits, and its callbacks run in its own
`consume`. Only the queues of the partitions that are read are turned away from it, into one of ours.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from forebay_consumer.kafka_source.chunks import LEAST_RECORD_BYTES, Failure, split_messages
from forebay_consumer.native import (
    NO_TIMESTAMP,
    Client,
    Encoder,
    FailureView,
    PackedBytes,
    PackedHeaders,
    PackedRows,
    PackedTimestamps,
    PollView,
    Run,
    RunView,
    load_library,
    make_encoder,
)
from forebay_consumer.ports import Wanted
from forebay_consumer.records import RawChunk

TESTED_CLIENTS = frozenset({"2.15.0", "2.16.0", "2.16.1"})
"""Versions of the Python client whose Consumer is known to begin with librdkafka's handle; others use PythonIntake."""

MAX_EVENTS = 1000
"""Most errors taken from the client's own queue at once; records do not come there."""

CONSUMER_TYPE = 1
"""rd_kafka_type_t: RD_KAFKA_CONSUMER."""


class NativePolled:
    """What the library fetched, and what the client's own queue had."""

    def __init__(self, runs: list[Run], failures: list[Failure], events: list[Message], wanted: Wanted) -> None:
        self._runs = runs
        self._failures = failures
        self._events = events
        self._wanted = wanted

    def __bool__(self) -> bool:
        return bool(self._runs or self._failures or self._events)

    def split(self, claim_ids: Mapping[int, int]) -> tuple[list[RawChunk], list[Failure]]:
        """See intake.Polled. Raises KafkaException for a record that came by the client's own queue.

        None should: its partition was paused until its queue was turned away. To drop it would be to lose it.
        """
        strays, failures = split_messages(self._events, claim_ids, self._wanted)
        if strays:
            raise KafkaException(KafkaError(KafkaError._FAIL, "a record came by the client's own queue"))
        chunks = [
            _chunk(run, claim_ids[run.view.partition], self._wanted)
            for run in self._runs
            if run.view.partition in claim_ids
        ]
        return chunks, self._failures + failures


class NativeIntake:
    """See intake.Intake."""

    def __init__(self, consumer: Consumer, topic: str, library: ctypes.CDLL, librdkafka: ctypes.CDLL) -> None:
        self._consumer = consumer
        self._topic = topic.encode()
        self._library = library
        self._rdkafka = librdkafka
        self._client = Client.of(librdkafka)
        self._handle = ctypes.c_void_p(read_handle(consumer))
        self._queue = ctypes.c_void_p(librdkafka.rd_kafka_queue_new(self._handle))
        self._plan: bytes | None = None
        self._encoder: Encoder | None = None

    def attach(self, partition: int) -> None:
        """Turn the partition's queue into ours. librdkafka forgets it each time it stops fetching the partition."""
        queue = ctypes.c_void_p(self._rdkafka.rd_kafka_queue_get_partition(self._handle, self._topic, partition))
        if queue:
            self._rdkafka.rd_kafka_queue_forward(queue, self._queue)
            self._rdkafka.rd_kafka_queue_destroy(queue)

    def poll(self, records: int, wait_s: float, linger_s: float, wanted: Wanted) -> NativePolled:
        """See Intake. The wait ends with a record only: callbacks run after it, so it must be short."""
        encoder = self._encoder_for(wanted.plan)
        view = PollView()
        refused = self._library.forebay_poll(
            ctypes.byref(self._client),
            self._queue,
            round(1000 * wait_s),
            round(1000 * linger_s),
            records,
            wanted.keys | wanted.timestamps << 1 | wanted.headers << 2,
            None if encoder is None else encoder.handle,
            ctypes.byref(view),
        )
        if refused:  # records may be lost with it: a new client reads them again
            raise KafkaException(KafkaError(KafkaError._FAIL, "librdkafka refused to hand over what it fetched"))
        try:
            runs, failures = self._take_runs(view), self._take_failures(view)
        finally:
            self._library.forebay_poll_free(view.poll)
        return NativePolled(runs, failures, self._consumer.consume(MAX_EVENTS, 0), wanted)

    def close(self) -> None:
        """Give the queue back: librdkafka would wait for it."""
        self._rdkafka.rd_kafka_queue_destroy(self._queue)
        self._queue = ctypes.c_void_p()

    def _encoder_for(self, plan: bytes | None) -> Encoder | None:
        if plan != self._plan:
            self._plan = plan
            self._encoder = None if plan is None else make_encoder(self._library, plan)
        return self._encoder

    def _take_runs(self, poll: PollView) -> list[Run]:
        runs = []
        for index in range(poll.runs):
            view = RunView()
            self._library.forebay_poll_take(poll.poll, index, ctypes.byref(view))
            runs.append(Run(self._library, view))
        return runs

    def _take_failures(self, poll: PollView) -> list[Failure]:
        failures = []
        view = FailureView()
        for index in range(poll.failures):
            self._library.forebay_poll_failure(poll.poll, index, ctypes.byref(view))
            text = view.text.copy().decode("utf-8", "replace") or None
            failures.append(Failure(partition=view.partition, error=KafkaError(view.error, text)))
        return failures


def _chunk(run: Run, claim_id: int, wanted: Wanted) -> RawChunk:
    view = run.view
    size_bytes = view.values.data.length
    keys = headers = timestamps = None
    if wanted.keys:
        keys = PackedBytes(run, view.keys)
        size_bytes += view.keys.data.length
    if wanted.headers:
        headers = PackedHeaders(run, view.headers)
        size_bytes += view.headers.data.length  # stays packed: nothing of Python's own to count
    if wanted.timestamps:
        timestamps = PackedTimestamps(run, view.timestamps)
    return RawChunk(
        partition=view.partition,
        claim_id=claim_id,
        offsets=view.offsets.look("q"),
        values=PackedBytes(run, view.values),
        keys=keys,
        timestamps_ms=timestamps,
        headers=headers,
        first_timestamp_ms=None if view.first_timestamp == NO_TIMESTAMP else view.first_timestamp,
        size_bytes=max(size_bytes, LEAST_RECORD_BYTES * view.offsets.length),
        rows=None if view.encoded is None or wanted.plan is None else PackedRows(run, view.encoded, wanted.plan),
    )


def make_native_intake(consumer: Consumer, client_id: str, topic: str) -> NativeIntake | None:
    """None where the library is missing, or the client is not one that is known."""
    library, librdkafka = load_library(), find_librdkafka()
    if library is None or librdkafka is None or version("confluent-kafka") not in TESTED_CLIENTS:
        return None
    handle = ctypes.c_void_p(read_handle(consumer))
    if librdkafka.rd_kafka_type(handle) != CONSUMER_TYPE:
        return None
    if not librdkafka.rd_kafka_name(handle).decode("utf-8", "replace").startswith(f"{client_id}#consumer-"):
        return None
    return NativeIntake(consumer, topic, library, librdkafka)


def read_handle(consumer: Consumer) -> int:
    """The librdkafka handle of a Python client: the first word after what every Python object begins with."""
    return ctypes.c_size_t.from_address(id(consumer) + object.__basicsize__).value


@cache
def find_librdkafka() -> ctypes.CDLL | None:
    """The librdkafka that the Python client uses, with its functions declared; None if it is linked into it or gone."""
    path = _find_loaded("librdkafka")
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path)
    except OSError:  # replaced on the disk since it was loaded
        return None
    pointer = ctypes.c_void_p
    for name, arguments, result in (
        ("rd_kafka_type", [pointer], ctypes.c_int),
        ("rd_kafka_name", [pointer], ctypes.c_char_p),
        ("rd_kafka_queue_new", [pointer], pointer),
        ("rd_kafka_queue_destroy", [pointer], None),
        ("rd_kafka_queue_get_partition", [pointer, ctypes.c_char_p, ctypes.c_int32], pointer),
        ("rd_kafka_queue_forward", [pointer, pointer], None),
    ):
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = result
    return library


def _find_loaded(name: str) -> str | None:
    """The file of a library that this process has loaded."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            paths = (line.split(maxsplit=5)[-1].rstrip("\n") for line in maps if f"/{name}" in line)
            # By the file's own name: a folder may be called so, and the interpreter itself lie in it.
            return next((path for path in paths if path.rpartition("/")[2].startswith(name)), None)
    except OSError:
        return None
