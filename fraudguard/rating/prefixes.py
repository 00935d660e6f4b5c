"""Longest prefix match."""

from __future__ import annotations

from collections.abc import Iterable

from fraudguard.rating.rate import Rate


class PrefixTable:
    """Rates by longest prefix."""

    def __init__(self, rates: Iterable[Rate]) -> None:
        self._rates = {rate.prefix: rate for rate in rates}

    def __len__(self) -> int:
        return len(self._rates)

    def longest(self, digits: str) -> Rate | None:
        """Return the rate of the longest prefix of `digits`, or None."""
        for end in range(len(digits), -1, -1):
            if rate := self._rates.get(digits[:end]):
                return rate
        return None
