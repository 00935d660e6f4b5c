"""What to type about an alert: the commands that would allow what it tells of, and those that would stop it.

What was dialled, by whom and from where are an attacker's texts, and the commands go into a shell: every word is
quoted, and a text that cannot be typed (control characters, what was not UTF-8) gets no command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fraudguard.money import format_amount
from fraudguard.policy.alert import Alert, AlertKind
from fraudguard.policy.index import address_of
from fraudguard.policy.records import Reason

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
_DOCTOR_KINDS: Final = frozenset(
    {
        AlertKind.AMI_REFUSED,
        AlertKind.AMI_LOST,
        AlertKind.AMI_ABSENT,
        AlertKind.AMI_OVERFLOW,
        AlertKind.STORE_FAILED,
    }
)


def ways_to_allow(alert: Alert) -> tuple[Way, ...]:
    """Return what would let such a call go the next time, or mend what is wrong."""
    if alert.kind == Reason.OVER_LIMIT:
        return _over_limit(alert)
    if alert.kind in _WHY_NOT:
        return (Way(_WHY_NOT[alert.kind], _check(alert)),)
    if alert.kind == AlertKind.UNGUARDED_CALL:
        return (Way("let the context it came from ask the guard; this shows how", "fraudguard dialplan render"),)
    if alert.kind in _DOCTOR_KINDS:
        return (Way("this shows what is wrong", "fraudguard doctor"),)
    return ()


def ways_to_stop(alert: Alert) -> tuple[Way, ...]:
    """Return what would refuse this and all else from the same place."""
    if alert.kind in _DOCTOR_KINDS or alert.kind == AlertKind.TEST:
        return ()
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
    return tuple(ways)


def can_be_granted(alert: Alert) -> bool:
    """Say whether a grant of this account and number lifts the refusal."""
    return alert.kind == Reason.OVER_LIMIT and bool(alert.account) and _is_e164(alert.number) and _dearest(alert) > 0


def _over_limit(alert: Alert) -> tuple[Way, ...]:
    price = format_amount(_dearest(alert))
    if not _typeable(alert.account, alert.tenant):
        return (Way("its account cannot be typed; this lists who is refused", "fraudguard attempts --refused"),)
    if not _is_e164(alert.number):
        return (Way("no grant reaches a short code, the limit does", _command("limit", "set", price, *_scope(alert))),)
    grant = _command("grant", "add", str(alert.number), *_scope(alert), "--max-price", price)
    if not alert.account:
        return (Way("the call named no account: for the whole tenant", grant),)
    return (Way("this account, this number, up to this price", grant),)


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
    what = f"alert {alert.id} is {alert.kind}: a grant lifts the limit only"
    if alert.kind == Reason.OVER_LIMIT:
        what = f"alert {alert.id} names no account with a number that a grant could name"
    instead: Sequence[str] = [f"{way.what}: {way.command}" if way.command else way.what for way in ways_to_allow(alert)]
    return what, "; ".join(instead) or "see what docs/reference/alerts.md says of its kind"
