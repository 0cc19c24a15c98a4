"""A campaign's rounds: the same for a seed, of every kind, in both modes; those of the tests have everything once."""

from __future__ import annotations

from collections import Counter

from forebay_api.v1alpha1 import SinkMode

from bench.faults.plan import (
    CUT_BYTES,
    KINDS,
    MODES,
    NETWORK,
    SESSION_S,
    Kind,
    Protocol,
    Side,
    plan_campaign,
    plan_round,
    plan_short_campaign,
)

TRANSACTION = (Kind.LOSE_ANSWER, Kind.CUT_UP, Kind.CUT_DOWN, Kind.RESET, Kind.ABANDON)
"""What meets a transaction at a chosen point."""


def test_round_is_the_same_for_a_seed_and_another_for_another() -> None:
    assert plan_round(7) == plan_round(7)
    assert plan_round(7) != plan_round(8)


def test_short_campaign_has_twenty_rounds_with_every_kind_on_every_side() -> None:
    rounds = plan_short_campaign()

    assert len({each.seed for each in rounds}) == 20
    assert {(fault.kind, fault.side) for each in rounds for fault in each.faults} == set(KINDS)
    assert {fault.kind for each in rounds for fault in each.faults} == set(Kind)


def test_short_campaign_has_both_modes_with_both_protocols_and_one_to_three_consumers() -> None:
    rounds = plan_short_campaign()

    wanted = {(mode, protocol, count) for mode in MODES for protocol in Protocol for count in (1, 2, 3)}
    assert {(each.mode, each.protocol, each.consumers) for each in rounds} == wanted
    assert min(Counter(each.mode for each in rounds).values()) >= 6


def test_short_campaign_meets_transactions_of_both_modes_in_every_way_and_waits_for_one_broker() -> None:
    rounds = plan_short_campaign()
    faults = [(each.mode, fault) for each in rounds for fault in each.faults]

    met = {(mode, fault.kind) for mode, fault in faults if fault.side is Side.DATABASE}
    assert {(mode, kind) for mode in SinkMode for kind in TRANSACTION} <= met
    assert sum(fault.kind is Kind.KILL_BROKER for _, fault in faults) == 1


def test_campaign_of_200_has_every_kind_in_both_modes() -> None:
    rounds = plan_campaign(1, 200)

    met = {(each.mode, fault.kind, fault.side) for each in rounds for fault in each.faults}
    assert met == {(mode, kind, side) for mode in MODES for kind, side in KINDS}
    assert len({each.seed for each in rounds}) == 200


def test_smaller_campaign_is_the_begin_of_a_larger_one() -> None:
    assert plan_campaign(3, 50)[:10] == plan_campaign(3, 10)


def test_faults_are_within_their_bounds_and_in_the_order_of_their_begin() -> None:
    rounds = plan_campaign(2, 200)

    for each in rounds:
        assert 1 <= len(each.faults) <= 4
        assert 20_000 <= each.records <= 40_000
        assert [fault.after_s for fault in each.faults] == sorted(fault.after_s for fault in each.faults)
        for fault in each.faults:
            assert 0 <= fault.after_s <= each.load_s + 0.001
            assert (fault.side is not None) == (fault.kind in NETWORK)
            assert (fault.cut_bytes is not None) == (fault.kind in CUT_BYTES)


def test_consumers_are_frozen_for_longer_than_their_session() -> None:
    frozen = [fault for each in plan_campaign(1, 200) for fault in each.faults if fault.kind is Kind.FREEZE_CONSUMER]

    assert frozen
    assert all(fault.hold_s > SESSION_S for fault in frozen)


def test_frozen_consumer_has_another_that_takes_over() -> None:
    alone = [each for each in plan_campaign(1, 200) if each.consumers == 1]

    assert alone
    assert all(fault.kind is not Kind.FREEZE_CONSUMER for each in alone for fault in each.faults)


def test_cuts_downwards_are_so_short_that_one_in_many_meets_the_answer_of_a_commit() -> None:
    cuts = [
        fault.cut_bytes or 0 for each in plan_campaign(1, 200) for fault in each.faults if fault.kind is Kind.CUT_DOWN
    ]

    assert sum(cut <= 600 for cut in cuts) > len(cuts) / 2
    assert max(cuts) > 1_000


def test_name_of_a_fault_tells_its_side() -> None:
    names = {fault.name for each in plan_short_campaign() for fault in each.faults}

    assert {"kill-consumer", "database-cut-up", "broker-cut-up"} <= names
