import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import BAD, facts, number, rate

from fraudguard.numbering import Kind
from fraudguard.policy import Block, Grant, Outcome, Reason, Scope, decide
from fraudguard.policy.rules import ORDER

LEASE = 7200
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
    verdict = decide(case, "id", LEASE)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.allowed == (outcome == "allow")
    assert verdict.call == "id"


def test_only_an_allowed_call_that_is_no_emergency_has_a_lease():
    assert decide(facts(dialled=HOME), "id", LEASE).lease_seconds == LEASE
    assert decide(facts(dialled=HELP), "id", LEASE).lease_seconds is None
    assert decide(facts(dialled=BAD), "id", LEASE).lease_seconds is None


@pytest.mark.parametrize(
    ("case", "shadow"),
    [
        (facts(price=rate(900_000)), Reason.OVER_LIMIT),
        (facts(), Reason.NO_RATE),
        (facts(price=rate(), block=BLOCK), Reason.BLOCKED),
    ],
)
def test_a_rule_in_shadow_notes_its_refusal_and_lets_the_call_go(case, shadow):
    verdict = decide(case, "id", LEASE, frozenset({shadow}))
    assert verdict.outcome is Outcome.ALLOW
    assert verdict.simulated == (shadow,)


def test_a_shadow_does_not_stop_the_rules_behind_it():
    verdict = decide(facts(price=rate(900_000), block=BLOCK), "id", LEASE, frozenset({Reason.BLOCKED}))
    assert (verdict.reason, verdict.simulated) == (Reason.OVER_LIMIT, (Reason.BLOCKED,))


def test_a_shadow_over_every_rule_never_holds_back_an_emergency():
    verdict = decide(facts(dialled=HELP), "id", LEASE, frozenset(Reason))
    assert verdict.reason is Reason.EMERGENCY


def test_falling_through_every_rule_is_nowhere():
    without_ok = tuple(pair for pair in ORDER if pair[0] is not Reason.OK)
    verdict = decide(facts(dialled=HOME), "id", LEASE, order=without_ok)
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
    verdict = decide(facts(dialled=number(kind=kind), price=rate(per_minute, fee), limit=limit), "id", LEASE)
    assert verdict.allowed == (max(per_minute, fee) <= limit)
