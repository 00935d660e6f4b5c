"""Money as integer micro-units of the installation's currency; Decimal only at the edges, float never.

One unit (a dollar, a euro) is 1,000,000 micro-units. Amounts that an operator types must be exact;
prices from a carrier's list may have more decimals and are rounded *up*, so that no rounding ever
makes a call look cheaper than it is.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TypeAlias

from fraudguard.errors import InputError

Micros: TypeAlias = int
"""An amount of money in micro-units (1e-6 of the currency unit)."""

MICROS_PER_UNIT = 1_000_000

MAX_AMOUNT: Micros = 1_000_000_000 * MICROS_PER_UNIT
"""A thousand million units: far above any telephone bill, far below 2**63, so sums of thousands fit SQLite."""

_MAX_TEXT = 64  # characters; Decimal's cost grows with the text, and no amount needs more


def parse_decimal(text: str, *, where: str = "") -> Decimal:
    """Read a plain decimal number: ASCII digits, one optional sign and point. Raises InputError."""
    stripped = text.strip()
    plain = stripped.lstrip("+-").replace(".", "", 1)
    if not (plain.isascii() and plain.isdigit()) or len(stripped) > _MAX_TEXT:
        raise InputError(
            f"{text[:_MAX_TEXT]!r} is not an amount",
            where=where,
            fix="give a plain decimal number such as 0.25",
        )
    try:
        return Decimal(stripped)
    except InvalidOperation:  # two signs
        raise InputError(
            f"{text!r} is not an amount", where=where, fix="give a plain decimal number such as 0.25"
        ) from None


def parse_amount(text: str, *, where: str = "") -> Micros:
    """Read an amount typed by an operator into micro-units, exactly.

    Raises InputError when it is not a number, negative, finer than one micro-unit, or above MAX_AMOUNT.
    """
    amount = parse_decimal(text, where=where)
    scaled = amount * MICROS_PER_UNIT
    if scaled != scaled.to_integral_value():
        raise InputError(f"{text!r} has more than six decimals", where=where, fix="round it to six decimals")
    return _in_range(int(scaled), text, where)


def ceil_amount(amount: Decimal, *, where: str = "") -> Micros:
    """Turn a carrier's price into micro-units, rounded up to the next whole one. Raises InputError."""
    scaled = int((amount * MICROS_PER_UNIT).to_integral_value(rounding=ROUND_CEILING))
    return _in_range(scaled, str(amount), where)


def format_amount(amount: Micros) -> str:
    """Write micro-units as a decimal string with at least two decimals: 250000 -> '0.25', 8889 -> '0.008889'."""
    sign = "-" if amount < 0 else ""
    units, micros = divmod(abs(amount), MICROS_PER_UNIT)
    decimals = f"{micros:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{units}.{decimals}"


def _in_range(amount: Micros, text: str, where: str) -> Micros:
    if amount < 0:
        raise InputError(f"{text!r} is negative", where=where, fix="give 0 or more")
    if amount > MAX_AMOUNT:
        raise InputError(f"{text!r} is too large", where=where, fix="give at most 1000000000")
    return amount
