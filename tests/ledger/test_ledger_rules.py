from dataclasses import replace

import pytest
from ledger_cases import (
    DEAR,
    HOUSE,
    LONDON,
    NOW,
    PHONE,
    RATE,
    SATELLITE,
    SECOND,
    admission,
    answered,
    billed,
    dialled,
    hung_up,
    leg,
    moved,
    price,
    seen,
)
from policy_cases import attempt, facts, number

from fraudguard.ledger import Changes, Ledger, State, admission_of
from fraudguard.ledger import legs as module
from fraudguard.ledger.admissions import MARGIN_MILLIS
from fraudguard.ledger.endings import LEASE_SLACK_MILLIS
from fraudguard.ledger.legs import SETTLE_MILLIS
from fraudguard.numbering import Kind
from fraudguard.policy import decide
from fraudguard.policy.alert import AlertKind
from fraudguard.policy.lease import LeaseTerms
from fraudguard.rating import cost

NOTHING = Changes()


@pytest.fixture
def ledger():
    return Ledger(HOUSE, "pbx", price)


@pytest.fixture
def admitted(ledger):
    ledger.restore([admission()], [])
    return ledger


def only(changes):
    (call,) = changes.calls
    return call


# What is allowed


def test_an_allowing_verdict_admits_its_call(ledger):
    home = number("12125550100", Kind.DOMESTIC, "US")
    case = replace(facts(dialled=home), attempt=attempt(number="2125550100", linkedid="1.1"))
    verdict = decide(case, "verdict", LeaseTerms(), frozenset())
    ledger.admit(verdict)
    ledger.admit(verdict)
    call = only(ledger.apply(dialled(string="12125550100@carrier")))
    assert (call.call, call.why, call.tenant, call.account) == ("verdict", "ok", "acme", "204")
    assert (call.number, call.rate, call.lease_seconds, call.caller) == ("+12125550100", None, 7200, PHONE.channel)


def test_a_refusing_verdict_admits_nothing(ledger):
    verdict = decide(facts(), "verdict", LeaseTerms(), frozenset())
    assert admission_of(verdict) is None
    ledger.admit(verdict)
    assert ledger.apply(dialled(string="88216000@carrier")).hang_up


def test_forked_and_repeated_dials_of_one_verdict_are_allowed_and_each_is_priced(admitted):
    first, second = leg(), leg("1.3", channel="PJSIP/carrier-0000000b")
    assert [only(admitted.apply(dialled(which=one))).call for one in (first, second)] == ["verdict"] * 2
    for one in (first, second):
        admitted.apply(answered(NOW, one.uniqueid))
    assert admitted.live_cost(NOW + SECOND) == 2 * cost(RATE, 1)


def test_a_verdict_for_one_trunk_does_not_open_another(admitted):
    assert admitted.apply(dialled(which=leg(channel="SIP/lenient-0000000a"), string="lenient/44" + LONDON[3:])).alerts


def test_a_verdict_for_one_number_does_not_open_another(admitted):
    assert admitted.apply(dialled(string=SATELLITE + "@carrier")).hang_up == (leg(),)


def test_a_verdict_without_linkedid_admits_whoever_dials_its_number(ledger):
    ledger.restore([admission(linkedid="")], [])
    assert only(ledger.apply(dialled())).call == "verdict"


def test_a_leg_dialled_after_its_chain_was_merged_keeps_its_verdict(admitted):
    admitted.apply(moved(NOW, replace(PHONE, linkedid="0.9")))
    assert only(admitted.apply(dialled(which=leg(linkedid="0.9"), caller=None))).call == "verdict"


def test_it_does_even_when_the_merge_was_not_seen(admitted):
    assert only(admitted.apply(dialled(which=leg(linkedid="0.9"), caller=replace(PHONE, linkedid="0.9")))).call


