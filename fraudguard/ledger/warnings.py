"""Telling in time that a budget comes to its end: who spends it, where to, and how long the rest will last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fraudguard.clock import Millis
from fraudguard.ledger.judging import SEPARATOR
from fraudguard.ledger.pots import LEVELS, Pot
from fraudguard.ledger.records import Call, State
from fraudguard.ledger.treasury import Treasury
from fraudguard.money import format_amount
from fraudguard.policy.alert import AlertKind, NewAlert

KINDS: Final = dict(zip(LEVELS, (AlertKind.BUDGET_HALF, AlertKind.BUDGET_LOW, AlertKind.BUDGET_SPENT), strict=True))
"""What each level is told as."""


def warnings(treasury: Treasury, now: Millis) -> tuple[NewAlert, ...]:
    """Return the alerts about budgets of which a level was reached since the last time."""
    reached = {pot: level for pot in treasury.paid() if (level := _level(pot, now)) != pot.told}
    calls = treasury.calls_by_pot(reached)
    found = tuple(_alert(pot, level, calls.get(pot, ()), now) for pot, level in reached.items() if level > pot.told)
    for pot, level in reached.items():
        if level > pot.told or pot.budget.rolling:  # of a rolling budget a level can be reached again
            pot.told = level
    return found


def hush(treasury: Treasury, now: Millis) -> None:
    """Take all levels that are reached by now for told: they were, before a restart; or an operator made them so."""
    for pot in treasury.paid():
        pot.told = max(pot.told, _level(pot, now))


def _level(pot: Pot, now: Millis) -> int:
    """Return the highest level that is reached. What does not buy another call like the latest is as good as spent."""
    amount, spent = pot.budget.amount, pot.spent(now)
    assert amount is not None
    if not spent:
        return 0
    if amount - spent < pot.least:
        return LEVELS[-1]
    return max((level for level in LEVELS if spent * 100 >= amount * level), default=0)


def _alert(pot: Pot, level: int, calls: Iterable[Call], now: Millis) -> NewAlert:
    up = [call for call in calls if call.state is State.UP and call.rate is not None]
    dearest = max(up, key=lambda call: call.cost_at(now) or 0, default=None)
    per_minute = sum(call.rate.per_minute for call in up if call.rate is not None)
    amount, spent = pot.budget.amount, pot.spent(now)
    assert amount is not None
    details = {
        "budget": pot.name,
        "amount": format_amount(amount),
        "spent": format_amount(spent),
        "set_aside": format_amount(pot.held),
        "live_calls": str(len(up)),
    }
    if per_minute:
        details["lasts_minutes"] = str(max(0, amount - spent) // per_minute)
    tenant, account = pot.values.tenant or "", pot.values.account or ""
    rate = None if dearest is None else dearest.rate
    return NewAlert(
        kind=KINDS[level],
        at=now,
        fold=SEPARATOR.join((KINDS[level], details["budget"], str(pot.since if not pot.budget.rolling else 0))),
        tenant=tenant or ("" if dearest is None else dearest.tenant),
        account=account or ("" if dearest is None else dearest.account),
        source="" if dearest is None else dearest.source,
        trunk=pot.values.trunk or ("" if dearest is None else dearest.trunk),
        number=None if dearest is None else dearest.number,
        destination=None if rate is None else rate.destination,
        per_minute=None if rate is None else rate.per_minute,
        reason=KINDS[level],
        details=details,
    )
