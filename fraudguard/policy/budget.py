"""Budgets: how much money may be spent, by whom, in what time. Which of them a call has to pay from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, NamedTuple

from fraudguard.clock import DAY_MILLIS, HOUR_MILLIS, Millis
from fraudguard.money import Micros

EACH: Final = "*"
"""In a budget's scope: one of its own for each of them. No tenant, trunk or person is called so."""

NO_REGION: Final = "001"
"""The region of numbers that belong to none (satellites), as libphonenumber writes it."""


class Period(StrEnum):
    """How long the money has to last."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Payer(NamedTuple):
    """Who spends on a call, by which trunk and where to: all that a budget may ask of it.

    A named tuple because many are made. `pin` is the person whose PIN it goes by, '' for none; `region` is where to,
    NO_REGION for none. `domestic` calls count only in budgets that say so.
    """

    tenant: str
    account: str
    pin: str
    trunk: str
    region: str
    domestic: bool


class BudgetScope(NamedTuple):
    """Whose spending a budget bounds. None: whoever it is; EACH: each has one; else only that one.

    An account and a person belong to a tenant: with either of them `tenant` is a name or EACH.
    """

    tenant: str | None = None
    account: str | None = None
    pin: str | None = None
    trunk: str | None = None
    region: str | None = None

    @property
    def shape(self) -> tuple[bool, ...]:
        """Say what is looked at. Of budgets of one shape only the one that names a call most closely holds for it."""
        return tuple(value is not None for value in self)

    def __str__(self) -> str:
        if not any(self.shape):
            return "global"
        words = {"account": self.account, "person": self.pin, "trunk": self.trunk, "region": self.region}
        parts = [_named(word, value) for word, value in words.items() if value is not None]
        if self.tenant not in (None, EACH):
            parts.append(f"of tenant {self.tenant}" if parts else f"tenant {self.tenant}")
        elif self.tenant == EACH and self.account is None and self.pin is None:
            parts.append("of each tenant" if parts else "each tenant")
        return " ".join(parts)


def _named(word: str, value: str) -> str:
    return f"each {word}" if value == EACH else f"{word} {value}"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent in a period. `amount` is micro-units, None for no end.

    The period is one of the calendar in the tenant's zone, or with `rolling` the last 60 minutes, 24 hours or 31 days.
    `domestic` says whether domestic calls count. A `strict` budget counts, and holds, only while the tenant's strict
    profile does. `of_pin` is what a PIN's own terms say. `id` is 0 unless an operator set it.
    """

    scope: BudgetScope
    period: Period
    amount: Micros | None
    rolling: bool = False
    domestic: bool = True
    strict: bool = False
    of_pin: bool = False
    id: int = 0
    author: str = ""
    created: Millis = 0

    def __str__(self) -> str:
        rolling, strict = "rolling " * self.rolling, ", at strict times" * self.strict
        return f"{self.scope}, per {rolling}{self.period}{strict}"


DEFAULT_BUDGETS: Final = (
    Budget(BudgetScope(EACH, EACH), Period.DAY, 20_000_000, domestic=False),
    Budget(BudgetScope(EACH), Period.DAY, 100_000_000, domestic=False),
    Budget(BudgetScope(EACH, EACH), Period.DAY, 5_000_000, domestic=False, strict=True),
    Budget(BudgetScope(EACH), Period.DAY, 25_000_000, domestic=False, strict=True),
)
"""What holds until an operator sets another of the same scope, period and strictness. No small office notices."""


def reach(budgets: Iterable[Budget]) -> Millis:
    """Return how far back any of these budgets may have to look: a calendar's hour, day or month, or a rolling one."""
    longest = {Period.HOUR: 2 * HOUR_MILLIS, Period.DAY: 26 * HOUR_MILLIS, Period.MONTH: 32 * DAY_MILLIS}
    return max((longest[budget.period] for budget in budgets if budget.amount is not None), default=0)


def in_force(budgets: Iterable[Budget]) -> tuple[Budget, ...]:
    """Return these budgets, and the default ones that none of them replaces."""
    budgets = tuple(budgets)
    replaced = {(one.scope, one.period, one.strict) for one in budgets if not one.of_pin}
    kept = tuple(one for one in DEFAULT_BUDGETS if (one.scope, one.period, one.strict) not in replaced)
    return kept + budgets


class BudgetIndex:
    """Finds the budgets that a call has to pay from. Built once per set of budgets, never changed."""

    __slots__ = ("_groups", "budgets")

    def __init__(self, budgets: Iterable[Budget]) -> None:
        self.budgets = tuple(budgets)
        groups: dict[tuple[object, ...], _Group] = {}
        for budget in self.budgets:
            key = (budget.scope.shape, budget.period, budget.strict, budget.of_pin)
            groups.setdefault(key, _Group(budget.scope.shape, strict=budget.strict)).add(budget)
        self._groups = tuple(groups.values())

    def applying(self, payer: Payer, *, strict: bool) -> Iterator[tuple[Budget, BudgetScope]]:
        """Return each budget that bounds such a call, and whose money of it that is: its scope without any EACH."""
        for group in self._groups:
            if group.strict and not strict:
                continue
            found = group.find(payer)
            if found is not None:
                budget, _ = found
                if budget.amount is not None and (budget.domestic or not payer.domestic):
                    yield found


class _Group:
    """The budgets of one shape, period and strictness: of them one holds for a call."""

    __slots__ = ("_budgets", "_patterns", "_shape", "strict")

    def __init__(self, shape: tuple[bool, ...], *, strict: bool) -> None:
        self._shape = shape
        self.strict = strict
        self._budgets: dict[tuple[str | None, ...], Budget] = {}
        self._patterns: list[tuple[bool, ...]] = []  # which values are named, closest first

    def add(self, budget: Budget) -> None:
        self._budgets[tuple(budget.scope)] = budget
        named = {tuple(value not in (None, EACH) for value in scope) for scope in self._budgets}
        every = product(*((True, False) if used else (False,) for used in self._shape))
        self._patterns = [pattern for pattern in every if pattern in named]

    def find(self, payer: Payer) -> tuple[Budget, BudgetScope] | None:
        """Return the budget that names the call most closely, and whose money it is kept as."""
        whose = BudgetScope(*(value if used else None for value, used in zip(payer[:5], self._shape, strict=True)))
        if whose.pin == "":  # by no PIN: no person's money
            return None
        for pattern in self._patterns:
            scope = tuple(
                None if value is None else value if is_named else EACH
                for value, is_named in zip(whose, pattern, strict=True)
            )
            budget = self._budgets.get(scope)
            if budget is not None:
                return budget, whose
        return None
