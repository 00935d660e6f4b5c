"""What has to end, or to end sooner, when operators have changed their minds about calls that are up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fraudguard.clock import Millis
from fraudguard.ledger.pots import Pot
from fraudguard.ledger.records import Call, State
from fraudguard.ledger.treasury import Key, Treasury
from fraudguard.policy import PolicyIndex
from fraudguard.rating.rate import SLACK_SECONDS, cost

BLOCKED: Final = "blocked"
PIN_REVOKED: Final = "pin revoked"
"""Why a call is cut that an operator would not allow now. Where a budget was lowered, the budget is named."""

STUB_SECONDS: Final = 3
"""What is left of a call whose money is recalled, until it gets other money: time enough to tell Asterisk."""


@dataclass(slots=True)
class Recall:
    """Calls to be ended now, by leg, with why; and calls to be given a shorter lease, in seconds from their answer."""

    cut: dict[Key, str] = field(default_factory=dict)
    shorten: dict[Key, int] = field(default_factory=dict)


def recalled(calls: Iterable[Call], policy: PolicyIndex, treasury: Treasury, now: Millis) -> Recall:
    """Return what an operator's edit means for the calls that verdicts allowed and that live."""
    recall = Recall()
    for call in calls:
        if call.call and call.lease_seconds is not None:
            why = _objection(call, policy, now)
            if why:
                recall.cut[_key(call)] = why
    for pot in treasury.pots():
        _collect(pot, treasury, recall, now)
    return recall


def _objection(call: Call, policy: PolicyIndex, now: Millis) -> str:
    if policy.blocks(call.tenant, call.account, call.source, call.number, now):
        return BLOCKED
    return PIN_REVOKED if call.pin and not policy.has_pin(call.tenant, call.pin) else ""


def _collect(pot: Pot, treasury: Treasury, recall: Recall, now: Millis) -> None:
    """Take back what is set aside of a pot beyond its budget: the dearest first, and what is talked cannot be."""
    over = -pot.room(now)
    if over <= 0:
        return
    calls = sorted(treasury.calls_of(pot), key=lambda call: call.reserved() - call.charged_at(now), reverse=True)
    for call in calls:
        if over <= 0:
            return
        over -= _freed(call, recall, now)
    if over > 0:  # more is spent than there is
        for call in calls:
            if call.rate is not None and call.call:
                recall.cut.setdefault(_key(call), pot.name)


def _freed(call: Call, recall: Recall, now: Millis) -> int:
    """Return how much of its money a call can do without, and have it do so."""
    key = _key(call)
    if key in recall.cut:  # it ends now, and nobody else has to for its sake
        return max(0, call.reserved() - call.charged_at(now))
    if call.rate is None or call.lease_seconds is None or call.state is not State.UP:
        return 0
    increment = call.rate.increment_seconds
    soonest = call.seconds_at(now) + STUB_SECONDS + SLACK_SECONDS
    stub = -(-soonest // increment) * increment - SLACK_SECONDS
    stub = min(stub, recall.shorten.get(key, call.lease_seconds))
    if stub >= call.lease_seconds:
        return 0
    recall.shorten[key] = stub
    return cost(call.rate, call.lease_seconds + SLACK_SECONDS) - cost(call.rate, stub + SLACK_SECONDS)


def _key(call: Call) -> Key:
    return (call.leg.asterisk, call.leg.uniqueid)
