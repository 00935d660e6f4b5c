"""The money of one budget: what was spent within its period, and what is set aside for calls that may yet spend it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Final, TypeAlias

from fraudguard.clock import DAY_MILLIS, HOUR_MILLIS, Millis, day_began
from fraudguard.money import Micros
from fraudguard.policy.budget import Budget, BudgetIndex, BudgetScope, Payer, Period

BUCKET_MILLIS: Final = 300_000
"""Spent money is kept by 5 minutes: a rolling hour lasts for up to 65, and never for less than 60. Hours, days and
months of every time zone begin with one."""

ROLLING_MILLIS: Final = {Period.HOUR: HOUR_MILLIS, Period.DAY: DAY_MILLIS, Period.MONTH: 31 * DAY_MILLIS}
"""How far back a rolling budget looks."""

PAYERS: Final = 50_000
"""Payers whose pots are remembered: accounts, by trunk and region. Some 20 MB."""

Spent: TypeAlias = tuple[Millis, Payer, Micros]
"""The end of 5 minutes, who paid, and how much."""

LEVELS: Final = (50, 80, 100)
"""Percent of a budget at which somebody is told."""


def bucket_of(at: Millis) -> Millis:
    """Return the end of the 5 minutes in which money was spent by `at`; at their very end they are still those."""
    return -(-at // BUCKET_MILLIS) * BUCKET_MILLIS


def period_of(period: Period, at: Millis, zone: tzinfo) -> tuple[Millis, Millis]:
    """Return begin and end of the hour, day or month of a zone in which an instant lies."""
    if period is Period.HOUR:
        local = datetime.fromtimestamp(at / 1000, tz=zone)
        since = at - ((local.minute * 60 + local.second) * 1000 + at % 1000)
        return since, since + HOUR_MILLIS
    since = day_began(at, zone)
    if period is Period.DAY:
        return since, _day_after(since, zone, 1)
    first = datetime.fromtimestamp(since / 1000, tz=zone).replace(day=1, fold=0)
    since = day_began(int(first.timestamp() * 1000), zone)
    return since, _first_of_next_month(since, zone)


def _day_after(since: Millis, zone: tzinfo, days: int) -> Millis:
    local = datetime.fromtimestamp(since / 1000, tz=zone).replace(hour=12, fold=0) + timedelta(days=days)
    return day_began(int(local.timestamp() * 1000), zone)


def _first_of_next_month(since: Millis, zone: tzinfo) -> Millis:
    after = _day_after(since, zone, 31)
    return day_began(int(datetime.fromtimestamp(after / 1000, tz=zone).replace(day=1).timestamp() * 1000), zone)


class Pot:
    """What was spent of one budget by those whom `values` name, and what is set aside. `name` is what they know it by.

    `held` is set aside, `live` counts the calls and verdicts that it is for, `least` is what the shortest call costs
    where the latest went. `told` is the highest of LEVELS that somebody was told of in this period.
    """

    __slots__ = (
        "_buckets",
        "_spent",
        "_told",
        "_told_since",
        "_until",
        "_zone",
        "budget",
        "held",
        "least",
        "live",
        "name",
        "since",
        "values",
    )

    def __init__(self, budget: Budget, values: BudgetScope, zone: tzinfo) -> None:
        self.budget = budget
        self.values = values
        self.name = str(replace(budget, scope=values))
        self.held: Micros = 0
        self.live = 0
        self.least: Micros = 0
        self._told = 0
        self._told_since: Millis = 0  # the begin of the period in which that was
        self.since: Millis = 0
        self._until: Millis = 0
        self._zone = zone
        self._spent: Micros = 0
        self._buckets: deque[list[int]] = deque()  # [end, amount], oldest first

    def add(self, until: Millis, amount: Micros) -> None:
        """Count what was spent in the 5 minutes that end at `until`; less than nothing takes some back. What is older
        than the period that runs is nobody's concern any more.
        """
        if until <= self.since:
            return
        self._spent += amount
        buckets = self._buckets
        place = len(buckets)
        while place and buckets[place - 1][0] > until:  # an end that was heard of late
            place -= 1
        if place and buckets[place - 1][0] == until:
            buckets[place - 1][1] += amount
        else:
            buckets.insert(place, [until, amount])

    def spent(self, now: Millis) -> Micros:
        """Return what was spent within the period that `now` lies in."""
        if self.budget.rolling:
            self.since = now - ROLLING_MILLIS[self.budget.period]
        elif now >= self._until:  # never back: what was spent before is forgotten
            self.since, self._until = period_of(self.budget.period, now, self._zone)
        buckets = self._buckets
        while buckets and buckets[0][0] <= self.since:
            self._spent -= buckets.popleft()[1]
        return self._spent

    @property
    def told(self) -> int:
        return self._told if self.budget.rolling or self._told_since == self.since else 0

    @told.setter
    def told(self, level: int) -> None:
        self._told, self._told_since = level, self.since

    def take_over(self, before: Pot) -> None:
        """Take for told what was told of the same money before."""
        self._told, self._told_since, self.least = before._told, before._told_since, before.least

    def room(self, now: Millis) -> Micros:
        """Return what is neither spent nor set aside; below nothing after the budget was lowered."""
        assert self.budget.amount is not None  # a budget without end has no pot
        return self.budget.amount - self.spent(now) - self.held

    def resets_at(self, now: Millis) -> Millis | None:
        """Return when there is more: the end of the period, or when the oldest spending is no longer counted. None
        where nothing is spent of a rolling one.
        """
        self.spent(now)
        if not self.budget.rolling:
            return self._until
        return self._buckets[0][0] + ROLLING_MILLIS[self.budget.period] if self._buckets else None


class Pots:
    """The pots of a set of budgets, and which of them a payer pays from.

    `zones` is the time by which a tenant's periods begin (of None: those of all), `strict` says whether a tenant's
    strict profile holds at an instant. What was spent in periods that are over by `now` is not kept.
    """

    def __init__(
        self,
        budgets: Iterable[Budget],
        zones: Callable[[str | None], tzinfo],
        strict: Callable[[str, Millis], bool],
        now: Millis = 0,
    ) -> None:
        self._index = BudgetIndex(budgets)
        self._now = now
        self._zones = zones
        self._strict = strict
        self._pots: dict[tuple[Budget, BudgetScope], Pot] = {}
        self._of_payer: dict[tuple[Payer, bool], tuple[Pot, ...]] = {}  # found once, because finding takes a while

    @property
    def budgets(self) -> tuple[Budget, ...]:
        return self._index.budgets

    def __iter__(self) -> Iterator[Pot]:
        return iter(self._pots.values())

    def of(self, payer: Payer, *, strict: bool) -> tuple[Pot, ...]:
        """Return the pots that a payer pays from, while the strict profile holds or not."""
        key = (payer, strict)
        pots = self._of_payer.get(key)
        if pots is None:
            if len(self._of_payer) >= PAYERS:
                self._of_payer.clear()
            found = self._index.applying(payer, strict=strict)
            pots = self._of_payer[key] = tuple(self._pots.get(one) or self._new(one) for one in found)
        return pots

    def at(self, payer: Payer, until: Millis) -> tuple[Pot, ...]:
        """Return the pots that a payer paid from in the 5 minutes that end at `until`."""
        return self.of(payer, strict=self._strict(payer.tenant, until - 1))

    def add(self, spent: Iterable[Spent]) -> None:
        """Count what was spent."""
        for until, payer, amount in spent:
            for pot in self.at(payer, until):
                pot.add(until, amount)

    def take_over(self, before: Pots) -> None:
        """Take for told what was told of the same pots before."""
        for key, pot in self._pots.items():
            if key in before._pots:
                pot.take_over(before._pots[key])

    def _new(self, key: tuple[Budget, BudgetScope]) -> Pot:
        budget, values = key
        pot = self._pots[key] = Pot(budget, values, self._zones(values[0]))
        pot.spent(self._now)
        return pot
