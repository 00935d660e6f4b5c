"""Codes of authenticator apps (RFC 6238): six digits, another every 30 seconds."""

from __future__ import annotations

import hmac
from io import StringIO
from typing import Final

import pyotp
import segno

from fraudguard.clock import Millis
from fraudguard.pins.digits import Digits
from fraudguard.pins.vault import Key
from fraudguard.policy.records import DEFAULT_TENANT

CODE_DIGITS: Final = 6
STEP_MILLIS: Final = 30_000
"""What every authenticator app takes without being asked about it."""

SKEW_STEPS: Final = 1
"""Clocks of phones go wrong, and keying takes time: the code before and the one after are good too."""

_BORDER: Final = 2
"""Modules of white around a QR code: half of what the standard wants, enough on a terminal."""


def uri(key: Key, *, name: str, tenant: str, issuer: str = "fraudguard") -> str:
    """Return what an authenticator app reads out of a QR code. It holds the key: to be shown once, never logged."""
    person = name if tenant == DEFAULT_TENANT else f"{name} ({tenant})"
    return pyotp.TOTP(key.base32(), digits=CODE_DIGITS).provisioning_uri(name=person, issuer_name=issuer)


def qr(text: str) -> str:
    """Return a QR code to be printed in a terminal, two rows of it per line."""
    drawing = StringIO()
    segno.make(text, micro=False).terminal(out=drawing, border=_BORDER, compact=True)
    return drawing.getvalue()


def matching_step(key: Key, digits: Digits, now: Millis) -> int | None:
    """Return the step whose code was keyed: that of `now`, or one before or after; None for none.

    Every step is looked at, so that the time this takes tells nothing. Of two with the same code it is the later one.
    """
    codes = pyotp.TOTP(key.base32(), digits=CODE_DIGITS)
    present = now // STEP_MILLIS
    keyed = digits.reveal().encode("utf-8", "surrogatepass")
    found = None
    for step in range(present - SKEW_STEPS, present + SKEW_STEPS + 1):
        if hmac.compare_digest(codes.generate_otp(step).encode(), keyed):
            found = step
    return found
