"""Asking a caller for a PIN: prompts, tries, and guesses counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Protocol

from fraudguard.asking.keypad import HungUpError, Keypad
from fraudguard.asking.notices import told
from fraudguard.clock import Clock
from fraudguard.house import Asking, House
from fraudguard.numbering import BadNumber
from fraudguard.pins.digits import Digits
from fraudguard.pins.guessing import Failure, Guesses
from fraudguard.policy import Facts, PolicyIndex, Reason, rules
from fraudguard.policy.alert import NewAlert
from fraudguard.policy.index import host_of
from fraudguard.policy.pin import Keyed, Pin
from fraudguard.policy.records import Standing

MAX_REMEMBERED: Final = 10_000
"""Devices that may dial a region again without a PIN. Beyond that the oldest are asked once more."""

MAX_ASKED_OF_ACCOUNT: Final = 500
"""Callers of one account at the prompt at once: a whole exchange may be one, and a thief is not to take all places."""

SLOTS: Final = 2
"""PINs looked at at once. Each takes some 25 ms of a core and 19 MiB: verdicts want the cores too."""

MAX_WAITING: Final = 500
"""PINs that wait to be looked at: some 80 a second are, and nobody waits for longer than agi.dialogue.THINK_SECONDS."""


class Verifier(Protocol):
    """Who knows whose PIN it is."""

    def ready(self, tenant: str) -> bool:
        """Say whether a tenant's PINs can be looked at; whoever has to know is told when not."""
        ...

    async def verify(self, tenant: str, account: str, digits: Digits) -> Pin | None:
        """Return the tenant's PIN that these digits are, wherever it may be used. Takes as long when there is none."""
        ...


class Records(Protocol):
    """What is kept of guesses, beyond the life of this process."""

    async def note(self, failure: Failure) -> int:
        """Store something keyed that is not known to be right; return its id. Raises StoreError."""
        ...

    async def forget(self, failure_id: int) -> None:
        """Take it back: it was right. Raises StoreError."""
        ...


