"""A campaign's faults: the same for a seed, of every kind, in every mode, most tails where they can be lost."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from forebay_cli.local.ha.faults import Expiry, FaultKind

from bench.ha.plan import NEEDS_NETWORK, QUIET, Mode, plan_campaign, plan_short_campaign


def test_campaign_is_the_same_for_a_seed_and_another_for_another() -> None:
    assert plan_campaign(1, 100) == plan_campaign(1, 100)
    assert plan_campaign(1, 100) != plan_campaign(2, 100)


def test_campaign_of_a_hundred_has_every_kind_in_every_mode_and_ten_lost_tails() -> None:
    faults = plan_campaign(1, 100)

    assert len(faults) == 100
    assert {(each.mode, each.kind) for each in faults} == {(mode, kind) for mode in Mode for kind in FaultKind}
    assert Counter((each.mode, each.kind) for each in faults)[Mode.ASYNC, FaultKind.LOSE_TAIL] >= 10


def test_campaign_starts_each_kind_of_cluster_once() -> None:
    clusters = [key for key, _ in groupby(plan_campaign(3, 100), lambda each: (each.mode, each.kind in NEEDS_NETWORK))]

    assert len(clusters) == len(set(clusters)) == 6


def test_faults_have_numbers_in_order_and_seeds_of_their_own() -> None:
    faults = plan_campaign(7, 50)

    assert [each.number for each in faults] == list(range(50))
    assert len({each.seed for each in faults}) == 50


def test_short_campaign_has_each_interrupting_kind_once_and_waits_for_no_ttl() -> None:
    faults = plan_short_campaign(1)

    assert sorted(each.kind for each in faults) == sorted(set(FaultKind) - QUIET)
    assert {each.mode for each in faults} == set(Mode)
    assert Expiry.NEVER not in {each.expiry for each in faults}
