"""What a person should know about guessed PINs."""

from __future__ import annotations

from fraudguard.clock import Millis, format_instant
from fraudguard.numbering import BadNumber
from fraudguard.pins.guessing import Lock
from fraudguard.policy import Facts
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.policy.index import host_of


def told(lock: Lock, facts: Facts, at: Millis) -> NewAlert:
    """Return the alert: failures that lock nothing yet, or what is locked now. The call is that of the latest."""
    attempt, number = facts.attempt, facts.number
    kind = AlertKind.PIN_LOCKED_OUT if lock.until else AlertKind.PIN_FAILURES
    whose = {"account": attempt.account, "source": host_of(attempt.source), "tenant": attempt.tenant}[lock.scope]
    details = {"locked" if lock.until else "counted": f"{lock.scope} {whose}", "failures": str(lock.failures)}
    if lock.until:
        details["until"] = format_instant(lock.until)
    return NewAlert(
        kind,
        at,
        fold="\x1f".join((kind, lock.scope, attempt.tenant if lock.scope != "source" else "", whose)),
        tenant=attempt.tenant,
        account=attempt.account,
        source=attempt.source,
        trunk=attempt.trunk,
        dialled=attempt.number,
        number=None if isinstance(number, BadNumber) else number.dialable,
        reason=kind,
        details=details,
    )
