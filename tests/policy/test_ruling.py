import json
from dataclasses import replace

import pytest
from policy_cases import BAD, NOW, facts, number, rate

from fraudguard.numbering import Kind
from fraudguard.policy import Block, Grant, Limit, Reason, Scope, decide, explain, flatten
from fraudguard.policy.lease import LeaseTerms
from fraudguard.policy.pin import Keyed, Pin, PinKind, Seal, Terms
from fraudguard.policy.records import Standing
from fraudguard.policy.rules import ORDER
from fraudguard.policy.ruling import _STEPS, as_json

GRANT = Grant(7, Scope(), "882", 400_000, None, "", "", 0)
BLOCK = Block(3, Scope(), "882", "", None, "", "", 0)
HOME = number("12125550100", Kind.DOMESTIC, "US")


def told(case, shadow=frozenset()):
    return explain(flatten(decide(case, "id", LeaseTerms(), shadow)), "USD")


@pytest.mark.parametrize(
    ("case", "steps"),
    [
        (
            facts(dialled=number("911", Kind.EMERGENCY, "US")),
            ["number: '911' is 911, emergency in US", "verdict: allow (emergency)"],
        ),
        (
            facts(dialled=BAD),
            [
                "number: '*67' is no number: it holds characters other than digits",
                "verdict: nowhere (bad_number)",
            ],
        ),
        (
            facts(block=BLOCK),
            [
                "number: '88216000' is +88216000, satellite",
                "block: refused by block 3 ('block remove 3' lifts it)",
                "verdict: nowhere (blocked)",
            ],
        ),
        (
            facts(),
            [
                "number: '88216000' is +88216000, satellite",
                "block: none applies",
                "rate: deck a has no price for it; an unknown price is an expensive price",
                "verdict: nowhere (no_rate)",
            ],
        ),
        (
            facts(price=rate(offered=False)),
            [
                "number: '88216000' is +88216000, satellite",
                "block: none applies",
                "rate: deck a, prefix 882 (Somewhere) is not offered, unpriced, or too short for such a number",
                "verdict: nowhere (no_rate)",
            ],
        ),
        (
            facts(dialled=HOME),
            [
                "number: '12125550100' is +12125550100, domestic in US",
                "block: none applies",
                "rate: deck a has no price for it; domestic calls may go without one",
                "limit: 0.25 USD (global), nothing to hold against it",
                "budget: none applies",
                "pin: none was asked for",
                "verdict: allow (ok), with a lease of 7200 s",
            ],
        ),
        (
            facts(price=rate(300_000, 100_000)),
            [
                "number: '88216000' is +88216000, satellite",
                "block: none applies",
                "rate: deck a, prefix 882 (Somewhere): 0.30 USD a minute and 0.10 USD per call",
                "limit: 0.25 USD (global) is exceeded and no grant applies",
                "verdict: nowhere (over_limit)",
            ],
        ),
    ],
)
def test_every_step_up_to_the_verdict_is_told(case, steps):
    assert told(case) == steps


@pytest.mark.parametrize(
    ("case", "step"),
    [
        (facts(price=rate()), "limit: 0.25 USD (global) is not exceeded"),
        (facts(price=rate(300_000), grant=GRANT), "limit: 0.25 USD (global) is exceeded, but grant 7 permits it"),
        (
            facts(price=rate(500_000), grant=GRANT),
            "limit: 0.25 USD (global) is exceeded and grant 7 does not reach so high",
        ),
        (facts(price=rate(prefix="")), "rate: deck a, prefix (any) (Somewhere): 0.10 USD a minute"),
    ],
)
def test_single_steps(case, step):
    assert step in told(case)


ANNA = Pin(7, "acme", "anna", PinKind.DIGITS, False, Terms(), Seal(b"i", b"p"), "eve", 0)


def limited(**terms):
    return replace(ANNA, terms=Terms(**terms))


def keyed(refusal=None, pin=None, tries=1, **more):
    return Keyed(NOW, pin, refusal, tries, **more)


def wanting(came=None, forwarded=False):
    """A satellite call that wants a PIN, with what came of asking for one."""
    case = facts(price=rate(), asks=True, keyed=came)
    return replace(case, attempt=replace(case.attempt, forwarded=forwarded))


