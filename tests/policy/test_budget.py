"""Which budgets a call has to pay from: of each shape, period and strictness the one that names it most closely."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.policy.budget import (
    DEFAULT_BUDGETS,
    EACH,
    NO_REGION,
    Budget,
    BudgetIndex,
    BudgetScope,
    Payer,
    Period,
    in_force,
)

ANNA = Payer("acme", "204", "anna", "carrier", "GB", domestic=False)
NOBODY = ANNA._replace(pin="")
HOME = ANNA._replace(region="US", domestic=True)


def budget(*scope, period=Period.DAY, amount=1, **changes):
    return Budget(BudgetScope(*scope), period, amount, **changes)


def applying(*budgets, payer=ANNA, strict=False):
    return [found for found, _ in BudgetIndex(budgets).applying(payer, strict=strict)]


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ((), "global"),
        (("acme",), "tenant acme"),
        ((EACH,), "each tenant"),
        (("acme", "204"), "account 204 of tenant acme"),
        (("acme", EACH), "each account of tenant acme"),
        ((EACH, EACH), "each account"),
        (("acme", None, "anna"), "person anna of tenant acme"),
        ((None, None, None, "carrier"), "trunk carrier"),
        ((EACH, None, None, "carrier"), "trunk carrier of each tenant"),
        (("acme", "204", None, "carrier", "GB"), "account 204 trunk carrier region GB of tenant acme"),
        ((None, None, None, None, EACH), "each region"),
    ],
)
def test_a_scope_says_whose_spending_it_bounds(scope, words):
    assert str(BudgetScope(*scope)) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "tenant acme, per day"),
        ({"rolling": True, "period": Period.HOUR}, "tenant acme, per rolling hour"),
        ({"strict": True, "period": Period.MONTH}, "tenant acme, per month, at strict times"),
    ],
)
def test_a_budget_says_what_it_is(changes, words):
    assert str(budget("acme", **changes)) == words


@pytest.mark.parametrize(
    ("scope", "payer", "values"),
    [
        ((), ANNA, (None,) * 5),
        (("acme",), ANNA, ("acme", None, None, None, None)),
        ((EACH,), ANNA, ("acme", None, None, None, None)),
        (("other",), ANNA, None),
        (("acme", "204"), ANNA, ("acme", "204", None, None, None)),
        (("acme", "205"), ANNA, None),
        ((EACH, EACH), ANNA, ("acme", "204", None, None, None)),
        (("acme", None, "anna"), ANNA, ("acme", None, "anna", None, None)),
        (("acme", None, "bert"), ANNA, None),
        ((EACH, None, EACH), ANNA, ("acme", None, "anna", None, None)),
        ((EACH, None, EACH), NOBODY, None),
        ((None, None, None, "carrier"), ANNA, (None, None, None, "carrier", None)),
        ((None, None, None, None, "FR"), ANNA, None),
        ((None, None, None, None, NO_REGION), ANNA._replace(region=NO_REGION), (None, None, None, None, NO_REGION)),
    ],
)
def test_whose_money_a_call_is_and_what_it_is_kept_under(scope, payer, values):
    found = list(BudgetIndex([budget(*scope)]).applying(payer, strict=False))
    assert found == ([] if values is None else [(budget(*scope), values)])


def test_of_one_shape_the_closest_holds_and_is_told_apart_by_whom_it_bounds():
    everybody, tenant, account = budget(EACH, EACH), budget("acme", EACH), budget("acme", "204")
    for order in ([everybody, tenant, account], [account, everybody, tenant]):
        assert applying(*order) == [account]
        assert applying(*order, payer=ANNA._replace(account="205")) == [tenant]
        assert applying(*order, payer=ANNA._replace(tenant="other")) == [everybody]


def test_a_closest_budget_without_end_lifts_those_behind_it():
    assert applying(budget(EACH, EACH), budget("acme", "204", amount=None)) == []


def test_of_different_shapes_periods_and_times_all_hold():
    every = [budget(), budget("acme"), budget("acme", period=Period.HOUR), budget("acme", strict=True)]
    assert applying(*every) == every[:3]
    assert applying(*every, strict=True) == every
    of_pin = budget("acme", None, "anna", of_pin=True)
    assert applying(budget("acme", None, "anna"), of_pin) == [budget("acme", None, "anna"), of_pin]


def test_domestic_calls_count_only_in_budgets_that_say_so():
    abroad, everywhere = budget("acme", domestic=False), budget("acme", "204")
    assert applying(abroad, everywhere, payer=HOME) == [everywhere]
    assert applying(abroad, everywhere) == [abroad, everywhere]


def test_the_defaults_hold_until_one_of_the_same_scope_period_and_strictness_is_set():
    assert in_force([]) == DEFAULT_BUDGETS
    mine = budget(EACH, amount=7)
    assert in_force([mine]) == (DEFAULT_BUDGETS[0], *DEFAULT_BUDGETS[2:], mine)
    kept = [budget("acme"), budget(EACH, period=Period.HOUR), budget(EACH, of_pin=True)]
    assert in_force(kept) == (*DEFAULT_BUDGETS, *kept)
    assert in_force(iter([budget(EACH, strict=True)]))[:3] == DEFAULT_BUDGETS[:3]


def test_by_default_a_call_abroad_is_bounded_twice_and_at_strict_times_four_times():
    assert applying(*DEFAULT_BUDGETS) == [*DEFAULT_BUDGETS[:2]]
    assert applying(*DEFAULT_BUDGETS, strict=True) == [*DEFAULT_BUDGETS]
    assert applying(*DEFAULT_BUDGETS, payer=HOME, strict=True) == []


NAMES = {"tenant": ["acme", "other"], "account": ["204", "205"], "pin": ["", "anna"], "trunk": ["a"], "region": ["GB"]}
scopes = st.tuples(*(st.sampled_from([None, EACH, *filter(None, names)]) for names in NAMES.values())).filter(
    lambda scope: scope[0] is not None or scope[1] is scope[2] is None
)
budgets = st.builds(
    budget, period=st.sampled_from(Period), domestic=st.booleans(), strict=st.booleans(), amount=st.none() | st.just(1)
)


def matches(scope, payer):
    pairs = list(zip(scope, payer, strict=False))
    return all(named in (None, EACH, value) for named, value in pairs) and not (scope[2] is not None and not payer.pin)


def closeness(scope):
    return [value not in (None, EACH) for value in scope]


@given(st.lists(st.builds(lambda scope, one: (scope, one), scopes, budgets), max_size=12), st.booleans())
def test_exactly_the_closest_of_each_shape_holds(pairs, strict):
    every = {}
    for scope, one in pairs:
        made = budget(*scope, period=one.period, amount=one.amount, domestic=one.domestic, strict=one.strict)
        every[made.scope, made.period, made.strict] = made
    index = BudgetIndex(every.values())
    for *who, domestic in product(*NAMES.values(), [True, False]):
        payer = Payer(*who, domestic=domestic)
        groups = {}
        for one in every.values():
            if matches(one.scope, payer) and (strict or not one.strict):
                groups.setdefault((one.scope.shape, one.period, one.strict), []).append(one)
        closest = {max(group, key=lambda one: closeness(one.scope)) for group in groups.values()}
        wanted = {one for one in closest if one.amount is not None and (one.domestic or not payer.domestic)}
        found = dict(index.applying(payer, strict=strict))
        assert found.keys() == wanted
        for one, values in found.items():
            assert values == tuple(v if used else None for v, used in zip(payer, one.scope.shape, strict=False))
