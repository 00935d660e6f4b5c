"""The records a decision is made from and made into. All frozen: a verdict can be stored, replayed and explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.numbering.number import BadNumber, Kind, Number
from fraudguard.policy.budget import NO_REGION, Budget, Payer
from fraudguard.policy.pin import Keyed, Pin, Scheme, Unlock
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.rating.deck import Deck
from fraudguard.rating.rate import Rate

DEFAULT_TENANT = "default"
"""The tenant of attempts, limits, grants and blocks that name none: all that a single office ever needs."""

DEFAULT_LIMIT: Micros = 250_000
"""0.25 a minute: the limit that holds until an operator sets one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Someone dials something. Texts are as the dialplan sent them, `at` is UTC milliseconds.

    `source` may carry a port ('192.0.2.7:5060'); `account`, `source`, `asterisk` and `linkedid` may be empty.
    `forwarded` says that a phone forwarded or transferred the call, or that no phone began it: nobody is at the keypad.
    """

    number: str
    trunk: str
    account: str
    tenant: str
    source: str
    at: Millis
    asterisk: str = ""
    linkedid: str = ""
    forwarded: bool = False
    uniqueid: str = ""  # of the channel that asks


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a limit, grant or block applies to: everybody, a tenant, or one account of a tenant."""

    tenant: str | None = None
    account: str | None = None

    def __post_init__(self) -> None:
        if self.account is not None and self.tenant is None:
            raise ValueError("an account belongs to a tenant")

    def covers(self, tenant: str, account: str) -> bool:
        """Say whether an attempt of this tenant and account falls under the scope."""
        return (self.tenant is None or self.tenant == tenant) and (self.account is None or self.account == account)

    @property
    def level(self) -> str:
        """Return how wide it is: 'global', 'tenant' or 'account'."""
        if self.account is not None:
            return "account"
        return "global" if self.tenant is None else "tenant"

    def __str__(self) -> str:
        if self.account is not None:
            return f"account {self.account} of tenant {self.tenant}"
        return "global" if self.tenant is None else f"tenant {self.tenant}"


EVERYBODY = Scope()


@dataclass(frozen=True, slots=True)
class Limit:
    """The highest per-minute price (micro-units) that goes through without a grant.

    `strict` says that it is no operator's, but that of the tenant's strict profile, which is lower.
    """

    scope: Scope
    per_minute: Micros
    strict: bool = False

    @property
    def level(self) -> str:
        """Return whose it is: 'global', 'tenant' or 'account', as its scope; or 'strict'."""
        return "strict" if self.strict else self.scope.level


@dataclass(frozen=True, slots=True)
class Grant:
    """An operator's lasting permission.

    `prefix` is E.164 digits without plus ('' for any number), `highest` the dearest per-minute price and
    connect fee it lifts the limit to (None: any known price), `until` the first instant it no longer holds
    (None: for good). Calls that it reaches need no PIN, unless `asks_pin`.
    """

    id: int
    scope: Scope
    prefix: str
    highest: Micros | None
    until: Millis | None
    reason: str
    author: str
    created: Millis
    asks_pin: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """An operator's lasting refusal. Everything it states must match: scope, prefix and source.

    `prefix` is E.164 digits without plus ('' for any number), `source` an address or network in CIDR form
    ('' for any source), `until` as in Grant.
    """

    id: int
    scope: Scope
    prefix: str
    source: str
    until: Millis | None
    reason: str
    author: str
    created: Millis


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand in the ledger for an attempt: what is left of the budgets, and what is too much of it.

    `room` is the money left in the budget that has least, None where none applies; `budget` says which that is.
    `pin_room` is likewise what the keyed PIN's own terms leave. `too_fast` and `too_many` say in words what is
    exceeded, '' where nothing is.
    """

    room: Micros | None = None
    budget: str = ""
    pin_room: Micros | None = None
    too_fast: str = ""
    too_many: str = ""

    @property
    def pressed(self) -> str:
        """Say in words what is exceeded, of both."""
        return "; ".join(filter(None, (self.too_fast, self.too_many)))


UNBOUNDED = Standing()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known about an attempt when the rules look at it: pure data, gathered before any rule runs.

    `number` is what the dialled digits mean, `rate` the price of its longest prefix on this trunk,
    `limit` the narrowest that applies, `block` the first that matches, `grant` the first that reaches the
    price, rather one that needs no PIN, or else the first that would if it reached so high. `asks` says that such a
    number wants a PIN, `keyed` what came of asking for one (None: nobody was asked yet), `zone` is the tenant's time.
    `strict` says that the tenant's strict profile holds, `standing` is what the ledger knows.
    """

    attempt: Attempt
    number: Number | BadNumber
    deck: str
    rate: Rate | None
    limit: Limit
    grant: Grant | None
    block: Block | None
    asks: bool = False
    keyed: Keyed | None = None
    zone: tzinfo = UTC
    strict: bool = False
    standing: Standing = UNBOUNDED

    @property
    def payer(self) -> Payer:
        """Return who pays for the call."""
        attempt, number = self.attempt, self.number
        pin = "" if self.keyed is None or self.keyed.pin is None else self.keyed.pin.name
        if isinstance(number, BadNumber):
            return Payer(attempt.tenant, attempt.account, pin, attempt.trunk, NO_REGION, domestic=False)
        domestic = number.stays_home or number.kind is Kind.SERVICE
        return Payer(attempt.tenant, attempt.account, pin, attempt.trunk, number.region or NO_REGION, domestic)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about an attempt, with everything needed to explain it later.

    `lease_seconds` is None when refused and for emergency calls, which have no end.
    `simulated` holds the reasons of rules in shadow that would have refused the call.
    """

    call: str
    outcome: Outcome
    reason: Reason
    facts: Facts
    lease_seconds: int | None
    simulated: tuple[Reason, ...] = ()

    @property
    def allowed(self) -> bool:
        return self.outcome is Outcome.ALLOW

    @property
    def pin(self) -> Pin | None:
        """The PIN that was keyed, also one that did not help."""
        return None if self.facts.keyed is None else self.facts.keyed.pin


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What operators have set, at one moment: immutable, swapped whole when an edit is committed.

    `decks` maps a deck's name to its table of rates; a deck that is configured but holds no rates is absent. `pins` are
    those not revoked; `schemes` say by tenant how its PINs are sealed. `budgets` are those that operators have set.
    """

    decks: Mapping[str, Deck]
    limits: tuple[Limit, ...] = ()
    grants: tuple[Grant, ...] = ()
    blocks: tuple[Block, ...] = ()
    pins: tuple[Pin, ...] = ()
    schemes: Mapping[str, Scheme] = field(default_factory=dict)
    unlocks: tuple[Unlock, ...] = ()
    budgets: tuple[Budget, ...] = ()
