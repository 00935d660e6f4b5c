"""The rules, in the order in which they are asked. The first that decides gives the verdict its reason.

A rule looks at the facts and answers ALLOW, NOWHERE, or None for "not mine". Nothing is allowed by falling
through: only `emergency` and `ok` can allow, and reaching the end without a decision is nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from fraudguard.numbering.number import BadNumber, Kind, Number
from fraudguard.policy.records import Facts, Grant, Outcome, Reason, Verdict
from fraudguard.rating.rate import Rate

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
        return None if _stays_home(facts) else Outcome.NOWHERE
    speaks_for_it = rate.offered and isinstance(number, Number) and number.is_priced_by(rate.prefix)
    return None if speaks_for_it else Outcome.NOWHERE


def over_limit(facts: Facts) -> Outcome | None:
    """Per-minute price or connect fee above the limit, and no grant that reaches it. Equal to the limit goes."""
    if facts.rate is None or facts.rate.dearest <= facts.limit.per_minute:
        return None
    return None if facts.grant is not None and reaches(facts.grant, facts.rate) else Outcome.NOWHERE


def ok(_: Facts) -> Outcome | None:
    """Everything was asked and nothing objected."""
    return Outcome.ALLOW


ORDER: tuple[tuple[Reason, Rule], ...] = (
    (Reason.EMERGENCY, emergency),
    (Reason.BAD_NUMBER, bad_number),
    (Reason.BLOCKED, blocked),
    (Reason.NO_RATE, no_rate),
    (Reason.OVER_LIMIT, over_limit),
    # too_fast, too_many, over_budget: what the ledger knows is asked here, when the price is known to be bearable
    # pin_*: the caller is asked last, so that nobody keys a PIN for a call that would be refused anyway
    (Reason.OK, ok),
)


def decide(
    facts: Facts,
    call: str,
    lease_seconds: int,
    shadow: frozenset[Reason] = frozenset(),
    order: tuple[tuple[Reason, Rule], ...] = ORDER,
) -> Verdict:
    """Ask the rules in `order`. `call` names the verdict; `lease_seconds` is the longest an allowed call may live.

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
        lease = lease_seconds if outcome is Outcome.ALLOW and reason is not Reason.EMERGENCY else None
        return Verdict(call, outcome, reason, facts, lease, simulated)
    return Verdict(call, Outcome.NOWHERE, Reason.UNDECIDED, facts, None, simulated)


def reaches(grant: Grant, rate: Rate) -> bool:
    """Say whether the grant lifts the limit as high as this rate."""
    return grant.highest is None or rate.dearest <= grant.highest


def _kind(facts: Facts) -> Kind | None:
    return None if isinstance(facts.number, BadNumber) else facts.number.kind


def _stays_home(facts: Facts) -> bool:
    number = facts.number
    if isinstance(number, BadNumber):
        return False
    # +800 is free for the caller in some countries only, and has no region: it needs a price
    return number.kind is Kind.DOMESTIC or (number.kind is Kind.TOLL_FREE and number.region is not None)
