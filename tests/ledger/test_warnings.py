"""Telling in time that a budget comes to its end: once for each level and period."""

from dataclasses import replace
from datetime import UTC

import pytest
from ledger_cases import DEAR, NOW, RATE, SECOND, admission, leg

from fraudguard.clock import DAY_MILLIS
from fraudguard.ledger import Call, State
from fraudguard.ledger.pots import HOUR_MILLIS, bucket_of
from fraudguard.ledger.treasury import Treasury
from fraudguard.ledger.warnings import hush, warnings
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Payer, Period
from fraudguard.rating import cost

ACCOUNT = Budget(BudgetScope(EACH, EACH), Period.DAY, 10_000_000)
PAYER = Payer("acme", "204", "", "carrier", "GB", domestic=False)


def treasury(budget=ACCOUNT):
    made = Treasury(lambda _tenant: UTC, lambda _tenant, _at: False)
    made.load([budget], [])
    return made


def spend(money, amount, at=NOW):
    spent = [(bucket_of(at), PAYER, amount)]
    money.load(money.budgets, spent)


def told(money, at=NOW):
    return [alert.kind.value for alert in warnings(money, at)]


@pytest.mark.parametrize(
    ("amount", "kinds"),
    [
        (0, []),
        (4_999_999, []),
        (5_000_000, ["budget_half"]),
        (7_999_999, ["budget_half"]),
        (8_000_000, ["budget_low"]),
        (9_999_999, ["budget_low"]),
        (10_000_000, ["budget_spent"]),
        (11_000_000, ["budget_spent"]),
    ],
)
def test_the_highest_level_that_is_reached_is_told(amount, kinds):
    money = treasury()
    spend(money, amount)
    assert told(money) == kinds


def test_each_level_is_told_once_in_a_period():
    money = treasury()
    for amount, kinds in ((5, ["budget_half"]), (6, []), (8, ["budget_low"]), (7, []), (9, []), (10, ["budget_spent"])):
        spend(money, amount * 1_000_000)
        assert told(money) == kinds
        assert told(money) == []
    spend(money, 6_000_000, NOW + DAY_MILLIS)
    assert told(money, NOW + DAY_MILLIS) == ["budget_half"]


def test_a_rolling_budget_can_come_to_its_end_again():
    money = treasury(replace(ACCOUNT, period=Period.HOUR, rolling=True))
    spend(money, 8_000_000)
    first = warnings(money, NOW)
    spend(money, 1_000_000, NOW + HOUR_MILLIS)
    assert told(money, NOW + HOUR_MILLIS) == []
    spend(money, 8_000_000, NOW + HOUR_MILLIS)
    second = warnings(money, NOW + HOUR_MILLIS)
    assert [alert.kind for alert in (*first, *second)] == ["budget_low"] * 2
    assert first[0].fold == second[0].fold


def test_what_was_reached_before_a_restart_was_told_then():
    money = treasury()
    spend(money, 8_000_000)
    hush(money, NOW)
    assert told(money) == []
    spend(money, 9_000_000)
    assert told(money) == []
    spend(money, 10_000_000)
    assert told(money) == ["budget_spent"]


def test_a_budget_of_nothing_of_which_something_is_spent_is_spent():
    money = treasury(replace(ACCOUNT, amount=0))
    spend(money, 1)
    assert told(money) == ["budget_spent"]


def up(uniqueid, rate=RATE, **changes):
    made = Call.admitted(admission(rate=rate, call=uniqueid, number="+4420" + uniqueid), leg(uniqueid), began_at=NOW)
    return replace(made, state=State.UP, answered_at=NOW, **changes)


def test_whoever_is_told_learns_who_spends_it_where_to_and_how_long_the_rest_will_last():
    money = treasury(replace(ACCOUNT, amount=20_000_000))
    for one in (up("1"), up("2", DEAR), up("3", None), replace(up("4"), state=State.RINGING, answered_at=None)):
        money.dialled(one, NOW)
    money.sink(NOW + 60 * SECOND)
    (alert,) = warnings(money, NOW + 60 * SECOND)
    assert (alert.kind, alert.tenant, alert.account, alert.trunk) == ("budget_half", "acme", "204", "carrier")
    assert (alert.number, alert.destination, alert.per_minute) == ("+44202", "Satellite", 9_500_000)
    assert alert.source == "198.51.100.7:5060"
    assert alert.details["budget"] == "account 204 of tenant acme, per day"
    assert (alert.details["amount"], alert.details["spent"], alert.details["live_calls"]) == ("20.00", "10.105", "2")
    assert alert.details["lasts_minutes"] == "0"
    assert alert.details["set_aside"] == str((6_065_000 * 2 + 95_316_667 - 10_105_000) / 10**6)


def test_where_nobody_calls_any_more_the_budget_says_whose_it_is():
    money = treasury(Budget(BudgetScope("acme", None, None, "carrier"), Period.MONTH, 10))
    spend(money, 9)
    (alert,) = warnings(money, NOW)
    assert (alert.tenant, alert.account, alert.trunk, alert.number) == ("acme", "", "carrier", None)
    assert "lasts_minutes" not in alert.details
    everybody = treasury(Budget(BudgetScope(), Period.MONTH, 10))
    spend(everybody, 9)
    (alert,) = warnings(everybody, NOW)
    assert (alert.tenant, alert.account, alert.trunk, alert.details["budget"]) == ("", "", "", "global, per month")


def test_of_everybodys_budget_the_dearest_call_says_who_it_is():
    money = treasury(Budget(BudgetScope(), Period.MONTH, 1_000_000))
    money.dialled(up("2"), NOW)
    money.sink(NOW + 60 * SECOND)
    (alert,) = warnings(money, NOW + 60 * SECOND)
    assert (alert.tenant, alert.account, alert.trunk, alert.details["lasts_minutes"]) == ("acme", "204", "carrier", "0")


def test_what_does_not_buy_another_call_like_the_latest_is_as_good_as_spent():
    for rest, kind in ((cost(RATE, 1), "budget_low"), (cost(RATE, 1) - 1, "budget_spent")):
        money = treasury()
        money.dialled(up("1"), NOW)
        money.sink(NOW)
        (pot,) = money.pots()
        spend(money, 10_000_000 - pot.spent(NOW) - rest)
        assert told(money) == [kind]


def test_what_was_only_tried_says_nothing_of_what_a_call_costs():
    money = treasury()
    money.pledge(admission(rate=DEAR), strict=False)
    spend(money, 9_000_000)
    assert told(money) == ["budget_low"]