def test_other_legs_are_ignored(ledger):
    for which in (PHONE, leg(channel="DAHDI/i1/4420-1"), leg(channel="Local/4420@out-00000001;2")):
        assert ledger.apply(dialled(which=which)) is not None
        assert not ledger.apply(dialled(which=which))
    for event in (answered(NOW), hung_up(NOW), moved(NOW, leg()), billed(NOW, 3)):
        assert not ledger.apply(event)
    assert ledger.live() == ()


# What nobody allowed


@pytest.mark.parametrize("string", ["911@carrier", "112@carrier", "999@carrier", "9911@carrier", "+911@carrier"])
def test_an_emergency_call_past_the_guard_is_as_it_should_be(ledger, string):
    changes = ledger.apply(dialled(string=string))
    assert only(changes).why == "emergency"
    assert only(changes).rate is None
    assert (changes.alerts, changes.hang_up) == ((), ())


def test_an_emergency_call_behind_a_trunks_own_prefix_is_one(ledger):
    assert (
        only(ledger.apply(dialled(which=leg(channel="PJSIP/gateway-01"), string="1234911@gateway"))).why == "emergency"
    )


def test_what_ends_like_an_emergency_number_is_reported_and_let_be(ledger):
    changes = ledger.apply(dialled(string="0112@carrier"))
    assert changes.alerts[0].details["hung_up"] == "no"
    assert changes.hang_up == ()
    assert ledger.apply(dialled(string="+431112@carrier", which=leg("1.3"))).hang_up
    assert ledger.apply(dialled(string="004420794112@carrier", which=leg("1.4"))).hang_up


@pytest.mark.parametrize(
    "string",
    [
        LONDON + "@carrier",
        LONDON[1:] + "@carrier",
        "02079460000@carrier",
        "+18005550100@carrier",
        "+12025550100@carrier",
    ],
)
def test_what_the_fence_let_go_is_allowed_where_it_is_domestic_for_somebody(ledger, string):
    assert ledger.wonders(leg(), string, PHONE)
    changes = ledger.apply(dialled(string=string, said="fence"))
    call = only(changes)
    assert (call.why, call.lease_seconds, changes.alerts, changes.hang_up) == ("fence", 900, (), ())
    assert not ledger.wonders(leg(), string, PHONE)


def test_what_the_fence_let_go_is_priced(ledger):
    assert only(ledger.apply(dialled(said="fence"))).rate == RATE


@pytest.mark.parametrize("string", [SATELLITE + "@carrier", "+33123456789@carrier", "123@carrier", "alice@carrier", ""])
def test_the_word_of_the_fence_excuses_no_other_number(ledger, string):
    assert ledger.wonders(leg(), string)
    assert ledger.apply(dialled(string=string, said="fence")).alerts


def test_nobody_wonders_about_what_is_explained_already(admitted):
    assert not admitted.wonders(leg(), LONDON + "@carrier")
    assert not admitted.wonders(leg(), "911@carrier")
    assert not admitted.wonders(PHONE, "2025550100@phone")
    assert admitted.wonders(leg(linkedid="5.5"), LONDON + "@carrier")
    assert not admitted.wonders(leg(linkedid="5.5"), LONDON + "@carrier", PHONE)


def test_an_unguarded_call_is_hung_up_and_the_hole_is_told(ledger):
    changes = ledger.apply(dialled(string=SATELLITE + "@carrier"))
    assert changes.hang_up == (leg(),)
    (alert,) = changes.alerts
    assert alert.kind == alert.reason == AlertKind.UNGUARDED_CALL
    assert (alert.number, alert.dialled, alert.trunk) == (SATELLITE, SATELLITE + "@carrier", "carrier")
    assert (alert.per_minute, alert.destination, alert.tenant) == (9_500_000, "Satellite", "default")
    assert alert.details == {
        "asterisk": "pbx",
        "channel": "PJSIP/carrier-0000000a",
        "caller": PHONE.channel,
        "context": "phones",
        "extension": "011",
        "application": "Dial",
        "mode": "enforce",
        "hung_up": "yes",
    }
    assert not ledger.apply(dialled(string=SATELLITE + "@carrier"))


