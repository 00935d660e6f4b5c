"""An alert as people and machines read it: subject, plain text and a JSON document. Pure.

Nothing that was dialled or presented reaches a subject, a header or a terminal unescaped. What is counted is taken
from the delivery, which does not change any more: a message that is sent again says the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from fraudguard.alerts.channel import Message
from fraudguard.alerts.ways import ways_to_allow, ways_to_stop
from fraudguard.clock import Millis, format_instant
from fraudguard.ledger.leases import LONGEST, OF_PIN, UNLINKED
from fraudguard.ledger.legs import SECOND_LEG
from fraudguard.ledger.recall import BLOCKED, PIN_REVOKED
from fraudguard.money import Micros, format_amount
from fraudguard.policy.alert import Alert, AlertKind, Delivery
from fraudguard.policy.reasons import Reason

SUBJECT_LIMIT = 160
"""Characters of a subject: longer ones are cut by whatever shows them."""

VALUE_LIMIT = 1_000
"""Characters of one value in the text, after escaping."""

HEADLINES: Final[Mapping[str, str]] = {
    Reason.BAD_NUMBER: "refused, not a number",
    Reason.BLOCKED: "refused, blocked",
    Reason.NO_RATE: "refused, no price",
    Reason.OVER_LIMIT: "refused, dearer than the limit",
    Reason.TOO_FAST: "refused, too many attempts",
    Reason.TOO_MANY: "refused, too many calls at once",
    Reason.OVER_BUDGET: "refused, no money left in a budget",
    Reason.PIN_FORWARDED: "refused, forwarded, nobody to key a PIN",
    Reason.PIN_REQUIRED: "refused, there is no PIN to key",
    Reason.PIN_BUSY: "refused, too many at the PIN prompt",
    Reason.PIN_TIME: "refused, the PIN is not good now",
    Reason.PIN_REGION: "refused, the PIN is not good for this number",
    Reason.PIN_PRICE: "refused, dearer than the PIN may call",
    Reason.PIN_MONEY: "refused, the PIN's money of the day is spent",
    Reason.UNDECIDED: "refused, no rule decided",
    AlertKind.UNGUARDED_CALL: "call past the guard",
    AlertKind.CDR_DISAGREEMENT: "Asterisk counted other seconds",
    AlertKind.LOGIN_FAILURES: "failed logins",
    AlertKind.NEW_SOURCE: "account used from a new address",
    AlertKind.AMI_REFUSED: "Asterisk refused fraudguard's login",
    AlertKind.AMI_LOST: "link to Asterisk lost",
    AlertKind.AMI_ABSENT: "no link to Asterisk yet",
    AlertKind.STORE_FAILED: "the database could not be written",
    AlertKind.AMI_OVERFLOW: "events of Asterisk were dropped",
    AlertKind.PIN_FAILURES: "wrong PINs",
    AlertKind.PIN_LOCKED_OUT: "locked after too many wrong PINs",
    AlertKind.PIN_DURESS: "DURESS: a PIN was keyed under threat",
    AlertKind.PINS_UNREADABLE: "no PIN can be looked at",
    AlertKind.BUDGET_HALF: "half of a budget is spent",
    AlertKind.BUDGET_LOW: "four fifths of a budget are spent",
    AlertKind.BUDGET_SPENT: "a budget is spent",
    AlertKind.CALL_CUT: "a call was ended",
    AlertKind.CLOCK_STEPPED: "the machine's clock was set",
    AlertKind.GRANT_EXPIRING: "a grant ends soon",
    AlertKind.TEST: "test message",
}
"""What happened, by kind. Kinds not listed are told by their name."""

_ATTEMPTS: Final = frozenset({*map(str, Reason), AlertKind.PIN_DURESS})
_BUDGETS: Final = frozenset({AlertKind.BUDGET_HALF, AlertKind.BUDGET_LOW, AlertKind.BUDGET_SPENT})

_MONEY: Final = frozenset({"amount", "spent", "set_aside"})
"""Details that are amounts."""

_NAMES: Final[Mapping[str, str]] = {
    "pressed": "What was exceeded",
    "cut": "Why it was ended",
    "lasts_minutes": "Minutes that the rest lasts",
}
"""What details are called in the text, where their own name says too little."""

_CUTS: Final[Mapping[str, str]] = {
    BLOCKED: "a block refuses such calls now",
    PIN_REVOKED: "the PIN that it went by was revoked",
    SECOND_LEG: "a second call by one verdict, and no money for both",
    UNLINKED: "its lease ended, and Asterisk could not be told of another",
    LONGEST: "it lived as long as any call may (policy.call_seconds)",
    OF_PIN: "its PIN's money of the day is spent",
}
"""Why a call was ended. Else a budget is named."""


def render(delivery: Delivery, currency: str) -> Message:
    """Write one message."""
    alert = delivery.alert
    subject = _subject(delivery, currency)
    return Message(
        id=_id(delivery, delivery.part),
        thread=_id(delivery, 0),
        severity=alert.severity,
        subject=subject,
        text=_text(delivery, currency),
        document=_document(delivery, currency, subject),
    )


def shown(text: str, limit: int = VALUE_LIMIT) -> str:
    """Escape what is not printable, line ends too, and cut what is too long."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def show_span(millis: Millis) -> str:
    """Write how long something took: '12 s', '3 min', '2 h 5 min'."""
    seconds = max(0, millis) // 1000
    if seconds < 60:
        return f"{max(1, seconds)} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _id(delivery: Delivery, part: int) -> str:
    # The same for ever, and of no other installation: a restored database may use an alert's number again.
    alert = delivery.alert
    seed = "\x1f".join(
        map(str, (alert.id, alert.first_at, alert.kind, alert.call, alert.dialled, delivery.channel, part))
    )
    return f"fraudguard-{alert.id}-{part}-{hashlib.sha256(seed.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _headline(alert: Alert) -> str:
    return HEADLINES.get(alert.kind, alert.kind)


