import json

import pytest
from policy_cases import BAD, facts, number, rate

from fraudguard.numbering import Kind
from fraudguard.policy import Block, Grant, Reason, Scope, decide, explain, flatten
from fraudguard.policy.rules import ORDER
from fraudguard.policy.ruling import _STEPS, as_json

GRANT = Grant(7, Scope(), "882", 400_000, None, "", "", 0)
BLOCK = Block(3, Scope(), "882", "", None, "", "", 0)
HOME = number("12125550100", Kind.DOMESTIC, "US")


def told(case, shadow=frozenset()):
    return explain(flatten(decide(case, "id", 7200, shadow)), "USD")


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
                "verdict: allow (ok), for at most 7200 s",
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


def test_a_simulated_refusal_is_told():
    steps = told(facts(price=rate(500_000)), frozenset({Reason.OVER_LIMIT}))
    assert "shadow: over_limit would have refused this call, but only simulates" in steps
    assert steps[-1] == "verdict: allow (ok), for at most 7200 s"
    assert "rate: deck a has no price for it; an unknown price is an expensive price" in told(
        facts(), frozenset({Reason.NO_RATE})
    )


def test_the_steps_stand_in_the_order_of_the_rules():
    told_about = [reason for reason, _ in _STEPS]
    assert told_about == [reason for reason, _ in ORDER if reason in told_about]


def test_the_json_has_the_keys_that_scripts_rely_on():
    document = as_json(flatten(decide(facts(price=rate(300_000)), "id", 7200)), "USD")
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
    ruling = flatten(decide(facts(dialled=BAD), "id", 7200))
    assert (ruling.number, ruling.kind, ruling.bad_number) == (None, None, BAD.why)
    assert as_json(ruling, "USD")["per_minute"] is None
