"""What an operator's edit means for calls that are up: those that have to end, and those that have to end sooner."""

from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_cases import NOW, SECOND, admission, leg, price_of

from fraudguard.ledger import Call, State
from fraudguard.ledger.recall import BLOCKED, PIN_REVOKED, STUB_SECONDS, Recall, recalled
from fraudguard.ledger.treasury import Treasury
from fraudguard.policy import Block, PolicyIndex, Reason, Scope, Snapshot
from fraudguard.policy.budget import Budget, BudgetScope, Period
from fraudguard.policy.pin import Pin, PinKind, Seal, Terms
from fraudguard.rating import cost
from fraudguard.rating.rate import SLACK_SECONDS

CHEAP = price_of(60_000, connect_fee=0, minimum_seconds=0, increment_seconds=1)  # 1000 a second
TENANT = Budget(BudgetScope("acme"), Period.DAY, 10**7)
ACCOUNT = Budget(BudgetScope("acme", "204"), Period.DAY, 10**7)
AT = NOW + 10 * SECOND
STUB = 10 + STUB_SECONDS
ANNA = Pin(1, "acme", "anna", PinKind.DIGITS, False, Terms(), Seal(b"", b""), "root", 0)
ANYTHING = PolicyIndex(Snapshot(decks={}, pins=(ANNA,)))


def call(uniqueid="1.2", lease=100, state=State.UP, **changes):
    made = Call.admitted(admission(rate=CHEAP, lease_seconds=lease, call=uniqueid), leg(uniqueid), began_at=NOW)
    return replace(made, state=state, answered_at=NOW if state is State.UP else None, **changes)


def treasury(*calls, budgets=(TENANT,)):
    made = Treasury(lambda _tenant: UTC, lambda _tenant, _at: False)
    made.load(budgets, ())
    for one in calls:
        made.dialled(one, NOW)
    return made


def recall(*calls, amount=10**7, policy=ANYTHING, budgets=()):
    made = treasury(*calls, budgets=(TENANT, *budgets))
    made.sink(AT)
    lowered = [replace(one, amount=amount) for one in (TENANT, *budgets)]
    made.load(lowered, ())
    found = recalled(calls, policy, made, AT)
    return {key[1]: why for key, why in found.cut.items()}, {key[1]: left for key, left in found.shorten.items()}


def test_where_nothing_is_edited_nothing_is_recalled():
    assert recall(call(), call("1.3"), amount=204_000) == ({}, {})


@pytest.mark.parametrize(
    ("changes", "scope", "cut"),
    [
        ({}, Scope("acme"), {"1.2": BLOCKED}),
        ({}, Scope("acme", "205"), {}),
        ({"lease_seconds": None}, Scope("acme"), {}),  # an emergency call
        ({"call": ""}, Scope("acme"), {}),  # no verdict allowed it: the police see to it
        ({"pin": "anna"}, Scope("other"), {}),
        ({"pin": "bert"}, Scope("other"), {"1.2": PIN_REVOKED}),
        ({"pin": "anna", "tenant": "other"}, Scope("acme"), {"1.2": PIN_REVOKED}),
    ],
)
def test_what_is_blocked_now_or_was_let_go_by_a_pin_that_is_revoked_is_cut(changes, scope, cut):
    block = Block(1, scope, "44", "", None, "fraud", "root", 0)
    policy = PolicyIndex(Snapshot(decks={}, blocks=(block,), pins=(ANNA,)))
    assert recall(replace(call(), **changes), policy=policy)[0] == cut


def test_what_is_set_aside_beyond_a_lowered_budget_is_taken_back_of_the_dearest_first():
    dear, cheap = call("1.2", lease=400), call("1.3", lease=100)
    assert recall(cheap, dear, amount=503_999) == ({}, {"1.2": STUB})
    assert recall(cheap, dear, amount=102_000 + (STUB + SLACK_SECONDS) * 1000) == ({}, {"1.2": STUB})
    assert recall(cheap, dear, amount=101_999 + (STUB + SLACK_SECONDS) * 1000) == ({}, {"1.2": STUB, "1.3": STUB})


def test_where_more_is_spent_than_there_is_now_the_calls_are_cut():
    cut, _ = recall(call(), call("1.3"), amount=2 * 15_000 - 1)
    assert cut == {"1.2": "tenant acme, per day", "1.3": "tenant acme, per day"}


