"""Leases: renewed in time where there is money, and Asterisk told of longer ones only when they are stored."""

from dataclasses import replace

import pytest
from ledger_cases import (
    HOUSE,
    LONDON,
    NOW,
    SATELLITE,
    SECOND,
    admission,
    answered,
    dialled,
    hung_up,
    leg,
    price_of,
    seen,
)

from fraudguard.ledger import Changes, Ledger, State
from fraudguard.ledger.leases import AGAIN_MILLIS, LONGEST, OF_PIN, UNLINKED
from fraudguard.policy import Block, PolicyIndex, Reason, Scope, Snapshot
from fraudguard.policy.alert import AlertKind
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Payer, Period
from fraudguard.policy.lease import LeaseTerms

CHEAP = price_of(60_000, connect_fee=0, minimum_seconds=0, increment_seconds=1)  # 1000 a second
ACCOUNT = Budget(BudgetScope(EACH, EACH), Period.DAY, 480_000)
TERMS = LeaseTerms(shortest=60, longest=600, call=900)
LEASE = 60
DUE = NOW + (LEASE - 15) * SECOND  # a quarter of it is left
NAME = "account 204 of tenant acme, per day"


def ledger_with(*budgets, terms=TERMS, linked=True, up=True, shadow=(), **changes):
    ledger = Ledger(replace(HOUSE, lease=terms, shadow=frozenset(shadow)), "pbx")
    ledger.treasury.load(budgets or (ACCOUNT,), ())
    if linked:
        ledger.resync("pbx", [], NOW)
    ledger.restore([admission(**({"rate": CHEAP, "lease_seconds": LEASE} | changes))], [])
    if up:
        ledger.apply(dialled())
        ledger.apply(answered(NOW))
    return ledger


def spend(ledger, amount, at=NOW):
    payer = Payer("acme", "204", "", "carrier", "001", domestic=False)
    ledger.treasury.load(ledger.treasury.budgets, [(at, payer, amount)])


def room(ledger, now=NOW):
    return ledger.treasury.room(admission().payer, now, strict=False).money


def renewed(ledger, now=DUE):
    return [call.lease_seconds for call in ledger.renew(now).calls]


def test_a_lease_is_renewed_when_a_quarter_of_it_is_left_and_paid_for_at_once():
    ledger = ledger_with()
    assert room(ledger) == 418_000
    assert not ledger.renew(DUE - 1)
    assert renewed(ledger) == [120]
    assert room(ledger) == 358_000
    assert not ledger.renew(DUE)
    assert renewed(ledger, NOW + 90 * SECOND) == [180]


@pytest.mark.parametrize(("lease", "ahead"), [(600, 60), (120, 30), (12, 5), (3, 5)])
def test_it_is_renewed_from_5_seconds_to_a_minute_before_its_end(lease, ahead):
    ledger = ledger_with(replace(ACCOUNT, amount=10**9), lease_seconds=lease)
    at = NOW + (lease - ahead) * SECOND
    assert not ledger.renew(at - 1)
    assert ledger.renew(at)


@pytest.mark.parametrize(
    ("changes", "event"),
    [({"lease_seconds": None}, None), ({}, hung_up(NOW + 10 * SECOND)), ({"number": SATELLITE}, None)],
)
def test_what_has_no_lease_or_has_ended_is_not_renewed(changes, event):
    ledger = ledger_with(**changes)
    if event:
        ledger.apply(event)
    assert not ledger.renew(NOW + 600 * SECOND)


def test_what_only_rings_is_not_renewed():
    ledger = ledger_with(up=False)
    ledger.apply(dialled())
    assert not ledger.renew(NOW + 600 * SECOND)


def test_where_there_is_no_money_it_is_tried_again_every_second_until_others_return_some():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000))
    assert not ledger.renew(DUE)
    assert not ledger.renew(DUE + AGAIN_MILLIS - 1)
    ledger.treasury.load([ACCOUNT], ())
    assert not ledger.renew(DUE + AGAIN_MILLIS - 1)
    assert renewed(ledger, DUE + AGAIN_MILLIS) == [120]