def test_a_call_of_asterisks_own_is_unguarded_too(ledger):
    changes = ledger.apply(
        dialled(string="+33123456789@carrier", caller=None, context="", extension="", application="")
    )
    assert changes.hang_up
    assert set(changes.alerts[0].details) == {"asterisk", "channel", "mode", "hung_up"}
    assert changes.alerts[0].per_minute is None


def test_the_alert_says_whose_chain_it_is_as_far_as_the_guard_knows(admitted):
    (alert,) = admitted.apply(dialled(string=SATELLITE + "@carrier")).alerts
    assert (alert.tenant, alert.account, alert.source) == ("acme", "204", "198.51.100.7:5060")
    (alert,) = admitted.apply(dialled(string=SATELLITE + "@carrier", which=leg("1.3"), account="erin")).alerts
    assert alert.account == "erin"


def test_calls_through_one_hole_fold_and_others_do_not(ledger):
    def fold(uniqueid, **changes):
        return ledger.apply(dialled(which=leg(uniqueid), **changes)).alerts[0].fold

    assert fold("1.3") == fold("1.4", string=SATELLITE + "@carrier")
    assert len({fold("1.5"), fold("1.6", context="other"), fold("1.7", account="205")}) == 3


def test_in_report_mode_an_unguarded_call_is_followed_and_priced(ledger):
    which = leg(channel="SIP/lenient-0000000a")
    changes = ledger.apply(dialled(which=which, string="lenient/" + SATELLITE))
    assert (changes.hang_up, changes.alerts[0].details["mode"]) == ((), "report")
    ledger.apply(answered(NOW))
    assert ledger.live_cost(NOW + 60 * SECOND) == 9_500_000
    assert not ledger.resync("pbx", [seen(which)], NOW).hang_up


def test_trunks_that_share_a_channel_share_the_stricter_mode(ledger):
    changes = ledger.apply(dialled(which=leg(channel="PJSIP/gateway-01"), string=f"5678{SATELLITE}@gateway"))
    assert (only(changes).trunk, only(changes).number, len(changes.hang_up)) == ("quality", SATELLITE, 1)


# Answer and end


def test_a_call_is_counted_from_its_answer_in_whole_seconds(admitted):
    admitted.apply(dialled())
    call = only(admitted.apply(answered(NOW + 9_000)))
    assert (call.state, call.answered_at) == (State.UP, NOW + 9_000)
    call = only(admitted.apply(hung_up(NOW + 9_000 + 61_001)))
    assert (call.state, call.seconds, call.cost, call.cause) == (State.ENDED, 62, cost(RATE, 62), 16)
    assert not call.reconstructed
    assert admitted.live() == ()


def test_a_call_never_answered_costs_nothing(admitted):
    admitted.apply(dialled())
    call = only(admitted.apply(hung_up(NOW + 9_000, cause=17)))
    assert (call.seconds, call.cost, call.cause) == (0, 0, 17)


def test_a_call_without_a_price_has_no_cost(ledger):
    ledger.restore([admission(rate=None)], [])
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    assert ledger.live_cost(NOW + SECOND) == 0
    call = only(ledger.apply(hung_up(NOW + SECOND)))
    assert (call.seconds, call.cost) == (1, None)


def test_events_may_come_twice(admitted):
    for event in (dialled(), answered(NOW + SECOND), moved(NOW, leg(linkedid="2.2")), hung_up(NOW + 3 * SECOND)):
        assert admitted.apply(event)
        assert not admitted.apply(replace(event, at=event.at + SECOND))
    assert not admitted.apply(moved(NOW, leg(linkedid="2.3")))


def test_an_answer_may_come_after_the_end(admitted):
    admitted.apply(dialled())
    admitted.apply(hung_up(NOW + 5_000))
    call = only(admitted.apply(answered(NOW + 1_000)))
    assert (call.state, call.seconds, call.cost) == (State.ENDED, 4, cost(RATE, 4))


