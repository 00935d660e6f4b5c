"""The rules, in the order in which they are asked. The first that decides gives the verdict its reason.

A rule looks at the facts and answers ALLOW, NOWHERE, or None for "not mine". Nothing is allowed by falling
through: only `emergency` and `ok` can allow, and reaching the end without a decision is nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from fraudguard.money import Micros
from fraudguard.numbering.number import BadNumber, Kind, Number
from fraudguard.policy.lease import LeaseTerms, first_lease
from fraudguard.policy.pin import Terms
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import Facts, Grant, Verdict
from fraudguard.rating.rate import Rate, affordable_seconds

Rule: TypeAlias = Callable[[Facts], Outcome | None]


def emergency(facts: Facts) -> Outcome | None:
    """Always goes: before every refusal, without a lease, counted against nothing."""
    return Outcome.ALLOW if _kind(facts) is Kind.EMERGENCY else None


def bad_number(facts: Facts) -> Outcome | None:
    """What cannot be made a number cannot be priced."""
    return Outcome.NOWHERE if isinstance(facts.number, BadNumber) else None


def blocked(facts: Facts) -> Outcome | None:
    """An operator refused this number, account, tenant or source. A block outranks every grant."""
    return Outcome.NOWHERE if facts.block is not None else None


def no_rate(facts: Facts) -> Outcome | None:
    """An unknown price is an expensive price. Only calls within the home regions may go without one,
    and not even those where the carrier says that it does not offer the prefix.
    """
    rate, number = facts.rate, facts.number
    if rate is None:
        return None if isinstance(number, Number) and number.stays_home else Outcome.NOWHERE
    speaks_for_it = rate.offered and isinstance(number, Number) and number.is_priced_by(rate.prefix)
    return None if speaks_for_it else Outcome.NOWHERE


def over_limit(facts: Facts) -> Outcome | None:
    """Per-minute price or connect fee above the limit, and no grant that reaches it. Equal to the limit goes."""
    if facts.rate is None or facts.rate.dearest <= facts.limit.per_minute:
        return None
    return None if facts.grant is not None and reaches(facts.grant, facts.rate) else Outcome.NOWHERE


def too_fast(facts: Facts) -> Outcome | None:
    """Too many attempts in a time: of an account, a tenant, a source, to one number, to new countries."""
    return Outcome.NOWHERE if facts.standing.too_fast else None


def too_many(facts: Facts) -> Outcome | None:
    """Too many calls at once."""
    return Outcome.NOWHERE if facts.standing.too_many else None


def over_budget(facts: Facts) -> Outcome | None:
    """What is left of a budget does not pay for the shortest call."""
    return None if _pays(facts, facts.standing.room) else Outcome.NOWHERE


def pin_forwarded(facts: Facts) -> Outcome | None:
    """A PIN is wanted, and nobody is at the keypad. Whoever answers a forwarded call would be a stranger."""
    return Outcome.NOWHERE if _wants_pin(facts) and facts.attempt.forwarded else None


def pin_required(facts: Facts) -> Outcome | None:
    """A PIN is wanted, and nobody was asked: because there is none to be keyed, or not yet."""
    keyed = facts.keyed
    asked = keyed is not None and (keyed.pin is not None or keyed.assumed or keyed.refusal is not None)
    return Outcome.NOWHERE if _wants_pin(facts) and not asked else None


def pin_wrong(facts: Facts) -> Outcome | None:
    """What was keyed is nobody's PIN; and so is whatever else asking came to, if it came to nothing good."""
    return Outcome.NOWHERE if _wants_pin(facts) and _refusal(facts) is not None else None


def pin_time(facts: Facts) -> Outcome | None:
    """Keyed outside its hours, before it begins, or when it is over."""
    terms = _terms(facts)
    if terms is None:
        return None
    at = facts.attempt.at
    begun = terms.begins is None or terms.begins <= at
    over = terms.until is not None and terms.until <= at
    open_ = terms.hours is None or terms.hours.hold(datetime.fromtimestamp(at / 1000, tz=facts.zone))
    return None if begun and open_ and not over else Outcome.NOWHERE


def pin_region(facts: Facts) -> Outcome | None:
    """Good for other regions and prefixes only. A number of no region (satellites) needs its prefix named."""
    terms, number = _terms(facts), facts.number
    if terms is None or isinstance(number, BadNumber) or not (terms.regions or terms.prefixes):
        return None
    named = number.region in terms.regions or number.digits.startswith(terms.prefixes)
    return None if named else Outcome.NOWHERE


def pin_price(facts: Facts) -> Outcome | None:
    """Dearer than the PIN is good for, or of an unknown price."""
    terms = _terms(facts)
    if terms is None or terms.highest is None:
        return None
    return None if facts.rate is not None and facts.rate.dearest <= terms.highest else Outcome.NOWHERE


