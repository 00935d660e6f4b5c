"""The leases of calls that are up: when each is to be renewed, for how much longer, and what Asterisk was told."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import Final

from fraudguard.clock import Millis
from fraudguard.ledger.records import Call, Key, State
from fraudguard.ledger.treasury import Treasury
from fraudguard.policy.lease import LeaseTerms, next_lease
from fraudguard.rating.rate import SLACK_SECONDS

AHEAD_SECONDS: Final = (5, 60)
"""A lease is renewed when a quarter of it is left, but at least and at most so many seconds before its end: storing it
and telling Asterisk takes a fraction of a second, and trying again a few."""

AGAIN_MILLIS: Final = 1_000
"""When a renewal that there was no money for is tried again: other calls end, and return what they did not use."""

UNLINKED: Final = "link"
LONGEST: Final = "call_seconds"
OF_PIN: Final = "pin"
"""Why a lease was not renewed, where it was not for want of money in a budget, which is then named: nobody could tell
Asterisk, the call has lived for as long as any may, or its PIN's money of the day is spent."""


@dataclass(slots=True)
class _Lease:
    told: int  # how long Asterisk lets it live at most, in seconds from its answer
    stored: int  # as it was last stored
    wanted: int | None = None  # a shorter one that Asterisk is to be told of
    due: Millis = 0  # when it is to be renewed
    warned: bool = False  # that it is not renewed
    overstayed: bool = False  # its lease, by more than Asterisk is ever late
    refused: str = ""  # why it was not when that was last tried


@dataclass(slots=True)
class Renewals:
    """What came of looking at the leases that end soon: calls with their new one, of which Asterisk may be told when
    they are stored; calls that Asterisk should have ended by itself, but was not given a lease by its dialplan; calls
    that are about to be cut; and calls of which it did not confirm a shorter lease.
    """

    renewed: list[Call] = field(default_factory=list)
    overstayed: list[Call] = field(default_factory=list)
    to_warn: list[Call] = field(default_factory=list)
    untold: list[Call] = field(default_factory=list)