def test_a_clock_that_goes_back_never_makes_negative_seconds(admitted):
    admitted.apply(dialled())
    admitted.apply(answered(NOW))
    assert admitted.live_cost(NOW - 90_000) == cost(RATE, 0)
    call = only(admitted.apply(hung_up(NOW - 90_000)))
    assert (call.seconds, call.cost) == (0, cost(RATE, 0))


def test_a_transferred_leg_keeps_its_verdict_and_its_name_is_followed(admitted):
    admitted.apply(dialled())
    call = only(admitted.apply(moved(NOW, leg(linkedid="0.5", channel="PJSIP/carrier-0000000a<MASQ>"))))
    assert (call.call, call.leg.linkedid) == ("verdict", "0.5")
    admitted.apply(billed(NOW, 40, "PJSIP/carrier-0000000a"))
    admitted.apply(billed(NOW, 7, "PJSIP/carrier-0000000a<MASQ>"))
    admitted.apply(hung_up(NOW))
    assert only(admitted.settle(NOW + SETTLE_MILLIS)).cdr_seconds == 7
    assert not admitted._legs._by_channel
    # and what is dialled in the chain that it came to is allowed as well
    assert only(admitted.apply(dialled(which=leg("1.9", "0.5"), caller=None))).call == "verdict"


def test_two_legs_may_change_names(admitted):
    first, second = leg(), leg("1.3", channel="PJSIP/carrier-0000000b")
    for one in (first, second):
        admitted.apply(dialled(which=one))
    admitted.apply(moved(NOW, replace(first, channel=second.channel)))
    admitted.apply(moved(NOW, replace(second, channel=first.channel)))
    admitted.apply(billed(NOW, 7, first.channel))
    assert [call.cdr_seconds for call in admitted.live()] == [None, 7]


# Asterisk's own records


def ended(ledger, seconds, *records):
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    for record in records:
        ledger.apply(billed(NOW + seconds * SECOND, record))
    ledger.apply(hung_up(NOW + seconds * SECOND))
    at = NOW + seconds * SECOND + SETTLE_MILLIS
    assert not ledger.settle(at - 1)
    changes = ledger.settle(at)
    assert not ledger.settle(at)
    assert not ledger._legs._entries
    assert not ledger._legs._by_channel
    return changes


@pytest.mark.parametrize("records", [(60,), (59,), (58,), (61,), (20, 37)])
def test_records_that_agree_within_a_second_each_are_noted(admitted, records):
    changes = ended(admitted, 60, *records)
    assert (only(changes).cdr_seconds, changes.alerts) == (sum(records), ())


@pytest.mark.parametrize("records", [(57,), (62,), (0,), (20, 36)])
def test_records_that_say_something_else_are_an_alert(admitted, records):
    changes = ended(admitted, 60, *records)
    (alert,) = changes.alerts
    assert (alert.kind, alert.call, alert.number) == (AlertKind.CDR_DISAGREEMENT, "verdict", LONDON)
    assert alert.details["seconds"] == "60"
    assert alert.details["cdr_seconds"] == str(sum(records))
    assert alert.details["records"] == str(len(records))
    assert alert.details["channel"] == "PJSIP/carrier-0000000a"


def test_a_disagreement_about_a_call_without_a_price_is_one_too(ledger):
    ledger.restore([admission(rate=None)], [])
    assert ended(ledger, 60, 10).alerts[0].per_minute is None


def test_without_a_record_nothing_is_compared(admitted):
    assert not ended(admitted, 60)


def test_a_reconstructed_call_is_not_compared(admitted):
    admitted.apply(dialled())
    admitted.apply(billed(NOW, 3))
    admitted.resync("pbx", [], NOW + 60 * SECOND)
    changes = admitted.settle(NOW + 60 * SECOND + SETTLE_MILLIS)
    assert (only(changes).cdr_seconds, changes.alerts) == (3, ())


