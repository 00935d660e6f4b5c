"""Who connects, from where: failed logins counted in sliding windows, and accounts used from new addresses.

Sightings in, alerts out. Pure: the clock arrives with each sighting, and memory has a limit whatever is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fraudguard.clock import Millis


class SightingKind(StrEnum):
    """What was seen. Each is a column of the table of sources."""

    SUCCEEDED = "succeeded"  # Asterisk accepted a login or a registration
    CALLED = "called"  # an attempt at the guard
    INVALID_PASSWORD = "invalid_password"  # noqa: S105  (no password, a kind)
    INVALID_ACCOUNT = "invalid_account"
    FAILED_CHALLENGE = "failed_challenge"
    FAILED_ACL = "failed_acl"


FAILURES = frozenset(SightingKind) - {SightingKind.SUCCEEDED, SightingKind.CALLED}


@dataclass(frozen=True, slots=True)
class Sighting:
    """An account used, or tried, from an address.

    `account` is as presented, '' for accounts that do not exist. `address` has no port, '' where none is known.
    `service` is Asterisk's name for it: 'PJSIP', 'AMI'; '' for a call.
    """

    at: Millis
    asterisk: str
    account: str
    address: str
    kind: SightingKind
    service: str = ""
