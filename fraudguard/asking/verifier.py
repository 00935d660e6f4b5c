"""Whose PIN it is: one argon2 for each that is keyed, off the event loop, however many PINs there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from fraudguard.clock import Clock
from fraudguard.errors import ConfigError
from fraudguard.pins.digits import Digits
from fraudguard.pins.totp import matching_step
from fraudguard.pins.vault import Vault
from fraudguard.policy import PolicyIndex
from fraudguard.policy.pin import Pin, Scheme


class PinVerifier:
    """Knows PINs (asker.Verifier), and looks at as many at once as there are `workers`.

    `vault` returns what seals those of a scheme, and may raise ConfigError: `failed` is told. `use_step` takes an
    authenticator's code, and says whether it was there to take.
    """

    def __init__(
        self,
        vault: Callable[[Scheme], Vault],
        policy: Callable[[], PolicyIndex],
        use_step: Callable[[int, int], Awaitable[bool]],
        clock: Clock,
        *,
        workers: int,
        failed: Callable[[ConfigError], None],
    ) -> None:
        self._vault = vault
        self._policy = policy
        self._use_step = use_step
        self._clock = clock
        self._failed = failed
        self._pool = ThreadPoolExecutor(workers, "pin")

    def close(self) -> None:
        """Stop, leaving undone what nobody waits for any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def ready(self, tenant: str) -> bool:
        """Say whether the tenant's PINs can be looked at; tell when they should be and cannot."""
        scheme = self._policy().schemes.get(tenant)
        if scheme is None:
            return False
        try:
            self._vault(scheme)
        except ConfigError as error:
            self._failed(error)
            return False
        return True

    async def verify(self, tenant: str, account: str, digits: Digits) -> Pin | None:
        """Return the tenant's PIN that the digits are, whatever its terms; of authenticators only this account's."""
        scheme = self._policy().schemes.get(tenant)
        if scheme is None:
            return None
        vault = self._vault(scheme)
        loop = asyncio.get_running_loop()
        seal = await loop.run_in_executor(self._pool, vault.seal, scheme, tenant, digits)
        policy = self._policy()  # a PIN that was revoked meanwhile is none
        pin = policy.pin_at(tenant, seal.index)
        if pin is not None and vault.same(pin.seal, seal):
            return pin
        now = self._clock.now()
        good = None
        for candidate in policy.authenticators(tenant, account):
            step = matching_step(vault.totp_key(tenant, candidate.seal), digits, now)
            if step is not None and await self._use_step(candidate.id, step):
                good = candidate
        return good
