"""The secrets behind PINs: the pepper's file, digits that are asked for or made up, and the one time they are shown."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import rich_click as click

from fraudguard.cli.app import App, printable
from fraudguard.errors import ConfigError, InputError
from fraudguard.pins import totp
from fraudguard.pins.digits import LEAST_DIGITS, MOST_DIGITS, Digits, generate, weakness
from fraudguard.pins.guessing import chance, digits_for
from fraudguard.pins.totp import CODE_DIGITS, SKEW_STEPS
from fraudguard.pins.vault import Vault, make_pepper
from fraudguard.policy.pin import Pin, Scheme, Seal
from fraudguard.secretfile import make_secret, read_secret_file
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


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows at one moment: the PINs not revoked, and how each tenant's are sealed."""

    pins: tuple[Pin, ...]
    schemes: Mapping[str, Scheme]

    def of(self, tenant: str) -> tuple[Pin, ...]:
        """Return the PINs of a tenant."""
        return tuple(pin for pin in self.pins if pin.tenant == tenant)

    def tenant(self, app: App, name: str) -> str:
        """Return the tenant's name. Raises InputError for one that neither has a PIN nor is configured: PINs of a
        tenant that was taken out of the configuration can still be seen, and revoked.
        """
        return name if self.of(name) else app.tenant(name)

    def taken(self, tenant: str) -> set[bytes]:
        """Return the indexes of the tenant's seals: a new one must be none of them."""
        return {pin.seal.index for pin in self.of(tenant)}

    def find(self, tenant: str, name: str, *, duress: bool = False) -> Pin | None:
        """Return a person's PIN, or the duress PIN."""
        wanted = (tenant, name, duress)
        return next((pin for pin in self.pins if (pin.tenant, pin.name, pin.duress) == wanted), None)

    def get(self, tenant: str, name: str, *, duress: bool = False) -> Pin:
        """As `find`. Raises InputError when there is none."""
        pin = self.find(tenant, name, duress=duress)
        if pin is None:
            what = "duress PIN" if duress else "PIN"
            raise InputError(
                f"tenant {tenant} has no {what} of {printable(name)!r}",
                where="NAME",
                fix="'fraudguard pin list' shows those there are; --tenant names another tenant",
            )
        return pin


def known(connection: sqlite3.Connection) -> Known:
    """Read the PINs and schemes."""
    return Known(store.list_pins(connection), store.list_schemes(connection))


def open_vault(app: App, before: Known) -> Vault:
    """Return the vault of the installation's pepper, which is made at first need.

    Raises ConfigError where PINs in force were sealed with a pepper that is not there: nothing can find them then.
    """
    path = app.settings.pepper
    fix = (
        "restore it from the backup of when they were made; where there is none they are lost: 'pin export', remove the"
        " file, 'pin revoke' each, and 'pin import' gives everybody a new one"
    )
    in_force = {pin.tenant for pin in before.pins}
    if not in_force:
        make_secret(path, app.settings.database, text=make_pepper())
    elif not path.exists():
        raise ConfigError("is not there, and the stored PINs are worth nothing without it", where=str(path), fix=fix)
    vault = Vault(read_secret_file(path, where="pin.pepper_file"), where=str(path))
    if not all(vault.fits(before.schemes[tenant]) for tenant in in_force):
        raise ConfigError("is not the pepper that the stored PINs were made with", where=str(path), fix=fix)
    return vault


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

        Raises InputError when somebody has the digits already. Takes some 20 ms.
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
            f" hits one with a chance of {_odds(pins, length)}; with {enough} digits it is below 1 in 1,000"
        )


def warn_of_authenticators(pins: int, account: str) -> None:
    """Tell on standard error when codes of too many apps are good at one account."""
    if digits_for(CODES * pins) > CODE_DIGITS:
        _warn(
            f"the codes of {pins} apps are good at account {printable(account)}: who guesses all day hits one with a"
            f" chance of {_odds(CODES * pins, CODE_DIGITS)}; fewer people there, or fewer accounts each, lower it"
        )


def show_digits(pin: Pin, digits: Digits) -> None:
    """Print a new PIN, this once."""
    click.echo(f"PIN: {digits.reveal()}")
    again = f"fraudguard pin rotate{' --duress' if pin.duress else ''}"
    click.echo(f"It is shown this once and stored nowhere. Lost: '{again}' makes another.", err=True)


def show_authenticator(pin: Pin, vault: Vault) -> None:
    """Print what an authenticator app needs, this once."""
    key = vault.totp_key(pin.tenant, pin.seal)
    click.echo(totp.qr(authenticator_uri(pin, vault)).rstrip("\n"))
    click.echo(f"key: {key.base32()}")
    click.echo(
        "Scan the code with an authenticator app, or type the key in: time-based, 6 digits, 30 seconds.\n"
        "At the prompt the caller keys the code that the app shows then. A code is good for one call.\n"
        "It is shown this once. Lost, or seen by somebody else: 'fraudguard pin rotate' makes another.",
        err=True,
    )


def authenticator_uri(pin: Pin, vault: Vault) -> str:
    """Return the otpauth URI of a PIN of an authenticator app: whoever has it has the PIN."""
    return totp.uri(vault.totp_key(pin.tenant, pin.seal), name=pin.name, tenant=pin.tenant)


def _odds(pins: int, length: int) -> str:
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
