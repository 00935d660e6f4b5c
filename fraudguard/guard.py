"""The use case: decide an attempt. The way of one call, on one screen.

    attempt -> numbering -> rating -> policy -> verdict -> committed -> answered

Everything pure lives in its room; here the rooms are put together with the operators' snapshot, the clock
and the store, behind ports.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fraudguard.errors import PeerError
from fraudguard.numbering import BadNumber, Kind, Normaliser, Number
from fraudguard.policy import Attempt, PolicyIndex, Verdict, decide
from fraudguard.policy.records import Reason
from fraudguard.rating import Rate


class Recorder(Protocol):
    """Where verdicts go before they are answered."""

    def record(self, verdict: Verdict) -> Awaitable[Verdict]:
        """Return what gives the verdict back once it is committed. This, or that, raises StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class Tenancy:
    """How one tenant dials: its numbering, and the prices of its service codes (short code -> Rate)."""

    normaliser: Normaliser
    service_rates: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class House:
    """What the configuration file says, ready for the hot path; fixed while the service runs.

    `trunks` maps a trunk's name to the name of its deck. Tenants not in `tenancies` dial as `fallback`.
    """

    trunks: Mapping[str, str]
    tenancies: Mapping[str, Tenancy]
    fallback: Tenancy
    lease_seconds: int
    shadow: frozenset[Reason] = frozenset()

    def tenancy_of(self, tenant: str) -> Tenancy:
        """Return how a tenant dials."""
        return self.tenancies.get(tenant, self.fallback)


class UnknownTrunkError(PeerError):
    """The dialplan asked about a trunk that the configuration does not name."""


class Guard:
    """Decides live attempts. `policy` returns the operators' edits as they stand; it is called once per attempt."""

    def __init__(
        self,
        house: House,
        policy: Callable[[], PolicyIndex],
        recorder: Recorder,
        new_call: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._house = house
        self._policy = policy
        self._recorder = recorder
        self._new_call = new_call

    def decide(self, attempt: Attempt) -> Awaitable[Verdict]:
        """Decide now; what is returned gives the verdict once it is committed.

        Raises UnknownTrunkError, or when awaited StoreError: without a verdict nothing may be allowed.
        """
        return self._recorder.record(judge(self._house, self._policy(), attempt, self._new_call()))


def judge(house: House, policy: PolicyIndex, attempt: Attempt, call: str = "") -> Verdict:
    """Decide without recording: the live path, `check` and replay are this one function. Raises UnknownTrunkError."""
    deck_name = house.trunks.get(attempt.trunk)
    if deck_name is None:
        known = ", ".join(house.trunks) or "none"
        raise UnknownTrunkError(f"unknown trunk {attempt.trunk[:40]!r}", fix=f"configured trunks: {known}")
    tenancy = house.tenancy_of(attempt.tenant)
    number = tenancy.normaliser.normalise(attempt.number)
    rate = None if isinstance(number, BadNumber) else _price(number, deck_name, tenancy, policy)
    facts = policy.gather(attempt, number, deck_name, rate)
    return decide(facts, call, house.lease_seconds, house.shadow)


def _price(number: Number, deck_name: str, tenancy: Tenancy, policy: PolicyIndex) -> Rate | None:
    if number.kind is Kind.EMERGENCY:
        return None
    if number.kind is Kind.SERVICE:  # 411 is not a prefix of +41
        return tenancy.service_rates.get(number.digits)
    deck = policy.decks.get(deck_name)
    return None if deck is None else deck.lookup(number.digits)
