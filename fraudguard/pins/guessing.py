"""Wrong PINs counted across calls, channels and restarts, and who is locked out for them. Pure.

A try counts as failed from before anything is looked at until it is known to be right: a hundred at once are a hundred
failures. Each counts for its account, for its source address and for its tenant; a lock of one of them is enough. What
bounds an attacker who has any number of accounts and addresses is the tenant's count (`guesses_per_day`).

Why no more than `guesses_per_day` fit into any 24 hours: let m tries lie within less than 24 hours. When the one after
the k-th was begun, those k were counted, so for k above FREE it came at least `lock_after(k)` after the k-th. The sum
of these waits has to be less than 24 hours. Failures that grow old, are forgiven, or overlap change nothing in this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Final, TypeAlias

from fraudguard.clock import Millis
from fraudguard.policy.pin import Unlock


class Scope(StrEnum):
    """What failures are counted for, and locked."""

    ACCOUNT = "account"
    SOURCE = "source"
    TENANT = "tenant"


WINDOW: Final = 24 * 3_600_000
"""Milliseconds that a failure counts."""

FREE: Final[Mapping[Scope, int]] = MappingProxyType({Scope.ACCOUNT: 5, Scope.SOURCE: 20, Scope.TENANT: 50})
"""Failures within the window that lock nothing: people mistype. A wider scope has room for more than a narrower one can
fill in a day (an account 16, an address 31), so that one stolen account locks neither its office nor its tenant."""

FIRST_LOCK: Final = 60_000
"""Milliseconds of the lock after the first failure beyond. Each failure more doubles it."""

LONGEST_LOCK: Final = WINDOW
"""Milliseconds: by then every failure is too old to count."""

TOLD_AT: Final = 3
"""The failure of an account at which a person is told, before anything is locked."""

TARGET: Final = Fraction(1, 1000)
"""The chance of a hit in a day that a tenant's PINs have to stay below."""

WEAK: Final = Fraction(1, 100)
"""More than the share of PINs of six digits and more that are refused as weak. Who guesses leaves them out too."""

LEAST_FOR_TARGET: Final = 6
"""Digits of a PIN, however few of them there are."""

SET_BACK: Final = 600_000
"""Milliseconds. A failure that lies further ahead shows that the clock was set back, and counts from now: it could not
be unlocked before that time otherwise. Less may be a caller's time read a little earlier, and changes nothing."""

SWEPT_EVERY: Final = SET_BACK
"""Milliseconds after which old failures are forgotten. No longer than SET_BACK, so that no such step goes unseen."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something keyed that is not known to be right. `source` is an address without port, or ''."""

    at: Millis
    tenant: str
    account: str
    source: str


@dataclass(frozen=True, slots=True)
class Lock:
    """`failures` within the window, and that nothing is looked at until before `until` (0: not locked yet).

    As in an Unlock, what the scope does not name is ''.
    """

    scope: Scope
    tenant: str
    account: str
    source: str
    failures: int
    until: Millis


_Key: TypeAlias = tuple[Scope, str, str, str]


@dataclass(slots=True, eq=False)
class _Try:
    """A failure as it is counted. `at` is its own, or later; `wrong` is False while it may yet be forgiven."""

    failure: Failure
    at: Millis
    wrong: bool = False


