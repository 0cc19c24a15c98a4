from __future__ import annotations

import pytest
from forebay_consumer.batching import MAX_LINGER_S, MAX_ROWS, MIN_LINGER_S, MIN_ROWS, BatchBuilder, BatchPolicy
from hypothesis import given
from hypothesis import strategies as st
from support.chunks import claim, encoded, raw_chunk


def test_nothing_waits_nothing_is_due() -> None:
    builder = BatchBuilder()
    assert builder.due_in(5.0, BatchPolicy()) is None
    assert builder.take(BatchPolicy(), claim) is None


def test_batch_is_due_when_oldest_record_reaches_the_linger() -> None:
    builder, policy = BatchBuilder(), BatchPolicy()
    builder.add(encoded(raw_chunk()), now=10.0)
    builder.add(encoded(raw_chunk(1)), now=10.0 + policy.linger_s / 2)
    assert builder.due_in(10.0, policy) == pytest.approx(policy.linger_s)
    assert builder.due_in(10.0 + policy.linger_s + 1e-9, policy) == 0.0


def test_batch_is_due_at_once_when_it_is_full() -> None:
    builder, policy = BatchBuilder(), BatchPolicy(rows=6)
    builder.add(encoded(raw_chunk(0, 0, 3)), now=0.0)
    assert builder.due_in(0.0, policy) != 0.0
    builder.add(encoded(raw_chunk(1, 0, 3)), now=0.0)
    assert builder.due_in(0.0, policy) == 0.0


def test_a_cap_keeps_batches_small() -> None:
    builder, policy = BatchBuilder(), BatchPolicy(rows=1000, ceiling_rows=3)
    for first in (0, 3, 6):
        builder.add(encoded(raw_chunk(0, first, 3)), now=0.0)
    taken = builder.take(policy, claim)
    assert taken is not None
    assert taken.records == 3
    assert builder.records == 6


def test_dropping_a_partition_leaves_the_others_and_gives_its_bytes_back() -> None:
    builder = BatchBuilder()
    builder.add(encoded(raw_chunk(0, 0, 3)), now=0.0)
    builder.add(encoded(raw_chunk(1, 0, 4)), now=0.0)
    assert builder.drop([0]) == raw_chunk(0, 0, 3).size_bytes
    taken = builder.take(BatchPolicy(), claim)
    assert taken is not None
    assert dict(taken.next_offsets) == {1: 4}
    assert builder.drop([1]) == 0


def test_transactions_grow_towards_their_target_duration_and_shrink_from_above() -> None:
    fast = BatchPolicy()
    for _ in range(30):
        fast = fast.after_write(fast.rows, took_s=fast.rows / 400_000)
    assert 75_000 < fast.rows < 85_000
    slow = fast
    for _ in range(30):
        slow = slow.after_write(slow.rows, took_s=slow.rows / 20_000)
    assert 3_500 < slow.rows < 4_500


def test_small_transactions_never_shrink_the_batch() -> None:
    policy = BatchPolicy(rows=50_000)
    for _ in range(50):
        policy = policy.after_write(10, took_s=0.01)
    assert policy.rows >= 50_000


@given(st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 100)), max_size=30))
def test_policy_stays_within_its_bounds(writes: list[tuple[int, float]]) -> None:
    policy = BatchPolicy()
    for records, seconds in writes:
        policy = policy.after_write(records, seconds).after_arrival(records, seconds)
        assert MIN_ROWS <= policy.rows <= MAX_ROWS
        assert MIN_LINGER_S <= policy.linger_s <= MAX_LINGER_S


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=30), st.integers(1, 12))
def test_batches_keep_order_and_lose_nothing(chunks: list[tuple[int, int]], rows: int) -> None:
    builder, ends, read = BatchBuilder(), dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
    for partition, count in chunks:
        builder.add(encoded(raw_chunk(partition, ends[partition], count)), now=0.0)
        ends[partition] += count
    while (taken := builder.take(BatchPolicy(rows=rows), lambda p: claim(p, read[p]))) is not None:
        for chunk in taken.chunks:
            assert chunk.source.offsets[0] == read[chunk.source.partition]
            read[chunk.source.partition] = chunk.next_offset
        assert all(read[p] == n for p, n in taken.next_offsets.items())
    assert read == ends
    assert builder.size_bytes == builder.records == 0


def test_after_an_outage_batches_begin_small_and_double_with_each_success() -> None:
    policy = BatchPolicy()
    for _ in range(30):
        policy = policy.after_write(policy.rows, took_s=policy.rows / 400_000)
    policy = policy.after_outage()
    sizes = []
    for _ in range(8):
        sizes.append(policy.max_rows)
        policy = policy.after_write(policy.rows, took_s=policy.rows / 400_000)
    assert sizes == [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 80_000, 80_000]


def test_a_slow_primary_ends_the_ramp_where_its_throughput_does() -> None:
    policy = BatchPolicy().after_outage()
    for _ in range(6):
        policy = policy.after_write(policy.rows, took_s=policy.rows / 20_000)
    assert (policy.rows, policy.ramp_rows) == (4_000, None)


def test_small_transactions_say_nothing_about_the_ramp() -> None:
    policy = BatchPolicy().after_outage()
    for _ in range(10):
        policy = policy.after_write(10, took_s=0.0001)
    assert policy.max_rows == MIN_ROWS


def test_a_second_outage_begins_the_ramp_anew() -> None:
    policy = BatchPolicy().after_outage()
    policy = policy.after_write(policy.rows, took_s=0.001).after_outage()
    assert policy.max_rows == MIN_ROWS


@pytest.mark.parametrize(
    ("records", "took_s", "is_small"),
    [
        pytest.param(5, 0.005, True, id="round-trips"),
        pytest.param(300, 0.3, True, id="slow-round-trips"),
        pytest.param(100, 0.002, False, id="as-quick-a-record-as-a-full-one"),
        pytest.param(600, 5.0, False, id="large-and-slow"),
    ],
)
def test_small_transaction_is_one_that_leaves_room_and_takes_long_a_record(
    records: int, took_s: float, is_small: bool
) -> None:
    assert BatchPolicy(rows=1_000).is_small(records, took_s=took_s) is is_small


def test_batch_as_large_as_the_cap_allows_is_not_small() -> None:
    assert not BatchPolicy(ceiling_rows=250).is_small(250, took_s=0.5)
