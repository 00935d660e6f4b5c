"""The secrets behind PINs: the pepper's file, digits that are asked for or made up, and the one time they are shown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import rich_click as click

from fraudguard.cli.app import App, printable
from fraudguard.cli.pin.known import Known
from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.pepper import open_vault
from fraudguard.pins import totp
from fraudguard.pins.digits import LEAST_DIGITS, MOST_DIGITS, Digits, generate, weakness
from fraudguard.pins.guessing import chance, digits_for
from fraudguard.pins.totp import CODE_DIGITS, SKEW_STEPS
from fraudguard.pins.vault import Vault, make_pepper
from fraudguard.policy.pin import NewPin, Pin, Scheme, Seal
from fraudguard.secretfile import make_secret
from fraudguard.store import Writer
from fraudguard.store import pins as store


class _Count(click.IntRange):
    """How many digits. Whoever gives the PIN itself is told without it being shown once more."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(
                f"how many digits: {LEAST_DIGITS} to {MOST_DIGITS}. A PIN itself is never given as an argument, which"
                " others can read: --choose asks for it",
                param,
                ctx,
            )


COUNT: Final = _Count(LEAST_DIGITS, MOST_DIGITS)

CODES: Final = 1 + 2 * SKEW_STEPS
"""Codes of one authenticator that are good at once."""

_MAX_LINE: Final = 64  # characters read of a line of standard input: longer ones are no PIN, whatever they are
_MAX_DRAWS: Final = 100  # of a PIN that nobody has: with so many taken, there are too few digits for so many people


def vault_of(app: App, before: Known) -> Vault:
    """Return the vault of the installation's pepper, which is made at first need.

    Raises ConfigError where PINs in force were sealed with a pepper that is not there: nothing can find them then.
    """
    schemes = before.schemes_in_force
    if not schemes:
        make_secret(app.settings.pepper, app.settings.database, text=make_pepper())
    return open_vault(app.settings.pepper, schemes)


@dataclass(frozen=True, slots=True)
class Wish:
    """How somebody wants a PIN to come about: `chosen` digits, else `count` of them at random, else an authenticator
    app. `names` are what it must not be: the person's accounts and name.
    """

    chosen: Digits | None = None
    count: int = 0
    names: Collection[str] = ()

    def seal(self, vault: Vault, scheme: Scheme, tenant: str, taken: Collection[bytes]) -> tuple[Digits | None, Seal]:
        """Return the digits that the person has to be told, if any, and the seal. `taken` are the tenant's indexes.

        Raises InputError when somebody has the digits already. Takes some 25 ms.
        """
        if self.chosen is not None:
            sealed = vault.seal(scheme, tenant, self.chosen)
            if sealed.index in taken:
                raise InputError("somebody has a PIN of these digits", where="--choose", fix="choose others")
            return None, sealed
        if not self.count:
            return None, vault.new_totp()
        for _ in range(_MAX_DRAWS):
            digits = generate(self.count, accounts=self.names)
            sealed = vault.seal(scheme, tenant, digits)
            if sealed.index not in taken:
                return digits, sealed
        raise InputError(
            f"hardly any {self.count} digits are left that nobody has", where="--digits", fix="take more digits"
        )


async def make_pin(
    writer: Writer, new: NewPin, wanted: Wish, vault: Vault, taken: Collection[bytes], *, author: str, now: Millis
) -> tuple[Pin, Digits | None]:
    """Make a PIN and store it. Return it, and the digits that the person has to be told, if any.

    `taken` are the tenant's indexes. Raises InputError when somebody has the name or the digits, and StoreError.
    """
    scheme = await store.settle_scheme(writer, new.tenant, vault.new_scheme())
    keyed, seal = await asyncio.to_thread(wanted.seal, vault, scheme, new.tenant, taken)
    return await store.add_pin(writer, new, seal, author=author, now=now), keyed


def wish(*, digits: int | None, choose: bool, least: int, names: Collection[str]) -> Wish:
    """Read --digits and --choose: without them `least` random digits. May ask. Raises InputError."""
    if choose and digits is not None:
        raise InputError(
            "digits of one's own are as many as they are", where="--digits", fix="leave it or --choose out"
        )
    if choose:
        return Wish(_ask(names), names=names)
    return Wish(count=digits or least, names=names)


def warn_of_guesses(pins: int, length: int, tenant: str) -> None:
    """Tell on standard error when a tenant has too many PINs for so few digits."""
    enough = digits_for(pins)
    if length < enough:
        _warn(
            f"{length} digits are few for {pins} PIN{'s' if pins > 1 else ''} in tenant {tenant}: who guesses all day"
            f" hits one with a chance of {odds(pins, length)}; with {enough} digits it is below 1 in 1,000"
        )


def warn_of_authenticators(pins: int, account: str) -> None:
    """Tell on standard error when codes of too many apps are good at one account."""
    if digits_for(CODES * pins) > CODE_DIGITS:
        _warn(
            f"the codes of {pins} apps are good at account {printable(account)}: who guesses all day hits one with a"
            f" chance of {odds(CODES * pins, CODE_DIGITS)}; fewer people there, or fewer accounts each, lower it"
        )


def show_digits(pin: Pin, digits: Digits) -> None:
    """Print a new PIN, this once."""
    click.echo(f"PIN: {digits.reveal()}")
    again = f"fraudguard pin rotate{' --duress' if pin.duress else ''}"
    click.echo(f"It is shown this once and stored nowhere. Lost: '{again}' makes another.", err=True)


def show_authenticator(pin: Pin, vault: Vault) -> None:
    """Print what an authenticator app needs, this once."""
    key = vault.totp_key(pin.tenant, pin.seal)
    click.echo(totp.qr(authenticator_uri(pin, pin.seal, vault)).rstrip("\n"))
    click.echo(f"key: {key.base32()}")
    click.echo(
        "Scan the code with an authenticator app, or type the key in: time-based, 6 digits, 30 seconds.\n"
        "At the prompt the caller keys the code that the app shows then. A code is good for one call.\n"
        "It is shown this once. Lost, or seen by somebody else: 'fraudguard pin rotate' makes another.",
        err=True,
    )


def authenticator_uri(pin: Pin | NewPin, seal: Seal, vault: Vault) -> str:
    """Return the otpauth URI of a PIN of an authenticator app: whoever has it has the PIN."""
    return totp.uri(vault.totp_key(pin.tenant, seal), name=pin.name, tenant=pin.tenant)


def odds(pins: int, length: int) -> str:
    """Write the chance of who guesses for a day: '1 in 16,393'."""
    return f"1 in {max(1, int(1 / chance(pins, length))):,}"


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _ask(names: Collection[str]) -> Digits:
    """Ask for digits where nobody sees them: never in an argument, which every process of the machine can read."""
    if sys.stdin.isatty():
        text = click.prompt("PIN", hide_input=True, confirmation_prompt="PIN again", err=True)
    else:
        text = sys.stdin.readline(_MAX_LINE).rstrip("\r\n")
    digits = Digits(text)
    why = weakness(digits, accounts=names)
    if why:
        raise InputError(f"the PIN is refused: {why}", where="--choose", fix="choose another, or let one be made up")
    return digits
