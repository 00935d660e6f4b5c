"""Asking for PINs, put together: what seals them, what was guessed before, and where guesses are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from fraudguard.asking.asker import SLOTS, PinAsker
from fraudguard.asking.verifier import PinVerifier
from fraudguard.clock import Clock
from fraudguard.config import Settings
from fraudguard.errors import ConfigError
from fraudguard.house import House
from fraudguard.pepper import open_vault
from fraudguard.pins.guessing import Failure
from fraudguard.pins.vault import Vault
from fraudguard.policy import Facts, PolicyIndex
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.policy.pin import Scheme
from fraudguard.policy.records import Standing
from fraudguard.store import Reader, Writer
from fraudguard.store.guesses import forget_failure, note_failure, stored_guesses, use_step

TELL_SECONDS: Final = 60.0
"""How often it is told that no PIN can be looked at, however many callers would have been asked."""

log = structlog.get_logger()


@asynccontextmanager
async def pin_asking(
    settings: Settings,
    clock: Clock,
    house: House,
    policy: Callable[[], PolicyIndex],
    *,
    writer: Writer,
    reader: Reader,
    alert: Callable[[NewAlert], None],
    standing: Callable[[Facts], Standing],
) -> AsyncIterator[PinAsker]:
    """Ask for PINs for as long as the context lasts; `standing` says what the ledger knows. Raises StoreError.

    Without the pepper that PINs were sealed with, calls that want one go nowhere, and a person is told. No other call
    is the worse for it.
    """
    vaults = Vaults(settings.pepper)
    told_at = -TELL_SECONDS

    def failed(error: ConfigError) -> None:
        nonlocal told_at
        if clock.monotonic() - told_at < TELL_SECONDS:
            return
        told_at = clock.monotonic()
        kind = AlertKind.PINS_UNREADABLE
        log.critical("no PIN can be looked at: calls that want one go nowhere", error=str(error))
        alert(NewAlert(kind, clock.now(), fold=kind, reason=kind, details={"error": str(error)}))

    guesses = await reader.read(partial(stored_guesses, now=clock.now()))
    verifier = PinVerifier(vaults.of, policy, partial(use_step, writer), clock, workers=SLOTS, failed=failed)
    for tenant in policy().schemes:
        verifier.ready(tenant)  # now, not when the first caller waits
    try:
        places = settings.agi.sessions // 2  # the other half is for verdicts
        yield PinAsker(
            house, policy, verifier, _Kept(writer), guesses, clock, alert=alert, places=places, standing=standing
        )
    finally:
        verifier.close()


class Vaults:
    """What seals PINs, by the pepper's file as it is: the file may be made, or replaced, while the service runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._vault: Vault | None = None

    def of(self, scheme: Scheme) -> Vault:
        """Return what seals PINs of a scheme. Raises ConfigError when the file is not there or holds another pepper."""
        if self._vault is None or not self._vault.fits(scheme):
            self._vault = open_vault(self._path, [scheme])
        return self._vault


class _Kept:
    """What is kept of guesses (asker.Records), in the database."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def note(self, failure: Failure) -> int:
        return await note_failure(self._writer, failure)

    async def forget(self, failure_id: int) -> None:
        await forget_failure(self._writer, failure_id)