def test_a_call_without_a_price_and_one_whose_budget_is_only_simulated_are_renewed_whatever_is_spent():
    assert renewed(ledger_with(replace(ACCOUNT, amount=0), rate=None)) == [660]
    assert renewed(ledger_with(replace(ACCOUNT, amount=0), shadow=[Reason.OVER_BUDGET])) == [660]


def test_a_pins_money_bounds_a_lease_also_where_budgets_are_only_simulated():
    of_pin = Budget(BudgetScope("acme", None, "anna"), Period.DAY, 92_000, of_pin=True)
    ledger = ledger_with(of_pin, replace(ACCOUNT, amount=0), pin="anna", shadow=[Reason.OVER_BUDGET])
    assert renewed(ledger) == [90]
    assert cut_by(ledger, last_at=NOW + 80 * SECOND) == OF_PIN


def test_no_call_is_renewed_beyond_what_any_may_last():
    ledger = ledger_with(rate=None)
    assert renewed(ledger) == [660]
    assert renewed(ledger, NOW + 600 * SECOND) == [900]
    assert renewed(ledger, NOW + 850 * SECOND) == []


# --- what Asterisk is told ---


def test_asterisk_is_told_of_a_longer_lease_when_it_is_stored_and_not_before():
    ledger = ledger_with()
    (before,) = ledger.live()
    assert ledger.stored([before], NOW) == ()
    (call,) = ledger.renew(DUE).calls
    assert ledger.untold(call)
    assert ledger.stored([before], DUE) == (), "what is stored late is the lease of before"
    assert ledger.stored([call], DUE) == (call.leg,)
    assert ledger.end_of(call.leg) == (call.leg, NOW + 120 * SECOND, 120)
    assert ledger.told_end(call.leg, 120) == Changes()
    assert not ledger.untold(call)
    assert ledger.stored([call], DUE) == ()


def test_whatever_is_told_anew_is_the_lease_that_is_stored():
    ledger = ledger_with()
    (call,) = ledger.renew(DUE).calls
    assert ledger.resync("pbx", [seen()], DUE).tell_end == (leg(),)
    assert ledger.end_of(leg())[2] == LEASE, "a crash now, and nobody knows that more was paid for"
    ledger.stored([call], DUE)
    assert ledger.end_of(leg())[2] == 120


def test_after_an_interruption_it_is_told_again():
    ledger = ledger_with()
    ledger.renew(DUE)
    ledger.told_end(leg(), 120)
    assert ledger.ends_untold("other") == ()
    assert ledger.ends_untold("pbx") == (leg(),)
    assert ledger.stored(ledger.live(), DUE) == (leg(),)


@pytest.mark.parametrize(
    ("event", "which"),
    [(None, leg("9.9")), (hung_up(NOW + SECOND), leg()), ("ringing", leg())],
)
def test_what_is_not_up_has_no_end(event, which):
    ledger = ledger_with(up=event != "ringing")
    if event == "ringing":
        ledger.apply(dialled())
    elif event:
        ledger.apply(event)
    assert ledger.end_of(which) is None
    assert ledger.told_end(which, 60) == Changes()


def test_an_emergency_call_has_no_end():
    ledger = Ledger(HOUSE, "pbx")
    ledger.apply(dialled(string="911@carrier"))
    ledger.apply(answered(NOW))
    assert ledger.end_of(leg()) is None
    assert ledger.told_end(leg(), 60) == Changes()
    assert ledger.treasury.set_aside == 0


def test_a_call_of_the_fence_has_an_end_and_is_not_renewed():
    ledger = Ledger(HOUSE, "pbx")
    ledger.resync("pbx", [], NOW)
    ledger.apply(dialled(string=LONDON + "@carrier", said="fence"))
    ledger.apply(answered(NOW))
    assert ledger.end_of(leg()) == (leg(), NOW + 900 * SECOND, 900)
    assert not ledger.renew(NOW + 899 * SECOND)
    assert ledger.ends_untold("pbx") == ()


# --- why a call was cut ---


