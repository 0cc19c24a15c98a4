from __future__ import annotations

from itertools import count

import pytest
from forebay_api.state import PartitionState
from forebay_consumer.errors import Fatal
from forebay_consumer.positions import Positions
from forebay_consumer.records import Claim
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.chunks import claim, raw_chunk, receipt


def claimed_positions(**at: int) -> tuple[Positions, int]:
    positions = Positions(count(1))
    offsets = {int(name[1:]): offset for name, offset in at.items()}
    positions.assign(offsets)
    claim_id, _ = positions.claimed({p: claim(p, offset) for p, offset in offsets.items()})
    return positions, claim_id


def test_chunk_under_the_present_claim_and_in_order_is_accepted() -> None:
    positions, claim_id = claimed_positions(p0=10)
    assert positions.accept(raw_chunk(0, 10, 5, claim_id=claim_id))
    assert positions.accept(raw_chunk(0, 15, 5, claim_id=claim_id))


def test_chunk_of_an_older_claim_is_refused() -> None:
    positions, claim_id = claimed_positions(p0=10)
    positions.unclaim([0])
    positions.claimed({0: claim(0, 10, epoch=2)})
    assert not positions.accept(raw_chunk(0, 10, 5, claim_id=claim_id))


def test_chunk_of_a_partition_revoked_and_assigned_again_is_refused() -> None:
    positions, claim_id = claimed_positions(p0=10)
    positions.revoke([0])
    positions.assign([0])
    assert not positions.accept(raw_chunk(0, 10, 5, claim_id=claim_id))
    assert positions.claimable(0.0) == (0,)


def test_gaps_are_counted() -> None:
    positions, claim_id = claimed_positions(p0=10)
    assert positions.accept(raw_chunk(0, claim_id=claim_id, offsets=[12, 13, 17]))
    assert positions.gap_records == 2 + 3


def test_source_that_goes_backwards_inside_a_claim_ends_the_process() -> None:
    positions, claim_id = claimed_positions(p0=10)
    assert positions.accept(raw_chunk(0, 10, 5, claim_id=claim_id))
    with pytest.raises(Fatal, match="read offset 14 again, expected 15"):
        positions.accept(raw_chunk(0, 14, 5, claim_id=claim_id))


def test_position_that_went_backwards_is_counted_as_rewound() -> None:
    positions, _ = claimed_positions(p0=10)
    positions.written(receipt({0: 25}))
    positions.unclaim([0])
    _, rewound = positions.claimed({0: claim(0, 18, epoch=2)})
    assert rewound == 7


def test_fenced_partition_waits_longer_each_time_until_a_write_succeeds() -> None:
    positions, _ = claimed_positions(p0=0)
    positions.fence([0], now=100.0, delay_s=1.0)
    assert positions.claimable(100.9) == ()
    assert positions.claimable(101.0) == (0,)
    positions.claimed({0: claim(0, 0, epoch=3)})
    positions.fence([0], now=200.0, delay_s=1.0)
    assert positions.next_claim_at() == 202.0
    positions.claimed({0: claim(0, 0, epoch=5)})
    positions.written(receipt({0: 1}))
    positions.fence([0], now=300.0, delay_s=1.0)
    assert positions.next_claim_at() == 301.0


def test_stopped_partition_is_never_claimable_and_says_why() -> None:
    positions, _ = claimed_positions(p0=5, p1=0)
    positions.stop(0, "gone")
    report = positions.reports()[0]
    assert positions.claimable(1e9) == ()
    assert (report.state, report.why, report.next_offset) == (PartitionState.STOPPED, "gone", 5)


class PositionsNeverRegressOrSkip(RuleBasedStateMachine):
    """Accepted chunks of one claim follow each other, and its position only grows, whatever happens in between."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = Positions(count(1))
        self.database: dict[int, Claim] = {p: claim(p, 0, epoch=0) for p in range(3)}
        self.claim_ids: dict[int, int] = {}
        self.read: dict[int, int] = {}

    @rule(partition=st.integers(0, 2))
    def assign(self, partition: int) -> None:
        if partition not in self.positions.assigned:
            self.positions.assign([partition])

    @rule(partition=st.integers(0, 2))
    def revoke(self, partition: int) -> None:
        self.positions.revoke([partition])

    @rule(lost=st.integers(0, 3))
    def reconnect_and_claim(self, lost: int) -> None:
        self.positions.unclaim(self.positions.assigned)
        claims = {}
        for p in self.positions.claimable(0.0):
            old = self.database[p]
            claims[p] = claim(p, max(0, old.next_offset - lost), old.epoch + 1)
        self.database.update(claims)
        claim_id, _ = self.positions.claimed(claims)
        self.claim_ids.update(dict.fromkeys(claims, claim_id))
        self.read.update({p: c.next_offset for p, c in claims.items()})

    @precondition(lambda self: self.claim_ids)
    @rule(partition=st.integers(0, 2), skip=st.integers(0, 2), count=st.integers(1, 4), stale=st.booleans())
    def read_chunk(self, partition: int, skip: int, count: int, stale: bool) -> None:
        first = max(0, self.read.get(partition, 0) + skip)
        claim_id = self.claim_ids.get(partition, 0) - (1 if stale else 0)
        had_claim = self.positions.claim_of(partition) is not None
        accepted = self.positions.accept(raw_chunk(partition, first, count, claim_id=claim_id))
        assert accepted == (had_claim and not stale)
        if accepted:
            self.read[partition] = first + count

    @rule(partition=st.integers(0, 2))
    def write_all_that_was_read(self, partition: int) -> None:
        held = self.positions.claim_of(partition)
        if held is not None:
            self.positions.written(receipt({partition: self.read[partition]}))
            self.database[partition] = claim(partition, self.read[partition], held.epoch)

    @invariant()
    def expected_position_is_the_databases(self) -> None:
        for partition in self.positions.assigned:
            held = self.positions.claim_of(partition)
            if held is not None:
                assert held.next_offset == self.database[partition].next_offset
                assert held.next_offset <= self.read[partition]


TestPositionsNeverRegressOrSkip = PositionsNeverRegressOrSkip.TestCase
