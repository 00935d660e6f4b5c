"""PINs as operators set them, and what came of asking for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.policy.hours import Hours
from fraudguard.policy.reasons import Reason


class PinKind(StrEnum):
    """What the digits are: the same for good, or a code of an authenticator app, good for one call."""

    DIGITS = "digits"
    TOTP = "totp"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a PIN is good for. Empty or None: no restriction.

    A number must be in one of `regions` (ISO 3166-1) or begin with one of `prefixes` (E.164 digits). `highest` is the
    dearest per-minute price and connect fee, `per_day` the most money in a day of the tenant's. It holds from
    `begins` until before `until`, within `hours`, keyed at one of `accounts`.
    """

    regions: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    highest: Micros | None = None
    per_day: Micros | None = None
    begins: Millis | None = None
    until: Millis | None = None
    hours: Hours | None = None
    accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seal:
    """A PIN as it is stored: argon2id of its digits keyed with the pepper, or for an authenticator what its key is
    made of. `index` finds it among the tenant's, `proof` is compared.
    """

    index: bytes = field(repr=False)
    proof: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewPin:
    """A PIN that is to be made: whose it will be, and what it will be good for (see Pin)."""

    tenant: str
    name: str
    kind: PinKind
    duress: bool
    terms: Terms


@dataclass(frozen=True, slots=True)
class Pin:
    """One person's PIN. `name` is the person's, unique in the tenant but for a duress PIN, which goes by the same."""

    id: int
    tenant: str
    name: str
    kind: PinKind
    duress: bool
    terms: Terms
    seal: Seal
    author: str
    created: Millis

    def usable_from(self, account: str) -> bool:
        """Say whether it may be keyed at an account."""
        return not self.terms.accounts or account in self.terms.accounts


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a tenant's PINs are sealed: the salt and cost of argon2id (passes, KiB, lanes), fixed when its first PIN is
    made. `mark` is what the pepper of then makes of a fixed text, so that another pepper is noticed.
    """

    salt: bytes = field(repr=False)
    passes: int
    kib: int
    lanes: int
    mark: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unlock:
    """An operator took back what wrong PINs had locked, up to `at`: of an account, of a source address, or of a tenant
    with all its accounts. What is not named is ''.
    """

    at: Millis
    tenant: str = ""
    account: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Keyed:
    """What came of asking a caller for a PIN.

    `refusal` is the reason why nothing good was keyed (None where a PIN was), `pin` the PIN it was, also one that may
    not be used here. `at` is when it was over, `tries` how often something was keyed. With `assumed` nobody was asked:
    `check` supposes that a good one would be keyed.
    """

    at: Millis
    pin: Pin | None = None
    refusal: Reason | None = None
    tries: int = 0
    assumed: bool = False
