"""What a round sends, and what the table must hold for it. Pure; one plan, one sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, NamedTuple

from forebay_api.v1alpha1 import SinkMode
from forebay_cli.demo.ledger import Entry, Poison
from forebay_cli.demo.payments import PaymentStream, encode_payment

from bench.faults.plan import PlannedRound

CREATED_AT = "2026-01-02T03:04:05.678Z"
_SPOILT = tuple(kind for kind in Poison if kind is not Poison.NONE)
_PRIME = 7_919
_MOST_CENTS = 5_000_000

MAYBE_REPLACED = frozenset({Poison.CONSTRAINT})
"""The database refuses them and not the decoder: mode Upsert does not try one that a later record of its batch
replaces, so that it may have no dead letter."""


class Record(NamedTuple):
    """One record. A tuple, because there are many. id: its place in the sequence. value None: a tombstone."""

    id: int
    key: bytes
    value: bytes | None
    poison: Poison


class LastWord(NamedTuple):
    """What the table holds for one key."""

    id: int
    amount_cents: int


def build_records(planned: PlannedRound) -> list[Record]:
    """Return the round's records in the order in which they are sent."""
    if planned.mode is SinkMode.UPSERT:
        return _build_changes(planned)
    stream = PaymentStream(planned.seed, poison_fraction=planned.poison)
    payments = (stream.next_payment(CREATED_AT) for _ in range(planned.records))
    return [Record(each.id, each.key, each.value, each.poison) for each in payments]


def _build_changes(planned: PlannedRound) -> list[Record]:
    dice = Random(planned.seed)
    made: list[Record] = []
    for number in range(planned.records):
        account, chance = f"AC{dice.randrange(planned.keys):010d}", dice.random()
        poison = _SPOILT[number % len(_SPOILT)] if chance < planned.poison else Poison.NONE
        is_tombstone = planned.poison <= chance < planned.poison + planned.tombstones
        value = None if is_tombstone else encode_payment(_describe(number, account), poison)
        made.append(Record(number, account.encode(), value, poison))
    return made


def _describe(number: int, account: str) -> dict[str, Any]:
    return {
        "id": number,
        "account": account,
        "amount_cents": find_amount(number),
        "currency": "EUR",
        "merchant": f"merchant-{number % 10_000:07d}",
        "status": "captured",
        "created_at": CREATED_AT,
    }


def find_amount(number: int) -> int:
    """Return what record `number` of mode Upsert says besides its id: a row is of one record, whole."""
    return number * _PRIME % _MOST_CENTS


def find_last_words(records: Sequence[Record], delivered: Iterable[Entry]) -> dict[str, LastWord]:
    """Return the rows that must be there. A key's records are in one partition, whose offsets tell their order."""
    last: dict[bytes, Entry] = {}
    for entry in delivered:
        key = records[entry.id].key
        if entry.poison == Poison.NONE and (key not in last or last[key].offset < entry.offset):
            last[key] = entry
    return {
        key.decode(): LastWord(entry.id, find_amount(entry.id))
        for key, entry in last.items()
        if records[entry.id].value is not None
    }


def find_certain_poison(records: Sequence[Record], delivered: Iterable[Entry]) -> set[tuple[int, int]]:
    """Return the (partition, offset) of records of mode Upsert that must have a dead letter, whatever the batches were.

    What the database refuses must, too, where no later record of its key is there to replace it.
    """
    entries = sorted(delivered, key=lambda entry: entry.offset)
    last = {records[entry.id].key: entry for entry in entries if entry.poison in (Poison.NONE, *MAYBE_REPLACED)}
    return {
        (entry.partition, entry.offset)
        for entry in entries
        if entry.poison != Poison.NONE and (entry.poison not in MAYBE_REPLACED or last[records[entry.id].key] == entry)
    }
