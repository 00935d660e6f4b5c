"""Who connects, from where: failed logins counted in sliding windows, and accounts used from new addresses.

Sightings in, alerts out. Pure: the clock arrives with each sighting, and memory has a limit whatever is sent. What an
attacker can invent (addresses, accounts that do not exist) is counted together where it would not end.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, TypeVar

from fraudguard.clock import Millis
from fraudguard.config import Security
from fraudguard.policy.alert import AlertKind, NewAlert

T = TypeVar("T")


class SightingKind(StrEnum):
    """What was seen. Each is a column of the table of sources."""

    SUCCEEDED = "succeeded"  # Asterisk accepted a login or a registration
    CALLED = "called"  # an attempt at the guard
    INVALID_PASSWORD = "invalid_password"  # noqa: S105  (no password, a kind)
    INVALID_ACCOUNT = "invalid_account"
    FAILED_CHALLENGE = "failed_challenge"
    FAILED_ACL = "failed_acl"


FAILURES: Final = frozenset(SightingKind) - {SightingKind.SUCCEEDED, SightingKind.CALLED}


@dataclass(frozen=True, slots=True)
class Sighting:
    """An account used, or tried, from an address.

    `account` is as presented, '' for accounts that do not exist. `address` has no port, '' where none is known.
    `service` is Asterisk's name for it: 'PJSIP', 'AMI'; '' for a call.
    """

    at: Millis
    asterisk: str
    account: str
    address: str
    kind: SightingKind
    service: str = ""


TOLD_EVERY: Final = 60_000
"""Milliseconds between two alerts about the same address or account. What came between is counted in the next."""

TOLD_TOGETHER: Final = 20
"""Addresses (or accounts) told of one by one within a window; those beyond are one alert. Somebody who invents sender
addresses could otherwise send an operator as many messages as packets."""

STRANGERS: Final = 20
"""How many times the usual failures are needed for 'accounts that do not exist, from several addresses': every public
Asterisk hears a few scanners at any time, and each of those is told of by its own address."""

NAMES: Final = 5
"""Accounts named in an alert about an address."""

NAME_LENGTH: Final = 40
"""Characters of a name that an attacker chose."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much is remembered. Beyond, what was seen longest ago is forgotten."""

    counted: int = 10_000  # addresses, and as many accounts, whose failures are counted: some 10 MB
    times: int = 500_000  # of failures, of all of them together
    accounts: int = 10_000  # whose addresses are known
    addresses: int = 64  # of one account; a phone that roams has a few dozen


