"""A verdict written flat: what is stored in a row, shown by `check` and `attempts`, and explained to an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fraudguard.clock import Millis, format_instant
from fraudguard.money import Micros, format_amount
from fraudguard.numbering.number import BadNumber
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import Verdict


@dataclass(frozen=True, slots=True)
class Ruling:
    """One attempt and what was decided about it, in plain values. Money is micro-units, `at` UTC milliseconds.

    `number`, `region`, `kind` are None where the dialled digits are no number (`bad_number` says why not);
    `prefix`, `destination`, `per_minute` and `connect_fee` where there is no rate. `limit_scope` is 'global',
    'tenant', 'account', or 'strict' where the strict profile's own limit held. `pin_id` and `pin` (a name) are of the
    PIN that was keyed, also one that did not help; `pin_tries` is how often something was keyed, None where nobody was
    asked. `strict` says that the tenant's strict profile held. `budget` is the one that had least left, and `room` how
    much; '' and None where none applied. `pressed` says in words what was too fast or too many, '' for nothing.
    """

    call: str
    at: Millis
    tenant: str
    account: str
    source: str
    asterisk: str
    linkedid: str
    trunk: str
    dialled: str
    number: str | None
    region: str | None
    kind: str | None
    bad_number: str | None
    deck: str
    prefix: str | None
    destination: str | None
    per_minute: Micros | None
    connect_fee: Micros | None
    limit: Micros
    limit_scope: str
    grant_id: int | None
    block_id: int | None
    pin_id: int | None
    pin: str | None
    pin_tries: int | None
    outcome: Outcome
    reason: Reason
    lease_seconds: int | None
    simulated: tuple[Reason, ...]
    strict: bool
    budget: str
    room: Micros | None
    pressed: str


def flatten(verdict: Verdict) -> Ruling:
    """Write a verdict flat."""
    facts = verdict.facts
    attempt, number, rate, grant, block = facts.attempt, facts.number, facts.rate, facts.grant, facts.block
    known = None if isinstance(number, BadNumber) else number
    pin, keyed, standing = verdict.pin, facts.keyed, facts.standing
    return Ruling(
        call=verdict.call,
        at=attempt.at,
        tenant=attempt.tenant,
        account=attempt.account,
        source=attempt.source,
        asterisk=attempt.asterisk,
        linkedid=attempt.linkedid,
        trunk=attempt.trunk,
        dialled=attempt.number,
        number=known.dialable if known else None,
        region=known.region if known else None,
        kind=known.kind.value if known else None,
        bad_number=number.why if isinstance(number, BadNumber) else None,
        deck=facts.deck,
        prefix=rate.prefix if rate else None,
        destination=rate.destination if rate else None,
        per_minute=rate.per_minute if rate else None,
        connect_fee=rate.connect_fee if rate else None,
        limit=facts.limit.per_minute,
        limit_scope=facts.limit.level,
        grant_id=grant.id if grant else None,
        block_id=block.id if block else None,
        pin_id=pin.id if pin else None,
        pin=pin.name if pin else None,
        pin_tries=keyed.tries if keyed else None,
        outcome=verdict.outcome,
        reason=verdict.reason,
        lease_seconds=verdict.lease_seconds,
        simulated=verdict.simulated,
        strict=facts.strict,
        budget=standing.budget,
        room=standing.room,
        pressed=standing.pressed,
    )


def as_json(ruling: Ruling, currency: str) -> dict[str, Any]:
    """Return the keys that scripts rely on (docs/reference/json.md). Money as decimal strings."""

    def money(amount: Micros | None) -> str | None:
        return None if amount is None else format_amount(amount)

    return {
        "verdict": ruling.outcome.value,
        "reason": ruling.reason.value,
        "number": ruling.number,
        "region": ruling.region,
        "kind": ruling.kind,
        "destination": ruling.destination,
        "prefix": ruling.prefix,
        "deck": ruling.deck,
        "per_minute": money(ruling.per_minute),
        "connect_fee": money(ruling.connect_fee),
        "currency": currency,
        "limit": money(ruling.limit),
        "limit_scope": ruling.limit_scope,
        "strict": ruling.strict,
        "budget": ruling.budget or None,
        "room": money(ruling.room),
        "lease_seconds": ruling.lease_seconds,
        "pin_required": ruling.pin_tries is not None or ruling.reason in _PIN_REFUSALS,
        "simulated": bool(ruling.simulated),
        "simulated_reasons": [reason.value for reason in ruling.simulated],
        "grant": ruling.grant_id,
        "block": ruling.block_id,
        "pin": ruling.pin,
        "pin_tries": ruling.pin_tries,
        "explain": explain(ruling, currency),
        "call": ruling.call,
        "at": format_instant(ruling.at),
        "dialled": ruling.dialled,
        "trunk": ruling.trunk,
        "tenant": ruling.tenant,
        "account": ruling.account,
        "source": ruling.source,
        "asterisk": ruling.asterisk,
        "linkedid": ruling.linkedid,
    }


def explain(ruling: Ruling, currency: str) -> list[str]:
    """Retell the verdict, one line per step taken, ending at the step that decided."""
    steps = [_numbering_step(ruling)]
    for reasons, tell in _STEPS:
        if ruling.reason in (Reason.EMERGENCY, Reason.BAD_NUMBER):
            break
        step = tell(ruling, currency)
        if step:
            steps.append(step)
        steps += (
            f"shadow: {reason} would have refused this call, but only simulates"
            for reason in ruling.simulated
            if reason in reasons
        )
        if ruling.reason in reasons:
            break
    lease = "" if ruling.lease_seconds is None else f", with a lease of {ruling.lease_seconds} s"
    steps.append(f"verdict: {ruling.outcome} ({ruling.reason}){lease}")
    return steps


def _numbering_step(ruling: Ruling) -> str:
    if ruling.number is None:
        return f"number: {ruling.dialled!r} is no number: {ruling.bad_number}"
    place = f" in {ruling.region}" if ruling.region else ""
    return f"number: {ruling.dialled!r} is {ruling.number}, {ruling.kind}{place}"


def _block_step(ruling: Ruling, _: str) -> str:
    if ruling.block_id is None:
        return "block: none applies"
    return f"block: refused by block {ruling.block_id} ('block remove {ruling.block_id}' lifts it)"


def _rate_step(ruling: Ruling, currency: str) -> str:
    refused = ruling.reason == Reason.NO_RATE or Reason.NO_RATE in ruling.simulated
    if ruling.per_minute is None or ruling.connect_fee is None:
        if refused:
            return f"rate: deck {ruling.deck} has no price for it; an unknown price is an expensive price"
        return f"rate: deck {ruling.deck} has no price for it; {ruling.kind} calls may go without one"
    priced = f"rate: deck {ruling.deck}, prefix {ruling.prefix or '(any)'} ({ruling.destination})"
    if refused:
        return f"{priced} is not offered, unpriced, or too short for such a number"
    fee = f" and {format_amount(ruling.connect_fee)} {currency} per call" if ruling.connect_fee else ""
    return f"{priced}: {format_amount(ruling.per_minute)} {currency} a minute{fee}"


def _strict_step(ruling: Ruling, _: str) -> str:
    return "strict: the strict profile holds at this time (nights, weekends, holidays)" if ruling.strict else ""


def _limit_step(ruling: Ruling, currency: str) -> str:
    limit = f"limit: {format_amount(ruling.limit)} {currency} ({_limit_scope(ruling)})"
    if ruling.per_minute is None or ruling.connect_fee is None:
        return f"{limit}, nothing to hold against it"
    if max(ruling.per_minute, ruling.connect_fee) <= ruling.limit:
        return f"{limit} is not exceeded"
    if ruling.grant_id is None:
        return f"{limit} is exceeded and no grant applies"
    if ruling.reason is Reason.OVER_LIMIT or Reason.OVER_LIMIT in ruling.simulated:
        return f"{limit} is exceeded and grant {ruling.grant_id} does not reach so high"
    return f"{limit} is exceeded, but grant {ruling.grant_id} permits it"


def _limit_scope(ruling: Ruling) -> str:
    names = {"tenant": f"tenant {ruling.tenant}", "account": _account(ruling), "strict": "at strict times"}
    return names.get(ruling.limit_scope, "global")


def _account(ruling: Ruling) -> str:
    return f"account {ruling.account} of tenant {ruling.tenant}"


def _speed_step(ruling: Ruling, _: str) -> str:
    return f"speed: {ruling.pressed}" if ruling.pressed else ""


def _budget_step(ruling: Ruling, currency: str) -> str:
    if ruling.room is None:
        return "budget: none applies"
    left = f"{format_amount(ruling.room)} {currency}"
    if ruling.reason is Reason.OVER_BUDGET or Reason.OVER_BUDGET in ruling.simulated:
        return f"budget: {ruling.budget} has {left} left, which does not pay for this call"
    return f"budget: {ruling.budget} has least left, {left}"


def _pin_step(ruling: Ruling, _: str) -> str:
    refusal = next((reason for reason in (ruling.reason, *ruling.simulated) if reason in _PIN_REFUSALS), None)
    whose = f"{ruling.pin!r} ({ruling.pin_id})"
    if refusal is not None:
        told = _PIN_REFUSALS[refusal].format(whose=whose, account=_account(ruling), tries=_tries(ruling.pin_tries or 0))
        return f"pin: {told}"
    if ruling.pin_tries is None:
        return "pin: none was asked for"
    if ruling.pin is None:  # as `check` supposes
        return "pin: one would be asked for"
    return f"pin: {whose} was keyed{'' if ruling.pin_tries else ' a while ago'} and may call there"


def _tries(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice", 3: "three times"}.get(count, f"{count} times")


_PIN_REFUSALS: Final = {
    Reason.PIN_FORWARDED: "one is wanted, and nobody is there to key it: a phone forwarded or transferred the call, or"
    " no phone began it ('grant add' lets such calls go without)",
    Reason.PIN_REQUIRED: "one is wanted, and there is none that could be keyed at {account}"
    " ('pin add' makes one, 'grant add' lets calls go without)",
    Reason.PIN_BUSY: "too many callers are at the prompt, or wait for their PIN to be looked at ('attempts' shows who)",
    Reason.PIN_HANGUP: "the caller hung up instead of keying one",
    Reason.PIN_TIMEOUT: "nothing was keyed in time (pin.timeout_seconds says how long a caller has)",
    Reason.PIN_LOCKED: "not looked at, because too many wrong ones were keyed before ('pin unlock' takes that back)",
    Reason.PIN_ACCOUNT: "{whose} was keyed, but may not be used at {account} ('pin show' says where it may)",
    Reason.PIN_WRONG: "keyed {tries}, and it was nobody's ('pin rotate' gives new digits to who forgot theirs)",
    Reason.PIN_TIME: "{whose} was keyed, but is not good at this time ('pin show' says when it is)",
    Reason.PIN_REGION: "{whose} was keyed, but is not good for this number ('pin show' says for which it is)",
    Reason.PIN_PRICE: "{whose} was keyed, but is not good at this price ('pin show' says up to which it is)",
    Reason.PIN_MONEY: "{whose} was keyed, but what is left of its money of the day does not pay for this call"
    " ('pin show' says how much it has)",
}
"""What is told of a refusal for want of a good PIN, in the order of the rules."""

_STEPS: Final = (
    ((Reason.BLOCKED,), _block_step),
    ((Reason.NO_RATE,), _rate_step),
    ((), _strict_step),  # no rule: what the following are held to
    ((Reason.OVER_LIMIT,), _limit_step),
    ((Reason.TOO_FAST, Reason.TOO_MANY), _speed_step),
    ((Reason.OVER_BUDGET,), _budget_step),
    (tuple(_PIN_REFUSALS), _pin_step),
)
"""The rules of policy.rules.ORDER that have something to tell, in that order (a test holds the two together). What has
nothing to tell says ''.
"""
