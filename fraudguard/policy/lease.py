"""How long a call may live before the guard has to renew it: long where it is cheap, short where money runs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fraudguard.money import Micros
from fraudguard.rating.rate import Rate, affordable_seconds, most, to_increment

SHARE: Final = 8
"""A lease takes at most one part in so many of what is left, so that others can call at the same time."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long leases are, in seconds: from `shortest`, as far as the money reaches, to `longest`. Renewals end when a
    call has been up for `call`. Who calls hears a tone `warning` seconds before the end, if it is not 0.
    """

    shortest: int = 60
    longest: int = 7200
    call: int = 14_400
    warning: int = 0


USUAL: Final = LeaseTerms()
"""The terms that hold until they are set otherwise."""


def first_lease(terms: LeaseTerms, rate: Rate | None, room: Micros | None) -> int:
    """Return the lease of a new call, in seconds; 0 when the room does not pay for any. None: there is room enough."""
    return _lease(terms, rate, room, sofar=0)


def next_lease(terms: LeaseTerms, rate: Rate | None, room: Micros | None, sofar: int) -> int:
    """Return the lease, from its answer, of a call that has one of `sofar` seconds; `sofar` if it gets no more."""
    return max(sofar, _lease(terms, rate, room, sofar))


def _lease(terms: LeaseTerms, rate: Rate | None, room: Micros | None, sofar: int) -> int:
    longest = min(sofar + terms.longest, terms.call)
    if rate is None or room is None:
        return longest
    paid = most(rate, sofar) if sofar else 0
    wanted = affordable_seconds(rate, paid + max(0, room) // SHARE)
    possible = affordable_seconds(rate, paid + max(0, room))
    return min(longest, max(wanted, min(to_increment(rate, sofar + terms.shortest), possible)))