def test_too_many_ended_calls_are_settled_early(admitted, monkeypatch):
    monkeypatch.setattr(module, "ENDED_LIMIT", 2)
    for place in range(4):
        admitted.apply(dialled(which=leg(str(place))))
        admitted.apply(hung_up(NOW, str(place)))
    admitted.settle(NOW)
    assert [key[1] for key in admitted._legs._entries] == ["2", "3"]


def test_what_was_admitted_is_forgotten_when_it_can_be_dialled_no_more(admitted):
    admitted.apply(hung_up(NOW, PHONE.uniqueid))
    admitted.settle(NOW + MARGIN_MILLIS)
    assert admitted.apply(dialled(at=NOW + MARGIN_MILLIS)).alerts


# Catching up


def resynced(ledger, *found, now=NOW + 100 * SECOND, asterisk="pbx"):
    return ledger.resync(asterisk, found, now)


def test_a_call_that_is_gone_ended_just_now(admitted):
    admitted.apply(dialled())
    admitted.apply(answered(NOW + SECOND))
    call = only(resynced(admitted))
    assert (call.state, call.ended_at, call.seconds, call.reconstructed) == (State.ENDED, NOW + 100_000, 99, True)
    assert (call.cost, call.cause) == (cost(RATE, 99), None)
    assert not resynced(admitted)


def test_a_call_that_is_gone_and_is_seen_to_end_a_moment_later_ended_then(admitted):
    admitted.apply(dialled())
    admitted.apply(answered(NOW))
    resynced(admitted)
    assert not admitted.apply(hung_up(NOW + 100 * SECOND))
    call = only(admitted.apply(hung_up(NOW + 100 * SECOND + 5)))
    assert (call.seconds, call.cost, call.cause, call.reconstructed) == (101, cost(RATE, 101), 16, True)
    assert not admitted.apply(hung_up(NOW + 102 * SECOND))


def test_a_call_that_is_gone_ended_at_its_lease_at_the_latest(admitted):
    admitted.apply(dialled())
    admitted.apply(answered(NOW))
    call = only(resynced(admitted, now=NOW + 10_000 * SECOND))
    assert call.ended_at == NOW + 600 * SECOND + LEASE_SLACK_MILLIS


def test_a_call_that_rang_and_is_gone_may_have_been_answered_at_once(admitted):
    admitted.apply(dialled())
    call = only(resynced(admitted))
    assert (call.answered_at, call.seconds, call.cost, call.reconstructed) == (NOW, 100, cost(RATE, 100), True)


def test_a_call_without_a_lease_that_is_gone_ended_just_now(ledger):
    ledger.apply(dialled(string=SATELLITE + "@carrier"))
    assert only(resynced(ledger, now=NOW + 10_000 * SECOND)).seconds == 10_000


def test_calls_of_other_asterisks_and_later_ones_are_left_alone():
    ledger = Ledger(HOUSE, "", price)
    ledger.restore([admission()], [])
    ledger.apply(dialled())
    assert not resynced(ledger, asterisk="other")
    assert not resynced(ledger, now=NOW - 1)
    assert len(ledger.live()) == 1


@pytest.mark.parametrize(("said", "answered_at"), [(None, NOW), (NOW + 5 * SECOND, NOW + 5 * SECOND)])
def test_a_call_answered_unseen_counts_from_when_asterisk_says_or_else_from_its_beginning(admitted, said, answered_at):
    admitted.apply(dialled())
    assert not resynced(admitted, seen(up=False))
    call = only(resynced(admitted, *[seen(answered_at=said)] * 2))
    assert (call.state, call.answered_at, call.reconstructed) == (State.UP, answered_at, True)
    assert not admitted.apply(answered(NOW + 50_000))
    assert resynced(admitted, seen()) == Changes(tell_end=(leg(),))


