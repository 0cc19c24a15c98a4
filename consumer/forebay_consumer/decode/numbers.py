"""JSON numbers to PostgreSQL's integers, floats and numeric, exactly: no detour over a float. Raises only Reject."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from decimal import Decimal

from forebay_consumer.decode.json_text import kind_of, read_string
from forebay_consumer.decode.rejects import reject_range, reject_type

MAX_EXPONENT = 1_000_000
"""Exponents beyond this are cut to it: nothing that PostgreSQL stores comes near, and arithmetic stays small."""

NUMERIC_MAX_WHOLE_DIGITS = 131_072
NUMERIC_MAX_SCALE = 16_383
"""PostgreSQL's own limits of numeric, before and after the decimal point."""

_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DECIMAL_TEXT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FLOAT4 = struct.Struct(">f")
_FLOAT4_MAX = float.fromhex("0x1.fffffep+127")
_FLOAT4_END = float.fromhex("0x1.ffffffp+127")  # halfway to the power of two beyond: from here on it rounds to infinity


@dataclass(frozen=True, slots=True)
class Parts:
    """digits * 10**exponent; digits without leading zeros, empty for zero, with trailing zeros (numeric's scale)."""

    negative: bool
    digits: str
    exponent: int


def is_number(raw: bytes) -> bool:
    """Whether the bytes are exactly one JSON number."""
    return _NUMBER.fullmatch(raw) is not None


def split_number(text: str) -> Parts:
    """Take a number apart; the text must be one."""
    mantissa, _, exponent_text = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    return Parts(
        mantissa.startswith("-"), (whole + fraction).lstrip("0"), _read_exponent(exponent_text) - len(fraction)
    )


def floor_scaled(parts: Parts, power: int, max_digits: int) -> int | None:
    """Largest integer not above value * 10**power; None when it has more than max_digits digits."""
    exponent = parts.exponent + power
    if not parts.digits:
        return 0
    if len(parts.digits) + exponent > max_digits:
        return None
    kept = parts.digits + "0" * exponent if exponent >= 0 else parts.digits[:exponent]
    dropped = parts.digits[exponent:] if exponent < 0 else ""
    value = int(kept or "0")
    if not parts.negative:
        return value
    return -value - 1 if dropped.strip("0") else -value


def read_integer(raw: bytes, low: int, high: int) -> int:
    """A whole number within [low, high]; 1.0 and 1e3 are whole, 1.5 is not."""
    is_plain = len(raw) < 20 and raw.removeprefix(b"-").isdigit()
    value = int(raw) if is_plain else _read_unusual_integer(raw)
    if value is None or not low <= value <= high:
        reject_range("the number is outside the column's range")
    return value


def _read_unusual_integer(raw: bytes) -> int | None:
    """None: more digits than any integer type has."""
    if not is_number(raw):
        reject_type("a whole number", kind_of(raw))
    parts = split_number(raw.decode())
    significant = parts.digits.rstrip("0")
    exponent = parts.exponent + len(parts.digits) - len(significant)
    if significant and exponent < 0:
        reject_type("a whole number", "a number with a fraction")
    return floor_scaled(Parts(parts.negative, significant, exponent), 0, 19)


def read_float8(raw: bytes) -> float:
    """The nearest double; the strings NaN, Infinity and -Infinity too."""
    if raw[0] == 0x22:
        return _read_special(raw)
    if not is_number(raw):
        reject_type("a number", kind_of(raw))
    value = float(raw)
    if math.isinf(value) or (value == 0 and split_number(raw.decode()).digits):
        reject_range("the number is outside the column's range")
    return value


def read_float4(raw: bytes) -> float:
    """The nearest single, rounded once (by way of a double alone it would be rounded twice), as a Python float."""
    if raw[0] == 0x22:
        return _read_special(raw)
    if not is_number(raw):
        reject_type("a number", kind_of(raw))
    single = _round_to_single(raw)
    if math.isinf(single) or (single == 0 and split_number(raw.decode()).digits):
        reject_range("the number is outside the column's range")
    return single


def _round_to_single(raw: bytes) -> float:
    value = float(raw)
    if abs(value) >= _FLOAT4_END:
        is_below = abs(value) == _FLOAT4_END and abs(Decimal(raw.decode())) < _FLOAT4_END
        return math.copysign(_FLOAT4_MAX if is_below else math.inf, value)
    single: float = _FLOAT4.unpack(_FLOAT4.pack(value))[0]
    return single if single == value else _break_tie(raw, value, single)


