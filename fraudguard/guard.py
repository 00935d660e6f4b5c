"""The use case: decide an attempt. The way of one call, on one screen.

    attempt -> numbering -> rating -> policy -> verdict -> committed -> answered

Everything pure lives in its room; here the rooms are put together with the operators' snapshot, the clock
and the store, behind ports.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from fraudguard.house import House, Tenancy
from fraudguard.numbering import BadNumber, Kind, Number
from fraudguard.policy import Attempt, PolicyIndex, Reason, Verdict, rules
from fraudguard.rating import Rate


class Recorder(Protocol):
    """Where verdicts go before they are answered."""

    def record(self, verdict: Verdict) -> Awaitable[Verdict]:
        """Record, and return what gives the verdict back once it is committed. This, or that, raises StoreError.

        The work begins with the call, whether or not anybody awaits what is returned.
        """
        ...


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

        Raises as `judge` does, or when awaited StoreError: without a verdict nothing may be allowed. Only an
        emergency call does not wait for its record, and goes without one.
        """
        verdict = judge(self._house, self._policy(), attempt, self._new_call())
        if verdict.reason is Reason.EMERGENCY:
            return self._at_once(verdict)
        return self._recorder.record(verdict)

    async def _at_once(self, verdict: Verdict) -> Verdict:
        with suppress(Exception):  # nothing the store says, or waits for, may hold an ambulance back
            self._recorder.record(verdict)
        return verdict


def judge(house: House, policy: PolicyIndex, attempt: Attempt, call: str = "") -> Verdict:
    """Decide without recording: the live path, `check` and replay are this one function.

    Raises UnknownTrunkError or UnknownTenantError.
    """
    tenancy = house.tenancy_of(attempt.tenant)
    number = tenancy.normaliser.normalise(attempt.number)
    if isinstance(number, Number) and number.kind is Kind.EMERGENCY:
        deck, rate = "", None  # goes by any trunk, even one that nobody configured
    else:
        deck = house.deck_for(attempt)
        rate = _price(number, deck, tenancy, policy)
    facts = policy.gather(attempt, number, deck, rate)
    return rules.decide(facts, call, house.lease_seconds, house.shadow)


def _price(number: Number | BadNumber, deck_name: str, tenancy: Tenancy, policy: PolicyIndex) -> Rate | None:
    if isinstance(number, BadNumber):
        return None
    if number.kind is Kind.SERVICE:  # 411 is not a prefix of +41
        return tenancy.service_rates.get(number.digits)
    deck = policy.decks.get(deck_name)
    return None if deck is None else deck.lookup(number.digits)
