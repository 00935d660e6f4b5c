"""Calls as they come to an end: seen to end, or not; and what Asterisk's own records say of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from fraudguard.clock import Millis
from fraudguard.ledger.judging import alert_about
from fraudguard.ledger.records import Admission, Call, Changes, Leg, Seen, State
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.rating.rate import SLACK_SECONDS

LEASE_SLACK_MILLIS: Final = SLACK_SECONDS * 1000
"""How much longer than its lease an answered leg may live: what is set aside for it pays for that."""


def never_seen(admission: Admission, asterisk: str) -> Call:
    """Return the call of a verdict by which no leg was ever seen; the verdict stands in for its channel's name."""
    leg = Leg(asterisk, admission.call, admission.linkedid, "")
    return Call.admitted(admission, leg, began_at=admission.at)


def answered_unseen(call: Call, one: Seen) -> Call:
    """Return a call as answered if it is by now, at the earliest that can have been."""
    if not one.up or call.answered_at is not None:
        return call
    answered_at = call.began_at if one.answered_at is None else one.answered_at
    return replace(call, state=State.UP, answered_at=answered_at, reconstructed=True)


def ended_unseen(call: Call, now: Millis) -> Call:
    """Return a call as ended that is gone: just now, or at the end of its lease."""
    answered_at = call.began_at if call.answered_at is None else call.answered_at
    ended_at = now
    if call.lease_seconds is not None:
        ended_at = min(now, answered_at + call.lease_seconds * 1000 + LEASE_SLACK_MILLIS)
    return ended(replace(call, answered_at=answered_at, reconstructed=True), ended_at)


def ended(call: Call, at: Millis) -> Call:
    """Return a call as ended at an instant, with what it has cost."""
    call = replace(call, state=State.ENDED, ended_at=at)
    return replace(call, seconds=call.seconds_at(at), cost=call.cost_at(at))


def disagreement(call: Call, records: int, now: Millis) -> tuple[NewAlert, ...]:
    """Return an alert where Asterisk counted other seconds, more or fewer by over one.

    Each of its records drops the last, unfinished second, so what it means is a span of as many seconds.
    """
    assert call.ended_at is not None
    assert call.cdr_seconds is not None
    length = 0 if call.answered_at is None else call.ended_at - call.answered_at
    least, most = (call.cdr_seconds - 1) * 1000, (call.cdr_seconds + records + 1) * 1000
    if call.reconstructed or least <= length <= most:
        return ()
    details = {"seconds": str(call.seconds), "cdr_seconds": str(call.cdr_seconds), "records": str(records)}
    return (alert_about(call, AlertKind.CDR_DISAGREEMENT, now, dialled=call.number, details=details),)


def together(changes: Iterable[Changes]) -> Changes:
    changes = list(changes)
    return Changes(
        tuple(call for one in changes for call in one.calls),
        tuple(alert for one in changes for alert in one.alerts),
        tuple(leg for one in changes for leg in one.hang_up),
        tuple(leg for one in changes for leg in one.tell_end),
        tuple(caller for one in changes for caller in one.warn),
    )