def _subject(delivery: Delivery, currency: str) -> str:
    alert = delivery.alert
    if delivery.part:
        where = f" to {delivery.target}" if delivery.target else ""
        where += f" from {delivery.origin}" if delivery.origin else ""
        span = show_span(delivery.until - delivery.since)
        told = f"{delivery.tries} more{where} in {span}: {_headline(alert)}"
    else:
        told = f"{alert.severity}: {_headline(alert)}{_about(alert, currency)}"
        told += f", {delivery.tries} tries" if delivery.tries > 1 else ""
    return shown(f"[fraudguard] {told}", SUBJECT_LIMIT)


def _about(alert: Alert, currency: str) -> str:
    if alert.kind in _BUDGETS:
        details = alert.details
        spent = f"{details.get('spent', '?')} of {details.get('amount', '?')} {currency}"
        return f": {details.get('budget', 'unknown')}, {spent}"
    who = (
        f"account {alert.account} of {alert.tenant}"
        if alert.account
        else alert.tenant or alert.details.get("asterisk", "")
    )
    parts = [who, alert.number or alert.dialled, alert.destination or "", _price(alert.per_minute, currency)]
    told = ", ".join(part for part in parts if part)
    return f": {told}" if told else ""


def _price(amount: Micros | None, currency: str, per: str = "a minute") -> str:
    return "" if amount is None else f"{format_amount(amount)} {currency} {per}"


def _text(delivery: Delivery, currency: str) -> str:
    alert = delivery.alert
    lines = [f"{_headline(alert)} ({alert.severity}, alert {alert.id})", "", *_lines(_facts(delivery, currency)), ""]
    allow, stop = ways_to_allow(alert), ways_to_stop(alert)
    for title, ways in (("To allow it", allow), ("To stop it", stop)):
        if ways:
            lines.append(f"{title}:")
            for way in ways:
                lines += [f"  # {way.what}", *([f"  {way.command}"] if way.command else [])]
            lines.append("")
    lines += ["When somebody has seen to it:", f"  fraudguard alerts ack {alert.id}", ""]
    return "\n".join(lines)


def _lines(facts: list[tuple[str, str]]) -> list[str]:
    width = max(len(shown(name, 40)) for name, _ in facts) + 1
    return [f"{shown(name, 40) + ':':<{width}} {shown(value)}" for name, value in facts]