def test_a_call_that_moved_unseen_is_known_by_its_new_name(admitted):
    admitted.apply(dialled())
    call = only(resynced(admitted, seen(leg(linkedid="0.1", channel="PJSIP/carrier-0000000c"), up=False)))
    assert call.leg.channel == "PJSIP/carrier-0000000c"
    assert not call.reconstructed


@pytest.mark.parametrize("application", ["AppDial", "AppDial2", "AppQueue"])
@pytest.mark.parametrize(
    ("up", "said", "answered_at"), [(False, None, None), (True, None, NOW), (True, NOW + 9, NOW + 9)]
)
def test_a_call_that_began_unseen_is_taken_over(admitted, application, up, said, answered_at):
    call = only(resynced(admitted, seen(up=up, answered_at=said, application=application)))
    assert (call.call, call.answered_at, call.began_at, call.reconstructed) == ("verdict", answered_at, NOW, True)
    assert not admitted.apply(dialled())
    assert len(admitted.live()) == 1


def test_an_unguarded_call_that_began_unseen_is_policed(ledger):
    changes = resynced(ledger, seen(string=SATELLITE + "@carrier", context="hole"))
    assert (only(changes).why, changes.hang_up) == ("unguarded", (leg(),))
    assert (changes.alerts[0].details["context"], changes.alerts[0].at) == ("hole", NOW + 100_000)


@pytest.mark.parametrize("application", ["", "Dial", "Queue", "Playback", "Stasis"])
def test_a_call_that_came_in_is_never_taken_for_one_that_went_out(ledger, application):
    assert not resynced(ledger, seen(application=application))
    assert ledger.live() == ()


def test_a_leg_found_without_its_number_belongs_to_its_chains_verdict(admitted):
    assert only(resynced(admitted, seen(string=""))).call == "verdict"


@pytest.mark.parametrize("string", ["", "s", "anonymous"])
def test_a_leg_found_without_its_number_is_let_be_until_it_is_known(ledger, string):
    changes = resynced(ledger, seen(string=string))
    assert (len(changes.alerts), changes.hang_up) == (1, ())
    assert not resynced(ledger, seen(string=string))
    late = ledger.apply(dialled(at=NOW - SECOND, string=SATELLITE + "@carrier"))
    assert (late.hang_up, late.alerts) == ((leg(),), ())
    assert (only(late).answered_at, only(late).began_at, only(late).reconstructed) == (NOW, NOW - SECOND, True)


def test_a_leg_found_without_its_number_may_be_found_with_it_later(ledger):
    resynced(ledger, seen(string=""))
    changes = resynced(ledger, seen(string=SATELLITE + "@carrier"))
    assert (only(changes).number, changes.hang_up, changes.alerts) == (SATELLITE, (leg(),), ())


def test_a_leg_allowed_and_transferred_unseen_is_allowed(admitted):
    assert only(resynced(admitted, seen(leg(linkedid="0.1")))).call == "verdict"


def test_a_leg_whose_chain_was_merged_unseen_is_allowed(ledger):
    ledger.restore([admission(number="411")], [])
    phone = seen(replace(PHONE, linkedid="0.1"), application="Dial", string="")
    assert only(resynced(ledger, phone, seen(leg(linkedid="0.1"), string="99411@carrier"))).call == "verdict"


def test_a_call_that_rang_and_was_taken_for_gone_rings_on(admitted):
    admitted.apply(dialled())
    resynced(admitted)
    call = only(resynced(admitted, seen(up=False)))
    assert (call.state, call.answered_at, call.reconstructed) == (State.RINGING, None, True)


def test_a_call_that_got_another_name_altogether_is_still_itself(admitted):
    admitted.apply(dialled())
    assert only(resynced(admitted, seen(leg(channel="Surrogate/carrier-0000000a")))).call == "verdict"


def test_a_leg_found_without_its_number_may_turn_out_an_emergency(ledger):
    resynced(ledger, seen(string="", up=False))
    late = ledger.apply(dialled(string="911@carrier"))
    assert (only(late).why, late.hang_up) == ("emergency", ())


