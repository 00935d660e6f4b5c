"""The tempo: attempts within sliding windows, countries never called before, and calls at once. Pure.

Only attempts that passed count: those that were not refused for being too fast or too many. So whoever keeps trying is
let through again and again, but never faster than the limit, and cannot lock out others by trying.

Exactly: an attempt is too fast when, with N attempts allowed within W, the N-th latest that passed is less than W ago.
So in any W, its first instant counted and its last not, at most N pass. Domestic attempts are neither counted nor held
up. Calls at once are places: one is taken with an allowing verdict and given back when no call by it can be up.

The number and the window are those of the tenant that asks; a source address is counted in all tenants together, but
for those that set no limit on it. Memory has an end whatever is sent (see KEYS).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from sys import intern
from typing import Final, NamedTuple, TypeAlias

from fraudguard.clock import DAY_MILLIS, Millis
from fraudguard.numbering.number import BadNumber, Kind
from fraudguard.policy.budget import NO_REGION, Payer
from fraudguard.policy.index import host_of
from fraudguard.policy.records import Facts
from fraudguard.policy.speed import SpeedLimits

KEYS: Final = 20_000
"""Accounts, sources, numbers... that each rule remembers; beyond, what passed longest ago is forgotten. Callers choose
numbers, and somebody with a botnet addresses. Each of them has to pass, though, so that what is forgotten is an
hour old at 5 attempts a second. Some 10 MB a rule with 10 instants each."""

ACCOUNTS: Final = 100_000
"""Accounts whose regions are remembered; one that is forgotten has called none. Nobody invents accounts, and most
call few countries. Some 70 MB if there are so many."""

SET_BACK: Final = 10_000
"""Milliseconds. Within them times may come out of order, and the later one holds. A clock that is further behind was
set back: time goes on from where it was."""

Account: TypeAlias = tuple[str, str]
"""Tenant and account; '' for attempts of a tenant that come without one, which count together."""


class Caller(NamedTuple):
    """Who attempts what, as far as speed is concerned.

    `source` is an address without port, '' where it is not known: that is no source, and has no limit. `number` is as
    the trunk is given it, `region` NO_REGION for none. `domestic` ones have no limit but on calls in total. `strict`:
    the tenant's strict profile holds.
    """

    tenant: str
    account: str
    source: str
    region: str
    number: str
    domestic: bool
    strict: bool


class Called(NamedTuple):
    """What an account has to do with a region: with `called` when it first called there, by a verdict that allowed it;
    without, when an attempt that passed was last refused for another reason.
    """

    tenant: str
    account: str
    region: str
    at: Millis
    called: bool


def caller_of(facts: Facts) -> Caller:
    """Return who makes an attempt. Emergency calls count as domestic here, because they have no limit either."""
    attempt, number = facts.attempt, facts.number
    source = host_of(attempt.source) if attempt.source else ""
    if isinstance(number, BadNumber):
        return Caller(attempt.tenant, attempt.account, source, NO_REGION, "", domestic=False, strict=facts.strict)
    return Caller(
        attempt.tenant,
        attempt.account,
        source,
        number.region or NO_REGION,
        number.dialable,
        domestic=number.kind is Kind.EMERGENCY or facts.payer.domestic,
        strict=facts.strict,
    )


class Tempo:
    """Who attempts how much. `limits_of` (tenant, strict) says what is too much. Not for several threads."""

    def __init__(self, limits_of: Callable[[str, bool], SpeedLimits]) -> None:
        self._limits_of = limits_of
        self._of_number = _Windows(lambda caller: f"{_whose(caller)} to {caller.number}")
        self._of_account = _Windows(_whose)
        self._of_source = _Windows(lambda caller: f"source {caller.source}")
        self._of_region = _Windows(lambda caller: f"tenant {caller.tenant} to region {caller.region}")
        self._of_tenant = _Windows(lambda caller: f"tenant {caller.tenant}")
        self._called: OrderedDict[Account, _Regions] = OrderedDict()
        self._places: dict[Hashable, Payer] = {}
        self._calls: dict[tuple[str, ...], int] = {}  # of a tenant, and of an account, that are not domestic
        self._total: dict[tuple[str, ...], int] = {}
        self._latest: Millis = 0
        self._set_back: Millis = 0

    # -- attempts

    def too_fast(self, caller: Caller, now: Millis) -> str:
        """Say what one more attempt would exceed, in words; '' if nothing."""
        if caller.domestic:
            return ""
        now = self._time(now)
        limits = self._limits_of(caller.tenant, caller.strict)
        for windows, key, number, seconds in self._counted(caller, limits):
            if number and windows.full(key, number, seconds * 1000, now):
                return f"{_attempts(number)} of {windows.whose(caller)} within {seconds} s"
        called = self._called.get((caller.tenant, caller.account))
        if limits.new_regions and called is not None and called.full(caller.region, limits.new_regions, now):
            regions = "1 region" if limits.new_regions == 1 else f"{limits.new_regions} regions"
            return f"{regions} within 24 h that {_whose(caller)} never called before"
        return ""

    def passed(self, caller: Caller, now: Millis, *, allowed: bool) -> None:
        """Note an attempt that was neither too fast nor too many, and whether it was allowed in the end."""
        if caller.domestic:
            return
        now = self._time(now)
        limits = self._limits_of(caller.tenant, caller.strict)
        for windows, key, number, seconds in self._counted(caller, limits):
            if number:
                windows.note(key, number, seconds * 1000, now)
        if limits.new_regions:
            self._regions_of((caller.tenant, caller.account)).note(caller.region, now, called=allowed)

    def _counted(self, caller: Caller, limits: SpeedLimits) -> tuple[tuple[_Windows, Hashable, int, int], ...]:
        """Return where an attempt counts, by what key, and how many may in how many seconds; the narrowest first."""
        tenant, account, source, region, number, _, _ = caller
        seconds = limits.window_seconds
        return (
            (self._of_number, (tenant, account, number), limits.same_number, limits.same_number_seconds),
            (self._of_account, (tenant, account), limits.account_attempts, seconds),
            (self._of_source, source, limits.source_attempts if source else 0, seconds),
            (self._of_region, (tenant, region), limits.region_attempts, seconds),
            (self._of_tenant, tenant, limits.tenant_attempts, seconds),
        )

    # -- calls at once

    def too_many(self, caller: Caller) -> str:
        """Say what one more call would exceed, in words; '' if nothing."""
        limits = self._limits_of(caller.tenant, caller.strict)
        tenant, account = (caller.tenant,), (caller.tenant, caller.account)
        if not caller.domestic:
            if 0 < limits.account_calls <= self._calls.get(account, 0):
                return f"{_calls(limits.account_calls)} of {_whose(caller)} that are not domestic at once"
            if 0 < limits.tenant_calls <= self._calls.get(tenant, 0):
                return f"{_calls(limits.tenant_calls)} of tenant {caller.tenant} that are not domestic at once"
        if 0 < limits.account_calls_total <= self._total.get(account, 0):
            return f"{_calls(limits.account_calls_total)} of {_whose(caller)} at once"
        if 0 < limits.tenant_calls_total <= self._total.get(tenant, 0):
            return f"{_calls(limits.tenant_calls_total)} of tenant {caller.tenant} at once"
        return ""

    def enter(self, key: Hashable, payer: Payer) -> None:
        """Take a place for a call that was allowed and may ring or be up. Once is enough."""
        if key not in self._places:
            self._places[key] = payer
            self._count(payer, 1)

    def leave(self, key: Hashable) -> None:
        """Give a call's place back, if it has one."""
        payer = self._places.pop(key, None)
        if payer is not None:
            self._count(payer, -1)

    def _count(self, payer: Payer, more: int) -> None:
        for counts in (self._total,) if payer.domestic else (self._total, self._calls):
            for whose in ((payer.tenant,), (payer.tenant, payer.account)):
                count = counts.get(whose, 0) + more
                if count:
                    counts[whose] = count
                else:
                    del counts[whose]

    # -- keeping

    def restore(self, passed: Iterable[tuple[Caller, Millis, bool]], called: Iterable[Called]) -> None:
        """Take over what is known from before: attempts that passed, as they came, with whether they were allowed; and
        regions, of each account those that it called before the others. Places are entered anew by who knows the calls.
        """
        latest = 0
        for tenant, account, region, at, allowed in called:
            if self._limits_of(tenant, False).new_regions:
                self._regions_of((tenant, account)).note(region, at, called=allowed)
                latest = max(latest, at)
        for caller, at, allowed in passed:
            self.passed(caller, at, allowed=allowed)
        self._latest = max(self._latest, latest)  # only now: attempts came before it

    def forget(self, now: Millis) -> None:
        """Drop attempts that are too old to count. What was called before is kept."""
        now = self._time(now)
        for windows in self._windows:
            windows.forget(now)

    @property
    def remembered(self) -> int:
        """How many keys are in memory, of all rules together."""
        return sum(len(windows) for windows in self._windows) + len(self._called) + len(self._calls) + len(self._total)

    @property
    def _windows(self) -> tuple[_Windows, ...]:
        return (self._of_number, self._of_account, self._of_source, self._of_region, self._of_tenant)

    def _regions_of(self, account: Account) -> _Regions:
        regions = self._called.get(account)
        if regions is None:
            if len(self._called) >= ACCOUNTS:
                self._called.popitem(last=False)
            regions = self._called[account] = _Regions()
        else:
            self._called.move_to_end(account)
        return regions

    def _time(self, now: Millis) -> Millis:
        """Return the instant on a clock that is never set back."""
        at = now + self._set_back
        if at < self._latest - SET_BACK:
            self._set_back = self._latest - now
        if at < self._latest:
            return self._latest
        self._latest = at
        return at


