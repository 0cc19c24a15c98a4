from __future__ import annotations

import pytest
from forebay_api.v1alpha1 import DeadLetterSpec
from forebay_consumer.breaker import Breaker
from forebay_consumer.errors import SinkBroken
from forebay_consumer.records import DeadLetter, Reason

SPEC = DeadLetterSpec(max_fraction=0.01, window_records=10_000, minimum=100)


def write(breaker: Breaker, records: int, dead: int) -> None:
    breaker.admit(records, dead)
    breaker.written(records, dead)


def test_dead_letters_below_the_minimum_pass_however_large_their_share() -> None:
    breaker = Breaker(SPEC)
    write(breaker, 99, 99)
    with pytest.raises(SinkBroken, match=r"spec\.sink\.deadLetters\.maxFraction"):
        breaker.admit(1, 1)


def test_a_share_at_the_limit_passes_and_one_above_it_does_not() -> None:
    breaker = Breaker(SPEC)
    write(breaker, 9_000, 0)
    breaker.admit(1_000, 100)
    with pytest.raises(SinkBroken):
        breaker.admit(1_000, 101)


def test_a_refused_batch_does_not_count_so_trying_again_lets_little_through() -> None:
    breaker = Breaker(SPEC)
    through = 0
    for _ in range(1_000):
        try:
            write(breaker, 30, 30)
            through += 30
        except SinkBroken:
            pass
    assert through == 90


def test_batches_without_dead_letters_always_pass() -> None:
    breaker = Breaker(SPEC)
    breaker.written(100, 100)
    breaker.admit(5, 0)
    with pytest.raises(SinkBroken):
        breaker.admit(5, 1)


def test_refusal_names_the_commonest_reason_with_an_example() -> None:
    letters = [
        DeadLetter(partition=3, offset=n, reason=reason, message="is missing", value=b"{}", column="branch")
        for n, reason in enumerate([Reason.NULL_FIELD, Reason.MISSING_FIELD, Reason.MISSING_FIELD])
    ]
    breaker = Breaker(SPEC)
    with pytest.raises(SinkBroken, match=r"2 of 3\): MissingField \(column branch\): is missing, .* offset 1\."):
        breaker.admit(200, 150, letters)


def test_old_dead_letters_leave_the_window() -> None:
    breaker = Breaker(SPEC)
    write(breaker, 99, 99)
    for _ in range(11):
        write(breaker, 1_000, 0)
    breaker.admit(1_000, 100)
    with pytest.raises(SinkBroken):
        breaker.admit(1_000, 200)
