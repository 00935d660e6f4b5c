"""What has to end, or to end sooner, when operators have changed their minds about calls that are up."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from fraudguard.clock import Millis
from fraudguard.ledger.pots import Pot
from fraudguard.ledger.records import Call, Key, State
from fraudguard.ledger.treasury import Treasury
from fraudguard.policy import PolicyIndex, Reason
from fraudguard.rating.rate import most, to_increment

BLOCKED: Final = "blocked"
PIN_REVOKED: Final = "pin revoked"
"""Why a call is cut that an operator would not allow now. Where a budget was lowered, the budget is named."""

STUB_SECONDS: Final = 3
"""What is left of a call whose money is recalled, until it gets other money: time enough to tell Asterisk."""


@dataclass(slots=True)
class Recall:
    """Calls to be ended now, by leg, with why; and calls to be given a shorter lease, in seconds from their answer,
    with the budget that is short of money.
    """

    cut: dict[Key, str] = field(default_factory=dict)
    shorten: dict[Key, int] = field(default_factory=dict)
    short_of: dict[Key, str] = field(default_factory=dict)


def recalled(
    calls: Iterable[Call], policy: PolicyIndex, treasury: Treasury, now: Millis, shadow: Container[Reason] = ()
) -> Recall:
    """Return what an operator's edit means for the calls that verdicts allowed and that live. What would only simulate
    a refusal, being in `shadow`, ends no call either.
    """
    recall = Recall()
    for call in calls:
        if call.call and call.lease_seconds is not None:
            why = _objection(call, policy, now, shadow)
            if why:
                recall.cut[call.leg.key] = why
    bounding = (pot for pot in treasury.pots() if pot.budget.of_pin or Reason.OVER_BUDGET not in shadow)
    short = {pot for pot in bounding if pot.live and pot.room(now) < 0}
    for pot, paid_for in treasury.calls_by_pot(short).items():
        _collect(pot, paid_for, recall, now)
    return recall


def _objection(call: Call, policy: PolicyIndex, now: Millis, shadow: Container[Reason]) -> str:
    blocked = policy.blocks(call.tenant, call.account, call.source, call.number, now)
    if blocked and Reason.BLOCKED not in shadow:
        return BLOCKED
    revoked = call.pin and not policy.has_pin(call.tenant, call.pin)
    return PIN_REVOKED if revoked and Reason.PIN_REQUIRED not in shadow else ""


def _collect(pot: Pot, calls: Iterable[Call], recall: Recall, now: Millis) -> None:
    """Take back what is set aside of a pot beyond its budget: the dearest first, and what is talked cannot be."""
    over = -pot.room(now)
    calls = sorted(calls, key=lambda call: call.reserved() - call.charged_at(now), reverse=True)
    for call in calls:
        if over <= 0:
            return
        over -= _freed(call, recall, now)
        if call.leg.key in recall.shorten:
            recall.short_of[call.leg.key] = pot.name
    if over > 0:  # more is spent than there is
        for call in calls:
            if call.rate is not None and call.call and most(call.rate, 1):  # what is free may go on
                recall.cut.setdefault(call.leg.key, pot.name)


def _freed(call: Call, recall: Recall, now: Millis) -> int:
    """Return how much of its money a call can do without, and have it do so."""
    key = call.leg.key
    if key in recall.cut:  # it ends now, and nobody else has to for its sake
        return max(0, call.reserved() - call.charged_at(now))
    if call.rate is None or call.lease_seconds is None or call.state is not State.UP:
        return 0
    stub = to_increment(call.rate, call.seconds_at(now) + STUB_SECONDS)
    stub = min(stub, recall.shorten.get(key, call.lease_seconds))
    if stub >= call.lease_seconds:
        return 0
    recall.shorten[key] = stub
    return most(call.rate, call.lease_seconds) - most(call.rate, stub)
