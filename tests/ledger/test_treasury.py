"""Money is set aside before it can be spent, and returned when it is known that it was not."""

from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ledger_cases import NOW, SECOND, admission, leg, price_of

from fraudguard.clock import DAY_MILLIS
from fraudguard.ledger import Call, State
from fraudguard.ledger.endings import ended
from fraudguard.ledger.pots import BUCKET_MILLIS, bucket_of
from fraudguard.ledger.treasury import Room, Treasury
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Period
from fraudguard.rating import cost
from fraudguard.rating.rate import SLACK_SECONDS

CHEAP = price_of(60_000, connect_fee=0, minimum_seconds=0, increment_seconds=1)  # 1000 a second
TENANT = Budget(BudgetScope(EACH), Period.DAY, 1_000_000)
PAYER = admission().payer
MIDNIGHT = NOW - NOW % DAY_MILLIS + DAY_MILLIS


def treasury(*budgets, spent=(), strict=lambda _tenant, _at: False):
    made = Treasury(lambda _tenant: UTC, strict)
    made.load(budgets or (TENANT,), spent)
    return made


def allowed(call="verdict", lease=98, **changes):
    return admission(call=call, lease_seconds=lease, **({"rate": CHEAP} | changes))


def ringing(one=None, uniqueid="1.2", at=NOW):
    return Call.admitted(one or allowed(), leg(uniqueid), began_at=at)


def up(call, at=NOW):
    return replace(call, state=State.UP, answered_at=at)


def left(one, now=NOW, payer=PAYER, *, strict=False):
    return one.room(payer, now, strict=strict).money


def test_a_verdict_sets_aside_what_its_lease_can_cost_once():
    one = treasury()
    for _ in range(2):
        one.pledge(allowed(), strict=False)
    assert left(one) == 900_000
    assert (one.pledged("verdict"), one.holds("verdict"), one.set_aside) == (True, True, 100_000)
    assert left(one, payer=PAYER._replace(tenant="other")) == 1_000_000
    assert one.withdraw("verdict")
    assert not one.withdraw("verdict")
    assert (left(one), one.pledged("verdict"), one.holds("verdict")) == (1_000_000, False, False)


@pytest.mark.parametrize("changes", [{"rate": None}, {"lease_seconds": None}])
def test_what_has_no_price_or_no_lease_sets_nothing_aside(changes):
    one = treasury()
    one.pledge(replace(allowed(), **changes), strict=False)
    assert left(one) == 1_000_000
    assert one.holds("verdict")


def test_room_names_the_budget_that_has_least_and_keeps_a_pins_apart():
    hourly = Budget(BudgetScope("acme", "204"), Period.HOUR, 600_000)
    of_pin = Budget(BudgetScope("acme", None, "anna"), Period.DAY, 500_000, of_pin=True)
    tighter = replace(of_pin, scope=BudgetScope(None, None, "anna"), amount=400_000)
    one = treasury(TENANT, hourly, of_pin, tighter)
    assert one.room(PAYER, NOW, strict=False) == Room(600_000, "account 204 of tenant acme, per hour", None)
    anna = one.room(PAYER._replace(pin="anna"), NOW, strict=False)
    assert (anna.money, anna.pin, anna.least) == (600_000, 400_000, 400_000)
    assert one.budgets == (TENANT, hourly, of_pin, tighter)
    assert treasury(of_pin).room(PAYER._replace(pin="anna"), NOW, strict=False) == Room(None, "", 500_000)
    assert Room().least is None


def test_a_leg_takes_over_what_was_set_aside_for_its_verdict():
    one = treasury()
    one.pledge(allowed(), strict=False)
    assert one.dialled(ringing(), NOW)
    assert one.dialled(ringing(), NOW), "again changes nothing"
    assert (left(one), one.pledged("verdict"), one.holds("verdict")) == (900_000, False, True)


def test_a_call_costs_what_it_costs_when_it_ends_and_returns_the_rest():
    one = treasury()
    one.pledge(allowed(), strict=False)
    one.dialled(ringing(), NOW)
    one.follow(up(ringing()), NOW)
    one.close(ended(up(ringing()), NOW + 40 * SECOND), again=True)
    assert left(one, NOW + 40 * SECOND) == 1_000_000 - 41_000, "the carrier may have seen a second more"
    assert (one.holds("verdict"), one.set_aside) == (False, 0)
    one.close(ended(up(ringing()), NOW + 40 * SECOND), again=False)
    assert left(one, NOW + 40 * SECOND) == 1_000_000 - 41_000, "it ends once"


