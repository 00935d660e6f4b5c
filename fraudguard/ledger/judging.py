"""Judging a leg towards a trunk: by which verdict it is there, or what else explains it, or that nothing does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from fraudguard.clock import Millis
from fraudguard.house import House, Line
from fraudguard.ledger.admissions import Admissions, Chain
from fraudguard.ledger.dialled import SHORT_PREFIX, digits_of, number_of
from fraudguard.ledger.records import Admission, Call, Dialled, Leg, State, Why
from fraudguard.numbering import Number
from fraudguard.policy import DEFAULT_TENANT
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.rating.rate import Rate

Price: TypeAlias = Callable[[str, str], Rate | None]
"""What a trunk and a number as it was dialled ('+4420...') cost; None where there is no price. Never raises."""

SEPARATOR: Final = "\x1f"
"""Between the parts of a fold key: no text of Asterisk's holds a control character."""


class Judge:
    """Knows the house's numberings and trunks, and what was admitted."""

    def __init__(self, house: House, admissions: Admissions, price: Price) -> None:
        self._house = house
        self._admissions = admissions
        self._price = price
        tenancies = (house.fallback, *house.tenancies.values())
        # One for each way of dialling: a thousand tenants of one country need not be asked one by one.
        self._normalisers = tuple({one.normaliser.plan: one.normaliser for one in tenancies}.values())
        self._emergency_codes = tuple({code for one in self._normalisers for code in one.emergency_numbers})
        outside = {one.plan.outside_line + code for one in self._normalisers for code in one.emergency_numbers}
        # +49112 is no number of anybody's, but what comes out where a dialplan makes every number E.164.
        whole = {one.home.calling_code + code for one in self._normalisers for code in one.emergency_numbers}
        self._emergencies = outside.union(self._emergency_codes, whole)

    def judge(self, event: Dialled, lines: tuple[Line, ...], *, missed: bool = False) -> Call:
        """Return the call that a leg of a trunk begins.

        Where the dialling was `missed`, a transfer may have been missed too, that took the leg to another chain: then
        a verdict of any chain for its number explains it.
        """
        line, number = _read(event.string, lines)
        admission = self._admission(event, lines, number)
        if admission is None and missed:
            trunks = [line.trunk for line in lines]
            admission = self._admissions.find_in_any_chain(event.leg.asterisk, trunks, number)
        if admission is not None:
            return Call.admitted(admission, event.leg, caller=_name_of(event.caller), began_at=event.at)
        whose = self._admissions.latest(_chains(event.leg, event.caller))
        why, rate, lease = Why.UNGUARDED, self._price(line.trunk, number) if number else None, None
        if self._is_emergency(number):
            why, rate = Why.EMERGENCY, None
        elif event.said == Why.FENCE and self._is_domestic(number):
            why, lease = Why.FENCE, self._house.fence_lease_seconds
        return Call(
            leg=event.leg,
            caller=_name_of(event.caller),
            call="",
            why=why.value,
            tenant=whose.tenant if whose else DEFAULT_TENANT,
            account=event.account or (whose.account if whose else _endpoint(event.caller)),
            source=whose.source if whose else "",
            trunk=line.trunk,
            number=number or event.string,
            rate=rate,
            lease_seconds=lease,
            state=State.RINGING,
            began_at=event.at,
            domestic=why is Why.FENCE,
        )

    def number_in(self, string: str, lines: tuple[Line, ...]) -> str:
        """Return the number in a dial string of one of these trunks; '' where there is none."""
        return _read(string, lines)[1]

    def wonders(self, leg: Leg, string: str, caller: Leg | None) -> bool:
        """Say whether nothing explains a leg so far: neither a verdict nor that it is an emergency call."""
        lines = self._house.lines_of(leg.channel)
        if not lines:
            return False
        _, number = _read(string, lines)
        return (
            not self._is_emergency(number) and self._admission(Dialled(0, leg, string, caller), lines, number) is None
        )

    def must_end(self, call: Call) -> bool:
        """Say whether a call is to be hung up: nobody allowed it, its trunk is policed, and it is no emergency.

        A leg that was found without its number might be one, so it is let be. So is a number that ends like an
        emergency number behind a few digits: who knows what prefix a dialplan puts before 112.
        """
        if call.why != Why.UNGUARDED or not call.number or self.mode(call.leg) == "report":
            return False
        digits = digits_of(call.number)
        return call.number[0] == "+" or not any(
            digits.endswith(code) and len(digits) - len(code) <= SHORT_PREFIX for code in self._emergency_codes
        )

    def mode(self, leg: Leg) -> str:
        """Return the police mode of a leg's trunk. Trunks that share a channel share the strictest."""
        return "enforce" if any(line.enforce for line in self._house.lines_of(leg.channel)) else "report"

    def alert(self, call: Call, event: Dialled, at: Millis) -> NewAlert:
        """Return the alert for a call that nobody allowed. Those through one hole in the dialplan fold together."""
        details = {
            "caller": call.caller,
            "context": event.context,
            "extension": event.extension,
            "application": event.application,
            "mode": self.mode(call.leg),
            "hung_up": "yes" if event.asked and self.must_end(call) else "no",
        }
        hole = (event.context, call.account)
        return alert_about(call, AlertKind.UNGUARDED_CALL, at, fold=hole, dialled=event.string, details=details)

    def _admission(self, event: Dialled, lines: tuple[Line, ...], number: str) -> Admission | None:
        if not number and event.string:
            return None  # it does not dial a number, and only numbers are admitted
        trunks = [line.trunk for line in lines]
        found = self._admissions.find(_chains(event.leg, event.caller), trunks, number)
        return found or self._admissions.find_without_chain(event.leg.asterisk, trunks, number)

    def _is_emergency(self, number: str) -> bool:
        return digits_of(number) in self._emergencies

    def _is_domestic(self, number: str) -> bool:
        # Without a plus it may be E.164 or national, as the carrier takes it.
        readings = {number, "+" + digits_of(number)} if number else set()
        numbers = (one.normalise(reading) for one in self._normalisers for reading in readings)
        return any(isinstance(number, Number) and number.stays_home for number in numbers)