def cut_by(ledger, *, last_at=DUE):
    ledger.renew(last_at)
    (call,) = ledger.live()
    changes = ledger.apply(hung_up(NOW + call.lease_seconds * SECOND))
    assert [alert.kind for alert in changes.alerts] == [AlertKind.CALL_CUT] * bool(changes.calls[0].cut)
    return changes.calls[0].cut


def test_a_call_that_ends_with_its_lease_says_why_it_was_not_renewed():
    of_pin = Budget(BudgetScope("acme", None, "anna"), Period.DAY, 62_000, of_pin=True)
    assert cut_by(ledger_with(replace(ACCOUNT, amount=62_000))) == NAME
    assert cut_by(ledger_with(of_pin, pin="anna")) == OF_PIN
    assert cut_by(ledger_with(lease_seconds=900), last_at=NOW + 890 * SECOND) == LONGEST
    assert cut_by(ledger_with(linked=False)) == UNLINKED


def test_where_a_budget_and_a_pin_are_spent_the_one_that_has_less_is_named():
    of_pin = Budget(BudgetScope("acme", None, "anna"), Period.DAY, 62_000, of_pin=True)
    assert cut_by(ledger_with(of_pin, replace(ACCOUNT, amount=10**9), pin="anna")) == OF_PIN


def test_what_ended_before_its_lease_was_not_cut():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000))
    ledger.renew(DUE)
    changes = ledger.apply(hung_up(NOW + 50 * SECOND))
    assert (changes.calls[0].cut, changes.alerts) == ("", ())


def test_the_alert_says_who_was_cut_why_and_after_how_long():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000))
    ledger.renew(DUE)
    (alert,) = ledger.apply(hung_up(NOW + 60 * SECOND)).alerts
    assert (alert.tenant, alert.account, alert.number) == ("acme", "204", LONDON)
    assert alert.details.items() >= {"cut": NAME, "seconds": "60", "lease": "60"}.items()


def test_a_call_that_ended_unseen_and_unanswered_was_not_cut():
    ledger = ledger_with(up=False)
    ledger.apply(dialled())
    ledger.apply(hung_up(NOW + 100 * SECOND))
    assert ledger.live() == ()


# --- links ---


def test_without_a_link_nothing_is_renewed_until_it_is_back():
    ledger = ledger_with()
    ledger.unlinked("pbx")
    assert not ledger.renew(DUE)
    ledger.resync("pbx", [], NOW - 1)
    assert renewed(ledger, DUE + AGAIN_MILLIS) == [120]


# --- a tone before the end ---


def test_who_is_about_to_be_cut_is_warned_once():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000), terms=replace(TERMS, warning=10))
    warned = [turn for turn in range(70) if ledger.renew(NOW + turn * SECOND).warn]
    assert warned == [50]
    silent = ledger_with(replace(ACCOUNT, amount=62_000))
    assert not any(silent.renew(NOW + turn * SECOND).warn for turn in range(70))


def test_who_got_more_and_is_about_to_be_cut_again_is_warned_again():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000), terms=replace(TERMS, warning=10))
    assert ledger.renew(NOW + 45 * SECOND).warn == ()
    assert ledger.renew(NOW + 50 * SECOND).warn == (("pbx", "PJSIP/204-00000009"),)
    ledger.treasury.load([replace(ACCOUNT, amount=92_000)], ())
    assert renewed(ledger, NOW + 51 * SECOND) == [90]
    warned = [turn for turn in range(52, 90) if ledger.renew(NOW + turn * SECOND).warn]
    assert warned == [80]


# --- shortened by an edit ---


def policy(**parts):
    return PolicyIndex(Snapshot(decks={}, **parts))


def test_a_lowered_budget_shortens_a_call_and_its_money_returns_when_asterisk_was_told():
    ledger = ledger_with(lease_seconds=400)
    at = NOW + 10 * SECOND
    ledger.treasury.load([replace(ACCOUNT, amount=100_000)], ())
    changes = ledger.reconsider(policy(), at)
    assert changes == Changes(tell_end=(leg(),))
    assert ledger.end_of(leg()) == (leg(), NOW + 13 * SECOND, 13)
    assert room(ledger) == -302_000
    assert ledger.told_end(leg(), 400) == Changes(), "an order of before"
    (call,) = ledger.told_end(leg(), 13).calls
    assert (call.lease_seconds, room(ledger)) == (13, -302_000)
    assert ledger.stored([call], at) == ()
    assert room(ledger) == 85_000
    assert renewed(ledger, at) == [73], "from what is left of the new budget"


