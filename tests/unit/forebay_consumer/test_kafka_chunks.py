"""What messages become, and what they are said to cost."""

from __future__ import annotations

import pytest
from confluent_kafka import Message
from forebay_consumer.kafka_source.chunks import HEADER_OVERHEAD_BYTES, split_messages
from forebay_consumer.ports import Wanted
from forebay_consumer.records import RawChunk

EVERYTHING = Wanted(keys=True, timestamps=True, headers=True)


def read_chunk(message: Message, wanted: Wanted) -> RawChunk:
    chunks, failures = split_messages([message], {0: 7}, wanted)
    assert not failures
    return chunks[0]


def build_message(*, at_ms: int = 1_000, value: bytes | None = b"{}") -> Message:
    headers: list[tuple[str, str | bytes | None]] = [("trace", b"0" * 50), ("none", None)]
    return Message(
        topic="t", partition=0, offset=5, key=b"k" * 1000, value=value, headers=headers, timestamp=(1, at_ms)
    )


def test_a_timestamp_of_minus_one_is_none() -> None:
    chunk = read_chunk(build_message(at_ms=-1), EVERYTHING)
    assert (chunk.timestamps_ms, chunk.first_timestamp_ms) == ([None], None)


def test_a_timestamp_before_1970_is_kept() -> None:
    assert read_chunk(build_message(at_ms=-2), EVERYTHING).timestamps_ms == [-2]


@pytest.mark.parametrize(
    ("wanted", "size_bytes"),
    [
        pytest.param(Wanted(), 2, id="values-alone"),
        pytest.param(Wanted(keys=True), 1_002, id="keys"),
        pytest.param(Wanted(headers=True), 2 + 5 + 50 + 4 + 2 * HEADER_OVERHEAD_BYTES, id="headers"),
    ],
)
def test_all_that_is_kept_counts_in_the_budget(wanted: Wanted, size_bytes: int) -> None:
    assert read_chunk(build_message(), wanted).size_bytes == size_bytes


@pytest.mark.parametrize("value", [None, b""])
def test_a_record_without_a_byte_counts_in_the_budget(value: bytes | None) -> None:
    assert read_chunk(build_message(value=value), Wanted()).size_bytes == 1