class _Windows:
    """Instants by key, the latest `_most` of each; the key that is longest without one comes first.

    `whose` says in words what an attempt counts for.
    """

    __slots__ = ("_longest", "_most", "_of", "whose")

    def __init__(self, whose: Callable[[Caller], str]) -> None:
        self.whose = whose
        self._of: OrderedDict[Hashable, list[Millis]] = OrderedDict()
        # Of all who ever noted one. For what only one tenant notes they are its own, for sources the widest of several.
        self._most = 0
        self._longest: Millis = 0

    def __len__(self) -> int:
        return len(self._of)

    def full(self, key: Hashable, number: int, window: Millis, now: Millis) -> bool:
        """Say whether so many lie within the window already."""
        instants = self._of.get(key)
        return instants is not None and len(instants) >= number and now - instants[-number] < window

    def note(self, key: Hashable, number: int, window: Millis, now: Millis) -> None:
        self._most = max(self._most, number)
        self._longest = max(self._longest, window)
        instants = self._of.get(key)
        if instants is None:
            if len(self._of) >= KEYS:
                self._of.popitem(last=False)
            self._of[key] = [now]
            return
        self._of.move_to_end(key)
        instants.append(now)
        if len(instants) > self._most:
            del instants[0]

    def forget(self, now: Millis) -> None:
        while self._of and now - next(iter(self._of.values()))[-1] >= self._longest:
            self._of.popitem(last=False)


@dataclass(slots=True, eq=False)
class _Regions:
    """Regions that an account has called, and when it last attempted one that it never had."""

    called: set[str] = field(default_factory=set)
    new: dict[str, Millis] = field(default_factory=dict)

    def full(self, region: str, number: int, now: Millis) -> bool:
        """Say whether a region would be one new region too many."""
        if region in self.called:
            return False
        new = [other for other, at in self.new.items() if now - at < DAY_MILLIS]
        return len(new) >= number and region not in new

    def note(self, region: str, now: Millis, *, called: bool) -> None:
        if region in self.called:
            return
        region = intern(region)
        self.new = {other: at for other, at in self.new.items() if now - at < DAY_MILLIS}
        self.new[region] = now
        if called:
            self.called.add(region)


def _whose(caller: Caller) -> str:
    if not caller.account:
        return f"tenant {caller.tenant} without an account"
    return f"account {caller.account} of tenant {caller.tenant}"


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"


def _calls(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"