def alert_about(
    call: Call, kind: AlertKind, at: Millis, *, dialled: str, fold: tuple[str, ...] = (), details: Mapping[str, str]
) -> NewAlert:
    """Return an alert about a call. Those of one kind, Asterisk and trunk, and alike in `fold`, become one."""
    rate = call.rate
    details = {"asterisk": call.leg.asterisk, "channel": call.leg.channel, **details}
    return NewAlert(
        kind=kind,
        at=at,
        fold=SEPARATOR.join((kind, call.leg.asterisk, call.trunk, *fold)),
        tenant=call.tenant,
        account=call.account,
        source=call.source,
        trunk=call.trunk,
        dialled=dialled,
        number=call.number or None,
        destination=None if rate is None else rate.destination,
        per_minute=None if rate is None else rate.per_minute,
        connect_fee=None if rate is None else rate.connect_fee,
        reason=kind,
        call=call.call,
        details={key: value for key, value in details.items() if value},
    )


def _read(string: str, lines: tuple[Line, ...]) -> tuple[Line, str]:
    """Return the trunk that a dial string is for, and the number in it.

    Some trunks put a prefix before the number: the trunk's own `dial` knows better than a guess.
    """
    for line in lines:
        match = line.number.fullmatch(string)
        if match is not None:
            return line, match[1]
    return lines[0], number_of(string)


def _name_of(caller: Leg | None) -> str:
    return "" if caller is None else caller.channel


def _endpoint(caller: Leg | None) -> str:
    """Return whose channel it is: that of 'PJSIP/204-0000001a' is 204's."""
    return "" if caller is None else caller.channel.partition("/")[2].rpartition("-")[0]


def _chains(leg: Leg, caller: Leg | None) -> list[Chain]:
    """Return the chains in which a leg may have been allowed.

    After a transfer a leg is dialled in a chain that the verdict was not asked for in. But a chain is named after
    the channel that began it, and where that one dials, what it was once allowed counts.
    """
    names = [leg.linkedid] if caller is None else [leg.linkedid, caller.linkedid, caller.uniqueid]
    return [(leg.asterisk, name) for name in dict.fromkeys(names)]
