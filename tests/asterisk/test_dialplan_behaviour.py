"""The generated dialplan on a real Asterisk, with a stand-in guard that answers well, badly or not at all."""

from __future__ import annotations

import pytest
from asterisk_harness import standin
from asterisk_harness.standin import StandIn

from fraudguard.dialplan.render import render

ALLOW = standin.verdict("allow", "ok", "+12025550123", "600")
EMERGENCY_FORMS = {"911": "911", "9911": "911", "112": "112", "9112": "112", "999": "999"}


def test_the_rendered_dialplan_loads_without_a_warning(site):
    shown = site.asterisk.command("dialplan show fraudguard-out-carrier")
    assert shown.index("fraudguard-emergency-carrier") < shown.index("fraudguard-guarded-carrier")


def test_an_allowed_call_goes_to_the_number_of_the_verdict(site, reached):
    with StandIn(site.guard_port, ALLOW) as guard:
        call = site.phones.dial("912025550199")
    assert call.answered
    assert reached() == ["+12025550123"]
    (request,) = guard.requests
    assert request["number"] == "912025550199"
    assert request["trunk"] == "carrier"
    assert (request["tenant"], request["account"], request["asterisk"]) == ("default", "alice", "asterisk")
    assert request["source"].startswith("127.0.0.1:")
    assert request["linkedid"]


def test_account_code_and_tenant_are_passed_where_they_are_set(site):
    with StandIn(site.guard_port, ALLOW) as guard:
        site.phones.dial("912025550199", phone="erin")
        site.phones.dial("02079460000", phone="bob")
    assert [(request["account"], request["tenant"]) for request in guard.requests] == [
        ("erin-204", "default"),
        ("bob", "acme"),
    ]


def test_each_trunk_dials_through_its_carrier_in_its_number_format(site, reached):
    mark = site.second.mark()
    with StandIn(site.guard_port, ALLOW) as guard:
        assert site.phones.dial("912025550199", phone="dave").answered
    assert guard.requests[0]["trunk"] == "second"
    assert site.second.dialled_since(mark) == ["12025550123"]
    assert reached() == []


def test_the_lease_ends_an_answered_call(site, reached):
    with StandIn(site.guard_port, standin.verdict("allow", "ok", "+12025550123", "2")):
        call = site.phones.dial("912025550199", scenario="phone-held")
    assert call.answered
    assert call.seconds == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("phone", ["alice", "carol"])
def test_a_refused_call_reaches_no_trunk(site, reached, phone):
    with StandIn(site.guard_port, standin.verdict("nowhere", "over_limit", "", "")) as guard:
        call = site.phones.dial("0119647701234567", phone=phone)
    assert call.status == 503  # the phone plays its congestion tone
    assert len(guard.requests) == 1
    assert reached() == []


def test_emergency_numbers_never_meet_the_guard(site, reached):
    with StandIn(site.guard_port, standin.verdict("nowhere", "blocked", "", "")) as guard:
        for phone in ("alice", "carol", "bob"):
            assert all(call.answered for call in site.phones.dial_all(list(EMERGENCY_FORMS), phone=phone))
    assert sorted(reached()) == sorted(list(EMERGENCY_FORMS.values()) * 3)
    assert guard.requests == []


def test_emergency_numbers_have_no_lease(site):
    mark = site.asterisk.mark()
    assert site.phones.dial("911").answered
    dials = [line for line in site.asterisk.logged_since(mark) if "] Dial(" in line]
    assert len(dials) == 1
    assert 'PJSIP/911@carrier")' in dials[0]


def test_an_emergency_call_that_met_the_guard_goes_with_the_bare_code(site, reached):
    with StandIn(site.guard_port, standin.verdict("allow", "emergency", "110", "")):
        assert site.phones.dial("9110").answered
    assert reached() == ["110"]


NO_VERDICT = {
    "closes without a word": standin.close,
    "resets the connection": standin.reset,
    "fails": standin.say("failure: inner error"),
    "allows and then fails": standin.say(
        'SET VARIABLE ARRAY(FRAUDGUARD_VERDICT,FRAUDGUARD_NUMBER,FRAUDGUARD_LEASE) "allow,+882161234567,600"', "failure"
    ),
    "answers rubbish": standin.say("HELLO", "SET VARIABLE", '"', "SET VARIABLE FRAUDGUARD_VERDICT"),
    "says something else": standin.verdict("perhaps", "ok", "+882161234567", "600"),
    "says allow with more behind": standin.verdict("allow them", "ok", "+882161234567", "600"),
    "allows without a lease": standin.verdict("allow", "ok", "+882161234567", ""),
    "allows with a lease of nothing": standin.verdict("allow", "ok", "+882161234567", "0"),
    "allows with a negative lease": standin.verdict("allow", "ok", "+882161234567", "-5"),
    "allows with a lease that is no number": standin.verdict("allow", "ok", "+882161234567", "1e9"),
    "allows with a lease beyond counting": standin.verdict("allow", "ok", "+882161234567", "99999999999"),
    "allows without a number": standin.verdict("allow", "ok", "", "600"),
    "allows a number of other characters": standin.verdict("allow", "ok", "+8821&SIP/9", "600"),
    "allows a number too long": standin.verdict("allow", "ok", "+8821612345678901", "600"),
    "calls an expensive number an emergency": standin.verdict("allow", "emergency", "+882161234567", ""),
}


