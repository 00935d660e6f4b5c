"""The use case: decide an attempt. The way of one call, on one screen.

    attempt -> numbering -> rating -> policy -> verdict -> committed -> answered

Everything pure lives in its room; here the rooms are put together with the operators' snapshot, the clock
and the store, behind ports.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fraudguard.errors import PeerError
from fraudguard.numbering import BadNumber, Kind, Normaliser, Number
from fraudguard.policy import Attempt, Facts, PolicyIndex, Verdict, decide
from fraudguard.policy.records import Reason
from fraudguard.rating import Rate


class Recorder(Protocol):
    """Where verdicts go before they are answered."""

    async def record(self, verdict: Verdict) -> None:
        """Return when the verdict is committed. Raises StoreError when it cannot be."""
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


class UnknownTrunkError(PeerError):
    """The dialplan asked about a trunk that the configuration does not name."""


class Guard:
    """Decides attempts. `snapshot` returns the operators' edits as they stand; it is called once per attempt."""

    def __init__(
        self,
        house: House,
        snapshot: Callable[[], PolicyIndex],
        recorder: Recorder,
        new_call: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._house = house
        self._snapshot = snapshot
        self._recorder = recorder
        self._new_call = new_call

    async def decide(self, attempt: Attempt) -> Verdict:
        """Decide and commit. Raises UnknownTrunkError or StoreError; a caller who gets no verdict must not allow."""
        verdict = self.judge(attempt)
        await self._recorder.record(verdict)
        return verdict

    def judge(self, attempt: Attempt) -> Verdict:
        """Decide without recording: what `check` and replay show. Raises UnknownTrunkError."""
        facts = self._gather(attempt)
        return decide(facts, self._new_call(), self._house.lease_seconds, self._house.shadow)

    def _gather(self, attempt: Attempt) -> Facts:
        deck_name = self._house.trunks.get(attempt.trunk)
        if deck_name is None:
            raise UnknownTrunkError(
                f"unknown trunk {attempt.trunk[:40]!r}",
                fix=f"configured trunks: {', '.join(self._house.trunks) or 'none'}",
            )
        tenancy = self._house.tenancies.get(attempt.tenant, self._house.fallback)
        number = tenancy.normaliser.normalise(attempt.number)
        snapshot = self._snapshot()
        rate = None if isinstance(number, BadNumber) else _price(number, deck_name, tenancy, snapshot)
        return snapshot.gather(attempt, number, deck_name, rate)


def _price(number: Number, deck_name: str, tenancy: Tenancy, snapshot: PolicyIndex) -> Rate | None:
    if number.kind is Kind.EMERGENCY:
        return None
    if number.kind is Kind.SERVICE:  # 411 is not a prefix of +41
        return tenancy.service_rates.get(number.digits)
    deck = snapshot.decks.get(deck_name)
    return None if deck is None else deck.lookup(number.digits)
