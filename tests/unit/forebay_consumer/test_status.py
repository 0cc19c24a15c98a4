"""What the consumer says of itself."""

from __future__ import annotations

import pytest
from forebay_api.state import ConsumerState, PartitionState, Phase, SinkHealth
from forebay_consumer.status import Status
from support.chunks import batch, claim, encoded, raw_chunk, receipt

ISO = "2026-01-01T00:00:00+00:00"


def status_at(now: float = 0.0) -> Status:
    return Status(consumer="c-1", pipeline="bank/payments", now=now)


def seen(status: Status, now: float = 10.0, wall_ms: float = 61_000.0, iso: str = ISO) -> ConsumerState:
    return status.state(now=now, wall_ms=wall_ms, wall_iso=iso)


def test_new_consumer_knows_nothing_and_says_so() -> None:
    state = seen(status_at())
    assert (state.phase, state.sink.health) == (Phase.STARTING, SinkHealth.UNKNOWN)
    assert (state.busy_fraction, state.records_per_second, state.oldest_unwritten_s) == (None, None, None)
    assert state.paused_because == "the database has not been reached yet"
    assert state.uptime_s == 10.0


def test_ready_sink_makes_rates_known_after_a_second_and_nothing_paused() -> None:
    status = status_at()
    assert status.lanes[0].sink_ready(written=False)
    assert not status.lanes[0].sink_ready(written=True)
    assert seen(status, 0.5).busy_fraction is None
    state = seen(status, 2.0)
    assert (state.phase, state.busy_fraction, state.records_per_second) == (Phase.RUNNING, 0.0, 0.0)
    assert state.paused_because is None


def test_busy_fraction_is_that_of_the_busiest_stage() -> None:
    status = status_at()
    status.lanes[0].sink_ready(written=True)
    for stage, busy_s in ((status.decoding, 1.0), (status.lanes[0].writing, 3.0)):
        stage.begin(5.0)
        stage.end(5.0 + busy_s)
    assert seen(status, 10.0).busy_fraction == pytest.approx(0.6)


def small_writes(status: Status) -> None:
    """A second of small transactions, one after the other."""
    status.lanes[0].sink_ready(written=True)
    status.lanes[0].writing.begin(9.0)
    status.lanes[0].writing.end(10.0)
    for tenth in range(10):
        status.lanes[0].written(receipt({0: 3}, took_s=0.1), now=9.0 + tenth / 10, is_small=True)


def test_small_writes_are_told_because_busy_tells_nothing_then() -> None:
    status = status_at()
    small_writes(status)
    assert seen(status).busy_with_small_writes
    assert not seen(status, 60.0).busy_with_small_writes


def test_small_writes_are_not_told_while_decoding_is_what_takes_longest() -> None:
    status = status_at()
    small_writes(status)
    status.decoding.begin(7.0)
    status.decoding.end(10.0)
    assert not seen(status).busy_with_small_writes


def test_small_writes_are_not_told_while_records_wait_for_them() -> None:
    status = status_at()
    small_writes(status)
    status.lanes[0].builder.add(encoded(raw_chunk()), 9.0)  # of the second 1
    assert seen(status, wall_ms=3_000.0).busy_with_small_writes
    assert not seen(status, wall_ms=7_000.0).busy_with_small_writes


def test_small_writes_are_forgotten_with_an_interruption() -> None:
    status = status_at()
    small_writes(status)
    status.lanes[0].reset(10.0)
    assert not seen(status).busy_with_small_writes


def test_commit_is_counted_in_all_totals() -> None:
    status = status_at()
    status.lanes[0].sink_ready(written=True)
    written = batch(raw_chunk(0, 0, 3), raw_chunk(1, 0, 2))
    status.written(written, receipt({0: 3, 1: 2}, rows=5), now=9.0)
    status.add(claims=2, rewound_records=7, fenced=1, lost_records=4)
    totals = seen(status).totals
    assert (totals.records, totals.rows, totals.transactions, totals.record_bytes) == (5, 5, 1, 5 * len('{"id":0}'))
    assert (totals.claims, totals.rewound_records, totals.fenced, totals.lost_records) == (2, 7, 1, 4)
    assert seen(status).records_per_second == 1.0