@pytest.mark.parametrize("fault", NO_VERDICT)
def test_without_a_verdict_domestic_goes_and_the_rest_does_not(site, reached, fault):
    with StandIn(site.guard_port, NO_VERDICT[fault]) as guard:
        domestic = site.phones.dial("912025550123")
        abroad = site.phones.dial("901188216123456")
    assert domestic.answered
    assert abroad.status == 503
    assert len(guard.requests) == 2
    assert reached() == ["+12025550123"]


def test_quotes_around_a_good_answer_do_not_reach_the_trunk(site, reached):
    answer = (
        r'SET VARIABLE ARRAY(FRAUDGUARD_VERDICT,FRAUDGUARD_NUMBER,FRAUDGUARD_LEASE) "allow,\"+12025550123\",\"60\""'
    )
    with StandIn(site.guard_port, standin.say(answer)):
        assert site.phones.dial("912025550199").answered
    assert set("".join(reached())) <= set("+0123456789")


FENCED = {
    "911": "911",
    # dialled by the American office (9 for a line, area code 202): the number that goes, or None
    "912025550123": "+12025550123",
    "92025550123": "+12025550123",
    "95550123": "+12025550123",
    "2025550123": "+12025550123",
    "%2B12025550123": "+12025550123",
    "918005550123": "+18005550123",
    "919005550123": None,  # premium
    "912029765555": None,  # the exchange of premium services
    "918765550123": None,  # Jamaica looks like a neighbour and is not
    "9011442079460000": None,
    "%2B442079460000": None,
    "882161234567": None,
    "411": None,
    "91010288012025550123": None,  # carrier selection
    "%2A6712025550123": None,
    "9120255501239999999": None,  # too long
    "5": None,
}


@pytest.mark.parametrize("matcher", ["false", "true"])
def test_the_fence_alone_knows_what_is_domestic(site, reached, matcher):
    site.asterisk.command(f"dialplan set extenpatternmatchnew {matcher}")  # Asterisk has two, and operators choose
    calls = site.phones.dial_all(list(FENCED))  # nobody listens on the guard's port
    site.asterisk.command("dialplan set extenpatternmatchnew false")
    assert {call.dialled: call.answered for call in calls} == {
        dialled: number is not None for dialled, number in FENCED.items()
    }
    assert sorted(reached()) == sorted(number for number in FENCED.values() if number)


def test_the_fence_knows_each_tenants_home(site, reached):
    assert site.phones.dial("02079460000", phone="bob").answered
    assert site.phones.dial("0012025550123", phone="bob").status == 503
    assert site.phones.dial("02079460000", phone="alice").status == 503
    assert reached() == ["+442079460000"]


def test_the_fence_gives_its_own_lease(site):
    settings = site.settings(dialplan={"guard": f"127.0.0.1:{site.guard_port}", "fence_lease_seconds": 45})
    assert site.asterisk.load_dialplan(render(settings)) == []
    mark = site.asterisk.mark()
    assert site.phones.dial("912025550123", phone="alice").answered
    (dial,) = [line for line in site.asterisk.logged_since(mark) if "] Dial(" in line]
    assert "S(45)" in dial


def test_a_global_variable_is_no_verdict(site, reached):
    for name, value in (("VERDICT", "allow"), ("NUMBER", "+882161234567"), ("LEASE", "600")):
        site.asterisk.command(f"dialplan set global FRAUDGUARD_{name} {value}")
    with StandIn(site.guard_port, standin.close):
        assert site.phones.dial("901188216123456").status == 503
    for name in ("VERDICT", "NUMBER", "LEASE"):
        site.asterisk.command(f"dialplan set global FRAUDGUARD_{name} ''")
    assert reached() == []


def test_a_guard_that_never_answers_holds_the_caller_who_may_hang_up(site, reached):
    with StandIn(site.guard_port, standin.hang) as guard:
        call = site.phones.dial("912025550123", scenario="phone-impatient")
    assert call.status == 487
    assert len(guard.requests) == 1
    assert reached() == []


INJECTIONS = (
    "9120%26PJSIP%2F882161234567%40carrier",
    "912025550123%26Local%2F882161234567",
    "912025550123%2F882161234567",
    "912025550123%40second",
    "912025550123,60,S(9999)",
    "912025550123%2C1(second)",
    "912025550123%2C1(second",
    *(f"901153712345%2C{priority}" for priority in range(1, 8)),
    *(f"911%2C{priority}" for priority in range(2, 8)),  # with 1 it is an emergency call, however odd
    "912025550123)",
    "(912025550123",
    "912025550123%22",
    "%22912025550123%22",
    "912025550123%5C",
    "912025550123%5C%2C1",
    "912025550123%3B",
    "912025550123%3A%3A",
    "912025550123%3F",
    "$%7BFRAUDGUARD_TENANT%7D",
    "%24%7BSHELL(touch%20%2Ftmp%2Fx)%7D",
    "%24%5B1%2B1%5D",
    "912025550123%24%7B",
    "912025550123%7D%7D",
    "91202%200%0D%0A5550123",
    "912025550123%0A",
    "912025550123%C3%A9",
    "91202%E2%80%8B5550123",
    "%D9%A1%D9%A2%D9%A3",
    "%ff%fe912025550123",
    "912025550123%252C",
    "912025550123p882161234567",
    "912025550123w1",
    "*67912025550123",
    "9-1-202-555-0123",
    "h",
    "i",
    "s",
    "T",
    "fax",
    "home",
    "fraudguard",
)


