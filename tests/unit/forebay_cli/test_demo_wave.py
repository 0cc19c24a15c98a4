"""The wave sends exactly what was asked for, quiet, then flood, then quiet."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from forebay_cli.demo.ledger import Poison
from forebay_cli.demo.payments import PaymentStream, encode_payment
from forebay_cli.demo.wave import DEFAULT_RECORDS, FLOOD_FACTOR, Wave, WavePhase
from hypothesis import given
from hypothesis import strategies as st

AT = "2026-01-01T00:00:00.000+00:00"


def test_the_default_wave_is_what_the_readme_promises() -> None:
    wave = Wave()
    assert wave.records >= 500_000
    assert wave.seconds == 90
    assert 1_000 <= wave.quiet_rate <= 2_000
    assert 15_000 <= wave.flood_rate <= 25_000
    assert 25 <= wave.flood_ends_s - wave.flood_starts_s <= 30


def test_phases_follow_each_other() -> None:
    wave = Wave(records=1_000, seconds=90)
    assert [wave.phase_at(t) for t in (0, 14.9, 15, 42.9, 43.1, 89.9, 90)] == [
        WavePhase.QUIET,
        WavePhase.QUIET,
        WavePhase.FLOOD,
        WavePhase.FLOOD,
        WavePhase.CALM,
        WavePhase.CALM,
        WavePhase.OVER,
    ]


@given(st.integers(1, 10**7), st.floats(1, 10**4), st.lists(st.floats(0, 2), min_size=2))
def test_due_grows_from_nothing_to_all(records: int, seconds: float, shares: list[float]) -> None:
    wave = Wave(records=records, seconds=seconds)
    due = [wave.due_at(share * seconds) for share in sorted(shares)]
    assert due == sorted(due)
    assert wave.due_at(0) == 0
    assert wave.due_at(seconds) == records


def test_the_flood_is_faster_by_its_factor() -> None:
    wave = Wave(records=DEFAULT_RECORDS, seconds=90)
    quiet = wave.due_at(10) - wave.due_at(5)
    flood = wave.due_at(30) - wave.due_at(25)
    assert flood == pytest.approx(quiet * FLOOD_FACTOR, rel=0.01)


def test_one_seed_gives_one_sequence() -> None:
    first, second = PaymentStream(7), PaymentStream(7)
    assert [first.next_payment(AT) for _ in range(500)] == [second.next_payment(AT) for _ in range(500)]
    assert PaymentStream(8).next_payment(AT).value != PaymentStream(7).next_payment(AT).value


def test_every_kind_of_poison_comes_and_stays_below_the_breaker() -> None:
    stream = PaymentStream(20_260_101)
    kinds = Counter(stream.next_payment(AT).poison for _ in range(30_000))
    assert set(kinds) == set(Poison)
    assert 30_000 - kinds[Poison.NONE] < 30_000 * 0.01 / 4


def test_a_good_payment_has_the_table_s_seven_columns() -> None:
    payment = PaymentStream(1, poison_fraction=0).next_payment(AT)
    fields = json.loads(payment.value)
    assert list(fields) == ["id", "account", "amount_cents", "currency", "merchant", "status", "created_at"]
    assert [len(fields[name]) for name in ("account", "merchant", "status")] == [12, 16, 8]


@pytest.mark.parametrize("poison", [kind for kind in Poison if kind is not Poison.NONE])
def test_each_kind_of_poison_differs_from_the_good_record(poison: Poison) -> None:
    fields = json.loads(PaymentStream(1, poison_fraction=0).next_payment(AT).value)
    assert encode_payment(fields, poison) != encode_payment(fields, Poison.NONE)
