"""What doctor finds of PINs: whether they can be looked at, are hard to guess, and callers hear what asks for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fraudguard.cli.app import App
from fraudguard.cli.findings import Finding, of_error, ok, warning
from fraudguard.cli.pin.known import Known, known
from fraudguard.cli.pin.secrets import CODES, odds
from fraudguard.cli.pin.terms import is_expired
from fraudguard.clock import Millis
from fraudguard.config import Settings
from fraudguard.errors import FraudguardError
from fraudguard.pepper import open_vault
from fraudguard.pins.guessing import digits_for
from fraudguard.pins.totp import CODE_DIGITS
from fraudguard.policy import DEFAULT_TENANT
from fraudguard.policy.pin import Pin, PinKind

SOUNDS: Final = (Path("/usr/share/asterisk/sounds"), Path("/var/lib/asterisk/sounds"))
"""Where Debian's packages, and Asterisk by itself, put the sounds."""


def pins(app: App) -> Iterator[Finding]:
    """Is there a PIN where one is asked for, can it be looked at, and is it hard to guess?

    How many digits one has stands nowhere: that there are too few is said when it is made. Codes of apps have six.
    """
    try:
        stored = app.read(known)
    except FraudguardError as error:
        yield of_error("pins", error)
        return
    if stored.pins:
        yield _pepper(app.settings, stored)
    now = app.clock.now()
    for tenant in sorted({DEFAULT_TENANT, *app.settings.tenants}):
        if app.settings.wants_pins(tenant):
            yield _pins_of(tenant, stored.of(tenant), now)


def _pepper(settings: Settings, stored: Known) -> Finding:
    try:
        open_vault(settings.pepper, stored.schemes_in_force)
    except FraudguardError as error:
        return of_error("pins", error)
    return ok("pins", f"{settings.pepper} is what they were sealed with")


def _pins_of(tenant: str, stored: Sequence[Pin], now: Millis) -> Finding:
    check = f"pins of {tenant}"
    good = [pin for pin in stored if not is_expired(pin.terms, now)]
    if not good:
        what = "there are none: calls that want one are refused, unless a grant reaches them"
        return warning(check, what, f"fraudguard pin add NAME --tenant {tenant}; or want none: pin.ask = []")
    apps = [pin for pin in good if pin.kind is PinKind.TOTP]
    accounts = sorted({account for pin in apps for account in pin.terms.accounts})
    most, account = max(((sum(pin.usable_from(one) for pin in apps), one) for one in accounts), default=(0, ""))
    if digits_for(CODES * most) > CODE_DIGITS:
        by = odds(CODES * most, CODE_DIGITS)
        what = f"the codes of {most} apps are good at account {account}: guessed in a day by a chance of {by}"
        return warning(check, what, "let fewer of them be keyed there, or give people digits instead")
    count = len(good) - len(apps)
    return ok(check, f"{count} of digits, {len(apps)} of an app; a new one gets {digits_for(count + 1)} digits")


def prompts(settings: Settings, folders: Sequence[Path]) -> Iterator[Finding]:
    """Has Asterisk the sounds that callers are to hear? `folders` are where they may be on this machine."""
    wanted: dict[tuple[str, str], None] = {}
    for tenant in (DEFAULT_TENANT, *settings.tenants):
        if settings.wants_pins(tenant):
            asking = settings.pin_of(tenant)
            wanted |= dict.fromkeys((prompt, asking.language) for _, prompt in asking.prompts)
    if not wanted:
        return
    there = [folder for folder in folders if os.access(folder, os.R_OK | os.X_OK)]
    if not there:
        yield ok("prompts", "Asterisk's sounds are not on this machine, or not where --sounds says: not looked at")
        return
    silent = {
        f"{prompt} ({language})" if language else prompt: None
        for prompt, language in wanted
        if not any(_has_sound(folder, prompt, language) for folder in there)
    }
    looked = " and ".join(map(str, there))
    if silent:
        what = f"not in {looked}: {', '.join(silent)}. Callers hear nothing there"
        yield warning("prompts", what, "install Asterisk's core sounds, put the file there, or correct pin.prompts")
    else:
        yield ok("prompts", f"all sounds that callers are to hear are in {looked}")


def _has_sound(folder: Path, prompt: str, language: str) -> bool:
    """Say whether Asterisk finds a sound: in the folder of the language, of 'en' for 'en_GB', or of none.

    Without a language it is the channel's own, which is not known here: any will do.
    """
    try:
        if language:
            places = [folder / language, folder / language.partition("_")[0], folder]
        else:
            places = [folder, *(place for place in folder.iterdir() if place.is_dir())]
        return any(
            file.is_file() for place in places for file in (place / prompt).parent.glob(f"{Path(prompt).name}.*")
        )
    except OSError:
        return True  # not for us to see, which is no reason to call it missing
