"""What a person should know, as those who notice it say it: before it is stored, folded and delivered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.policy.reasons import Reason


class AlertKind(StrEnum):
    """The kinds of alert that no verdict raises; the others are named by the verdict's reason."""

    UNGUARDED_CALL = "unguarded_call"  # an outbound leg that no verdict allowed
    CDR_DISAGREEMENT = "cdr_disagreement"  # Asterisk counted other seconds than the ledger
    LOGIN_FAILURES = "login_failures"  # somebody guesses passwords or accounts
    NEW_SOURCE = "new_source"  # an account used from an address that it never used before
    AMI_REFUSED = "ami_refused"  # Asterisk refused the guard's own login
    AMI_LOST = "ami_lost"  # the link to an Asterisk is gone
    AMI_ABSENT = "ami_absent"  # an Asterisk is configured that was never linked
    AMI_OVERFLOW = "ami_overflow"  # events were dropped, and calls looked up anew
    STORE_FAILED = "store_failed"  # the database cannot be written
    PIN_FAILURES = "pin_failures"  # an account's third wrong PIN within a day
    PIN_LOCKED_OUT = "pin_locked_out"  # an account, a source or a tenant is locked: too many wrong PINs
    PIN_DURESS = "pin_duress"  # a duress PIN was keyed: somebody is being forced
    PINS_UNREADABLE = "pins_unreadable"  # the pepper is gone, or another one
    BUDGET_HALF = "budget_half"  # half of a budget is spent
    BUDGET_LOW = "budget_low"  # four fifths of a budget are spent
    BUDGET_SPENT = "budget_spent"  # a budget is spent
    CALL_CUT = "call_cut"  # a call was ended while it was up: a budget, a block, a PIN, the longest call
    CLOCK_STEPPED = "clock_stepped"  # the machine's clock jumped
    GRANT_EXPIRING = "grant_expiring"  # a grant ends soon
    TEST = "test"  # `alerts test`


class Severity(StrEnum):
    """How urgent an alert is."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


SEVERITY: Final[Mapping[str, Severity]] = {
    Reason.BAD_NUMBER: Severity.NOTICE,
    Reason.BLOCKED: Severity.WARNING,
    Reason.NO_RATE: Severity.WARNING,
    Reason.OVER_LIMIT: Severity.WARNING,
    Reason.UNDECIDED: Severity.CRITICAL,
    AlertKind.UNGUARDED_CALL: Severity.CRITICAL,
    AlertKind.CDR_DISAGREEMENT: Severity.WARNING,
    AlertKind.LOGIN_FAILURES: Severity.WARNING,
    AlertKind.NEW_SOURCE: Severity.NOTICE,
    AlertKind.AMI_REFUSED: Severity.CRITICAL,
    AlertKind.AMI_LOST: Severity.CRITICAL,
    AlertKind.AMI_ABSENT: Severity.WARNING,
    AlertKind.AMI_OVERFLOW: Severity.WARNING,
    AlertKind.STORE_FAILED: Severity.CRITICAL,
    Reason.PIN_FORWARDED: Severity.WARNING,
    Reason.PIN_REQUIRED: Severity.NOTICE,
    Reason.PIN_BUSY: Severity.CRITICAL,
    Reason.PIN_TIME: Severity.WARNING,
    Reason.PIN_REGION: Severity.NOTICE,
    Reason.PIN_PRICE: Severity.NOTICE,
    Reason.PIN_MONEY: Severity.WARNING,
    AlertKind.PIN_FAILURES: Severity.WARNING,
    AlertKind.PIN_LOCKED_OUT: Severity.CRITICAL,
    AlertKind.PIN_DURESS: Severity.CRITICAL,
    AlertKind.PINS_UNREADABLE: Severity.CRITICAL,
    Reason.TOO_FAST: Severity.WARNING,
    Reason.TOO_MANY: Severity.WARNING,
    Reason.OVER_BUDGET: Severity.WARNING,
    AlertKind.BUDGET_HALF: Severity.NOTICE,
    AlertKind.BUDGET_LOW: Severity.WARNING,
    AlertKind.BUDGET_SPENT: Severity.CRITICAL,
    AlertKind.CALL_CUT: Severity.WARNING,
    AlertKind.CLOCK_STEPPED: Severity.WARNING,
    AlertKind.GRANT_EXPIRING: Severity.NOTICE,
    AlertKind.TEST: Severity.NOTICE,
}
"""How urgent each kind is (see severity_of)."""


def severity_of(kind: str) -> Severity:
    """Return how urgent alerts of a kind are. Kinds not listed are a warning."""
    return SEVERITY.get(kind, Severity.WARNING)


@dataclass(frozen=True, slots=True)
class NewAlert:
    """Something noticed at `at`. Alike ones (same kind and `fold`) within ten minutes become one alert with a count.

    The fields are those of an attempt where there is one; money is micro-units. `tries` is how many times it
    happened. `details` holds what only this kind has, in words an operator can use: channel, context, asterisk...
    """

    kind: str
    at: Millis
    fold: str
    tenant: str = ""
    account: str = ""
    source: str = ""
    trunk: str = ""
    dialled: str = ""
    number: str | None = None
    destination: str | None = None
    per_minute: Micros | None = None
    connect_fee: Micros | None = None
    highest: Micros | None = None
    limit_scope: str | None = None
    reason: str = ""
    call: str = ""
    tries: int = 1
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        return severity_of(self.kind)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is stored. `tries` counts what was folded into it, the details are the first one's.

    `severity` is 'notice', 'warning' or 'critical'. For an alert raised by a verdict `kind` is its reason.
    The other fields are those of the attempt (see policy.Ruling; `highest` is its limit). `leader` is the alert
    in whose messages this one is told, often itself, None before anybody is.
    """

    id: int
    kind: str
    severity: str
    first_at: Millis
    last_at: Millis
    tries: int
    tenant: str
    account: str
    source: str
    trunk: str
    dialled: str
    number: str | None
    destination: str | None
    per_minute: Micros | None
    connect_fee: Micros | None
    highest: Micros | None
    limit_scope: str | None
    reason: str
    call: str
    acked_at: Millis | None = None
    acked_by: str | None = None
    leader: int | None = None
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message about an alert to one channel. Part 0 is the first, the others tell of what came after it.

    It tells of `tries` between `since` and `until`, with which so many `alerts` were new. `target` is what their
    numbers have in common ('+882…'), `origin` likewise their addresses ('…': several), `dearest` the highest price
    among them. `attempts` is how often it was tried before.
    """

    id: int
    alert: Alert
    channel: str
    part: int
    tries: int
    alerts: int
    since: Millis
    until: Millis
    target: str
    origin: str
    dearest: Micros | None
    attempts: int = 0
