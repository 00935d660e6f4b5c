"""A deck in memory: one carrier's rates at one instant, answered by longest prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def in_force(rates: Iterable[Rate], at: Millis) -> Iterator[Rate]:
    """Yield for each prefix the rate that counts at an instant; `rates` are sorted by prefix and effective time.

    A prefix whose rows all begin later is not offered until then: a price that is not known yet must not turn
    into the price of a shorter prefix. A plain loop: it runs a million times.
    """
    pending: Rate | None = None
    for rate in rates:
        begun = rate.effective_from <= at
        if pending is not None:
            if rate.prefix == pending.prefix:
                pending = rate if begun else pending
                continue
            yield pending
        pending = rate if begun else rate._replace(offered=False)
    if pending is not None:
        yield pending
