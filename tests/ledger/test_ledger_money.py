"""The ledger's money: set aside before a verdict is stored, returned when an end is, whatever was seen of it."""

from dataclasses import replace

import pytest
from ledger_cases import HOUSE, NOW, PHONE, RATE, SATELLITE, SECOND, admission, answered, dialled, hung_up, leg, seen
from policy_cases import attempt, facts, number, rate

from fraudguard.ledger import Ledger, State
from fraudguard.ledger.admissions import MARGIN_MILLIS
from fraudguard.ledger.ledger import SINK_MILLIS
from fraudguard.ledger.legs import MISSED_MILLIS, SECOND_LEG
from fraudguard.ledger.records import TurnedDown
from fraudguard.numbering import Kind
from fraudguard.policy import Reason, decide
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Period
from fraudguard.policy.lease import LeaseTerms
from fraudguard.policy.records import Standing
from fraudguard.policy.speed import SpeedLimits
from fraudguard.rating import cost

AMOUNT = 10**9
TENANT = Budget(BudgetScope(EACH), Period.DAY, AMOUNT)
MOST = admission().rate and cost(RATE, 602)
LONDON = number("442079460000", Kind.INTERNATIONAL, "GB")
UP_TO = cost(RATE, 101)  # 100 seconds, and one that the carrier may have seen


def ledger_with(*budgets, linked=True, **changes):
    ledger = Ledger(replace(HOUSE, **changes), "pbx")
    ledger.treasury.load(budgets or (TENANT,), ())
    if linked:
        ledger.resync("pbx", [], NOW)
    return ledger


def gone(ledger, now=NOW):
    """What is spent or set aside."""
    return AMOUNT - ledger.treasury.room(admission().payer, now, strict=False).money


def verdict_on(case=None, **changes):
    case = case or facts(dialled=LONDON, price=RATE, limit=10**9)
    fields = {"number": "0", "linkedid": "1.1", "uniqueid": "1.1", "asterisk": "pbx"}
    case = replace(case, attempt=attempt(**(fields | changes)))
    return decide(case, "verdict", LeaseTerms(longest=600))


def given(ledger, **changes):
    verdict = verdict_on(**changes)
    ledger.note(verdict)
    ledger.admit(verdict)
    return verdict


def turned_down(ledger, uniqueid="1.2"):
    """A leg ends because it was busy, or there was no way."""
    ledger.apply(TurnedDown(NOW + SECOND, "pbx", uniqueid))
    return ledger.apply(hung_up(NOW + SECOND, uniqueid))


def store(ledger, changes, now=NOW):
    return ledger.stored(changes.calls, now)


# --- verdicts ---


def test_money_is_set_aside_when_a_verdict_is_noted_and_returned_when_it_is_dropped():
    ledger = ledger_with()
    verdict = verdict_on()
    ledger.note(verdict)
    assert gone(ledger) == MOST
    assert ledger.apply(dialled()).alerts, "it is not stored yet: nothing is to be dialled by it"
    ledger.drop(verdict.call)
    assert gone(ledger) == 0
    ledger.drop(verdict.call)
    assert gone(ledger) == 0


def test_a_verdict_that_is_dropped_late_keeps_the_money_of_the_leg_that_is_there():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    ledger.drop("verdict")
    assert gone(ledger) == MOST


@pytest.mark.parametrize(
    "case",
    [
        facts(dialled=LONDON, price=RATE),
        facts(dialled=number("911", Kind.EMERGENCY, "US")),
        facts(dialled=number("12125550100", Kind.DOMESTIC, "US")),
    ],
)
def test_a_refusal_an_emergency_and_what_has_no_price_set_nothing_aside(case):
    ledger = ledger_with()
    verdict = verdict_on(case)
    ledger.note(verdict)
    ledger.admit(verdict)
    assert gone(ledger) == 0


def test_what_is_left_is_told_to_the_rules():
    ledger = ledger_with(TENANT, Budget(BudgetScope("acme", None, "anna"), Period.DAY, 7, of_pin=True))
    given(ledger)
    case = replace(facts(dialled=LONDON, price=RATE), attempt=attempt())
    assert ledger.standing(case) == Standing(AMOUNT - MOST, "tenant acme, per day")


def test_how_many_call_at_once_is_told_where_their_ends_can_be_seen():
    tenancy = replace(HOUSE.fallback, speed=SpeedLimits(account_calls=1))
    changes = {"fallback": tenancy, "tenancies": {}}
    for linked, too_many in ((True, "1 call of account 204"), (False, "")):
        ledger = ledger_with(linked=linked, **changes)
        given(ledger)
        case = replace(facts(dialled=LONDON, price=RATE), attempt=attempt())
        assert ledger.standing(case).too_many.startswith(too_many)
        assert bool(ledger.standing(case).too_many) == linked


