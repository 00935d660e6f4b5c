"""The generated manager.conf on the real thing: what the guard's user may do, hears, and costs; and what it may not."""

from __future__ import annotations

import pytest
from asterisk_harness.manager import Manager
from asterisk_harness.registration import register
from asterisk_harness.standin import StandIn, verdict
from asterisk_harness.waiting import wait_until

from fraudguard.ami.events import EVENTS, SECURITY_EVENTS
from fraudguard.dialplan.manager import ACTIONS, DANGEROUS

NUMBER = "912025550123"
ALLOWED = verdict("allow", "ok", "+12025550123", "600")


@pytest.fixture
def guard(site):
    with site.manager("fraudguard") as manager:
        yield manager


def heard(manager):
    return [event["Event"] for event in manager.events]


def call(site):
    """Place an answered call and return when Asterisk has said all there is to say about it."""
    with site.manager() as everything, StandIn(site.guard_port, ALLOWED):
        assert site.phones.dial(NUMBER).answered
        hangups = lambda: [event for event in everything.events if event["Event"] == "Hangup"]  # noqa: E731
        wait_until(lambda: len(hangups()) == 2, "both legs were gone")
        everything.wait_for("the record was written", lambda event: event["Event"] == "Cdr")
        return everything


def test_it_may_do_what_it_needs_and_nothing_dangerous(guard):
    (listed,) = guard.action("ListCommands")
    may = {name for name, _ in listed.headers}
    assert set(ACTIONS) <= may
    assert not may & set(DANGEROUS)


def test_dangerous_actions_are_refused(guard, site):
    for name in DANGEROUS:
        (answer,) = guard.action(name, Command="core show version", Channel="PJSIP/+1@carrier", Filename="manager.conf")
        assert answer["Response"] == "Error", name
        assert answer["Message"] in ("Permission denied", "Invalid/unknown command: DialplanExtensionAdd."), answer
    assert "0 active channels" in site.asterisk.command("core show channels count")


def test_functions_that_reach_out_of_the_channel_are_refused(guard):
    (answer,) = guard.action("Getvar", Variable="SHELL(id)")
    assert (answer["Response"], answer["Message"]) == ("Error", "GetVar Access Forbidden: Variable")


def test_every_event_of_a_call_that_is_used_arrives_and_no_other(site, guard):
    call(site)
    guard.wait_for("the record arrived", lambda event: event["Event"] == "Cdr")
    wait_until(lambda: heard(guard).count("Hangup") == 2, "both hangups arrived")
    of_the_call = [name for name in heard(guard) if name not in SECURITY_EVENTS]
    assert set(of_the_call) == EVENTS - set(SECURITY_EVENTS)
    assert of_the_call[:2] == ["DialBegin", "DialEnd"]


def test_filters_leave_a_small_part_of_what_a_call_says(site, guard):
    before, bytes_before = len(guard.events), guard.bytes
    everything = call(site)
    wait_until(lambda: heard(guard).count("Hangup") == 2, "both hangups arrived")
    guard.wait_for("the record arrived", lambda event: event["Event"] == "Cdr")
    filtered, unfiltered = len(guard.events) - before, len(everything.events)
    assert filtered < unfiltered / 10
    assert guard.bytes - bytes_before < everything.bytes / 8


def test_logins_right_wrong_and_of_nobody_are_heard(site, guard):
    register(site.sip_port, "frank", site.sip_password)
    register(site.sip_port, "frank", "wrong")
    register(site.sip_port, "nobody", "wrong", source="127.0.0.2")
    register(site.sip_port, "grace", "wrong", source="127.0.0.4")
    with pytest.raises(AssertionError, match="Authentication failed"), Manager(site.ami_port, "everything", "wrong"):
        pass
    wait_until(lambda: set(SECURITY_EVENTS) <= set(heard(guard)), "each kind of login was heard")
    assert set(heard(guard)) <= EVENTS


def test_only_the_guards_address_may_log_in(site):
    elsewhere = Manager(site.ami_port, "fraudguard", site.ami_secret, source="127.0.0.5")
    with pytest.raises(AssertionError, match="Authentication failed"), elsewhere:
        pass


def test_it_can_end_a_call_and_move_its_end(site, guard):
    with StandIn(site.guard_port, ALLOWED), site.phones.calling(NUMBER):
        answered = guard.wait_for("the call was answered", lambda event: event["Event"] == "DialEnd")
        trunk = answered["DestChannel"]
        assert guard.action("AbsoluteTimeout", Channel=trunk, Timeout="300")[0]["Response"] == "Success"
        (status,) = [m for m in guard.action("Status", Channel=trunk) if m["Event"] == "Status"]
        assert status["Application"] == "AppDial"
        assert guard.action("Getvar", Channel=answered["Channel"], Variable="FRAUDGUARD_REASON")[0]["Value"] == "ok"
        listed = guard.action("CoreShowChannels")
        assert trunk in [message["Channel"] for message in listed]
        assert guard.action("Hangup", Channel=trunk, Cause="21")[0]["Response"] == "Success"
        guard.wait_for("it was gone", lambda event: event["Event"] == "Hangup" and event["Channel"] == trunk)


def test_asterisk_reads_the_snippet_without_complaint(site):
    complaints = [line for line in site.asterisk.logged_since(0) if "manager.c" in line and "login" not in line]
    assert [line for line in complaints if "WARNING" in line or ("ERROR" in line and "ilter" in line)] == []