@pytest.mark.parametrize(
    ("case", "reason", "step"),
    [
        (wanting(forwarded=True), "pin_forwarded", "nobody is there to key it"),
        (wanting(), "pin_required", "there is none that could be keyed at account 204 of tenant acme ('pin add'"),
        (wanting(keyed(Reason.PIN_HANGUP, tries=0)), "pin_hangup", "the caller hung up instead of keying one"),
        (wanting(keyed(Reason.PIN_TIMEOUT, tries=0)), "pin_timeout", "nothing was keyed in time (pin.timeout_seconds"),
        (wanting(keyed(Reason.PIN_LOCKED)), "pin_locked", "too many wrong ones were keyed before ('pin unlock'"),
        (
            wanting(keyed(Reason.PIN_ACCOUNT, ANNA)),
            "pin_account",
            "'anna' (7) was keyed, but may not be used at account 204",
        ),
        (wanting(keyed(Reason.PIN_WRONG, tries=1)), "pin_wrong", "keyed once, and it was nobody's"),
        (wanting(keyed(Reason.PIN_WRONG, tries=2)), "pin_wrong", "keyed twice"),
        (wanting(keyed(Reason.PIN_WRONG, tries=3)), "pin_wrong", "keyed three times"),
        (wanting(keyed(Reason.PIN_WRONG, tries=4)), "pin_wrong", "keyed 4 times"),
        (wanting(keyed(pin=limited(until=1))), "pin_time", "'anna' (7) was keyed, but is not good at this time"),
        (wanting(keyed(pin=limited(prefixes=("44",)))), "pin_region", "is not good for this number"),
        (wanting(keyed(pin=limited(highest=1))), "pin_price", "is not good at this price"),
        (
            replace(wanting(keyed(pin=ANNA)), standing=Standing(pin_room=0)),
            "pin_money",
            "what is left of its money of the day",
        ),
        (wanting(keyed(pin=ANNA, tries=2)), "ok", "'anna' (7) was keyed and may call there"),
        (wanting(keyed(pin=ANNA, tries=0)), "ok", "'anna' (7) was keyed a while ago and may call there"),
        (wanting(keyed(tries=0, assumed=True)), "ok", "one would be asked for"),
    ],
)
def test_what_became_of_a_pin_is_told(case, reason, step):
    steps = told(case)
    assert steps[5].startswith("pin: ")
    assert step in steps[5]
    assert steps[6].startswith(f"verdict: {'allow' if reason == 'ok' else 'nowhere'} ({reason})")
    assert len(steps) == 7


def test_a_refusal_that_decides_is_told_before_one_that_is_simulated():
    case = wanting(keyed(pin=limited(until=1, highest=1)))
    assert [step.partition(":")[0] for step in told(case, frozenset({Reason.PIN_TIME}))[5:]] == [
        "pin",
        "shadow",
        "verdict",
    ]
    assert "price" in told(case, frozenset({Reason.PIN_TIME}))[5]
    simulated = told(case, frozenset({Reason.PIN_TIME, Reason.PIN_PRICE}))
    assert "time" in simulated[5]
    assert [step.split()[1] for step in simulated[6:8]] == ["pin_time", "pin_price"]
    assert simulated[8].startswith("verdict: allow (ok)")


BUDGET = "each account of tenant acme, per day"


@pytest.mark.parametrize(
    ("standing", "reason", "steps"),
    [
        (Standing(1_500_000, BUDGET), "ok", [f"budget: {BUDGET} has least left, 1.50 USD"]),
        (
            Standing(10_000, BUDGET),
            "over_budget",
            [f"budget: {BUDGET} has 0.01 USD left, which does not pay for this call"],
        ),
        (Standing(-10_000, BUDGET), "over_budget", [f"budget: {BUDGET} has -0.01 USD left, which does not pay for"]),
        (Standing(too_fast="40 attempts in 10 min"), "too_fast", ["speed: 40 attempts in 10 min"]),
        (Standing(too_many="5 calls at once"), "too_many", ["speed: 5 calls at once"]),
        (Standing(0, BUDGET, too_fast="40 attempts"), "too_fast", ["speed: 40 attempts"]),
    ],
)
def test_what_the_ledger_knows_is_told(standing, reason, steps):
    found = told(facts(price=rate(), standing=standing))
    assert [step[: len(expected)] for step, expected in zip(found[4:], steps, strict=False)] == steps
    assert f"({reason})" in found[-1]