def test_only_what_was_not_too_fast_counts_for_what_is():
    tenancy = replace(HOUSE.fallback, speed=SpeedLimits(account_attempts=1))
    ledger = ledger_with(fallback=tenancy, tenancies={})
    case = replace(facts(dialled=LONDON, price=rate(10**9)), attempt=attempt())
    ledger.note(verdict_on(case))
    assert ledger.standing(case).too_fast == "", "it was refused before speed was asked"
    given(ledger)
    assert "1 attempt of account 204" in ledger.standing(case).too_fast


def test_a_place_is_given_back_when_no_call_by_it_can_be_up():
    ledger = ledger_with()
    given(ledger)
    assert ledger.tempo._places
    ledger.apply(dialled())
    ledger.drop("verdict")
    assert ledger.tempo._places
    changes = ledger.apply(hung_up(NOW + SECOND))
    assert ledger.tempo._places
    store(ledger, changes)
    ledger.apply(hung_up(NOW + SECOND, PHONE.uniqueid))
    assert not ledger.tempo._places


# --- ends ---


def test_an_ended_call_keeps_its_money_until_its_end_is_stored():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    ended = ledger.apply(hung_up(NOW + 100 * SECOND))
    assert gone(ledger, NOW + 100 * SECOND) == MOST
    store(ledger, ended)
    assert gone(ledger, NOW + 100 * SECOND) == UP_TO
    assert not ledger.tempo._places
    store(ledger, ended)
    assert gone(ledger, NOW + 100 * SECOND) == UP_TO


def test_an_unanswered_leg_returns_its_money_when_the_channel_that_asked_is_gone():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    store(ledger, turned_down(ledger))
    assert gone(ledger) == MOST, "the dialplan may try another way"
    ledger.apply(dialled(which=leg("1.3")))
    assert gone(ledger) == MOST
    store(ledger, turned_down(ledger, "1.3"))
    ledger.apply(hung_up(NOW + 2 * SECOND, PHONE.uniqueid))
    assert gone(ledger) == 0


def test_it_does_so_too_when_the_channel_that_asked_was_gone_first():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    ledger.apply(hung_up(NOW + SECOND, PHONE.uniqueid))
    assert gone(ledger) == MOST
    store(ledger, turned_down(ledger))
    assert gone(ledger) == 0


def test_a_leg_that_was_given_up_may_have_been_answered_meanwhile_and_costs_the_least_that_a_call_does():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    changes = ledger.apply(hung_up(NOW + SECOND))
    assert (changes.calls[0].given_up, changes.calls[0].cost) == (True, 0)
    store(ledger, changes)
    assert gone(ledger) == cost(RATE, 1)


def test_a_second_leg_that_there_is_no_money_for_is_cut():
    ledger = ledger_with(replace(TENANT, amount=MOST + 1))
    given(ledger)
    assert ledger.apply(dialled()).hang_up == ()
    changes = ledger.apply(dialled(which=leg("1.3")))
    assert changes.hang_up == (leg("1.3"),)
    assert changes.calls[0].cut == SECOND_LEG
    (alert,) = ledger.apply(hung_up(NOW + SECOND, "1.3")).alerts
    assert alert.details["cut"] == SECOND_LEG


# --- what was not seen ---


def test_a_verdict_whose_asker_vanished_in_a_gap_may_have_been_dialled_in_it_however_old_it_is():
    ledger = ledger_with()
    given(ledger)
    ledger.resync("pbx", [], NOW + 60 * SECOND, NOW - SECOND)
    assert gone(ledger) == MOST, "it may have been dialled unseen"
    call = ledger.settle(NOW + 60 * SECOND + MISSED_MILLIS).calls[0]
    assert gone(ledger) == MOST
    ledger.stored([call], NOW)
    assert gone(ledger, NOW + 60 * SECOND) == cost(RATE, 61)
    before = ledger_with()
    given(before)
    before.resync("pbx", [], NOW + 60 * SECOND, NOW + SECOND)
    assert gone(before) == MOST
    (call,) = before.settle(NOW + 60 * SECOND + MISSED_MILLIS).calls
    before.stored([call], NOW)
    assert gone(before, NOW + 60 * SECOND) == cost(RATE, 60), "at the earliest, when the gap began"


def test_a_verdict_whose_asker_is_still_there_keeps_its_money():
    ledger = ledger_with()
    given(ledger)
    ledger.resync("pbx", [seen(PHONE, application="Dial", string="")], NOW + 60 * SECOND)
    assert gone(ledger) == MOST
    ledger.resync("pbx", [], NOW + 60 * SECOND)
    assert gone(ledger) == 0


@pytest.mark.parametrize("linked", [False, True])
def test_what_can_no_longer_be_dialled_by_was_dialled_if_nobody_could_see_it(linked):
    ledger = ledger_with(linked=linked)
    given(ledger)
    late = NOW + 600 * SECOND + MARGIN_MILLIS
    changes = ledger.settle(late)
    if linked:
        assert (changes.calls, gone(ledger, late)) == ((), 0)
        assert not ledger.tempo._places
        return
    (call,) = changes.calls
    assert (call.state, call.seconds, call.reconstructed) == (State.ENDED, 602, True)
    ledger.stored([call], late)
    assert gone(ledger, late) == MOST
    assert ledger.settle(late + SECOND).calls == ()


