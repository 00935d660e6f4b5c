from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import BAD, facts, number, rate

from fraudguard.numbering import Kind
from fraudguard.policy import Block, Grant, Outcome, Reason, Scope, decide
from fraudguard.policy.budget import Payer
from fraudguard.policy.lease import LeaseTerms
from fraudguard.policy.records import Standing
from fraudguard.policy.rules import AFTER_SPEED, ORDER

LEASE = 7200
TERMS = LeaseTerms(longest=LEASE)
GRANT = Grant(1, Scope(), "882", None, None, "fax to the ship", "root", 0)
LOW_GRANT = Grant(2, Scope(), "882", 400_000, None, "fax to the ship", "root", 0)
BLOCK = Block(3, Scope(), "882", "", None, "fraud", "root", 0)
HOME = number("12125550100", Kind.DOMESTIC, "US")
FREE = number("18005550100", Kind.TOLL_FREE, "US")
FREE_ANYWHERE = number("80012345678", Kind.TOLL_FREE)
HELP = number("911", Kind.EMERGENCY, "US")
SERVICE = number("411", Kind.SERVICE, "US")
UNKNOWN = number("12001234567", Kind.UNKNOWN)


@pytest.mark.parametrize(
    ("case", "outcome", "reason"),
    [
        (facts(dialled=HELP), "allow", "emergency"),
        (facts(dialled=HELP, block=BLOCK), "allow", "emergency"),
        (facts(dialled=BAD), "nowhere", "bad_number"),
        (facts(dialled=BAD, grant=GRANT), "nowhere", "bad_number"),
        (facts(price=rate(), block=BLOCK), "nowhere", "blocked"),
        (facts(price=rate(), block=BLOCK, grant=GRANT), "nowhere", "blocked"),
        (facts(dialled=HOME, block=BLOCK), "nowhere", "blocked"),
        (facts(), "nowhere", "no_rate"),
        (facts(grant=GRANT), "nowhere", "no_rate"),
        (facts(dialled=SERVICE), "nowhere", "no_rate"),
        (facts(dialled=UNKNOWN), "nowhere", "no_rate"),
        (facts(dialled=FREE_ANYWHERE), "nowhere", "no_rate"),
        (facts(price=rate(offered=False)), "nowhere", "no_rate"),
        (facts(dialled=HOME, price=rate(offered=False)), "nowhere", "no_rate"),
        (facts(dialled=number(least_prefix=4), price=rate(prefix="882")), "nowhere", "no_rate"),
        (facts(dialled=number(least_prefix=4), price=rate(prefix="8821")), "allow", "ok"),
        (facts(dialled=HOME), "allow", "ok"),
        (facts(dialled=FREE), "allow", "ok"),
        (facts(dialled=HOME, price=rate(250_001)), "nowhere", "over_limit"),
        (facts(price=rate(250_000)), "allow", "ok"),
        (facts(price=rate(250_001)), "nowhere", "over_limit"),
        (facts(price=rate(0, 250_000)), "allow", "ok"),
        (facts(price=rate(0, 250_001)), "nowhere", "over_limit"),
        (facts(price=rate(400_001), grant=GRANT), "allow", "ok"),
        (facts(price=rate(400_000), grant=LOW_GRANT), "allow", "ok"),
        (facts(price=rate(400_001), grant=LOW_GRANT), "nowhere", "over_limit"),
        (facts(price=rate(0, 400_001), grant=LOW_GRANT), "nowhere", "over_limit"),
        (facts(price=rate(0), limit=0), "allow", "ok"),
        (facts(price=rate(1), limit=0), "nowhere", "over_limit"),
    ],
)
def test_the_first_rule_that_decides_gives_the_reason(case, outcome, reason):
    verdict = decide(case, "id", TERMS)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.allowed == (outcome == "allow")
    assert verdict.call == "id"


def test_only_an_allowed_call_that_is_no_emergency_has_a_lease():
    assert decide(facts(dialled=HOME), "id", TERMS).lease_seconds == LEASE
    assert decide(facts(dialled=HELP), "id", TERMS).lease_seconds is None
    assert decide(facts(dialled=BAD), "id", TERMS).lease_seconds is None


@pytest.mark.parametrize(
    ("case", "shadow"),
    [
        (facts(price=rate(900_000)), Reason.OVER_LIMIT),
        (facts(), Reason.NO_RATE),
        (facts(price=rate(), block=BLOCK), Reason.BLOCKED),
    ],
)
def test_a_rule_in_shadow_notes_its_refusal_and_lets_the_call_go(case, shadow):
    verdict = decide(case, "id", TERMS, frozenset({shadow}))
    assert verdict.outcome is Outcome.ALLOW
    assert verdict.simulated == (shadow,)


def test_a_shadow_does_not_stop_the_rules_behind_it():
    verdict = decide(facts(price=rate(900_000), block=BLOCK), "id", TERMS, frozenset({Reason.BLOCKED}))
    assert (verdict.reason, verdict.simulated) == (Reason.OVER_LIMIT, (Reason.BLOCKED,))


