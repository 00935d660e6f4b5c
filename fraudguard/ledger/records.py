"""What happens to calls, and what is known of them. Frozen; times are UTC milliseconds, money micro-units."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TypeAlias

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.numbering.number import BadNumber
from fraudguard.policy.alert import NewAlert
from fraudguard.policy.budget import NO_REGION, Payer
from fraudguard.policy.records import Verdict
from fraudguard.rating.rate import SLACK_SECONDS, Rate, cost, most

CARRIER_SECONDS: Final = 1
"""How much longer than ours a carrier's clock may see a call: answer and end reach Asterisk, and us, on the way."""


Key: TypeAlias = tuple[str, str]
"""Asterisk and uniqueid of a leg."""


class State(StrEnum):
    """How far a call has come."""

    RINGING = "ringing"
    UP = "up"
    ENDED = "ended"


class Why(StrEnum):
    """Why a call without a verdict is there. Calls with a verdict carry its reason."""

    FENCE = "fence"  # the guard did not answer, and the dialplan let a domestic call go
    EMERGENCY = "emergency"  # dialled past the guard, as it should be
    UNGUARDED = "unguarded"


@dataclass(frozen=True, slots=True)
class Admission:
    """An allowing verdict, as far as following its calls needs it. Texts are the attempt's, as in the store.

    `number` is what the verdict gave the dialplan to dial ('+4420...', '911'), `rate` what it was judged by (None
    without a price), `lease_seconds` None for emergency calls, `at` when it was asked for. `dialled` says that a leg
    by it is known already, `uniqueid` is of the channel that asked. `region`, `pin` and `domestic` are as in a Payer.
    """

    asterisk: str
    linkedid: str
    call: str
    reason: str
    tenant: str
    account: str
    source: str
    trunk: str
    number: str
    rate: Rate | None
    lease_seconds: int | None
    at: Millis
    dialled: bool = False
    uniqueid: str = ""
    region: str = NO_REGION
    pin: str = ""
    domestic: bool = False

    @property
    def payer(self) -> Payer:
        """Return who pays for its calls."""
        return Payer(self.tenant, self.account, self.pin, self.trunk, self.region, self.domestic)


def admission_of(verdict: Verdict) -> Admission | None:
    """Return what a verdict admits; None when it refuses."""
    facts = verdict.facts
    attempt, number = facts.attempt, facts.number
    if not verdict.allowed or isinstance(number, BadNumber):
        return None
    payer = facts.payer
    return Admission(
        asterisk=attempt.asterisk,
        linkedid=attempt.linkedid,
        call=verdict.call,
        reason=verdict.reason.value,
        tenant=attempt.tenant,
        account=attempt.account,
        source=attempt.source,
        trunk=attempt.trunk,
        number=number.dialable,
        rate=facts.rate,
        lease_seconds=verdict.lease_seconds,
        at=attempt.at,
        uniqueid=attempt.uniqueid,
        region=payer.region,
        pin=payer.pin,
        domestic=payer.domestic,
    )


@dataclass(frozen=True, slots=True)
class Leg:
    """One channel, as an Asterisk names it. `uniqueid` stays through renames, `linkedid` ties legs to one chain."""

    asterisk: str
    uniqueid: str
    linkedid: str
    channel: str

    @property
    def key(self) -> Key:
        """Return what tells it from all others, whatever it is renamed to."""
        return (self.asterisk, self.uniqueid)


@dataclass(frozen=True, slots=True)
class Dialled:
    """A leg is being called (DialBegin). `string` is what Dial was given: '+4420...@carrier'.

    `caller` is the channel that dials, None when Asterisk itself does (Originate, call file); context, extension
    and application say where in its dialplan. `said` is what the channel's FRAUDGUARD_REASON holds: 'fence' where
    the dialplan decided alone; `asked` is False where Asterisk did not answer that in time, or could not.
    """

    at: Millis
    leg: Leg
    string: str
    caller: Leg | None = None
    account: str = ""
    context: str = ""
    extension: str = ""
    application: str = ""
    said: str = ""
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Answered:
    """A called leg answered (DialEnd with ANSWER)."""

    at: Millis
    asterisk: str
    uniqueid: str