@pytest.mark.parametrize(("again", "rest"), [(True, 900_000), (False, 1_000_000)])
def test_what_was_not_answered_stays_pledged_while_its_verdict_may_be_dialled_by_again(again, rest):
    one = treasury()
    one.pledge(allowed(), strict=False)
    one.dialled(ringing(), NOW)
    one.close(ended(ringing(), NOW + SECOND), again=again)
    assert (left(one), one.pledged("verdict")) == (rest, again)
    if again:
        assert one.dialled(ringing(uniqueid="1.3"), NOW)
        assert left(one) == 900_000


def test_of_forked_legs_each_has_money_of_its_own_and_only_the_last_returns_to_its_verdict():
    one = treasury()
    one.pledge(allowed(), strict=False)
    first, second = ringing(), ringing(uniqueid="1.3")
    assert one.dialled(first, NOW)
    assert one.dialled(second, NOW)
    assert left(one) == 800_000
    one.close(ended(first, NOW), again=True)
    assert (left(one), one.pledged("verdict"), one.holds("verdict")) == (900_000, False, True)
    one.close(ended(second, NOW), again=True)
    assert (left(one), one.pledged("verdict")) == (900_000, True)


def test_a_second_leg_that_there_is_no_money_for_is_said_to_be_one_and_is_held_for_all_the_same():
    one = treasury(replace(TENANT, amount=150_000))
    one.pledge(allowed(), strict=False)
    assert one.dialled(ringing(), NOW)
    assert not one.dialled(ringing(uniqueid="1.3"), NOW)
    assert left(one) == -50_000


def test_a_leg_without_a_verdict_is_held_for_and_pays_for_itself():
    one = treasury(replace(TENANT, amount=10_000))
    stray = replace(ringing(), call="", lease_seconds=None)
    assert one.dialled(stray, NOW), "it has no lease: nothing is set aside"
    one.follow(up(stray), NOW)
    one.sink(NOW + 20 * SECOND)
    assert left(one, NOW + 20 * SECOND) == -10_000
    one.close(ended(up(stray), NOW + 30 * SECOND), again=True)
    assert left(one, NOW + 30 * SECOND) == -20_000
    assert one.set_aside == 0


def test_what_is_spent_by_now_is_no_longer_set_aside_and_each_day_pays_its_part():
    one = treasury()
    one.pledge(allowed(), strict=False)
    began = MIDNIGHT - 50 * SECOND
    one.dialled(ringing(at=began), began)
    one.follow(up(ringing(at=began), began), began)
    one.sink(MIDNIGHT)
    assert (left(one, MIDNIGHT - 1), one.set_aside) == (900_000, 50_000)
    assert left(one, MIDNIGHT) == 950_000
    one.sink(MIDNIGHT)
    one.sink(MIDNIGHT + 10 * SECOND)
    assert (left(one, MIDNIGHT + 10 * SECOND), one.set_aside) == (950_000, 40_000)
    one.close(ended(up(ringing(), began), MIDNIGHT + 10 * SECOND), again=False)
    assert left(one, MIDNIGHT + 10 * SECOND) == 1_000_000 - 11_000


def test_a_longer_lease_sets_more_aside_and_a_shorter_one_returns_it_but_not_what_is_spent():
    one = treasury()
    one.pledge(allowed(), strict=False)
    call = up(ringing())
    one.dialled(call, NOW)
    one.follow(replace(call, lease_seconds=198), NOW)
    assert left(one) == 800_000
    one.sink(NOW + 150 * SECOND)
    one.follow(replace(call, lease_seconds=58), NOW + 150 * SECOND)
    assert (left(one, NOW + 150 * SECOND), one.set_aside) == (850_000, 0)


def test_what_is_not_held_for_or_has_ended_is_not_followed():
    one = treasury()
    for what in (ringing(), ended(ringing(), NOW)):
        one.follow(what, NOW)
        one.moved(what)
    one.close(ended(ringing(), NOW), again=True)
    assert left(one) == 1_000_000
    one.dialled(ringing(), NOW)
    one.follow(ended(ringing(), NOW), NOW)
    assert left(one) == 900_000, "its end is not stored yet"


def test_a_call_that_was_moved_to_another_time_costs_as_much():
    one = treasury()
    call = up(ringing())
    one.dialled(call, NOW)
    one.moved(up(call, NOW + 3600 * SECOND))
    one.sink(NOW + 3610 * SECOND)
    assert (left(one, NOW + 3610 * SECOND), one.set_aside) == (900_000, 90_000)


