"""What a dialled string turns into: a Number with region and kind, or a BadNumber that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What sort of number it is, as seen from the tenant's home region."""

    EMERGENCY = "emergency"
    DOMESTIC = "domestic"
    INTERNATIONAL = "international"
    PREMIUM = "premium"  # premium rate, shared cost and personal numbers, of any region
    SATELLITE = "satellite"  # +870, +881, +882, +883 and configured prefixes
    TOLL_FREE = "toll_free"  # free for callers at home; a foreign freephone number is international
    SERVICE = "service"  # short codes of the home region (411, 611): not E.164, priced by configuration only
    UNKNOWN = "unknown"  # can be made E.164, but no numbering plan knows it


@dataclass(frozen=True, slots=True)
class Number:
    """A dialled string made unambiguous.

    `digits` is E.164 without the plus, or the bare short code for emergency and service numbers.
    `region` is ISO 3166-1 alpha-2, None where a number belongs to no single region. `least_prefix` is the length
    that a rate's prefix must have to price the number: a cheap row for 1 says nothing about +1 900 or Jamaica.
    """

    dialled: str
    digits: str
    region: str | None
    kind: Kind
    least_prefix: int = 0

    @property
    def short(self) -> bool:
        """True for emergency and service codes, which must never be looked up as E.164 prefixes."""
        return self.kind is Kind.EMERGENCY or self.kind is Kind.SERVICE

    def is_priced_by(self, prefix: str) -> bool:
        """Say whether a rate with this prefix means this number, and not merely its country."""
        return len(prefix) >= self.least_prefix

    @property
    def stays_home(self) -> bool:
        """Say whether it is a domestic number, or free for callers at home. +800, which is free in some countries
        only, has no region: it does not.
        """
        return self.kind is Kind.DOMESTIC or (self.kind is Kind.TOLL_FREE and self.region is not None)

    @property
    def dialable(self) -> str:
        """What the trunk is given: '+442079460000', or '911' for a short code."""
        return self.digits if self.short else "+" + self.digits


@dataclass(frozen=True, slots=True)
class BadNumber:
    """A dialled string that cannot be made a Number; `why` is one clause for the operator."""

    dialled: str
    why: str