def test_a_shadow_over_every_rule_never_holds_back_an_emergency():
    verdict = decide(facts(dialled=HELP), "id", TERMS, frozenset(Reason))
    assert verdict.reason is Reason.EMERGENCY


def test_falling_through_every_rule_is_nowhere():
    without_ok = tuple(pair for pair in ORDER if pair[0] is not Reason.OK)
    verdict = decide(facts(dialled=HOME), "id", TERMS, order=without_ok)
    assert (verdict.outcome, verdict.reason, verdict.lease_seconds) == ("nowhere", "undecided", None)


def test_only_two_rules_can_allow():
    numbers = [HELP, HOME, FREE, SERVICE, UNKNOWN, BAD, number()]
    prices = [None, rate(), rate(offered=False), rate(900_000)]
    cases = [facts(dialled=n, price=p, grant=g) for n in numbers for p in prices for g in (None, GRANT, LOW_GRANT)]
    allowing = {reason for reason, rule in ORDER for case in cases if rule(case) is Outcome.ALLOW}
    assert allowing == {Reason.EMERGENCY, Reason.OK}


@given(
    per_minute=st.integers(0, 10**9),
    fee=st.integers(0, 10**9),
    limit=st.integers(0, 10**9),
    kind=st.sampled_from([kind for kind in Kind if kind is not Kind.EMERGENCY]),
)
def test_nothing_above_the_limit_goes_without_a_grant(per_minute, fee, limit, kind):
    verdict = decide(facts(dialled=number(kind=kind), price=rate(per_minute, fee), limit=limit), "id", TERMS)
    assert verdict.allowed == (max(per_minute, fee) <= limit)


# --- what the ledger knows ---

EVERYTHING = Standing(0, "tenant acme, per day", 0, "5 attempts in 60 s", "2 calls at once")


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (Standing(), "ok"),
        (EVERYTHING, "too_fast"),
        (replace(EVERYTHING, too_fast=""), "too_many"),
        (replace(EVERYTHING, too_fast="", too_many=""), "over_budget"),
        (Standing(pin_room=0), "pin_money"),
        (Standing(room=100_000), "ok"),  # a minute, which is the increment
        (Standing(room=99_999), "over_budget"),
        (Standing(room=-1), "over_budget"),
    ],
)
def test_what_the_ledger_knows_refuses_in_this_order(standing, reason):
    assert decide(facts(price=rate(), standing=standing), "id", TERMS).reason == reason


def test_it_is_asked_when_the_price_is_bearable_and_never_about_an_emergency():
    assert decide(facts(price=rate(900_000), standing=EVERYTHING), "id", TERMS).reason is Reason.OVER_LIMIT
    assert decide(facts(standing=EVERYTHING), "id", TERMS).reason is Reason.NO_RATE
    assert decide(facts(dialled=HELP, standing=EVERYTHING), "id", TERMS).reason is Reason.EMERGENCY


def test_a_call_without_a_price_spends_no_budget():
    spent = Standing(room=0, pin_room=0)
    verdict = decide(facts(dialled=HOME, standing=spent), "id", TERMS)
    assert (verdict.reason, verdict.lease_seconds) == (Reason.OK, LEASE)
    assert decide(facts(dialled=HOME, price=rate(0), standing=spent), "id", TERMS).reason is Reason.OK


def test_the_lease_is_what_the_budget_pays_for_unless_that_is_simulated():
    case = facts(price=rate(), standing=Standing(room=100_000))
    assert decide(case, "id", TERMS).lease_seconds == 58
    assert decide(case, "id", TERMS, frozenset({Reason.OVER_BUDGET})).lease_seconds == LEASE
    broke = facts(price=rate(), standing=Standing(room=0))
    verdict = decide(broke, "id", TERMS, frozenset({Reason.OVER_BUDGET}))
    assert (verdict.allowed, verdict.simulated, verdict.lease_seconds) == (True, (Reason.OVER_BUDGET,), LEASE)


def test_only_what_comes_after_the_speed_limits_counts_for_them():
    order = [reason for reason, _ in ORDER]
    assert set(order[order.index(Reason.OVER_BUDGET) + 1 :]) == AFTER_SPEED
    assert not {Reason.OVER_LIMIT, Reason.TOO_FAST, Reason.OVER_BUDGET} & AFTER_SPEED
    assert {Reason.PIN_WRONG, Reason.OK} <= AFTER_SPEED


def test_payers_are_told_apart_by_what_budgets_look_at():
    assert facts(price=rate()).payer == Payer("acme", "204", "", "carrier", "001", domestic=False)
    assert facts(dialled=HOME).payer == Payer("acme", "204", "", "carrier", "US", domestic=True)
    assert facts(dialled=FREE).payer == Payer("acme", "204", "", "carrier", "US", domestic=FREE.stays_home)
    assert facts(dialled=SERVICE).payer.domestic
    assert facts(dialled=BAD).payer == Payer("acme", "204", "", "carrier", "001", domestic=False)