def test_when_strict_times_begin_and_end_a_call_is_held_for_where_it_counts():
    night = [False]
    strict = replace(TENANT, amount=200_000, strict=True)
    one = treasury(TENANT, strict, strict=lambda _tenant, _at: night[0])
    call = up(ringing())
    one.dialled(call, NOW)
    assert (left(one), left(one, strict=True)) == (900_000, 200_000)
    night[0] = True
    one.follow(call, NOW + 40 * SECOND)
    later = NOW + 40 * SECOND
    assert (left(one, later), left(one, later, strict=True)) == (900_000, 140_000), "what was spent before is not its"
    night[0] = False
    one.follow(call, NOW + 60 * SECOND)
    assert (left(one, later), left(one, later, strict=True)) == (900_000, 180_000)


def test_after_a_load_sums_and_what_is_set_aside_are_as_before():
    one = treasury()
    call = up(ringing())
    one.dialled(call, NOW)
    one.sink(NOW + 10 * SECOND)
    one.pledge(allowed("other"), strict=False)
    now = NOW + 10 * SECOND
    (pot,) = one.pots()
    pot.spent(now)
    pot.told = 50
    spent = [(NOW, PAYER, 5_000), (NOW - 40 * DAY_MILLIS, PAYER, 1), (NOW, PAYER._replace(tenant="other"), 70_000)]
    hourly = replace(TENANT, period=Period.HOUR)
    for _ in range(2):
        one.load((TENANT, hourly), spent)
        assert left(one, now) == 1_000_000 - 5_000 - 200_000
    assert {(pot.budget.period, pot.told) for pot in one.pots() if pot.values[0] == "acme"} == {
        ("day", 50),
        ("hour", 0),
    }
    assert set(one.paid()) == set(one.pots())
    assert one.paid() == ()
    one.withdraw("other")
    one.close(ended(call, now), again=False)
    assert left(one, now) == 1_000_000 - 5_000 - 11_000


def test_a_call_that_was_taken_to_have_ended_and_lives_is_held_for_again():
    one = treasury()
    call = up(ringing())
    one.dialled(call, NOW)
    before = ended(call, NOW + 40 * SECOND)
    one.reopen(before, call, NOW + 40 * SECOND)
    assert left(one, NOW + 40 * SECOND) == 900_000, "its end was not stored yet"
    one.close(before, again=False)
    assert left(one, NOW + 40 * SECOND) == 959_000
    one.reopen(before, call, NOW + 40 * SECOND)
    assert left(one, NOW + 40 * SECOND) == 900_000
    one.close(ended(call, NOW + 90 * SECOND), again=False)
    assert left(one, NOW + 90 * SECOND) == 909_000


def test_what_such_a_call_had_cost_before_midnight_was_not_spent_after_it():
    one = treasury()
    call = up(ringing(), MIDNIGHT - 60 * SECOND)
    one.dialled(call, MIDNIGHT)
    before = ended(call, MIDNIGHT + 20 * SECOND)
    one.close(before, again=False)
    (pot,) = one.pots()
    assert 0 < pot.spent(MIDNIGHT + 20 * SECOND) < before.charged_at(before.ended_at)
    one.reopen(before, call, MIDNIGHT + 20 * SECOND)
    assert pot.spent(MIDNIGHT + 20 * SECOND) == 0


def test_the_calls_of_a_pot_are_those_that_it_pays_for():
    one = treasury(TENANT, Budget(BudgetScope(EACH, EACH), Period.DAY, 10**6))
    other = ringing(allowed("other", account="205"), "1.3")
    one.dialled(ringing(), NOW)
    one.dialled(other, NOW)
    one.pledge(allowed("third"), strict=False)
    (of_account,) = (pot for pot in one.pots() if pot.values[1] == "205")
    (of_tenant,) = (pot for pot in one.pots() if pot.values[1] is None)
    assert one.calls_by_pot({of_account}) == {of_account: [other]}
    assert one.calls_by_pot(set(one.pots()))[of_tenant] == [ringing(), other]
    assert one.calls_by_pot(()) == {}


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Havana"])
def test_periods_are_those_of_the_tenants_zone(zone):
    one = Treasury(lambda tenant: ZoneInfo(zone) if tenant == "acme" else UTC, lambda _tenant, _at: False)
    one.load([TENANT, Budget(BudgetScope(), Period.DAY, 10**9)], [(MIDNIGHT - BUCKET_MILLIS, PAYER, 5)])
    assert left(one, MIDNIGHT + 1) == 999_995, "in neither zone is it midnight"
    names = {pot.name: pot.spent(MIDNIGHT + 1) for pot in one.pots()}
    assert names == {"tenant acme, per day": 5, "global, per day": 0}


