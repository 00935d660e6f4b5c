"""A carrier's price for one prefix, and what a call of n seconds costs by it."""

from __future__ import annotations

from typing import NamedTuple

from fraudguard.clock import Millis
from fraudguard.money import Micros


class Rate(NamedTuple):
    """One row of a deck.

    A named tuple and not a dataclass: lists hold a million of these, a lookup makes one, and a tuple is made
    four times as fast (and goes into SQL as it is).

    `per_minute` and `connect_fee` are micro-units; `minimum_seconds` and `increment_seconds` whole seconds,
    the increment at least 1. `offered` is False where the carrier lists the prefix as blocked, not offered
    or without a price: such a rate still wins the longest match, and refuses.
    """

    prefix: str
    destination: str
    per_minute: Micros
    connect_fee: Micros
    minimum_seconds: int
    increment_seconds: int
    effective_from: Millis
    offered: bool = True

    @property
    def dearest(self) -> Micros:
        """What is held against a limit: the higher of per-minute price and connect fee."""
        return max(self.per_minute, self.connect_fee)


def billed_seconds(rate: Rate, seconds: int) -> int:
    """Return the seconds a carrier bills for `seconds` (>= 0) of talk: minimum, then whole increments."""
    increment = rate.increment_seconds
    return max(rate.minimum_seconds, -(-seconds // increment) * increment)


def cost(rate: Rate, seconds: int) -> Micros:
    """Return what an answered call of `seconds` (>= 0) costs, rounded up to one micro-unit."""
    return rate.connect_fee + -(-rate.per_minute * billed_seconds(rate, seconds) // 60)


LONGEST_SECONDS = 86_400
"""What is affordable without end is affordable for a day."""

SLACK_SECONDS = 2
"""How much later than Asterisk's end of a call its carrier may see it: the way there, and the second that was begun."""


def most(rate: Rate, lease_seconds: int) -> Micros:
    """Return what an answered call can cost at most that Asterisk ends after so many seconds."""
    return cost(rate, lease_seconds + SLACK_SECONDS)


def to_increment(rate: Rate, seconds: int) -> int:
    """Return the lease that ends with the increment in which one of so many would: what is paid for is to be talked."""
    increment = rate.increment_seconds
    return -(-(seconds + SLACK_SECONDS) // increment) * increment - SLACK_SECONDS


def affordable_seconds(rate: Rate, money: Micros) -> int:
    """Return for how long an answered call may last without costing more than `money`; 0 when not even its beginning
    is paid for.

    Where money ends it, that is SLACK_SECONDS before the increment does.
    """
    left = money - rate.connect_fee
    if rate.per_minute == 0 and rate.connect_fee == 0:
        return LONGEST_SECONDS  # however much was overspent
    if left < 0 or most(rate, 1) > money:
        return 0
    if rate.per_minute == 0:
        return LONGEST_SECONDS
    increment = rate.increment_seconds
    paid = left * 60 // rate.per_minute // increment * increment
    return min(paid - SLACK_SECONDS, LONGEST_SECONDS)