def pin_money(facts: Facts) -> Outcome | None:
    """What the PIN may spend in a day does not pay for another call, or nobody knows what that would cost."""
    terms = _terms(facts)
    if terms is not None and terms.per_day is not None and facts.rate is None:
        return Outcome.NOWHERE
    return None if _pays(facts, facts.standing.pin_room) else Outcome.NOWHERE


def ok(_: Facts) -> Outcome | None:
    """Everything was asked and nothing objected."""
    return Outcome.ALLOW


def _came_to(reason: Reason) -> Rule:
    """Return the rule that refuses where asking for a PIN came to this."""
    return lambda facts: Outcome.NOWHERE if _wants_pin(facts) and _refusal(facts) is reason else None


ORDER: tuple[tuple[Reason, Rule], ...] = (
    (Reason.EMERGENCY, emergency),
    (Reason.BAD_NUMBER, bad_number),
    (Reason.BLOCKED, blocked),
    (Reason.NO_RATE, no_rate),
    (Reason.OVER_LIMIT, over_limit),
    # What the ledger knows is asked when the price is known to be bearable.
    (Reason.TOO_FAST, too_fast),
    (Reason.TOO_MANY, too_many),
    (Reason.OVER_BUDGET, over_budget),
    # The caller is asked last, so that nobody keys a PIN for a call that would be refused anyway.
    (Reason.PIN_FORWARDED, pin_forwarded),
    (Reason.PIN_REQUIRED, pin_required),
    (Reason.PIN_BUSY, _came_to(Reason.PIN_BUSY)),
    (Reason.PIN_HANGUP, _came_to(Reason.PIN_HANGUP)),
    (Reason.PIN_TIMEOUT, _came_to(Reason.PIN_TIMEOUT)),
    (Reason.PIN_LOCKED, _came_to(Reason.PIN_LOCKED)),
    (Reason.PIN_ACCOUNT, _came_to(Reason.PIN_ACCOUNT)),
    (Reason.PIN_WRONG, pin_wrong),
    (Reason.PIN_TIME, pin_time),
    (Reason.PIN_REGION, pin_region),
    (Reason.PIN_PRICE, pin_price),
    (Reason.PIN_MONEY, pin_money),
    (Reason.OK, ok),
)


def decide(
    facts: Facts,
    call: str,
    terms: LeaseTerms,
    shadow: frozenset[Reason] = frozenset(),
    order: tuple[tuple[Reason, Rule], ...] = ORDER,
) -> Verdict:
    """Ask the rules in `order`. `call` names the verdict; `terms` say how long an allowed call may live at first.

    A refusal by a rule in `shadow` is noted in the verdict and changes nothing for the caller.
    """
    simulated: tuple[Reason, ...] = ()
    for reason, rule in order:
        outcome = rule(facts)
        if outcome is None:
            continue
        if outcome is Outcome.NOWHERE and reason in shadow:
            simulated += (reason,)
            continue
        lease = _lease(facts, terms, shadow) if outcome is Outcome.ALLOW and reason is not Reason.EMERGENCY else None
        return Verdict(call, outcome, reason, facts, lease, simulated)
    return Verdict(call, Outcome.NOWHERE, Reason.UNDECIDED, facts, None, simulated)


_REASONS = [reason for reason, _ in ORDER]

AFTER_SPEED: frozenset[Reason] = frozenset(_REASONS[_REASONS.index(Reason.OVER_BUDGET) + 1 :])
"""The reasons of verdicts on attempts that were neither too fast nor too many, and had money: those are counted. Who
has none left shall not use up what others may attempt."""


def reaches(grant: Grant, rate: Rate) -> bool:
    """Say whether the grant lifts the limit as high as this rate."""
    return grant.highest is None or rate.dearest <= grant.highest


def _refusal(facts: Facts) -> Reason | None:
    return None if facts.keyed is None else facts.keyed.refusal


def _pays(facts: Facts, room: Micros | None) -> bool:
    """Say whether money pays for a call; for one without a price it does."""
    return room is None or facts.rate is None or affordable_seconds(facts.rate, room) > 0


def _lease(facts: Facts, terms: LeaseTerms, shadow: frozenset[Reason]) -> int:
    standing = facts.standing
    rooms = [standing.pin_room]
    if Reason.OVER_BUDGET not in shadow:
        rooms.append(standing.room)
    return first_lease(terms, facts.rate, min((room for room in rooms if room is not None), default=None))


def _terms(facts: Facts) -> Terms | None:
    """Return what the keyed PIN is good for, where the call goes by a PIN at all."""
    keyed = facts.keyed
    return None if keyed is None or keyed.pin is None or not _wants_pin(facts) else keyed.pin.terms


def _wants_pin(facts: Facts) -> bool:
    """Say whether a PIN is wanted: for such a number, unless a grant that reaches its price waives it."""
    if not facts.asks:
        return False
    grant = facts.grant
    return grant is None or grant.asks_pin or (facts.rate is not None and not reaches(grant, facts.rate))


def _kind(facts: Facts) -> Kind | None:
    return None if isinstance(facts.number, BadNumber) else facts.number.kind
