"""The use case: decide an attempt. The way of one call, on one screen.

    attempt -> numbering -> rating -> policy -> verdict -> committed -> answered
                                       └ PIN wanted? the caller is asked, then policy again

Everything pure lives in its room; here the rooms are put together with the operators' snapshot, the clock
and the store, behind ports.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from fraudguard.asking.keypad import Keypad
from fraudguard.house import House, Tenancy
from fraudguard.ledger import Ledger
from fraudguard.numbering import BadNumber, Kind, Number
from fraudguard.policy import Attempt, Facts, PolicyIndex, Reason, Verdict, rules
from fraudguard.policy.pin import Keyed
from fraudguard.policy.records import Standing
from fraudguard.rating import Rate


class Recorder(Protocol):
    """Where verdicts go before they are answered."""

    def record(self, verdict: Verdict) -> Awaitable[Verdict]:
        """Record, and return what gives the verdict back once it is committed. This, or that, raises StoreError.

        The work begins with the call, whether or not anybody awaits what is returned.
        """
        ...


class Asker(Protocol):
    """Who asks for PINs."""

    def ask(self, facts: Facts, keypad: Keypad) -> Awaitable[Keyed]:
        """Ask the caller of an attempt, and return what came of it."""
        ...


class Guard:
    """Decides live attempts. `policy` returns the operators' edits as they stand; it is called once per decision.

    Without an `asker` nobody is asked for a PIN, and what wants one is refused. Without a `ledger` neither budgets nor
    speed limits hold.
    """

    def __init__(
        self,
        house: House,
        policy: Callable[[], PolicyIndex],
        recorder: Recorder,
        asker: Asker | None = None,
        ledger: Ledger | None = None,
        *,
        new_call: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._house = house
        self._policy = policy
        self._recorder = recorder
        self._asker = asker
        self._ledger = ledger
        self._standing = None if ledger is None else ledger.standing
        self._new_call = new_call

    def decide(self, attempt: Attempt, keypad: Keypad | None = None) -> Awaitable[Verdict]:
        """Decide now, or when the caller has keyed a PIN; what is returned gives the verdict once it is committed.

        Raises as `judge` does, or when awaited StoreError: without a verdict nothing may be allowed. Only an
        emergency call does not wait for its record, and goes without one.
        """
        policy = self._policy()
        verdict = judge(self._house, policy, attempt, self._new_call(), standing=self._standing)
        if verdict.reason is Reason.EMERGENCY:
            return self._at_once(verdict)
        wanted = verdict.reason is Reason.PIN_REQUIRED and policy.can_key(attempt.tenant, attempt.account)
        if wanted and self._asker is not None and keypad is not None:
            return self._when_keyed(verdict, self._asker, keypad)
        return self._recorded(verdict)

    def _recorded(self, verdict: Verdict) -> Awaitable[Verdict]:
        if self._ledger is None:
            return self._recorder.record(verdict)
        self._ledger.note(verdict)  # from here on its money is nobody else's; the recorder tells if it comes to nothing
        try:
            return self._recorder.record(verdict)
        except BaseException:
            self._ledger.drop(verdict.call)
            raise

    async def _when_keyed(self, asked: Verdict, asker: Asker, keypad: Keypad) -> Verdict:
        keyed = await asker.ask(asked.facts, keypad)
        attempt = replace(asked.facts.attempt, at=keyed.at)  # what operators changed meanwhile holds
        verdict = judge(self._house, self._policy(), attempt, asked.call, keyed, standing=self._standing)
        await self._recorded(verdict)
        if not verdict.allowed:
            await keypad.refuse()
        return verdict

    async def _at_once(self, verdict: Verdict) -> Verdict:
        with suppress(Exception):  # nothing the store says, or waits for, may hold an ambulance back
            self._recorder.record(verdict)
        return verdict


def judge(
    house: House,
    policy: PolicyIndex,
    attempt: Attempt,
    call: str = "",
    keyed: Keyed | None = None,
    standing: Callable[[Facts], Standing] | None = None,
) -> Verdict:
    """Decide without recording: the live path, `check` and replay are this one function.

    `keyed` is what came of asking for a PIN, None where nobody was asked; `standing` is what the ledger says, None
    where neither budgets nor speed count. Raises UnknownTrunkError or UnknownTenantError.
    """
    tenancy = house.tenancy_of(attempt.tenant)
    number = tenancy.normaliser.normalise(attempt.number)
    if isinstance(number, Number) and number.kind is Kind.EMERGENCY:
        deck, rate, strict = "", None, None  # goes by any trunk, even one that nobody configured
    else:
        deck = house.deck_for(attempt)
        rate = _price(number, deck, tenancy, policy)
        strict = tenancy.strict if tenancy.strict.holds(attempt.at, tenancy.zone) else None
    kinds = tenancy.asking.kinds if strict is None else tenancy.asking.kinds | strict.ask
    asks = isinstance(number, Number) and number.kind in kinds
    facts = policy.gather(attempt, number, deck, rate, asks=asks, keyed=keyed, zone=tenancy.zone, strict=strict)
    if standing is not None and isinstance(number, Number) and number.kind is not Kind.EMERGENCY:
        facts = replace(facts, standing=standing(facts))
    return rules.decide(facts, call, house.lease, house.shadow)


def _price(number: Number | BadNumber, deck_name: str, tenancy: Tenancy, policy: PolicyIndex) -> Rate | None:
    if isinstance(number, BadNumber):
        return None
    if number.kind is Kind.SERVICE:  # 411 is not a prefix of +41
        return tenancy.service_rates.get(number.digits)
    deck = policy.decks.get(deck_name)
    return None if deck is None else deck.lookup(number.digits)
