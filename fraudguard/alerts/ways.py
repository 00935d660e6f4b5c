"""What to type about an alert: the commands that would allow what it tells of, and those that would stop it.

What was dialled, by whom and from where are an attacker's texts, and the commands go into a shell: every word is
quoted, and a text that cannot be typed (control characters, what was not UTF-8) gets no command.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fraudguard.clock import format_instant, parse_instant
from fraudguard.errors import InputError
from fraudguard.money import format_amount
from fraudguard.policy.alert import Alert, AlertKind
from fraudguard.policy.index import address_of, without_port
from fraudguard.policy.reasons import Reason

LOST: Final = "\N{REPLACEMENT CHARACTER}"
"""What stands for a character that could not be stored."""


@dataclass(frozen=True, slots=True)
class Way:
    """A command, and what it does or why it is the way. `command` is ready for a shell; '' where there is none."""

    what: str
    command: str = ""


_WHY_NOT: Final[Mapping[str, str]] = {
    Reason.BLOCKED: "a block refuses it, and no grant helps: this names the block, 'block remove ID' lifts it",
    Reason.NO_RATE: "it has no price, and no grant helps: complete the price list. This shows why",
    Reason.BAD_NUMBER: "it is no number, and no grant helps. This shows why",
    Reason.UNDECIDED: "no rule decided: a defect of fraudguard, please report it. This shows more",
}
_OF_A_PIN: Final[Mapping[str, str]] = {
    Reason.PIN_TIME: "the PIN is not good at that time",
    Reason.PIN_REGION: "the PIN is not good for that number",
    Reason.PIN_PRICE: "the PIN is not good at that price",
    Reason.PIN_MONEY: "what the PIN may spend in a day is spent",
}
_WAIVED: Final = frozenset({Reason.PIN_FORWARDED, Reason.PIN_REQUIRED})
"""Refusals for want of a PIN that no grant of a higher price, but any grant at all gets over."""

_DURESS: Final = (
    "not now: whoever threatens would notice a block or a revoked PIN. Call the police, and reach the person by another"
    " way than this telephone. When it is over, give them new PINs"
)
_DOCTOR_KINDS: Final = frozenset(
    {
        AlertKind.AMI_REFUSED,
        AlertKind.AMI_LOST,
        AlertKind.AMI_ABSENT,
        AlertKind.AMI_OVERFLOW,
        AlertKind.STORE_FAILED,
        AlertKind.PINS_UNREADABLE,
    }
)


def ways_to_allow(alert: Alert) -> tuple[Way, ...]:
    """Return what would let such a call go the next time, or mend what is wrong."""
    ways = _ALLOW.get(alert.kind)
    if ways is not None:
        return ways(alert)
    if alert.kind in _WHY_NOT:
        return (Way(_WHY_NOT[alert.kind], _check(alert)),)
    if alert.kind in _OF_A_PIN:
        return (_other_terms(alert),)
    if alert.kind in _DOCTOR_KINDS:
        return (Way("this shows what is wrong", "fraudguard doctor"),)
    return ()


def ways_to_stop(alert: Alert) -> tuple[Way, ...]:
    """Return what would refuse this and all else from the same place."""
    if alert.kind in _DOCTOR_KINDS or alert.kind in (AlertKind.TEST, AlertKind.GRANT_EXPIRING):
        return ()
    if alert.kind == AlertKind.PIN_DURESS:
        return (Way(_DURESS),)
    if alert.kind == AlertKind.UNGUARDED_CALL:  # who does not ask the guard is not stopped by a block
        return (Way("such calls are hung up on a trunk whose police is 'enforce' (fraudguard.toml)"),)
    ways = []
    address = address_of(alert.source)
    if address is not None:
        ways.append(Way("every call from this address", _command("block", "add", "--source", str(address))))
    if alert.account and _typeable(alert.account, alert.tenant):
        ways.append(Way("every call of this account", _command("block", "add", *_scope(alert))))
    if _is_e164(alert.number) and alert.kind != Reason.BLOCKED:
        ways.append(Way("every call to this number", _command("block", "add", str(alert.number))))
    if alert.kind in _OF_A_PIN and (revoke := _of_pin(alert, "revoke")):
        ways.append(Way("every call by this PIN", revoke))
    return tuple(ways)


def can_be_granted(alert: Alert) -> bool:
    """Say whether a grant of this account and number lifts the refusal."""
    lifts = alert.kind in _WAIVED or (alert.kind == Reason.OVER_LIMIT and _dearest(alert) > 0)
    return lifts and bool(alert.account) and _is_e164(alert.number)


def is_for_want_of_a_pin(alert: Alert) -> bool:
    """Say whether it was refused because a PIN is wanted and there is none: a grant that asks for one is no help."""
    return alert.kind in _WAIVED


def _over_limit(alert: Alert) -> tuple[Way, ...]:
    price = format_amount(_dearest(alert))
    if not _is_e164(alert.number) and _typeable(alert.account, alert.tenant):
        return (Way("no grant reaches a short code, the limit does", _command("limit", "set", price, *_scope(alert))),)
    return (_grant(alert, "and without a PIN, unless with --ask-pin"),)


def _pin_forwarded(alert: Alert) -> tuple[Way, ...]:
    return (_grant(alert, "without a PIN"),)


def _pin_required(alert: Alert) -> tuple[Way, ...]:
    tenant = _option("--tenant", alert.tenant) if alert.tenant else ()
    add = _command("pin", "add", "NAME", *tenant) if _typeable(alert.tenant) else "fraudguard pin add NAME"
    return Way("a PIN for whoever dialled: write the person's name for NAME", add), _grant(alert, "without a PIN")


def _grant(alert: Alert, how: str) -> Way:
    """Return the grant of what was dialled, at the price it had."""
    if not _typeable(alert.account, alert.tenant):
        return Way("its account cannot be typed; this lists who is refused", "fraudguard attempts --refused")
    if not _is_e164(alert.number):
        return Way("no grant reaches a short code: take its kind out of pin.ask (fraudguard.toml)")
    price = format_amount(_dearest(alert))
    grant = _command("grant", "add", str(alert.number), *_scope(alert), "--max-price", price)
    if not alert.account:
        return Way(f"the call named no account: for the whole tenant, {how}", grant)
    return Way(f"this account, this number, up to this price, {how}", grant)


def _other_terms(alert: Alert) -> Way:
    told = f"{_OF_A_PIN[alert.kind]}; this shows what for ('pin revoke' and 'pin add' give the person another)"
    return Way(told, _of_pin(alert, "show") or "fraudguard pin list")


def _of_pin(alert: Alert, verb: str) -> str:
    """Return a command about the PIN that was keyed; '' where it cannot be typed."""
    name = alert.details.get("pin", "")
    if not (name and _typeable(name, alert.tenant)):
        return ""
    tenant = _option("--tenant", alert.tenant) if alert.tenant else ()
    return _command("pin", verb, *tenant, *(("--", name) if name.startswith("-") else (name,)))


def _pin_failures(alert: Alert) -> tuple[Way, ...]:
    told = "nothing is locked yet; this shows what was dialled there"
    if not (alert.account and _typeable(alert.account, alert.tenant)):
        return (Way(told, "fraudguard attempts --refused"),)
    unlock = _command("pin", "unlock", *_scope(alert))
    return (
        Way(told, _command("attempts", *_scope(alert))),
        Way("if it was the person: these failures no longer count", unlock),
    )


def _pin_locked_out(alert: Alert) -> tuple[Way, ...]:
    ways = [Way("who is locked, and until when", "fraudguard pin locks")]
    if unlock := _unlock(alert):
        ways.append(Way("only if it was the person: whoever guesses gets new guesses", unlock))
    return tuple(ways)


def _unlock(alert: Alert) -> str:
    """Return what unlocks the scope that is locked; '' where it cannot be named."""
    scope = alert.details.get("locked", "").partition(" ")[0]
    if scope == "source" and address_of(alert.source) is not None:
        return _command("pin", "unlock", "--source", without_port(alert.source))
    if not (alert.tenant and _typeable(alert.account, alert.tenant)):
        return ""
    if scope == "account" and alert.account:
        return _command("pin", "unlock", *_scope(alert))
    return _command("pin", "unlock", *_option("--tenant", alert.tenant)) if scope == "tenant" else ""


def _unguarded_call(_: Alert) -> tuple[Way, ...]:
    return (Way("let the context it came from ask the guard; this shows how", "fraudguard dialplan render"),)


def _too_fast(alert: Alert) -> tuple[Way, ...]:
    told = "who dialled what; a higher speed is set in [speed] (fraudguard.toml), after a restart"
    return (Way(told, _of_account(alert, "attempts", "--refused")),)


def _too_many(alert: Alert) -> tuple[Way, ...]:
    told = "what is up; a higher number is set in [speed] (fraudguard.toml), after a restart"
    return (Way(told, _of_account(alert, "calls", "--live")),)


def _over_budget(alert: Alert) -> tuple[Way, ...]:
    return (Way("what is left of which budget; 'budget set' gives more", _of_account(alert, "budget", "list")),)


def _budget(_: Alert) -> tuple[Way, ...]:
    return (
        Way("what is spent and set aside; 'budget set' gives more", "fraudguard budget list"),
        Way("who spends it", "fraudguard calls --live"),
    )


def _call_cut(alert: Alert) -> tuple[Way, ...]:
    told = "how it came to be allowed, what it cost, and why it was ended"
    if alert.call and _typeable(alert.call):
        dashed = ("--",) if alert.call.startswith("-") else ()
        return (Way(told, _command("explain", *dashed, alert.call)),)
    return (Way(told, "fraudguard calls"),)


def _clock_stepped(_: Alert) -> tuple[Way, ...]:
    return (Way("while calls are up, let the clock be slewed and not set, as NTP daemons can"),)


def _of_account(alert: Alert, *words: str) -> str:
    """Return a command about the account of an alert; about all where that cannot be typed."""
    scope = _scope(alert) if _typeable(alert.account, alert.tenant) else ()
    return _command(*words, *scope)


def _grant_expiring(alert: Alert) -> tuple[Way, ...]:
    """Return the same grant again, for as long again; nothing where it cannot be typed."""
    told = alert.details
    price, reason = told.get("max_price", ""), told.get("reason", "")
    until = _same_span_again(told.get("added", ""), told.get("until", ""))
    words = [
        *((alert.number,) if alert.number else ()),
        *_scope(alert),
        *(_option("--max-price", price) if price != "any" else ()),
        *(("--ask-pin",) if told.get("asks_pin") == "yes" else ()),
        *("--until", until),
    ]
    if not (until and price and _typeable(*words) and (alert.number is None or _is_e164(alert.number))):
        return (Way("add it again, with another end; this shows it", "fraudguard grant list"),)
    if reason and _typeable(reason):
        words += _option("--reason", reason)
    return (Way("the same again, for as long again; nothing, if it may end", _command("grant", "add", *words)),)


def _same_span_again(begin: str, end: str) -> str:
    try:
        first, last = parse_instant(begin), parse_instant(end)
        renewed = format_instant(last + (last - first))
        parse_instant(renewed)
    except (InputError, ValueError, OverflowError):
        return ""
    return renewed


_ALLOW: Final[Mapping[str, Callable[[Alert], tuple[Way, ...]]]] = {
    Reason.OVER_LIMIT: _over_limit,
    Reason.TOO_FAST: _too_fast,
    Reason.TOO_MANY: _too_many,
    Reason.OVER_BUDGET: _over_budget,
    Reason.PIN_FORWARDED: _pin_forwarded,
    Reason.PIN_REQUIRED: _pin_required,
    AlertKind.UNGUARDED_CALL: _unguarded_call,
    AlertKind.BUDGET_HALF: _budget,
    AlertKind.BUDGET_LOW: _budget,
    AlertKind.BUDGET_SPENT: _budget,
    AlertKind.CALL_CUT: _call_cut,
    AlertKind.CLOCK_STEPPED: _clock_stepped,
    AlertKind.PIN_FAILURES: _pin_failures,
    AlertKind.PIN_LOCKED_OUT: _pin_locked_out,
    AlertKind.GRANT_EXPIRING: _grant_expiring,
}


def _check(alert: Alert) -> str:
    texts = (alert.dialled, alert.trunk, alert.account, alert.tenant, alert.source)
    if not (alert.dialled and alert.trunk and _typeable(*texts)):
        return "fraudguard attempts --refused"
    options = [("--trunk", alert.trunk), ("--account", alert.account), ("--source", alert.source)]
    words = [word for option, value in options if value for word in _option(option, value)]
    tenant = _option("--tenant", alert.tenant) if alert.tenant else ()
    return _command("check", *words, *tenant, "--", alert.dialled)


def _scope(alert: Alert) -> list[str]:
    named = (("--tenant", alert.tenant), ("--account", alert.account))
    return [word for option, value in named if value for word in _option(option, value)]


def _option(name: str, value: str) -> tuple[str, ...]:
    # A value that begins with a dash would be taken for another option.
    return (f"{name}={value}",) if value.startswith("-") else (name, value)


def _command(*words: str) -> str:
    return shlex.join(("fraudguard", *words))


def _typeable(*texts: str) -> bool:
    return all(text.isprintable() and LOST not in text for text in texts)


def _is_e164(number: str | None) -> bool:
    return number is not None and number.startswith("+") and number[1:].isascii() and number[1:].isdigit()


def _dearest(alert: Alert) -> int:
    return max(alert.per_minute or 0, alert.connect_fee or 0)


def refusal_of_grant(alert: Alert) -> tuple[str, str]:
    """Return why no grant can be made of an alert, and what to do instead."""
    what = f"alert {alert.id} is {alert.kind}: a grant helps against the limit and a missing PIN only"
    if alert.kind == Reason.OVER_LIMIT or alert.kind in _WAIVED:
        what = f"alert {alert.id} names no account with a number that a grant could name"
    instead: Sequence[str] = [f"{way.what}: {way.command}" if way.command else way.what for way in ways_to_allow(alert)]
    return what, "; ".join(instead) or "see what docs/reference/alerts.md says of its kind"