@dataclass(frozen=True, slots=True)
class TurnedDown:
    """The far end of a called leg would not have it: busy, congested, not there (DialEnd)."""

    at: Millis
    asterisk: str
    uniqueid: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A channel belongs to another chain, or has another name, since a transfer, a masquerade or a rename."""

    at: Millis
    leg: Leg


@dataclass(frozen=True, slots=True)
class HungUp:
    """A channel is gone (Hangup)."""

    at: Millis
    asterisk: str
    uniqueid: str
    cause: int


@dataclass(frozen=True, slots=True)
class Billed:
    """Asterisk's own record (Cdr) of one stretch of a call: `channel` is the called one's name."""

    at: Millis
    asterisk: str
    channel: str
    seconds: int


Event: TypeAlias = Dialled | Answered | TurnedDown | Moved | HungUp | Billed


@dataclass(frozen=True, slots=True)
class Seen:
    """A channel that is there, found by asking (Status), not by following events.

    `answered_at` is None while it rings, or where Asterisk could not say; `up` says whether it is answered.
    `number` is what it dials, as far as Asterisk says; `said` as in Dialled.
    """

    leg: Leg
    up: bool
    began_at: Millis
    answered_at: Millis | None = None
    string: str = ""
    account: str = ""
    context: str = ""
    extension: str = ""
    application: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One leg towards a trunk, from its dialling to its end.

    `call` is the verdict that allowed it ('' for none) and `why` its reason, or one of Why. `rate` is what it is
    billed by, None without a price. `lease_seconds` is how long it may be up, as last renewed; None for no end.
    `seconds` (whole, rounded up) and `cost` are known once it has ended. `reconstructed` says that its answer or its
    end was not seen as it happened. `region`, `pin` and `domestic` are as in a Payer. `cut` says why the guard ended
    it, or will at the end of its lease; '' where it did not. `given_up` says that it was never answered, as far as is
    known, but not turned down either: the answer may have crossed its end on the way.
    """

    leg: Leg
    caller: str
    call: str
    why: str
    tenant: str
    account: str
    source: str
    trunk: str
    number: str
    rate: Rate | None
    lease_seconds: int | None
    state: State
    began_at: Millis
    answered_at: Millis | None = None
    ended_at: Millis | None = None
    seconds: int | None = None
    cost: Micros | None = None
    cause: int | None = None
    cdr_seconds: int | None = None
    reconstructed: bool = False
    region: str = NO_REGION
    pin: str = ""
    domestic: bool = False
    cut: str = ""
    given_up: bool = False

    @classmethod
    def admitted(cls, admission: Admission, leg: Leg, *, caller: str = "", began_at: Millis) -> Self:
        """Return the call that begins with a leg dialled by an admission."""
        return cls(
            leg=leg,
            caller=caller,
            call=admission.call,
            why=admission.reason,
            tenant=admission.tenant,
            account=admission.account,
            source=admission.source,
            trunk=admission.trunk,
            number=admission.number,
            rate=admission.rate,
            lease_seconds=admission.lease_seconds,
            state=State.RINGING,
            began_at=began_at,
            region=admission.region,
            pin=admission.pin,
            domestic=admission.domestic,
        )

    @property
    def payer(self) -> Payer:
        """Return who pays for it."""
        return Payer(self.tenant, self.account, self.pin, self.trunk, self.region, self.domestic)

    def seconds_at(self, now: Millis) -> int:
        """Return the billable seconds up to `now`, or to its end: every second begun counts, ringing is free."""
        if self.answered_at is None:
            return 0
        end = now if self.ended_at is None else self.ended_at
        return max(0, -(-(end - self.answered_at) // 1000))

    def cost_at(self, now: Millis) -> Micros | None:
        """Return what it has cost up to `now`, or to its end; None without a price, 0 unless answered."""
        if self.rate is None:
            return None
        return 0 if self.answered_at is None else cost(self.rate, self.seconds_at(now))

    def charged_at(self, now: Millis) -> Micros:
        """Return what budgets count of it up to `now`, or to its end: the carrier's clock may see a second more.

        Never more than what was set aside for its lease, unless it was seen to live longer.
        """
        if self.rate is None:
            return 0
        if (
            self.answered_at is None
        ):  # an answer that crossed its end is billed all the same (measured with SIP's CANCEL)
            return cost(self.rate, 1) if self.given_up else 0
        seconds = self.seconds_at(now)
        if self.lease_seconds is not None:
            paid = self.lease_seconds + SLACK_SECONDS
            if self.ended_at is None:  # its end may have come and not been heard of
                seconds = min(seconds, paid)
            else:
                seconds = max(seconds, min(seconds + CARRIER_SECONDS, paid))
        return cost(self.rate, seconds)

    def reserved(self) -> Micros:
        """Return what it can cost at most within its lease; what it costs without one is what it has cost."""
        if self.rate is None or self.lease_seconds is None:
            return 0
        return most(self.rate, self.lease_seconds)


@dataclass(frozen=True, slots=True)
class Changes:
    """What follows from an event: calls to be stored as they now are, alerts to raise, legs to hang up at once, and
    those whose end Asterisk is to be told (again). `warn` are callers whose call is about to be cut: Asterisk, channel.
    """

    calls: tuple[Call, ...] = ()
    alerts: tuple[NewAlert, ...] = ()
    hang_up: tuple[Leg, ...] = ()
    tell_end: tuple[Leg, ...] = ()
    warn: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.calls or self.alerts or self.hang_up or self.tell_end or self.warn)


NOTHING: Final = Changes()