def _break_tie(raw: bytes, value: float, single: float) -> float:
    """If the double lies exactly between two singles, let the number's own digits decide."""
    bits: int = struct.unpack(">i", _FLOAT4.pack(single))[0]
    away = abs(value) > abs(single)
    if not away and bits & 0x7FFFFFFF == 0:
        return single
    other: float = struct.unpack(">f", struct.pack(">i", bits + 1 if away else bits - 1))[0]
    if abs(value - single) != abs(other - value):
        return single
    exact = Decimal(raw.decode())
    if exact == Decimal(value):
        return single
    larger, smaller = max(single, other), min(single, other)
    return larger if exact > Decimal(value) else smaller


def _read_special(raw: bytes) -> float:
    special = _SPECIAL.get(read_string(raw, "a number"))
    if special is None:
        reject_type("a number", "a string")
    return special


def _read_exponent(text: str) -> int:
    digits = text.lstrip("+-").lstrip("0")
    size = MAX_EXPONENT if len(digits) > 6 else int(digits or "0")
    return -size if text.startswith("-") else size


@dataclass(frozen=True, slots=True)
class Numeric:
    """reader of numeric(precision, scale); precision None: any."""

    precision: int | None
    scale: int

    @classmethod
    def from_modifier(cls, modifier: int) -> Numeric:
        """atttypmod -> precision and scale (the scale may be negative since PostgreSQL 15)."""
        if modifier < 4:
            return cls(None, 0)
        packed = modifier - 4
        return cls((packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024)

    def read(self, raw: bytes) -> Parts | str:
        """Digits of a number, or of a string that holds nothing but one; NaN, Infinity and -Infinity stay words."""
        if raw[0] == 0x22:
            text = read_string(raw, "a number")
            if text in _SPECIAL:
                return self._read_word(text)
            if not _DECIMAL_TEXT.fullmatch(text):
                reject_type("a number", "a string that is not one")
        elif is_number(raw):
            text = raw.decode()
        else:
            reject_type("a number", kind_of(raw))
        parts = split_number(text)
        self._check(parts)
        return parts if parts.digits else Parts(False, "", min(parts.exponent, 0))

    def _read_word(self, word: str) -> str:
        if word != "NaN" and self.precision is not None:
            reject_range("a numeric with a precision cannot hold infinity")
        return word

    def _check(self, parts: Parts) -> None:
        if -parts.exponent > NUMERIC_MAX_SCALE:
            reject_range("the number is outside the column's range")
        if not parts.digits:
            return
        if len(parts.digits) + parts.exponent > NUMERIC_MAX_WHOLE_DIGITS or self._overflows(parts):
            reject_range("the number is outside the column's range")

    def _overflows(self, parts: Parts) -> bool:
        """Whether the value, rounded half away from zero to the scale, has more digits than the precision."""
        if self.precision is None:
            return False
        excess = -self.scale - parts.exponent  # digits that rounding drops
        if len(parts.digits) - excess > self.precision:
            return True
        if excess <= 0 or excess > len(parts.digits):
            return False
        kept = parts.digits[:-excess]
        return kept == "9" * self.precision and parts.digits[-excess] >= "5"


_NUMERIC_WORDS = {
    "NaN": struct.pack(">HhHh", 0, 0, 0xC000, 0),
    "Infinity": struct.pack(">HhHh", 0, 0, 0xD000, 0),
    "-Infinity": struct.pack(">HhHh", 0, 0, 0xF000, 0),
}


def numeric_to_binary(value: Parts | str) -> bytes:
    """numeric_recv's form: count, weight, sign, scale, then groups of four decimal digits."""
    if isinstance(value, str):
        return _NUMERIC_WORDS[value]
    scale = max(0, -value.exponent)
    if not value.digits:
        return struct.pack(">HhHh", 0, 0, 0, scale)
    whole = value.digits + "0" * value.exponent if value.exponent >= 0 else value.digits[: value.exponent]
    fraction = "" if value.exponent >= 0 else value.digits[value.exponent :].zfill(scale)
    whole = whole.zfill(-(-len(whole) // 4) * 4)
    fraction = fraction.ljust(-(-len(fraction) // 4) * 4, "0")
    text = whole + fraction
    groups = [int(text[i : i + 4]) for i in range(0, len(text), 4)]
    weight = len(whole) // 4 - 1
    first = next(i for i, group in enumerate(groups) if group)
    last = next(i for i in range(len(groups) - 1, -1, -1) if groups[i])
    kept = groups[first : last + 1]
    sign = 0x4000 if value.negative else 0
    return struct.pack(f">HhHh{len(kept)}H", len(kept), weight - first, sign, scale, *kept)


def numeric_to_text(value: Parts | str) -> str:
    """As numeric_in reads it, with the same scale."""
    if isinstance(value, str):
        return value
    return f"{'-' if value.negative else ''}{value.digits or '0'}e{value.exponent}"