def test_a_leg_found_without_its_number_may_have_ended(ledger):
    resynced(ledger, seen(string=""))
    ledger.apply(hung_up(NOW + SECOND))
    assert not ledger.apply(dialled())


def test_an_order_to_hang_up_that_was_lost_is_given_again(ledger):
    ledger.apply(dialled(string=SATELLITE + "@carrier"))
    changes = resynced(ledger, seen())
    assert (changes.hang_up, changes.alerts) == ((leg(),), ())


def test_a_call_that_was_taken_for_gone_and_is_there_lives_on(admitted):
    admitted.apply(dialled())
    resynced(admitted)
    call = only(resynced(admitted, seen()))
    assert (call.state, call.ended_at, call.seconds, call.cost, call.reconstructed) == (
        State.UP,
        None,
        None,
        None,
        True,
    )
    assert not admitted.settle(NOW + 200 * SECOND)
    assert len(admitted.live()) == 1
    call = only(admitted.apply(hung_up(NOW + 300 * SECOND)))
    assert call.seconds == 300
    assert not resynced(admitted, seen())  # it was seen to end this time


def test_a_call_that_was_seen_to_end_stays_ended(admitted):
    admitted.apply(dialled())
    admitted.apply(hung_up(NOW))
    assert not resynced(admitted, seen())
    assert admitted.live() == ()


# Restart


def test_unfinished_calls_are_put_back(admitted):
    admitted.apply(dialled())
    admitted.apply(answered(NOW))
    admitted.apply(billed(NOW, 3))
    (call,) = admitted.live()
    again = Ledger(HOUSE, "pbx", price)
    for _ in range(2):
        again.restore([admission(asterisk="")], [call, replace(call, leg=leg("7.7"), state=State.ENDED, ended_at=NOW)])
    assert again.live() == (call,)
    assert again.resync("pbx", [seen()], NOW + SECOND) == Changes(tell_end=(leg(),))
    again.apply(billed(NOW, 4))
    assert only(again.apply(hung_up(NOW + 8_000))).cost == cost(RATE, 8)
    assert not again.settle(NOW + 60_000).alerts


def test_a_known_call_is_not_put_back_over_what_is_known(admitted):
    admitted.apply(dialled())
    (ringing,) = admitted.live()
    admitted.apply(answered(NOW))
    admitted.restore([], [ringing])
    assert admitted.live()[0].state is State.UP


def test_an_unguarded_call_put_back_is_hung_up_when_it_is_still_there(ledger):
    ledger.apply(dialled(string=SATELLITE + "@carrier"))
    again = Ledger(HOUSE, "pbx", price)
    again.restore([], ledger.live())
    assert again.resync("pbx", [seen()], NOW).hang_up == (leg(),)


def test_without_a_price_list_unguarded_calls_have_no_price():
    assert only(Ledger(HOUSE, "pbx").apply(dialled(string=SATELLITE + "@carrier"))).rate is None
    assert DEAR.per_minute


# What nobody saw

MISSED = module.MISSED_MILLIS


def test_a_call_that_began_and_ended_unseen_is_counted_from_its_verdict_to_the_end_of_the_interruption(admitted):
    assert admitted.resync("pbx", [], NOW + 60 * SECOND, NOW - SECOND) == NOTHING
    assert admitted.settle(NOW + 60 * SECOND + MISSED - 1) == NOTHING
    call = only(admitted.settle(NOW + 60 * SECOND + MISSED))
    assert (call.call, call.state, call.seconds, call.cost) == ("verdict", State.ENDED, 60, cost(RATE, 60))
    assert (call.reconstructed, call.leg.channel, call.account) == (True, "", "204")
    assert not admitted.resync("pbx", [], NOW + 90 * SECOND, NOW - SECOND)
    assert not admitted.settle(NOW + 99 * SECOND)


def test_a_call_that_nobody_saw_ended_at_its_lease_at_the_latest(admitted):
    admitted.resync("pbx", [], NOW + 700 * SECOND, NOW)
    assert only(admitted.settle(NOW + 700 * SECOND + MISSED)).seconds == 600 + LEASE_SLACK_MILLIS // 1000