class PinAsker:
    """Asks (guard.Asker). `policy` returns the operators' edits as they stand, `alert` is told what a person should
    know. `places` is how many callers may be at the prompt at once, `standing` says what the ledger knows.

    What is keyed counts as a wrong guess, in memory and on disk, before anybody looks at it, and is taken back when it
    was right: neither parallel channels nor a kill -9 at the right moment give a guess for nothing.
    """

    def __init__(
        self,
        house: House,
        policy: Callable[[], PolicyIndex],
        verifier: Verifier,
        records: Records,
        guesses: Guesses,
        clock: Clock,
        *,
        alert: Callable[[NewAlert], None],
        places: int = 5_000,
        standing: Callable[[Facts], Standing] | None = None,
    ) -> None:
        self._house = house
        self._standing = standing
        self._policy = policy
        self._verifier = verifier
        self._records = records
        self._guesses = guesses
        self._clock = clock
        self._alert = alert
        self._remembered: dict[_Device, tuple[float, int]] = {}
        # What is looked at counts as failed: all at once, a crowd of honest callers would be locked out.
        self._slots = asyncio.Semaphore(SLOTS)
        self._waiting = 0
        self._places = places
        self._asked: Counter[tuple[str, str]] = Counter()  # by tenant and account
        self._took = 0.0  # seconds, to look at the latest PIN

    async def ask(self, facts: Facts, keypad: Keypad) -> Keyed:
        """Ask for a PIN, unless this device keyed one a moment ago.

        Nobody is asked for what cannot be looked at, nor when too many are at the prompt already. Raises StoreError
        when nothing can be recorded: then nothing may be looked at either.
        """
        tenant = facts.attempt.tenant
        pin = self._recall(facts)
        if pin is not None:
            keyed = Keyed(self._clock.now(), pin)
            if self._helps(keyed, facts):  # else the caller may have another that does
                return keyed
        if not self._verifier.ready(tenant):
            return Keyed(self._clock.now())
        asking = self._house.tenancy_of(tenant).asking
        with self._at_the_prompt(tenant, facts.attempt.account) as there_is_room:
            keyed = Keyed(self._clock.now(), refusal=Reason.PIN_BUSY)
            if there_is_room:
                keyed = await self._dialogue(facts, asking, keypad)
        if asking.remember_millis and keyed.pin is not None and self._helps(keyed, facts):
            self._remember(facts, keyed.pin, asking.remember_millis / 1000)
        return keyed

    @contextmanager
    def _at_the_prompt(self, tenant: str, account: str) -> Iterator[bool]:
        """Take a place at the prompt; say whether there was one."""
        who = (tenant, account)
        room = self._asked[who] < MAX_ASKED_OF_ACCOUNT and self._asked.total() < self._places
        self._asked[who] += room
        try:
            yield room
        finally:
            self._asked[who] -= room
            if not self._asked[who]:
                del self._asked[who]

    def _helps(self, keyed: Keyed, facts: Facts) -> bool:
        """Say whether the call goes by what was keyed."""
        facts = replace(facts, attempt=replace(facts.attempt, at=keyed.at), keyed=keyed)
        if self._standing is not None:
            facts = replace(facts, standing=self._standing(facts))  # now with what the PIN has left to spend
        return rules.decide(facts, "", self._house.lease, self._house.shadow).allowed

    async def _dialogue(self, facts: Facts, asking: Asking, keypad: Keypad) -> Keyed:
        pin: Pin | None = None
        refusal: Reason | None = Reason.PIN_TIMEOUT
        tries = 0
        for _ in range(asking.tries):
            try:
                digits = await keypad.ask(again=tries > 0)
            except HungUpError:
                refusal = refusal if tries else Reason.PIN_HANGUP  # who guesses and hangs up has guessed
                break
            if digits:
                tries += 1
                pin, refusal = await self._look(facts, digits)
                if refusal is None:
                    break
        return Keyed(self._clock.now(), pin, refusal, tries)

    async def _look(self, facts: Facts, digits: Digits) -> tuple[Pin | None, Reason | None]:
        """Return whose PIN it is, and why it is of no use (None where it is)."""
        if self._waiting >= MAX_WAITING:
            return None, Reason.PIN_BUSY
        self._waiting += 1
        try:
            async with self._slots:
                pin, refusal = await self._look_now(facts, digits)
        finally:
            self._waiting -= 1
        if refusal is Reason.PIN_LOCKED:
            # It takes as long as if it were looked at, but nobody's time: who is locked out holds nobody else up.
            await asyncio.sleep(self._took)
        return pin, refusal

    async def _look_now(self, facts: Facts, digits: Digits) -> tuple[Pin | None, Reason | None]:
        attempt = facts.attempt
        self._guesses.unlock(self._policy().unlocks)
        failure = Failure(self._clock.now(), attempt.tenant, attempt.account, host_of(attempt.source))
        if not self._guesses.begin(failure):
            return None, Reason.PIN_LOCKED
        began = self._clock.monotonic()
        try:
            noted = await self._records.note(failure)
        except BaseException:
            self._guesses.forgive(failure)  # nobody looked at it
            raise
        pin, right = None, False
        try:
            pin = await self._verifier.verify(attempt.tenant, attempt.account, digits)
            self._took = self._clock.monotonic() - began
            right = pin is not None and pin.usable_from(attempt.account)
        finally:
            if not right:  # or not known to be, because the caller did not wait for the end
                for lock in self._guesses.confirm(failure):
                    self._alert(told(lock, facts, failure.at))
        if not right:
            return pin, Reason.PIN_WRONG if pin is None else Reason.PIN_ACCOUNT
        self._guesses.forgive(failure)
        await self._records.forget(noted)
        return pin, None

    def _recall(self, facts: Facts) -> Pin | None:
        """Return the PIN that this device keyed for this region not long ago, if it is still one."""
        device = _device(facts)
        until, pin_id = self._remembered.get(device, (0, 0)) if device else (0, 0)
        return self._policy().pin(pin_id) if self._clock.monotonic() < until else None

    def _remember(self, facts: Facts, pin: Pin, seconds: float) -> None:
        device = _device(facts)
        if device is None:
            return
        self._remembered.pop(device, None)  # so that the oldest come first
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[device] = (self._clock.monotonic() + seconds, pin.id)


_Device = tuple[str, str, str, str]


def _device(facts: Facts) -> _Device | None:
    """Name the device and the region it dials; None where one of them is not known."""
    attempt, number = facts.attempt, facts.number
    address = host_of(attempt.source)
    if isinstance(number, BadNumber) or number.region is None or not attempt.account or not address:
        return None
    return attempt.tenant, attempt.account, address, number.region