class Guesses:
    """Who has failed within the last 24 hours. Not for several threads.

    The lists are short by themselves: a tenant's holds no more than `guesses_per_day` failures and what grew old since
    the last sweep. Tries that come while locked are not counted, do not prolong the lock, and take no memory.
    """

    def __init__(self) -> None:
        self._tries: dict[_Key, list[_Try]] = {}
        self._unlocked: frozenset[Unlock] = frozenset()
        self._swept: Millis = 0

    def begin(self, failure: Failure) -> bool:
        """Count a try as failed, before it is looked at. `failure.at` is now.

        False: the account, the source or the tenant is locked, and nothing may be looked at; nothing was counted. True:
        forgive it or confirm it, whatever happens; one left as it is counts, but nobody is told of it.

        Honest callers who are looked at together count together until they are forgiven. Begin when there is room to
        look, not before the queue for it, or the 52nd who waits is told of a lock that there is not.
        """
        self._sweep(failure.at)
        keys = _keys(failure)
        if any(failure.at < self._until(key, failure.at) for key in keys):
            return False
        counted = _Try(failure, failure.at)
        for key in keys:
            self._tries.setdefault(key, []).append(counted)
        return True

    def forgive(self, failure: Failure) -> None:
        """Take back one try: it was right. Those before it stay: being right once gives nobody new guesses."""
        counted = self._pending(failure)
        if counted is not None:
            for key in _keys(failure):
                self._keep(key, [one for one in self._tries.get(key, ()) if one is not counted])

    def confirm(self, failure: Failure) -> tuple[Lock, ...]:
        """Say that a try was wrong. Return what a person should know of: an account's third failure (`until` is 0), and
        each lock that this failure brought about.

        Only failures known to be wrong are told of, each once, in whatever order they become known.
        """
        counted = self._pending(failure)
        if counted is None:
            return ()  # unlocked meanwhile
        counted.wrong = True
        told = []
        for key in _keys(failure):
            tries = self._tries.get(key, [])
            wrong = [one.at for one in tries if one.wrong and one.at > counted.at - WINDOW]
            lock = lock_after(len(wrong), key[0])
            if counted in tries and lock:
                told.append(Lock(*key, len(wrong), max(wrong) + lock))
            elif counted in tries and key[0] is Scope.ACCOUNT and len(wrong) == TOLD_AT:
                told.append(Lock(*key, len(wrong), 0))
        return tuple(told)

    def restore(self, failures: Iterable[Failure], unlocks: Iterable[Unlock]) -> None:
        """Take what was stored, after a restart, in the place of everything known. What was being looked at then was
        never found right: it stays a failure.
        """
        self._tries = {}
        for failure in failures:
            counted = _Try(failure, failure.at, wrong=True)
            for key in _keys(failure):
                self._tries.setdefault(key, []).append(counted)
        self._unlocked = frozenset()
        self.unlock(unlocks)

    def unlock(self, unlocks: Iterable[Unlock]) -> None:
        """Take all unlocks of late. Each takes effect once, so that it may be given again: failures up to its `at` no
        longer count for what it names.

        An account that is unlocked has not given its tenant new guesses, nor its address.
        """
        unlocks = frozenset(unlocks)
        for one in unlocks - self._unlocked:
            for key in [key for key in self._tries if _covers(one, key)]:
                self._keep(key, [counted for counted in self._tries[key] if counted.at > one.at])
        self._unlocked = unlocks

    def locks(self, now: Millis) -> tuple[Lock, ...]:
        """Return what is locked now, narrow scopes first."""
        self._sweep(now)
        locked = [
            Lock(*key, len(_recent(tries, now)), until)
            for key, tries in self._tries.items()
            if now < (until := self._until(key, now))
        ]
        return tuple(sorted(locked, key=lambda lock: (tuple(Scope).index(lock.scope), lock.tenant, lock.until)))

    def _until(self, key: _Key, now: Millis) -> Millis:
        """Return the first moment at which `key` is not locked; 0 where it is not."""
        recent = _recent(self._tries.get(key, ()), now)
        lock = lock_after(len(recent), key[0])
        return max(recent) + lock if lock else 0

    def _pending(self, failure: Failure) -> _Try | None:
        """Find a try that is neither confirmed nor forgiven. Of equal ones any will do: the same befalls them all."""
        for key in _keys(failure):
            for counted in self._tries.get(key, ()):
                if counted.failure == failure and not counted.wrong:
                    return counted
        return None

    def _sweep(self, now: Millis) -> None:
        """Forget what is too old, now and then, and see to it that nothing lies far ahead when the clock is set back.

        What happened before a clock was set back has a later time than it should, never an earlier one, and this keeps
        it so: such a step gives nobody a guess.
        """
        if 0 <= now - self._swept < SWEPT_EVERY:
            return
        self._swept = now
        for key, tries in list(self._tries.items()):
            for counted in tries:
                if counted.at > now + SET_BACK:
                    counted.at = now
            self._keep(key, [counted for counted in tries if counted.at > now - WINDOW])

    def _keep(self, key: _Key, tries: list[_Try]) -> None:
        if tries:
            self._tries[key] = tries
        else:
            self._tries.pop(key, None)


def lock_after(failures: int, scope: Scope) -> Millis:
    """Return for how long so many failures within the window lock a scope, from the last of them on. 0: not at all."""
    beyond = failures - FREE[scope]
    if beyond <= 0:
        return 0
    return min(FIRST_LOCK << min(beyond - 1, LONGEST_LOCK.bit_length()), LONGEST_LOCK)


def guesses_per_day(scope: Scope = Scope.TENANT) -> int:
    """Return the most failures that a scope admits within any 24 hours: those that are free and one more at once, then
    one at the end of each lock while the locks together are shorter than the window.
    """
    failures, waited = FREE[scope] + 1, 0
    while (waited := waited + lock_after(failures, scope)) < WINDOW:
        failures += 1
    return failures


GUESSES_PER_DAY: Final = guesses_per_day()
"""Guesses at a tenant's PINs within any 24 hours, from any number of accounts, addresses and channels at once."""


def chance(pins: int, digits: int) -> Fraction:
    """Return the chance that somebody who guesses for a day hits one of so many PINs of so many digits, at the most.

    The PINs are taken to be random. It is the sum of the chances of each guess: guesses need not be different for it.
    An authenticator counts as three PINs of six digits: as many codes of it are good at once. A guess has one length:
    with PINs of several lengths the chance is the highest of theirs, not the sum.
    """
    return min(Fraction(GUESSES_PER_DAY * pins, 10**digits), Fraction(1))


def digits_for(pins: int) -> int:
    """Return the least digits, 6 or more, with which so many PINs of a tenant keep the chance below 1 in 1,000 a day,
    also for an attacker who leaves out what is refused as weak.
    """
    digits = LEAST_FOR_TARGET
    while chance(pins, digits) >= TARGET * (1 - WEAK):
        digits += 1
    return digits


def _keys(failure: Failure) -> tuple[_Key, ...]:
    """Name what a failure counts for. Those without an account share one; without an address none is to blame."""
    account: _Key = (Scope.ACCOUNT, failure.tenant, failure.account, "")
    tenant: _Key = (Scope.TENANT, failure.tenant, "", "")
    if not failure.source:
        return account, tenant
    return account, (Scope.SOURCE, "", "", failure.source), tenant


def _covers(unlock: Unlock, key: _Key) -> bool:
    """Say whether an unlock names a scope: a tenant's names all of its accounts too."""
    scope, tenant, account, source = key
    if scope is Scope.SOURCE:
        return unlock.source == source
    if unlock.account:
        return scope is Scope.ACCOUNT and (unlock.tenant, unlock.account) == (tenant, account)
    return bool(unlock.tenant) and unlock.tenant == tenant


def _recent(tries: Iterable[_Try], now: Millis) -> list[Millis]:
    """Return when those were that count now. What lies ahead counts: the clock went back."""
    return [counted.at for counted in tries if counted.at > now - WINDOW]