def test_both_that_press_are_told_where_one_is_only_simulated():
    case = facts(price=rate(), standing=Standing(too_fast="40 attempts", too_many="5 calls at once"))
    assert told(case, frozenset({Reason.TOO_FAST}))[4:] == [
        "speed: 40 attempts; 5 calls at once",
        "shadow: too_fast would have refused this call, but only simulates",
        "verdict: nowhere (too_many)",
    ]


def test_a_budget_in_shadow_is_told_as_it_would_be_in_force():
    steps = told(facts(price=rate(), standing=Standing(1, BUDGET)), frozenset({Reason.OVER_BUDGET}))
    assert steps[4:6] == [
        f"budget: {BUDGET} has 0.000001 USD left, which does not pay for this call",
        "shadow: over_budget would have refused this call, but only simulates",
    ]
    assert steps[-1].startswith("verdict: allow (ok)")


def test_the_strict_profile_is_told_before_what_it_holds_to():
    case = replace(facts(price=rate()), strict=True, limit=Limit(Scope("acme"), 50_000, strict=True))
    assert told(case)[3:] == [
        "strict: the strict profile holds at this time (nights, weekends, holidays)",
        "limit: 0.05 USD (at strict times) is exceeded and no grant applies",
        "verdict: nowhere (over_limit)",
    ]


@pytest.mark.parametrize(
    ("standing", "strict", "told"),
    [(Standing(), False, (False, None, None)), (Standing(1_500_000, BUDGET), True, (True, BUDGET, "1.50"))],
)
def test_scripts_are_told_of_budgets_and_of_the_strict_profile(standing, strict, told):
    document = as_json(flatten(decide(facts(standing=standing, strict=strict), "id", LeaseTerms())), "USD")
    assert tuple(document[key] for key in ("strict", "budget", "room")) == told


def test_every_reason_about_pins_is_told():
    about = {reason for reason in Reason if reason.startswith("pin_")}
    assert about <= {reason for reasons, _ in _STEPS for reason in reasons}


@pytest.mark.parametrize(
    ("case", "keys"),
    [
        (facts(price=rate()), (False, None, None)),
        (wanting(), (True, None, None)),
        (wanting(keyed(Reason.PIN_WRONG, tries=3)), (True, None, 3)),
        (wanting(keyed(pin=replace(ANNA, duress=True))), (True, "anna", 1)),
        (wanting(keyed(tries=0, assumed=True)), (True, None, 0)),
    ],
)
def test_scripts_are_told_of_pins(case, keys):
    document = as_json(flatten(decide(case, "id", LeaseTerms())), "USD")
    assert tuple(document[key] for key in ("pin_required", "pin", "pin_tries")) == keys
    assert "duress" not in json.dumps(document)  # whoever forces somebody may be reading along


def test_a_simulated_refusal_is_told():
    steps = told(facts(price=rate(500_000)), frozenset({Reason.OVER_LIMIT}))
    assert "shadow: over_limit would have refused this call, but only simulates" in steps
    assert steps[-1] == "verdict: allow (ok), with a lease of 7200 s"
    assert "rate: deck a has no price for it; an unknown price is an expensive price" in told(
        facts(), frozenset({Reason.NO_RATE})
    )


def test_the_steps_stand_in_the_order_of_the_rules():
    told_about = [reason for reasons, _ in _STEPS for reason in reasons]
    assert told_about == [reason for reason, _ in ORDER if reason in told_about]


def test_the_json_has_the_keys_that_scripts_rely_on():
    document = as_json(flatten(decide(facts(price=rate(300_000)), "id", LeaseTerms())), "USD")
    promised = [
        *("verdict", "reason", "number", "region", "kind", "destination", "prefix", "deck", "per_minute"),
        *("connect_fee", "currency", "limit", "limit_scope", "lease_seconds", "pin_required", "simulated", "explain"),
    ]
    assert [key for key in document if key in promised] == promised
    assert document["per_minute"] == "0.30"
    assert document["limit"] == "0.25"
    assert document["number"] == "+88216000"
    json.dumps(document)


def test_a_bad_number_is_written_flat_without_number():
    ruling = flatten(decide(facts(dialled=BAD), "id", LeaseTerms()))
    assert (ruling.number, ruling.kind, ruling.bad_number) == (None, None, BAD.why)
    assert as_json(ruling, "USD")["per_minute"] is None
