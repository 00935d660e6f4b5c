"""A deck in memory: one carrier's rates at one instant, answered by longest prefix."""

from __future__ import annotations

from dataclasses import dataclass

from fraudguard.clock import Millis
from fraudguard.rating.prefixes import PrefixTable
from fraudguard.rating.rate import Rate


@dataclass(frozen=True, slots=True)
class Deck:
    """Rates of one version, in force at one instant.

    `valid_until` is the instant at which a row or version dated in the future takes over (None: none is known).
    """

    name: str
    currency: str
    version: int
    rates: PrefixTable
    valid_until: Millis | None = None

    def lookup(self, digits: str) -> Rate | None:
        """Return the rate of the longest prefix of `digits` (E.164 without plus), or None."""
        return self.rates.longest(digits)