class SourceWatch:
    """Says when a sighting is worth a person's attention.

    `login_failures`: as many failures as configured within the window, from one address; or at one account from
    several. `new_source`: an account succeeds or calls from an address that it never used; its first one is learned
    silently. An IPv6 address stands for its /64, which is what one subscriber gets.
    """

    def __init__(self, settings: Security, room: Room | None = None) -> None:
        room = room or Room()
        self._settings = settings
        self._window: Millis = settings.window_minutes * 60_000
        counted = max(1, min(room.counted, room.times // settings.failures))
        self._of_address: _Latest[_Failures] = _Latest(counted)
        self._of_account: _Latest[_Failures] = _Latest(counted)
        self._strangers = _Failures(settings.failures * STRANGERS)
        self._known: _Latest[_Latest[None]] = _Latest(room.accounts)
        self._addresses = room.addresses
        self._told = {kind: _Budget(self._window) for kind in (AlertKind.LOGIN_FAILURES, AlertKind.NEW_SOURCE)}

    def learn(self, used: Iterable[tuple[str, str]]) -> None:
        """Take over (account, address) pairs from before, the latest used last."""
        for account, address in used:
            self._used(account, network(address))

    def see(self, sighting: Sighting) -> list[NewAlert]:
        """Take one sighting and return what it gives reason to tell."""
        if not sighting.address:
            return []
        if sighting.kind in FAILURES:
            return self._failed(sighting)
        return self._succeeded(sighting)

    # -- failures

    def _failed(self, sighting: Sighting) -> list[NewAlert]:
        account = "" if sighting.kind is SightingKind.INVALID_ACCOUNT else sighting.account
        if not account and sighting.kind is SightingKind.FAILED_CHALLENGE:
            return []  # Asterisk challenges what it refuses too: the failure itself was an event of its own
        where = network(sighting.address)
        of_address = self._of_address.get_or_make(where, lambda: _Failures(self._settings.failures))
        of_account = (
            self._of_account.get_or_make(account, lambda: _Failures(self._settings.failures))
            if account
            else self._strangers
        )
        for failures in (of_address, of_account):
            failures.add(sighting.at, where, sighting.account, self._window)
        alerts = []
        if of_address.due(sighting.at, self._window):
            alerts += self._failures_from(where, sighting, of_address)
        if of_account.due(sighting.at, self._window) and of_account.addresses() > 1:
            alerts += self._failures_at(account, sighting, of_account)
        return alerts

    def _failures_from(self, where: str, sighting: Sighting, failures: _Failures) -> list[NewAlert]:
        names = failures.names
        account = sighting.account if len(names) == 1 and sighting.kind is not SightingKind.INVALID_ACCOUNT else ""
        details = {"service": sighting.service, "accounts": ", ".join(names)}
        tries = failures.tell(sighting.at)
        return self._tell(AlertKind.LOGIN_FAILURES, where, sighting, account, where, tries, details)

    def _failures_at(self, account: str, sighting: Sighting, failures: _Failures) -> list[NewAlert]:
        details = {"service": sighting.service, "addresses": str(failures.addresses())}
        if not account:
            details["accounts"] = "that do not exist"
        tries = failures.tell(sighting.at)
        return self._tell(AlertKind.LOGIN_FAILURES, f"account {account}", sighting, account, "", tries, details)

    # -- successes

    def _succeeded(self, sighting: Sighting) -> list[NewAlert]:
        if not sighting.account:
            return []
        where = network(sighting.address)
        if not self._used(sighting.account, where) or not self._settings.report_new_sources:
            return []
        details = {"service": sighting.service, "how": sighting.kind.value}
        key, account = f"{sighting.account} {where}", sighting.account
        return self._tell(AlertKind.NEW_SOURCE, key, sighting, account, sighting.address, 1, details)

    def _used(self, account: str, where: str) -> bool:
        """Note that an account was used from there; True when it was known, but not from there."""
        known = self._known.get(account)
        if known is None:
            known = self._known.get_or_make(account, lambda: _Latest[None](self._addresses))
            known.get_or_make(where, lambda: None)
            return False
        new = where not in known
        known.get_or_make(where, lambda: None)
        return new

    def _tell(
        self,
        kind: AlertKind,
        key: str,
        sighting: Sighting,
        account: str,
        source: str,
        tries: int,
        details: dict[str, str],
    ) -> list[NewAlert]:
        """Make the alert; once too many were told of by name, one for all the others together, now and then."""
        budget = self._told[kind]
        if not budget.allows(key, sighting.at):
            together = budget.together(tries, sighting.at)
            if together is None:
                return []
            key, account, source, tries = "others", "", "", together
            details = {"note": f"more than {TOLD_TOGETHER} addresses or accounts at once"}
        details = {"asterisk": sighting.asterisk, **details}
        return [
            NewAlert(
                kind=kind,
                at=sighting.at,
                fold=f"{kind}/{sighting.asterisk}/{key}",
                account=account,
                source=source,
                reason=kind,
                tries=tries,
                details={name: text for name, text in details.items() if text},
            )
        ]

    @property
    def remembered(self) -> dict[str, int]:
        """How many entries are in memory, by what they are."""
        counts = [*self._of_address.values(), *self._of_account.values()]
        return {
            "counted": len(counts),
            "times": sum(len(failures) for failures in counts),
            "accounts": len(self._known),
            "addresses": max((len(known) for known in self._known.values()), default=0),
        }


def network(address: str) -> str:
    """Return what stands for an address: itself, or the /64 of an IPv6 one; other text as it is, cut short."""
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return address[:NAME_LENGTH]
    if isinstance(read, ipaddress.IPv4Address):
        return str(read)
    if read.ipv4_mapped is not None:
        return str(read.ipv4_mapped)
    return str(ipaddress.ip_network((int(read), 64), strict=False))


class _Latest(OrderedDict[str, T], Generic[T]):
    """A mapping with room for `room` keys; the one longest unused makes way."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def get_or_make(self, key: str, make: Callable[[], T]) -> T:
        """Return what stands at `key`, made where it is missing; it is the latest used now."""
        if key in self:
            self.move_to_end(key)
            return self[key]
        if len(self) >= self._room:
            self.popitem(last=False)
        self[key] = made = make()
        return made


@dataclass(slots=True)
class _Failures:
    """The latest failures of one address or account, `needed` at most, and what was not told of yet."""

    needed: int
    latest: deque[tuple[Millis, str]] = field(init=False)
    names: list[str] = field(default_factory=list)
    untold: int = 0
    told_at: Millis | None = None

    def __post_init__(self) -> None:
        self.latest = deque(maxlen=self.needed)

    def __len__(self) -> int:
        return len(self.latest)

    def add(self, at: Millis, where: str, name: str, window: Millis) -> None:
        if self.latest and at - self.latest[-1][0] > window:
            self.untold = 0  # those before were another matter, and too few
            self.names = []
        self.latest.append((at, where))
        self.untold += 1
        name = name[:NAME_LENGTH]
        if name and name not in self.names:
            self.names = [*self.names[-NAMES + 1 :], name]

    def addresses(self) -> int:
        return len({where for _, where in self.latest})

    def due(self, now: Millis, window: Millis) -> bool:
        """Say whether the latest failures lie within the window, and nobody was told just now."""
        if len(self.latest) < self.needed or now - self.latest[0][0] > window:
            return False
        return self.told_at is None or now - self.told_at >= TOLD_EVERY

    def tell(self, now: Millis) -> int:
        """Return how many failures there were since the last time, and begin anew."""
        tries, self.untold, self.told_at = self.untold, 0, now
        self.names = []
        return tries


class _Budget:
    """Who was told of lately: so many, and no more."""

    def __init__(self, window: Millis) -> None:
        self._window = window
        self._told: OrderedDict[str, Millis] = OrderedDict()
        self._untold = 0
        self._together_at: Millis | None = None

    def allows(self, key: str, now: Millis) -> bool:
        """Say whether `key` may be told of by its own name."""
        while self._told and now - next(iter(self._told.values())) > self._window:
            self._told.popitem(last=False)
        if key not in self._told and len(self._told) >= TOLD_TOGETHER:
            return False
        self._told[key] = now
        self._told.move_to_end(key)
        return True

    def together(self, tries: int, now: Millis) -> int | None:
        """Count those beyond; return how many there were since the last time, None when that was just now."""
        self._untold += tries
        if self._together_at is not None and now - self._together_at < TOLD_EVERY:
            return None
        untold, self._untold, self._together_at = self._untold, 0, now
        return untold
