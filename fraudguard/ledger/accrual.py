"""When a call cost what: its money by the 5 minutes in which it was spent."""

from __future__ import annotations

from typing import Final

from fraudguard.clock import DAY_MILLIS, Millis
from fraudguard.ledger.pots import BUCKET_MILLIS, bucket_of
from fraudguard.ledger.records import Call
from fraudguard.money import Micros
from fraudguard.rating.rate import cost

LONGEST_MILLIS: Final = 62 * DAY_MILLIS
"""Longer than any budget looks back. What a call cost before that counts in the first of its 5 minutes within it: a
clock that was set wrong must not cost a million steps."""


def accrual(call: Call, now: Millis) -> tuple[tuple[Millis, Micros], ...]:
    """Return what a call has cost up to `now`, or to its end, as (end of the 5 minutes, amount), the oldest first.

    Fee and minimum are spent with the answer, every increment when it begins, and what comes exactly at the end of 5
    minutes within them. No amount is 0, and their sum is `call.charged_at(now)`.
    """
    rate, answered_at = call.rate, call.answered_at
    end = now if call.ended_at is None else call.ended_at
    if rate is None or answered_at is None:
        charged = call.charged_at(now)
        return ((bucket_of(end), charged),) if charged else ()
    last = bucket_of(end)
    first = max(bucket_of(min(answered_at, end)), last - LONGEST_MILLIS)
    amounts = []
    before = 0
    charged = call.charged_at(now)
    for until in range(first, last + 1, BUCKET_MILLIS):
        seconds = -(-(until - answered_at) // 1000)
        by_then = charged if until == last else min(cost(rate, seconds), charged)
        if by_then != before:
            amounts.append((until, by_then - before))
            before = by_then
    return tuple(amounts)