def test_of_two_budgets_the_one_that_has_less_says_how_short():
    cut, shorten = recall(call(lease=400), amount=300_000, budgets=(ACCOUNT,))
    assert (cut, shorten) == ({}, {"1.2": STUB})
    cut, _ = recall(call(lease=400), amount=1_000, budgets=(ACCOUNT,))
    assert cut == {"1.2": "tenant acme, per day"}, "the first that says so gives its name"


@pytest.mark.parametrize("other", [{"rate": None}, {"lease_seconds": None}, {"state": State.RINGING}])
def test_what_has_nothing_to_give_back_gives_nothing_back(other):
    kept = call("1.3", lease=400, **{key: value for key, value in other.items() if key == "state"})
    kept = replace(kept, **{key: value for key, value in other.items() if key != "state"})
    _, shorten = recall(call(), kept, amount=100_000)
    assert shorten == {"1.2": STUB}


def test_a_call_that_ends_soon_anyway_is_not_made_longer():
    cut, shorten = recall(call(lease=12), amount=13_999)
    assert (cut, shorten) == ({"1.2": "tenant acme, per day"}, {})


def test_what_a_blocked_call_gives_back_is_not_taken_from_others():
    block = Block(1, Scope(None, None), "", "198.51.100.99", None, "fraud", "root", 0)
    policy = PolicyIndex(Snapshot(decks={}, blocks=(block,), pins=(ANNA,)))
    bad = call("1.3", lease=400, source="198.51.100.99:5060")
    cut, shorten = recall(call(), bad, amount=200_000, policy=policy)
    assert (cut, shorten) == ({"1.3": BLOCKED}, {})


def test_calls_of_whole_increments_keep_what_they_have_begun():
    by_minute = CHEAP._replace(increment_seconds=60)
    one = replace(call(lease=598), rate=by_minute)
    assert recall(one, amount=590_000) == ({}, {"1.2": 58})


@settings(max_examples=200)
@given(
    leases=st.lists(st.integers(11, 2_000), min_size=1, max_size=8),
    amount=st.integers(0, 10**7),
    increment=st.integers(1, 90),
)
def test_after_a_recall_no_more_is_set_aside_than_there_is_or_everything_is_cut(leases, amount, increment):
    rate = CHEAP._replace(increment_seconds=increment)
    calls = [replace(call(f"1.{place + 2}", lease=lease), rate=rate) for place, lease in enumerate(leases)]
    cut, shorten = recall(*calls, amount=amount)
    kept = [min(one.lease_seconds, shorten.get(one.leg.uniqueid, 10**9)) for one in calls]
    assert min(kept) > 10, "nobody is given an end that is past"
    assert cut.keys() in (set(), {one.leg.uniqueid for one in calls})
    assert bool(cut) == (sum(cost(rate, seconds + SLACK_SECONDS) for seconds in kept) > amount)


def test_only_what_a_verdict_allowed_and_costs_something_is_cut_for_want_of_money():
    stray = replace(call("1.3"), call="", lease_seconds=None)
    free = replace(call("1.4"), rate=None)
    cut, _ = recall(call(), stray, free, amount=1_000)
    assert cut == {"1.2": "tenant acme, per day"}


def test_what_only_simulates_ends_no_call():
    stolen = PolicyIndex(Snapshot(decks={}, blocks=(Block(1, Scope("acme"), "", "", None, "", "root", 0),)))
    of_anna = call(pin="anna")
    made = treasury(of_anna)
    made.load([replace(TENANT, amount=1)])
    shadow = frozenset({Reason.BLOCKED, Reason.PIN_REQUIRED, Reason.OVER_BUDGET})
    assert recalled([of_anna], stolen, made, AT, shadow) == Recall()
    assert recalled([of_anna], stolen, made, AT, shadow - {Reason.BLOCKED}).cut == {of_anna.leg.key: BLOCKED}
    assert recalled([of_anna], stolen, made, AT, shadow - {Reason.PIN_REQUIRED}).cut == {of_anna.leg.key: PIN_REVOKED}
    assert recalled([of_anna], stolen, made, AT, shadow - {Reason.OVER_BUDGET}).cut == {
        of_anna.leg.key: "tenant acme, per day"
    }