def _facts(delivery: Delivery, currency: str) -> list[tuple[str, str]]:
    """Return what is known, by name. Of an attempt everything is told, also that something is not known."""
    alert = delivery.alert
    meant = f" ({alert.number})" if alert.dialled and alert.number not in (None, alert.dialled) else ""
    dialled = (alert.dialled or alert.number or "") + meant
    price = _price(alert.per_minute, currency)
    if alert.connect_fee:
        price += f" and {_price(alert.connect_fee, currency, 'per call')}"
    limit = _price(alert.highest, currency)
    facts = [
        # Of a budget it is told who spends most at the moment.
        ("Dearest live call" if alert.kind in _BUDGETS else "Number dialled", dialled),
        ("Destination", alert.destination or ""),
        ("Price", price),
        ("Limit", f"{limit} ({alert.limit_scope})" if limit and alert.limit_scope else limit),
        ("Account", alert.account),
        ("Tenant", alert.tenant),
        ("Source address", alert.source),
        ("Trunk", alert.trunk),
        ("Reason", "" if "reason" in alert.details else alert.reason),
    ]
    whole = alert.kind in _ATTEMPTS
    told = [(name, value or "none known") for name, value in facts if value or whole]
    told += [_detail(name, value, currency) for name, value in alert.details.items() if value]
    return [*told, ("Tries", _tries(delivery, currency)), *([("Verdict", alert.call)] if alert.call else [])]


def _detail(name: str, value: str, currency: str) -> tuple[str, str]:
    if name in _MONEY:
        value = f"{value} {currency}"
    elif name == "cut":
        value = _CUTS.get(value, f"no money left: {value}")
    return _NAMES.get(name, name.replace("_", " ").capitalize()), value


def _tries(delivery: Delivery, currency: str) -> str:
    alert = delivery.alert
    first = format_instant(delivery.since)
    if delivery.tries == 1 and not delivery.part:
        return f"1, at {first}"
    told = f"{delivery.tries}{' more' if delivery.part else ''} from {first} to {format_instant(delivery.until)}"
    if delivery.target not in ("", alert.number or alert.dialled):
        told += f", to {delivery.target}"
    if delivery.origin:
        told += (
            ", from several addresses" if delivery.origin == "\N{HORIZONTAL ELLIPSIS}" else f", from {delivery.origin}"
        )
    if delivery.dearest is not None and delivery.dearest != alert.per_minute:
        told += f", at up to {_price(delivery.dearest, currency)}"
    others = delivery.alerts - (delivery.part == 0)
    if others > 0:
        told += f"; {others} other alert{'s' if others > 1 else ''} with it ('fraudguard alerts list')"
    return told


def _document(delivery: Delivery, currency: str, subject: str) -> dict[str, Any]:
    alert = delivery.alert
    return {
        "id": _id(delivery, delivery.part),
        "alert": alert.id,
        "part": delivery.part,
        "kind": alert.kind,
        "severity": alert.severity,
        "subject": subject,
        "tries": delivery.tries,
        "alerts": delivery.alerts,
        "since": format_instant(delivery.since),
        "until": format_instant(delivery.until),
        "target": _clean(delivery.target),
        "origin": _clean(delivery.origin),
        "dearest_per_minute": _amount(delivery.dearest),
        "tenant": _clean(alert.tenant),
        "account": _clean(alert.account),
        "source": _clean(alert.source),
        "trunk": _clean(alert.trunk),
        "dialled": _clean(alert.dialled),
        "number": None if alert.number is None else _clean(alert.number),
        "destination": None if alert.destination is None else _clean(alert.destination),
        "per_minute": _amount(alert.per_minute),
        "connect_fee": _amount(alert.connect_fee),
        "limit": _amount(alert.highest),
        "limit_scope": alert.limit_scope,
        "currency": currency,
        "reason": _clean(alert.reason),
        "call": _clean(alert.call),
        "details": {_clean(name): _clean(value) for name, value in alert.details.items()},
        "allow": [way.command for way in ways_to_allow(alert) if way.command],
        "stop": [way.command for way in ways_to_stop(alert) if way.command],
    }


def _clean(text: str) -> str:
    return shown(text)


def _amount(amount: Micros | None) -> str | None:
    return None if amount is None else format_amount(amount)