class Leases:
    """Knows the lease of every answered call that a verdict allowed. `call_of` returns a call as it now is.

    `bounded` says whether budgets bound a lease: not where that rule only simulates. What a PIN has left always does.
    """

    def __init__(
        self, terms: LeaseTerms, treasury: Treasury, call_of: Callable[[Key], Call | None], *, bounded: bool = True
    ) -> None:
        self._terms = terms
        self._treasury = treasury
        self._call_of = call_of
        self._bounded = bounded
        self._leases: dict[Key, _Lease] = {}
        self._due: list[tuple[Millis, Key]] = []  # a heap; of what has ended, entries stay until their time

    def begin(self, key: Key, call: Call) -> None:
        """Look after a call that was answered, and was allowed by a verdict that gave it a lease."""
        if call.lease_seconds is not None and call.call and key not in self._leases:
            lease = self._leases[key] = _Lease(call.lease_seconds, call.lease_seconds)
            self._plan(key, call, lease)

    def end(self, key: Key) -> str:
        """Forget a call that has ended; return why it was not renewed, '' where it was, or did not have to be."""
        lease = self._leases.pop(key, None)
        return "" if lease is None else lease.refused

    def renew(self, now: Millis, linked: Container[str], *, strict: Callable[[str, Millis], bool]) -> Renewals:
        """Renew what has to be renewed by now, on Asterisks that are linked. The money for it is set aside."""
        found = Renewals()
        fresh: dict[Key, Call] = {}  # one whose longer lease ends soon too is renewed again
        while self._due and self._due[0][0] <= now:
            at, key = heapq.heappop(self._due)
            lease, call = self._leases.get(key), fresh.get(key) or self._call_of(key)
            if lease is None or lease.due != at or call is None or call.state is not State.UP:
                continue
            renewed = None
            if key[0] not in linked:
                lease.refused = UNLINKED
            elif lease.wanted is not None:
                found.untold.append(call)
            else:
                renewed = self._renewed(call, now, lease, strict=strict(call.tenant, now))
            if renewed is not None:
                self._treasury.follow(renewed, now)
                self._plan(key, renewed, lease)
                fresh[key] = renewed
                continue
            self._at(now + AGAIN_MILLIS, key, lease)
            self._look_at_the_end(call, now, lease, found)
        found.renewed += fresh.values()
        return found

    def _renewed(self, call: Call, now: Millis, lease: _Lease, *, strict: bool) -> Call | None:
        assert call.lease_seconds is not None
        room = self._treasury.room(call.payer, now, strict=strict)
        least = room.least if self._bounded else room.pin
        seconds = next_lease(self._terms, call.rate, least, call.lease_seconds)
        if seconds <= call.lease_seconds:
            of_pin = room.pin is not None and room.pin == least
            lease.refused = LONGEST if call.lease_seconds >= self._terms.call else OF_PIN if of_pin else room.budget
            return None
        lease.refused, lease.warned, lease.overstayed = "", False, False
        return replace(call, lease_seconds=seconds)

    def _look_at_the_end(self, call: Call, now: Millis, lease: _Lease, found: Renewals) -> None:
        assert call.lease_seconds is not None
        left = call.lease_seconds - call.seconds_at(now)
        if not lease.warned and self._terms.warning and left <= self._terms.warning:
            lease.warned = True
            found.to_warn.append(call)
        if not lease.overstayed and left < -SLACK_SECONDS:
            lease.overstayed = True
            found.overstayed.append(call)

    def wants_order(self, key: Key, call: Call) -> bool:
        """Say whether Asterisk is to be told of the lease that a call was stored with."""
        lease = self._leases.get(key)
        return lease is not None and call.lease_seconds is not None and call.lease_seconds > lease.told

    def stored(self, key: Key, call: Call) -> bool:
        """Note the lease that a call was stored with; say whether Asterisk is to be told of it."""
        lease = self._leases.get(key)
        if lease is not None and call.lease_seconds is not None:
            lease.stored = call.lease_seconds
        return self.wants_order(key, call)

    def shorten(self, key: Key, seconds: int, why: str = "") -> None:
        """Want a call to end so many seconds after its answer. Its money returns when Asterisk has been told."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.wanted, lease.refused = seconds, why

    def wanted(self, key: Key, call: Call) -> int | None:
        """Return how many seconds after its answer Asterisk is to end a call: never more than is stored."""
        lease = self._leases.get(key)
        if lease is None or call.lease_seconds is None:
            return call.lease_seconds
        return min(lease.stored, call.lease_seconds) if lease.wanted is None else lease.wanted

    def told(self, key: Key, call: Call, seconds: int) -> Call | None:
        """Note that Asterisk ends a call so many seconds after its answer; return it if its lease is shorter now."""
        lease = self._leases.get(key)
        if lease is None:
            return None
        lease.told = seconds
        if lease.wanted != seconds:
            return None
        lease.wanted = None
        assert call.lease_seconds is not None
        shorter = replace(call, lease_seconds=min(seconds, call.lease_seconds))
        self._plan(key, shorter, lease)
        return shorter

    def distrust(self, key: Key) -> bool:
        """Note that it is not known what Asterisk was told, because the order may have been lost; say whether there is
        a lease that it should know of.
        """
        lease = self._leases.get(key)
        if lease is not None:
            lease.told = 0
        return lease is not None

    def _plan(self, key: Key, call: Call, lease: _Lease) -> None:
        assert call.lease_seconds is not None
        assert call.answered_at is not None
        least, most = AHEAD_SECONDS
        ahead = min(most, max(least, call.lease_seconds // 4))
        self._at(call.answered_at + (call.lease_seconds - ahead) * 1000, key, lease)

    def _at(self, due: Millis, key: Key, lease: _Lease) -> None:
        lease.due = due
        heapq.heappush(self._due, (due, key))

    def shift(self, delta: Millis) -> None:
        """Take all instants for so much later, or earlier: the clock was set."""
        for lease in self._leases.values():
            lease.due += delta
        self._due = [(at + delta, key) for at, key in self._due]
