"""The records that the demo sends: payments, a few of them spoilt on purpose. Pure; one seed, one sequence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any, assert_never

from forebay_cli.demo.ledger import Poison

POISON_FRACTION = 0.001
"""One record in a thousand: far below the breaker's default of one in a hundred, and still hundreds in a demo."""

ACCOUNTS = 20_000
"""Distinct accounts, the Kafka key: enough that hashing spreads them evenly over a dozen partitions."""

_KINDS = tuple(kind for kind in Poison if kind is not Poison.NONE)
_STATUSES = ("captured", "refunded", "disputed")
_BEYOND_BIGINT = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One record as it is sent."""

    id: int
    poison: Poison
    key: bytes
    value: bytes


class PaymentStream:
    """Makes payments 0, 1, 2, ...; spoilt ones come at random, their kinds in turn."""

    def __init__(self, seed: int, *, poison_fraction: float = POISON_FRACTION, first_id: int = 0) -> None:
        self._random = Random(seed)  # noqa: S311  not for secrets
        self._poison_fraction = poison_fraction
        self._next_id = first_id
        self._spoilt = 0

    def next_payment(self, created_at: str) -> Payment:
        """The next payment; created_at is ISO 8601 text."""
        rng = self._random
        number, self._next_id = self._next_id, self._next_id + 1
        account = f"AC{rng.randrange(ACCOUNTS):010d}"
        fields: dict[str, Any] = {
            "id": number,
            "account": account,
            "amount_cents": rng.randrange(100, 5_000_000),
            "currency": "EUR",
            "merchant": f"merchant-{rng.randrange(10_000_000):07d}",
            "status": _STATUSES[number % len(_STATUSES)],
            "created_at": created_at,
        }
        poison = self._choose_poison()
        return Payment(id=number, poison=poison, key=account.encode(), value=encode_payment(fields, poison))

    def _choose_poison(self) -> Poison:
        if self._random.random() >= self._poison_fraction:
            return Poison.NONE
        self._spoilt += 1
        return _KINDS[(self._spoilt - 1) % len(_KINDS)]


def encode_payment(fields: dict[str, Any], poison: Poison) -> bytes:
    """The record's bytes, spoilt as asked."""
    match poison:
        case Poison.NONE:
            return _to_json(fields)
        case Poison.INVALID_JSON:
            return _to_json(fields)[:-9]
        case Poison.WRONG_TYPE:
            return _to_json({**fields, "amount_cents": "a lot"})
        case Poison.MISSING_FIELD:
            return _to_json({name: value for name, value in fields.items() if name != "account"})
        case Poison.NULL_FIELD:
            return _to_json({**fields, "merchant": None})
        case Poison.NUL_CHARACTER:
            return _to_json({**fields, "merchant": "merchant\x00zero"})
        case Poison.INVALID_UTF8:
            return _to_json(fields).replace(b"merchant-", b"merchant\xff")
        case Poison.OUT_OF_RANGE:
            return _to_json({**fields, "amount_cents": _BEYOND_BIGINT})
        case Poison.CONSTRAINT:
            return _to_json({**fields, "amount_cents": -1})
        case _:
            assert_never(poison)


def _to_json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