class Money(RuleBasedStateMachine):
    """Whatever happens, what is spent and set aside of a budget is what its calls have cost and can yet cost."""

    def __init__(self):
        super().__init__()
        self.now = NOW
        self.treasury = treasury(replace(TENANT, amount=10**9, period=Period.MONTH))
        self.verdicts, self.live = {}, {}
        self.spent = 0
        self.stored = []
        self.count = 0

    @rule(lease=st.integers(1, 300))
    def allow(self, lease):
        self.count += 1
        self.verdicts[f"v{self.count}"] = allowed(f"v{self.count}", lease)
        self.treasury.pledge(self.verdicts[f"v{self.count}"], strict=False)

    @rule(data=st.data(), answered=st.booleans())
    def dial(self, data, answered):
        if self.verdicts:
            verdict = self.verdicts.pop(data.draw(st.sampled_from(sorted(self.verdicts))))
            self.count += 1
            call = ringing(verdict, f"2.{self.count}", self.now)
            self.treasury.dialled(call, self.now)
            self.live[call.leg.uniqueid] = up(call, self.now) if answered else call
            self.treasury.follow(self.live[call.leg.uniqueid], self.now)

    @rule(data=st.data(), more=st.integers(1, 300))
    def renew(self, data, more):
        if self.live:
            uniqueid = data.draw(st.sampled_from(sorted(self.live)))
            call = self.live[uniqueid]
            self.live[uniqueid] = replace(call, lease_seconds=call.lease_seconds + more)
            self.treasury.follow(self.live[uniqueid], self.now)

    @rule(data=st.data(), again=st.booleans())
    def end(self, data, again):
        if self.live:
            call = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))
            over = ended(call, self.now)
            self.treasury.close(over, again=again)
            if again and call.answered_at is None:
                self.verdicts[call.call] = allowed(call.call, call.lease_seconds)
            else:
                self.spent += over.charged_at(self.now)
                self.stored.append((bucket_of(self.now), PAYER, over.charged_at(self.now)))

    @rule(seconds=st.integers(1, 400))
    def wait(self, seconds):
        for _ in range(seconds):
            self.now += SECOND
            for uniqueid, call in list(self.live.items()):
                if call.answered_at is not None and call.answered_at + call.lease_seconds * SECOND <= self.now:
                    over = ended(self.live.pop(uniqueid), self.now)
                    self.treasury.close(over, again=False)
                    self.spent += over.charged_at(self.now)
                    self.stored.append((bucket_of(self.now), PAYER, over.charged_at(self.now)))

    @rule()
    def sink(self):
        self.treasury.sink(self.now)

    @rule()
    def load(self):
        self.treasury.load(self.treasury.budgets, self.stored)

    @invariant()
    def the_room_is_what_is_neither_spent_nor_may_be(self):
        may_cost = sum(call.reserved() for call in self.live.values())
        may_cost += sum(cost(CHEAP, one.lease_seconds + SLACK_SECONDS) for one in self.verdicts.values())
        assert left(self.treasury, self.now) == 10**9 - self.spent - may_cost


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_leg_that_is_anothers_than_was_thought_costs_the_one_it_is_taken_from_nothing():
    one = treasury()
    call = up(ringing())
    one.dialled(call, NOW)
    one.sink(NOW + 30 * SECOND)
    one.disown(call.leg.key)
    one.disown(call.leg.key)
    assert left(one, NOW + 30 * SECOND) == 10**6
    assert not one.holds(call.call)


def test_live_calls_count_in_strict_budgets_soon_after_strict_times_begin():
    begin = NOW + 60 * SECOND
    strict = replace(TENANT, strict=True)
    one = treasury(strict, strict=lambda _tenant, at: at >= begin)
    call = up(ringing())
    one.dialled(call, NOW)
    one.sink(begin - 1)
    assert one.set_aside > 0
    assert all(pot.held == 0 for pot in one.pots())
    one.sink(begin)
    (pot,) = one.pots()
    assert pot.held == one.set_aside > 0


def test_what_was_told_yesterday_and_a_clock_that_ran_ahead_are_forgotten_when_budgets_are_loaded_anew():
    one = treasury(TENANT, spent=[(bucket_of(NOW), PAYER, 900_000)])
    (pot,) = one.pots()
    assert pot.spent(NOW) == 900_000
    pot.told = 80
    one.load((TENANT,), [(bucket_of(NOW), PAYER, 900_000)], NOW)
    (pot,) = one.pots()
    assert (pot.spent(NOW), pot.told) == (900_000, 80)
    assert (pot.spent(NOW + DAY_MILLIS), pot.told) == (0, 0), "the clock was set to tomorrow"
    one.load((TENANT,), [(bucket_of(NOW), PAYER, 900_000)], NOW)
    (pot,) = one.pots()
    assert pot.spent(NOW) == 900_000, "and back"
