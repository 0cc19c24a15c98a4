"""When which positions are committed to Kafka."""

from __future__ import annotations

from forebay_consumer.kafka_source.mirror import ANSWER_S, INTERVAL_S, Mirror


def test_changed_positions_are_due_once_a_second() -> None:
    mirror = Mirror()
    mirror.want({0: 5, 1: 6})
    assert mirror.take_due({0, 1}, now=10.0) == {0: 5, 1: 6}
    mirror.confirm()
    mirror.want({0: 7})
    assert mirror.take_due({0, 1}, now=10.0 + INTERVAL_S / 2) == {}
    assert mirror.take_due({0, 1}, now=10.0 + INTERVAL_S) == {0: 7}


def test_positions_go_backwards_too() -> None:
    mirror = Mirror()
    mirror.want({0: 50})
    mirror.take_due({0}, now=0.0)
    mirror.confirm()
    mirror.want({0: 10})
    assert mirror.take_due({0}, now=5.0) == {0: 10}


def test_positions_of_others_are_not_committed() -> None:
    mirror = Mirror()
    mirror.want({0: 5, 1: 6})
    assert mirror.take_due({1}, now=0.0) == {1: 6}
    mirror.forget([0])
    mirror.confirm()
    assert mirror.take_due({0, 1}, now=5.0) == {}


def test_refused_positions_are_due_again() -> None:
    mirror = Mirror()
    mirror.want({0: 5})
    mirror.take_due({0}, now=0.0)
    mirror.refuse()
    assert mirror.take_due({0}, now=INTERVAL_S) == {0: 5}
    assert mirror.failures == 1


def test_an_unanswered_commit_counts_as_refused() -> None:
    mirror = Mirror()
    mirror.want({0: 5})
    mirror.take_due({0}, now=0.0)
    assert mirror.take_due({0}, now=ANSWER_S) == {}
    assert mirror.take_due({0}, now=ANSWER_S + 1.0) == {0: 5}
