"""Asking for PINs, put together: what seals them, what was guessed before, and where guesses are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from fraudguard.asking.asker import SLOTS, PinAsker
from fraudguard.asking.verifier import PinVerifier
from fraudguard.clock import Clock, Millis
from fraudguard.config import Settings
from fraudguard.errors import ConfigError
from fraudguard.house import House
from fraudguard.money import Micros
from fraudguard.pins.guessing import Failure, Guesses
from fraudguard.pins.vault import Vault
from fraudguard.policy import PolicyIndex
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.policy.pin import Scheme
from fraudguard.secretfile import read_secret_file
from fraudguard.store import Reader, Writer
from fraudguard.store.pins import KEPT_MILLIS, forget_failure, note_failure, recent_failures, spent, use_step

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
) -> AsyncIterator[PinAsker]:
    """Ask for PINs for as long as the context lasts. Raises StoreError.

    Without the pepper that PINs were sealed with, calls that want one go nowhere, and a person is told. No other call
    is the worse for it.
    """
    vaults = Vaults(settings.pepper)

    def failed(error: ConfigError) -> None:
        kind = AlertKind.PINS_UNREADABLE
        log.critical("no PIN can be looked at: calls that want one go nowhere", error=str(error))
        alert(NewAlert(kind, clock.now(), fold=kind, reason=kind, details={"error": str(error)}))

    guesses = Guesses()
    since = clock.now() - KEPT_MILLIS
    guesses.restore(await reader.read(partial(recent_failures, since=since)), policy().unlocks)
    verifier = PinVerifier(vaults.of, policy, partial(use_step, writer), clock, workers=SLOTS, failed=failed)
    for tenant in policy().schemes:
        verifier.ready(tenant)  # now, not when the first caller waits
    try:
        yield PinAsker(house, policy, verifier, _Kept(writer, reader), guesses, clock, alert=alert)
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
            pepper = read_secret_file(
                self._path, where="pin.pepper_file", fix="restore it from a backup: without it no PIN is known"
            )
            self._vault = Vault(pepper)
        if not self._vault.fits(scheme):
            raise ConfigError(
                f"{self._path} is not what the stored PINs were sealed with",
                where="pin.pepper_file",
                fix="restore it from the backup that the database is from, or revoke all PINs and make new ones",
            )
        return self._vault


class _Kept:
    """What is kept of guesses and money (asker.Records), in the database."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def note(self, failure: Failure) -> int:
        return await note_failure(self._writer, failure)

    async def forget(self, failure_id: int) -> None:
        await forget_failure(self._writer, failure_id)

    async def spent(self, pin_id: int, since: Millis) -> Micros:
        return await self._reader.read(partial(spent, pin_id=pin_id, since=since))