def test_on_a_trunk_that_cannot_be_followed_every_call_is_taken_to_have_lasted_for_its_lease():
    ledger = ledger_with()
    ledger.restore([admission(trunk="lines")], [])
    (call,) = ledger.settle(NOW + 600 * SECOND + MARGIN_MILLIS).calls
    assert call.seconds == 602


def test_what_was_dialled_or_refused_expires_without_a_trace():
    ledger = ledger_with(linked=False)
    given(ledger)
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    store(ledger, ledger.apply(hung_up(NOW + 100 * SECOND)))
    late = NOW + 600 * SECOND + MARGIN_MILLIS
    assert ledger.settle(late).calls == ()
    assert gone(ledger, late) == UP_TO


def test_a_call_that_was_taken_to_have_ended_and_is_there_is_held_for_again():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    ended = ledger.resync("pbx", [], NOW + 100 * SECOND)
    for _ in range(2):
        alive = ledger.resync("pbx", [seen()], NOW + 101 * SECOND)
        assert alive.tell_end == (leg(),)
        assert store(ledger, ended) == (), "what was stored late of it is not believed"
        assert gone(ledger, NOW + 101 * SECOND) == MOST
        ended = ledger.resync("pbx", [], NOW + 102 * SECOND)
    store(ledger, ended)
    assert gone(ledger, NOW + 102 * SECOND) == cost(RATE, 103)
    ledger.resync("pbx", [seen()], NOW + 103 * SECOND)
    assert gone(ledger, NOW + 103 * SECOND) == MOST
    store(ledger, ledger.apply(hung_up(NOW + 200 * SECOND)))
    assert gone(ledger, NOW + 200 * SECOND) == cost(RATE, 201)


def test_an_unguarded_call_costs_what_it_costs():
    ledger = Ledger(HOUSE, "pbx", lambda _trunk, _number: RATE)
    ledger.treasury.load([Budget(BudgetScope(), Period.DAY, AMOUNT)], ())
    ledger.apply(dialled(string=SATELLITE + "@carrier"))
    ledger.apply(answered(NOW))
    assert gone(ledger) == 0
    ledger.stored(ledger.apply(hung_up(NOW + 100 * SECOND)).calls, NOW)
    assert gone(ledger, NOW + 100 * SECOND) == cost(RATE, 100)


# --- restart ---


def test_after_a_restart_the_same_money_is_set_aside():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    again = ledger_with()
    again.restore([admission(dialled=True), admission(call="other", uniqueid="3.1")], ledger.live())
    assert gone(again) == 2 * MOST
    assert set(again.tempo._places) == {"verdict", "other"}
    again.restore([admission(call="help", lease_seconds=None)], [])
    assert gone(again) == 2 * MOST
    assert again.end_of(leg()) == (leg(), NOW + 600 * SECOND, 600)


# --- warnings ---


def test_a_budget_that_comes_to_its_end_is_told_of_while_calls_are_up():
    ledger = ledger_with(replace(TENANT, amount=2 * UP_TO))
    given(ledger)
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    assert ledger.settle(NOW + 90 * SECOND).alerts == ()
    assert ledger.settle(NOW + 90 * SECOND + SINK_MILLIS - 1).alerts == ()
    (alert,) = ledger.settle(NOW + 110 * SECOND).alerts
    assert (alert.kind, alert.details["budget"]) == ("budget_half", "tenant acme, per day")
    assert ledger.settle(NOW + 120 * SECOND).alerts == ()
    assert ledger.shift(-3600 * SECOND).calls
    assert ledger.settle(NOW - 3500 * SECOND).alerts == ()


def test_a_verdict_is_refused_where_the_rules_find_nothing_left():
    ledger = ledger_with(replace(TENANT, amount=1))
    case = replace(facts(dialled=LONDON, price=RATE, limit=10**9), attempt=attempt())
    case = replace(case, standing=ledger.standing(case))
    assert decide(case, "verdict", LeaseTerms()).reason is Reason.OVER_BUDGET


def test_what_is_stored_of_a_call_that_is_not_known_any_more_changes_nothing():
    ledger = ledger_with()
    given(ledger)
    ledger.apply(dialled())
    (ringing,) = ledger.live()
    ledger.stored(turned_down(ledger).calls, NOW)
    ledger.settle(NOW + 60 * SECOND)
    assert ledger.stored([ringing], NOW) == ()
    assert gone(ledger) == MOST


def test_a_leg_that_is_not_known_may_be_turned_down():
    assert not ledger_with().apply(TurnedDown(NOW, "pbx", "9.9"))