def test_a_verdict_from_before_the_interruption_was_not_dialled(admitted):
    admitted.resync("pbx", [], NOW + SECOND, NOW + 1)
    assert not admitted.settle(NOW + SECOND + MISSED)


def test_where_nobody_ever_looked_a_verdict_from_before_a_restart_was_dialled_unseen(admitted):
    admitted.resync("pbx", [], NOW + 60 * SECOND)
    assert only(admitted.settle(NOW + 60 * SECOND + MISSED)).seconds == 60


def test_a_list_that_is_asked_for_again_without_an_interruption_finds_no_call_unseen(admitted):
    admitted.resync("pbx", [], NOW + SECOND)
    admitted.settle(NOW + SECOND + MISSED)
    later = NOW + 100 * SECOND
    admitted.restore([admission(call="later", linkedid="7.7", at=later)], [])
    admitted.resync("pbx", [], later + SECOND)
    assert not admitted.settle(later + SECOND + MISSED)


def test_a_verdict_that_is_dialled_just_after_the_interruption_was_not_missed(admitted):
    admitted.resync("pbx", [], NOW + SECOND, NOW)
    admitted.apply(dialled(at=NOW + 2 * SECOND))
    assert not admitted.settle(NOW + SECOND + MISSED)


def test_a_verdict_whose_call_was_stored_was_not_missed(ledger):
    ledger.restore([admission(dialled=True)], [])
    ledger.resync("pbx", [], NOW + SECOND, NOW)
    assert not ledger.settle(NOW + SECOND + MISSED)


def test_on_a_trunk_that_cannot_be_followed_nothing_is_missed(ledger):
    ledger.restore([admission(trunk="lines")], [])
    ledger.resync("pbx", [], NOW + SECOND, NOW)
    assert not ledger.settle(NOW + SECOND + MISSED)


def test_the_account_of_an_unguarded_call_is_its_callers_endpoint(ledger):
    assert only(ledger.apply(dialled())).account == "204"


def test_a_verdict_for_an_asterisk_that_nobody_knows_may_be_of_any():
    ledger = Ledger(HOUSE, "", price, asterisks=("pbx", "other"))
    ledger.restore([admission(asterisk="misspelt")], [])
    for name in ("pbx", "other"):
        assert not ledger.apply(dialled(which=leg(asterisk=name), caller=replace(PHONE, asterisk=name))).hang_up
    ledger.resync("pbx", [], NOW + SECOND, NOW - SECOND)
    assert ledger.looks_into("pbx")
    assert not ledger.looks_into("other")


def test_a_verdict_of_one_asterisk_allows_nothing_on_another():
    ledger = Ledger(HOUSE, "", price, asterisks=("pbx", "other"))
    ledger.restore([admission()], [])
    there = dialled(which=leg(asterisk="other"), caller=replace(PHONE, asterisk="other"))
    assert ledger.apply(there).alerts


def test_nobody_takes_an_unknown_asterisks_call_for_missed():
    ledger = Ledger(HOUSE, "", price, asterisks=("pbx", "other"))
    ledger.restore([admission(asterisk="misspelt")], [])
    ledger.resync("pbx", [], NOW + SECOND, NOW)
    assert not ledger.settle(NOW + SECOND + MISSED)


def test_a_call_does_not_outlive_its_lease_when_nobody_tells_its_end(admitted):
    admitted.apply(dialled())
    admitted.apply(answered(NOW))
    late = NOW + 600 * SECOND + LEASE_SLACK_MILLIS + module.OVERDUE_MILLIS
    assert not admitted.settle(late)
    assert not admitted.settle(late + 1), "it is not looked for every second"
    call = only(admitted.settle(late + module.OVERDUE_MILLIS))
    assert (call.state, call.reconstructed, call.seconds) == (State.ENDED, True, 602)
