"""Keys pressed during a call, and what Asterisk tells a guard that asks for them: what a PIN dialogue stands on."""

from __future__ import annotations

import re
import threading

import pytest
from asterisk_harness import standin
from asterisk_harness.keypad import Step
from asterisk_harness.standin import Dialogue, StandIn
from asterisk_harness.waiting import wait_until

ABROAD = "9011442079460000"
EARLY = "EXEC Progress"
ASK = "GET DATA agent-pass 4000 12"  # agent-pass lasts 3.3 s, so these keys come while it plays
ALLOW = standin.answer("allow", "ok", "+442079460000", "600")
REFUSE = standin.answer("nowhere", "over_limit", "", "")


def test_keys_by_rfc4733_are_read_before_the_call_is_answered(site, reached):
    dialogue = Dialogue(EARLY, ASK, REFUSE)
    with StandIn(site.guard_port, dialogue):
        call = site.phones.dial_keying(ABROAD, "12*4#")
    assert dialogue.replies == ["200 result=0", "200 result=12*4", "200 result=1"]
    assert (call.status, call.seconds) == (503, None)
    assert reached() == []


@pytest.mark.parametrize("phone", ["ida", "alice"])
def test_keys_by_info_are_read_whatever_the_endpoint_is_set_to(site, phone):
    dialogue = Dialogue(EARLY, ASK, REFUSE)
    with StandIn(site.guard_port, dialogue):
        assert site.phones.dial_keying(ABROAD, "1234#", phone=phone, by="info").status == 503
    assert dialogue.replies[1] == "200 result=1234"


def test_an_allowed_call_is_answered_by_the_carrier_after_the_keys(site, reached):
    dialogue = Dialogue(EARLY, ASK, ASK, ALLOW)
    with StandIn(site.guard_port, dialogue):
        call = site.phones.dial_keying(ABROAD, "9999#", "1234#", Step.WAIT_FOR_ANSWER, 0.2, Step.HANG_UP)
    assert dialogue.replies[1:3] == ["200 result=9999", "200 result=1234"]
    assert (call.status, reached()) == (200, ["+442079460000"])
    assert call.seconds >= 0.2


def test_keys_are_read_after_an_answer(site, reached):
    dialogue = Dialogue("ANSWER", ASK, ALLOW)
    with StandIn(site.guard_port, dialogue), site.phones.keypad(ABROAD) as phone:
        phone.wait_answered()
        phone.press("1234#")
        wait_until(reached, "the carrier was called")
        phone.hang_up()
        assert phone.call().answered
    assert dialogue.replies == ["200 result=0", "200 result=1234", "200 result=1"]


REPLIES = {
    "the last digit that is wanted": ("GET DATA agent-pass 4000 4", "1234", "1234"),
    "nothing but the hash": (ASK, "#", ""),
    "too few until the time is over": ("GET DATA beep 1500 12", "12", "12 (timeout)"),
    "nothing": ("GET DATA beep 500 12", "", " (timeout)"),
    "no prompt": ('GET DATA "" 2000 12', "12#", "12"),
}


@pytest.mark.parametrize("keyed", REPLIES)
def test_what_is_replied_to(site, keyed):
    ask, keys, reply = REPLIES[keyed]
    dialogue = Dialogue(EARLY, ask, REFUSE)
    with StandIn(site.guard_port, dialogue):
        assert site.phones.dial_keying(ABROAD, *([keys] if keys else [])).status == 503
    assert dialogue.replies[1] == f"200 result={reply}"


def test_keys_that_come_while_nobody_asks_are_lost(site):
    keyed = threading.Event()
    dialogue = Dialogue(EARLY, lambda: keyed.wait(10), "GET DATA beep 500 12", REFUSE)
    with StandIn(site.guard_port, dialogue), site.phones.keypad(ABROAD) as phone:
        phone.wait_to_hear()
        phone.press("1234#")
        keyed.set()
    assert dialogue.replies[1] == "200 result= (timeout)"


def test_a_missing_prompt_looks_like_a_hangup_but_for_the_line_that_says_so(site):
    dialogue = Dialogue(EARLY, "GET DATA no-such-file 4000 12", "CHANNEL STATUS", REFUSE)
    with StandIn(site.guard_port, dialogue):
        assert site.phones.dial_keying(ABROAD).status == 503
    assert dialogue.replies == ["200 result=0", "200 result=-1", "200 result=4", "200 result=1"]


