"""Budgets with what is spent of them, as lines of a table and as JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from fraudguard.cli.app import App, show_money
from fraudguard.clock import Millis, format_instant
from fraudguard.house import House
from fraudguard.ledger.pots import Pot
from fraudguard.money import Micros, format_amount
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.policy.budget import DEFAULT_BUDGETS, EACH, Budget, BudgetScope, Period
from fraudguard.store.budgets import list_budgets
from fraudguard.store.ledger import stored_ledger

COLUMNS: Final = ("budget", "amount", "spent", "set aside", "left", "calls", "resets", "note")
SPARE: Final = ("note", "calls", "resets", "set aside")

SHOWN: Final = 10
"""Of those who have a budget each, how many are shown unless all are asked for."""


@dataclass(frozen=True, slots=True)
class Held:
    """One line: a budget, or the money of one of those who have one each.

    `pot` is None for one that each has, and for one without end. `under`: it belongs to the rule above it. `zone` is
    the time by which its periods begin.
    """

    budget: Budget
    values: BudgetScope
    zone: tzinfo
    pot: Pot | None = None
    under: bool = False

    def bounds(self, tenant: str | None, account: str | None) -> bool:
        """Say whether calls of a tenant and account may pay from it; None: whoever's."""
        pairs = zip(self.values, (tenant, account), strict=False)
        return all(wanted is None or value in (None, EACH, wanted) for value, wanted in pairs)

    def left(self, now: Millis) -> Micros | None:
        """Return what is neither spent nor set aside; None for a rule, and where there is no end."""
        return None if self.pot is None else self.pot.room(now)

    @property
    def is_default(self) -> bool:
        """Whether nobody has set it."""
        return self.budget in DEFAULT_BUDGETS


def held(connection: sqlite3.Connection, app: App, house: House, now: Millis) -> tuple[Held, ...]:
    """Return the budgets in force, the widest scope first; below those for each all who spent of them, the ones with
    least left first.
    """
    policy = PolicyIndex(Snapshot(decks={}, budgets=list_budgets(connection)))
    ledger = stored_ledger(connection, house, policy, now, asterisks=tuple(app.settings.ami))
    pots: dict[Budget, list[Pot]] = {}
    for pot in ledger.treasury.pots():
        pots.setdefault(pot.budget, []).append(pot)
    lines: list[Held] = []
    for budget in sorted(ledger.treasury.budgets, key=_widest_first):
        lines += _lines(budget, pots.get(budget, []), house, now)
    return tuple(lines)


def _widest_first(budget: Budget) -> tuple[object, ...]:
    scope = budget.scope
    return sum(scope.shape), [value or "" for value in scope], budget.strict, list(Period).index(budget.period)


def _lines(budget: Budget, pots: list[Pot], house: House, now: Millis) -> Iterator[Held]:
    scope = budget.scope
    tenant = None if scope.tenant == EACH else scope.tenant
    zone = house.zone_of(tenant)
    if EACH in scope or budget.amount is None:
        yield Held(budget, scope, zone)
        # Who never called since it was set, or long ago, has spent nothing of it.
        paid = (pot for pot in pots if pot.spent(now) or pot.live)
        for pot in sorted(paid, key=lambda pot: (pot.room(now), [value or "" for value in pot.values])):
            yield Held(budget, pot.values, house.zone_of(pot.values.tenant), pot, under=True)
    else:
        pot = pots[0] if pots else Pot(budget, scope, zone)
        yield Held(budget, scope, zone, pot)


def table_rows(lines: Iterable[Held], now: Millis, *, most: int | None) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a table: of those under a rule at most so many, and then how many more there are."""
    shown = 0
    for line in lines:
        if not line.under:
            yield from _more(shown, most)
            shown = 0
            yield _row(line, now)
            continue
        shown += 1
        if most is None or shown <= most:
            yield _row(line, now)
    yield from _more(shown, most)


def _more(count: int, most: int | None) -> Iterator[tuple[object, ...]]:
    if most is not None and count > most:
        yield (f"  and {count - most} more: --all", *("" for _ in COLUMNS[1:]))


def _row(line: Held, now: Millis) -> tuple[object, ...]:
    budget, pot = line.budget, line.pot
    name = f"  {BudgetScope(*line.values)}" if line.under else str(budget)
    amount = "no end" if budget.amount is None else format_amount(budget.amount)
    notes = ("default" * line.is_default, "" if budget.domestic else "domestic calls not counted")
    note = "" if line.under else ", ".join(filter(None, notes))
    if pot is None:
        return (name, amount, "", "", "", "", "", note)
    resets = pot.resets_at(now)
    return (
        name,
        "" if line.under else amount,
        show_money(pot.spent(now)),
        show_money(pot.held),
        show_money(line.left(now)),
        pot.live,
        "" if resets is None else format_instant(resets, zone=line.zone),
        note,
    )


def document(line: Held, now: Millis, currency: str) -> dict[str, object]:
    """Return a line as JSON."""
    budget, pot = line.budget, line.pot
    resets = None if pot is None else pot.resets_at(now)
    return {
        "id": budget.id or None,
        **dict(zip(BudgetScope._fields, line.values, strict=True)),
        "period": budget.period.value,
        "rolling": budget.rolling,
        "strict": budget.strict,
        "domestic": budget.domestic,
        "default": line.is_default,
        "amount": show_money(budget.amount),
        "spent": None if pot is None else show_money(pot.spent(now)),
        "set_aside": None if pot is None else show_money(pot.held),
        "left": show_money(line.left(now)),
        "live_calls": None if pot is None else pot.live,
        "resets_at": None if resets is None else format_instant(resets),
        "currency": currency,
    }