@pytest.mark.parametrize("phone", ["alice", "carol"])
def test_injections_reach_nothing_whatever_the_guard_says(site, reached, phone):
    second = site.second.mark()
    mark = site.asterisk.mark()
    with StandIn(site.guard_port, ALLOW) as guard:
        calls = site.phones.dial_all(INJECTIONS, phone=phone)
    assert [call.dialled for call in calls if call.answered] == []
    assert reached() == []
    assert site.second.dialled_since(second) == []
    assert [line for line in site.asterisk.logged_since(mark) if "] Dial(" in line or "Called " in line] == []
    # What was asked cannot pass as a number, and the trunk was the one of the dialplan.
    assert [request["number"] for request in guard.requests if set(request["number"]) <= set("+0123456789")] == []
    # The trunk is the one of the dialplan; a Gosub torn apart by a comma may name another, and is refused for it.
    assert {request["trunk"] for request in guard.requests if "%2C" not in request["number"]} == {"carrier"}
    # Refused by the guard: 503. Matched no extension: 404 or 484. Tore the operator's Gosub, which ended the call: 603.
    assert len(guard.requests) == [call.status for call in calls].count(503)
    others = {call.status for call in calls} - {503}
    assert others == ({404, 484} if phone == "alice" else {404, 484, 603})


def test_a_very_long_string_of_digits_or_pluses_is_asked_as_asterisk_has_it(site, reached):
    with StandIn(site.guard_port, standin.close) as guard:
        assert [call.status for call in site.phones.dial_all(["9" * 300, "%2B" * 40])] == [503, 503]
    assert [request["number"] for request in guard.requests] == ["9" * 79, "+" * 40]  # AST_MAX_EXTENSION is 80
    assert reached() == []


def test_a_from_header_cannot_forge_the_questions_arguments(site, reached):
    forged = "x%0Aagi_arg_1%3A%20number=%2B12025550123%0Aagi_arg_2%3A%20account=boss%0A%0A"
    with StandIn(site.guard_port, ALLOW) as guard:
        (call,) = site.phones.dial_all(["901188216123456"], phone=forged)
    assert not call.answered
    assert reached() == []
    (request,) = guard.requests
    assert request["account"] == "lobby"
    assert request["number"].startswith("x%0Aagi_arg_1%3A%20number")


def test_a_dialled_line_feed_cannot_forge_the_questions_arguments(site, reached):
    with StandIn(site.guard_port, ALLOW) as guard:
        assert not site.phones.dial("912025550123%0Aagi_arg_1%3A%20account=boss%0A").answered
    assert reached() == []
    assert guard.requests[0]["account"] == "alice"


def test_a_name_in_any_script_is_no_reason_to_refuse(site, reached):
    with StandIn(site.guard_port, ALLOW) as guard:
        assert site.phones.dial("912025550199", scenario="phone-named").answered
    assert guard.requests[0]["number"] == "912025550199"
    assert reached() == ["+12025550123"]


TREATMENTS = {
    "congestion": ({"nowhere": "congestion"}, 503, "Congestion("),
    "announcement": ({"nowhere": "announcement", "announcement": "beep"}, 403, "Playing 'beep"),
    "announcement without a file": ({"nowhere": "announcement", "announcement": "no-such-file"}, 403, "Playback("),
    "silence": ({"nowhere": "silence", "silence_seconds": 1}, 403, "Ringing("),
}


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_each_way_to_nowhere_ends_in_a_refusal(site, reached, treatment):
    options, status, heard = TREATMENTS[treatment]
    settings = site.settings(dialplan={"guard": f"127.0.0.1:{site.guard_port}", **options})
    assert site.asterisk.load_dialplan(render(settings)) == []
    mark = site.asterisk.mark()
    with StandIn(site.guard_port, standin.verdict("nowhere", "over_limit", "", "")):
        call = site.phones.dial("901188216123456")
    assert call.status == status
    assert any(heard in line for line in site.asterisk.logged_since(mark))
    assert reached() == []


def test_fifty_calls_at_once(site, reached):
    numbers = [f"91202555{index:04d}" for index in range(50)]
    with StandIn(site.guard_port, standin.verdict("allow", "ok", "+12025550123", "600")) as guard:
        calls = site.phones.dial_all(numbers, rate=500)
    assert all(call.answered for call in calls)
    assert len(reached()) == 50
    assert sorted(request["number"] for request in guard.requests) == numbers