def test_interruption_makes_rates_unknown_until_a_second_after_it() -> None:
    status = status_at()
    status.written(batch(raw_chunk(0, 0, 3)), receipt({0: 3}), now=9.0)
    status.reset_rates(9.5)
    status.lanes[0].sink_ready(written=False)
    assert seen(status, 10.0).records_per_second is None
    assert seen(status, 11.0).records_per_second == 0.0


def test_health_keeps_its_time_until_it_changes() -> None:
    status = status_at()
    assert status.lanes[0].sink_changed(SinkHealth.AWAY, "Unreachable", "first message")
    assert seen(status, iso="early").sink.since == "early"
    assert not status.lanes[0].sink_changed(SinkHealth.AWAY, "Unreachable", "second message")
    state = seen(status, iso="late")
    assert (state.sink.since, state.sink.message, state.paused_because) == (
        "early",
        "second message",
        "second message",
    )
    assert status.lanes[0].sink_changed(SinkHealth.AWAY, "ReadOnly", "a standby")
    assert seen(status, iso="later").sink.since == "later"


def refused_at_partition_0() -> Status:
    status = status_at()
    status.lanes[0].positions.assign([0, 1])
    status.lanes[0].write_refused("Breaker", "too many", [0])
    status.lanes[0].sink_changed(SinkHealth.BROKEN, "Breaker", "too many")
    return status


def test_refused_write_is_made_good_by_a_write_and_not_by_a_claim() -> None:
    status = refused_at_partition_0()
    assert not status.lanes[0].sink_ready(written=False)
    assert seen(status).sink.health is SinkHealth.BROKEN
    assert status.lanes[0].sink_ready(written=True)
    assert seen(status).sink.reason is None


def test_refused_write_is_told_again_after_an_outage() -> None:
    status = refused_at_partition_0()
    status.lanes[0].sink_changed(SinkHealth.AWAY, "Unreachable", "no answer")
    assert not status.lanes[0].sink_ready(written=False)
    sink = seen(status).sink
    assert (sink.health, sink.reason, sink.message) == (SinkHealth.BROKEN, "Breaker", "too many")


def test_refused_write_is_forgotten_with_its_partitions() -> None:
    status = refused_at_partition_0()
    status.lanes[0].positions.revoke([0])
    assert status.lanes[0].sink_ready(written=False)
    assert seen(status).sink.health is SinkHealth.READY


def test_what_is_held_is_told_with_its_age() -> None:
    status = status_at()
    status.lanes[0].positions.assign([0, 1])
    status.lanes[0].positions.claimed({0: claim(0, 5, epoch=3)})
    status.lanes[0].builder.add(encoded(raw_chunk(0, 5, 3)), 9.0)
    state = seen(status)
    assert (state.buffered_bytes, state.oldest_unwritten_s) == (3 * len('{"id":5}'), 60.0)
    assert [(p.partition, p.state, p.epoch, p.next_offset) for p in state.partitions] == [
        (0, PartitionState.RUNNING, 3, 5),
        (1, PartitionState.CLAIMING, None, None),
    ]


def test_age_is_never_negative_when_the_producers_clock_is_ahead() -> None:
    status = status_at()
    status.lanes[0].builder.add(encoded(raw_chunk()), 9.0)
    assert seen(status, wall_ms=0.0).oldest_unwritten_s == 0.0


def test_draining_is_told_whatever_the_sink_does() -> None:
    status = status_at()
    status.draining = True
    assert seen(status).phase is Phase.DRAINING


def test_trouble_that_the_source_reports_comes_before_an_unanswered_question() -> None:
    status = status_at()
    status.lanes[0].unanswered = "no answer"
    assert seen(status).source_message == "no answer"
    status.source_trouble = "brokers away"
    assert seen(status).source_message == "brokers away"