def test_while_a_shorter_end_is_not_told_nothing_is_renewed():
    ledger = ledger_with()
    ledger.treasury.load([replace(ACCOUNT, amount=61_000)], ())
    assert ledger.reconsider(policy(), NOW + 10 * SECOND).tell_end == (leg(),)
    ledger.treasury.load([ACCOUNT], ())
    assert ledger.renew(DUE) == Changes(tell_end=(leg(),)), "it is told again"
    assert cut_by(ledger) == "account 204 of tenant acme, per day"


def test_a_blocked_call_is_hung_up_and_says_so():
    ledger = ledger_with()
    block = Block(1, Scope("acme"), "44", "", None, "fraud", "root", 0)
    changes = ledger.reconsider(policy(blocks=(block,)), NOW + SECOND)
    assert (changes.hang_up, changes.tell_end) == ((leg(),), ())
    assert changes.calls[0].cut == "blocked"
    again = ledger.reconsider(policy(blocks=(block,)), NOW + 2 * SECOND)
    assert again.hang_up == (leg(),)
    (alert,) = ledger.apply(hung_up(NOW + 3 * SECOND)).alerts
    assert alert.details["cut"] == "blocked"


def test_what_nobody_objects_to_goes_on():
    assert ledger_with().reconsider(policy(), NOW + SECOND) == Changes()


def test_a_shorter_end_for_a_call_that_has_no_lease_is_none():
    ledger = ledger_with(lease_seconds=None)
    ledger._leases.shorten(("pbx", "1.2"), 10)
    assert ledger.end_of(leg()) is None


# --- the clock ---


@pytest.mark.parametrize("delta", [-3_600_000, 3_600_000])
def test_when_the_clock_is_set_a_lease_is_as_long_as_before(delta):
    ledger = ledger_with()
    ledger.apply(dialled(which=leg("1.3"), string="911@carrier"))
    changes = ledger.shift(delta)
    assert [call.began_at for call in changes.calls] == [NOW + delta] * 2
    assert [call.answered_at for call in changes.calls] == [NOW + delta, None]
    assert changes.tell_end == (leg(),)
    assert ledger.end_of(leg()) == (leg(), NOW + delta + LEASE * SECOND, LEASE)
    assert not ledger.renew(DUE + delta - 1)
    assert renewed(ledger, DUE + delta) == [120]
    ended = ledger.apply(hung_up(NOW + delta + 50 * SECOND)).calls[0]
    assert (ended.state, ended.seconds) == (State.ENDED, 50)
    assert ledger.shift(SECOND).calls[0].leg.uniqueid == "1.3"


def test_a_call_whose_lease_is_not_known_to_have_run_out_was_not_cut():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000))
    ledger.renew(DUE)
    ledger._legs.replace(replace(ledger.live()[0], lease_seconds=None))
    assert ledger.apply(hung_up(NOW + 60 * SECOND)).calls[0].cut == ""


def test_a_leg_that_outlives_its_lease_is_hung_up_once():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000))
    ended = [turn for turn in range(80) if ledger.renew(NOW + turn * SECOND).hang_up]
    assert ended == [63]


def test_a_lease_that_would_end_soon_even_when_it_is_renewed_is_renewed_again_at_once():
    ledger = ledger_with()
    assert renewed(ledger, NOW + 130 * SECOND) == [180], "and it is renewed once to be told"
    assert ledger.renew(NOW + 130 * SECOND) == Changes()


def test_a_call_that_outlives_its_lease_is_hung_up_once():
    ledger = ledger_with(replace(ACCOUNT, amount=62_000))
    assert not ledger.renew(NOW + 62 * SECOND)
    assert ledger.renew(NOW + 64 * SECOND) == Changes(hang_up=(leg(),))
    assert not ledger.renew(NOW + 66 * SECOND)
    assert ledger.live(), "until it is seen to end"