def test_a_hangup_amid_the_prompt_is_told_after_the_reply_and_variables_can_still_be_set(site, reached):
    read = "GET VARIABLE FRAUDGUARD_VERDICT"
    dialogue = Dialogue(EARLY, ASK, ASK, REFUSE, read)
    with StandIn(site.guard_port, dialogue), site.phones.keypad(ABROAD) as phone:
        dialogue.wait_said(f"> {ASK}")
        phone.hang_up()
        assert phone.call().status == 487
        dialogue.wait_said("200 result=1 (nowhere)")
    dead = "511 Command Not Permitted on a dead channel or intercept routine"
    assert dialogue.replies == [
        "200 result=0",
        "200 result=-1",
        "HANGUP",
        dead,
        "200 result=1",
        "200 result=1 (nowhere)",
    ]
    assert reached() == []


def test_a_hangup_after_an_answer_is_told_the_same_way(site):
    dialogue = Dialogue("ANSWER", ASK, REFUSE)
    with StandIn(site.guard_port, dialogue), site.phones.keypad(ABROAD) as phone:
        dialogue.wait_said(f"> {ASK}")
        phone.hang_up()
        assert phone.call().seconds is not None
        dialogue.wait_said("200 result=1")
    assert dialogue.replies == ["200 result=0", "200 result=-1", "HANGUP", "200 result=1"]


def test_many_silent_phones_wait_at_the_prompt_and_give_up(site, reached):
    dialogue = Dialogue(EARLY, ASK, REFUSE)
    numbers = [f"{ABROAD[:-2]}{index:02d}" for index in range(50)]
    with StandIn(site.guard_port, dialogue), site.phones.keypads(numbers, rate=200) as phones:
        dialogue.wait_said(f"> {ASK}", 50)
        for phone in phones:
            phone.hang_up()
        assert {phone.call().status for phone in phones} == {487}
    site.asterisk.wait_idle()
    assert dialogue.replies.count("HANGUP") == 50
    assert reached() == []


MARKERS = (
    "CHANNEL(channeltype)",
    "CHANNEL(endpoint)",
    "CHANNEL(pjsip,remote_addr)",
    "BLINDTRANSFER",
    "FORWARDERNAME",
    "REDIRECTING(from-num)",
)


@pytest.fixture
def marks(site):
    """Have a call placed, and return what the channel that asks the guard has for the markers, names without the count
    at their end.
    """

    def ask(place):
        dialogue = Dialogue(*(f"GET FULL VARIABLE ${{{name}}}" for name in MARKERS), "HANGUP")
        with StandIn(site.guard_port, dialogue):
            place()
            dialogue.wait_said("200 result=1")
        values = [re.fullmatch(r"200 result=1 \((.*)\)", reply)[1] for reply in dialogue.replies[: len(MARKERS)]]
        return [re.sub(r"-[0-9a-f]{8}$|:[0-9]+$", "", value) for value in values]

    return ask


def test_a_call_that_a_phone_dialled_has_no_marks(site, marks):
    found = marks(lambda: site.phones.dial(ABROAD))
    assert found == ["PJSIP", "alice", "127.0.0.1", "", "", ""]


def test_a_forwarded_call_asks_on_a_local_channel_and_names_the_forwarder(site, marks):
    with site.phones.callee(site.asterisk.callee_port, "called-forward", to=ABROAD):
        found = marks(lambda: site.phones.dial("201"))
    assert found == ["Local", "", "", "", "PJSIP/fiona", "201"]


def test_a_call_that_the_caller_transferred_asks_on_the_other_partys_channel(site, marks):
    with site.phones.callee(site.asterisk.callee_port):
        found = marks(lambda: site.phones.dial(f"201;{ABROAD}", scenario="phone-transfer"))
    assert found == ["PJSIP", "fiona", "", "PJSIP/alice", "", ""]


def test_a_call_that_the_called_transferred_asks_on_the_callers_channel(site, marks):
    with site.phones.callee(site.asterisk.callee_port, "called-transfer", to=ABROAD):
        found = marks(lambda: site.phones.dial("201", scenario="phone-held"))
    assert found == ["PJSIP", "alice", "127.0.0.1", "PJSIP/fiona", "", ""]


def test_keys_reach_the_question_through_a_forwarding_phone(site):
    dialogue = Dialogue(EARLY, ASK, REFUSE)
    with (
        StandIn(site.guard_port, dialogue),
        site.phones.callee(site.asterisk.callee_port, "called-forward", to=ABROAD),
    ):
        assert site.phones.dial_keying("201", "1234#").status == 603  # what follows 201's Dial
    assert dialogue.replies[1] == "200 result=1234"
