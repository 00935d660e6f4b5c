"""Asterisk's events made the ledger's, from what a real one sent, and from what none should send."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.ami import events
from fraudguard.ami.feed import Message
from fraudguard.detect.sources import SightingKind
from fraudguard.ledger.records import Answered, Billed, Dialled, HungUp, Leg, Moved, TurnedDown

FOLDER = Path(__file__).parents[1] / "wire" / "ami"
NOW = 1_800_000_000_000
BEGIN = {
    "Event": "DialBegin",
    "Channel": "PJSIP/204-1",
    "Uniqueid": "1.1",
    "Linkedid": "1.0",
    "AccountCode": "204",
    "Context": "phones",
    "Exten": "9011",
    "DestChannel": "PJSIP/carrier-2",
    "DestUniqueid": "1.2",
    "DestLinkedid": "1.0",
    "DialString": "+4420@carrier",
}


def recorded(name: str) -> list[dict[str, str]]:
    """Return the headers of every event in a transcript."""
    lines = [line[2:] for line in (FOLDER / f"{name}.txt").read_text().splitlines() if line.startswith(">")]
    found: list[dict[str, str]] = [{}]
    for line in lines[1:]:  # the first is the banner
        if line:
            key, _, value = line.partition(": ")
            found[-1].setdefault(key, value)
        else:
            found.append({})
    return found[:-1]


def converted(name: str) -> list[events.Event]:
    return [event for headers in recorded(name) for event in events.call_events("pbx", headers, NOW)]


def leg(number: int, first: int, channel: str, second: int) -> Leg:
    return Leg("pbx", f"test-{second}.{number}", f"test-{second}.{first}", f"PJSIP/{channel}-{number:08x}")


def test_an_answered_call():
    alice, carrier = leg(0, 0, "alice", 1795376252), leg(1, 0, "carrier", 1795376252)
    dialled, answered, *moved_and_billed, first, last = converted("real-answered")
    assert dialled == Dialled(
        NOW, carrier, "+12025550123@carrier", caller=alice, context="phones", extension="912025550123"
    )
    assert answered == Answered(NOW, "pbx", carrier.uniqueid)
    assert moved_and_billed[:2] == [Moved(NOW, carrier), Moved(NOW, alice)]
    assert set(moved_and_billed[2:]) == {Billed(NOW, "pbx", one.channel, 0) for one in (alice, carrier)}
    assert (first, last) == (HungUp(NOW, "pbx", carrier.uniqueid, 16), HungUp(NOW, "pbx", alice.uniqueid, 16))


@pytest.mark.parametrize(("name", "cause"), [("real-busy", 17), ("real-cancelled", None)])
def test_a_call_that_was_not_answered(name, cause):
    told = converted(name)
    assert not [event for event in told if isinstance(event, Answered)]
    ends = [event for event in told if isinstance(event, HungUp)]
    assert len(ends) == 2
    assert cause is None or {end.cause for end in ends} == {cause}


def test_a_transferred_leg_is_billed_as_called_and_as_calling():
    told = converted("real-transfer")
    first, second = (event for event in told if isinstance(event, Dialled))
    assert second.caller is not None
    assert second.caller.uniqueid == first.leg.uniqueid
    assert second.leg.linkedid == first.leg.linkedid
    billed = [event.channel for event in told if isinstance(event, Billed)]
    assert billed.count(first.leg.channel) == 2


def test_logins_and_failures():
    seen = [found for headers in recorded("real-logins") if (found := events.sighting("pbx", headers, NOW))]
    assert (seen[0].account, seen[0].address, seen[0].kind, seen[0].service) == (
        "frank",
        "127.0.0.1",
        SightingKind.SUCCEEDED,
        "PJSIP",
    )
    kinds = {found.kind for found in seen}
    assert kinds >= {SightingKind.FAILED_CHALLENGE, SightingKind.INVALID_ACCOUNT, SightingKind.FAILED_ACL}
    assert {found.account for found in seen if found.kind is SightingKind.INVALID_ACCOUNT} == {""}
    assert "<unknown>" not in {found.account for found in seen}


def test_a_call_that_asterisk_dials_has_no_caller():
    headers = {key: value for key, value in BEGIN.items() if key.startswith(("Dest", "Dial", "Event"))}
    (dialled,) = events.call_events("pbx", headers | {"DestAccountCode": "204", "DestExten": "s"}, NOW)
    assert isinstance(dialled, Dialled)
    assert (dialled.caller, dialled.account, dialled.extension, dialled.context) == (None, "204", "s", "")


def test_a_leg_without_a_chain_begins_one():
    (dialled,) = events.call_events("pbx", {**BEGIN, "DestLinkedid": ""}, NOW)
    assert isinstance(dialled, Dialled)
    assert dialled.leg.linkedid == dialled.leg.uniqueid


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Event": "Newchannel", "Uniqueid": "1.1"},
        {**BEGIN, "DestUniqueid": ""},
        {**BEGIN, "DestChannel": ""},
        {"Event": "DialEnd", "DialStatus": "ANSWER"},
        {"Event": "DialEnd", "DestUniqueid": "1.2", "DialStatus": "CANCEL"},
        {"Event": "DialEnd", "DestUniqueid": "1.2", "DialStatus": "NOANSWER"},
        {"Event": "DialEnd", "DialStatus": "BUSY"},
        {"Event": "DialEnd", "DestUniqueid": "1.2"},
        {"Event": "BridgeEnter", "Uniqueid": "1.2"},
        {"Event": "Hangup", "Cause": "16"},
        {"Event": "Cdr", "Channel": "PJSIP/carrier-2"},
        {"Event": "Cdr", "Channel": "PJSIP/carrier-2", "BillableSeconds": "-1"},
        {"Event": "Cdr", "Channel": "PJSIP/carrier-2", "BillableSeconds": "²"},
        {"Event": "Cdr", "Channel": "PJSIP/carrier-2", "BillableSeconds": "9" * 5000},
        {"Event": "Cdr", "BillableSeconds": "1"},
    ],
)
def test_what_has_not_its_form_is_no_event(headers):
    assert events.call_events("pbx", headers, NOW) == ()


@pytest.mark.parametrize("cause", ["", "x", "-1", "9" * 20, "9" * 5000, "\u0661\u0666"])
def test_a_hangup_counts_whatever_its_cause(cause):
    told = events.call_events("pbx", {"Event": "Hangup", "Uniqueid": "1.2", "Cause": cause}, NOW)
    assert told == (HungUp(NOW, "pbx", "1.2", 0),)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("IPV4/UDP/198.51.100.7/5060", "198.51.100.7"),
        ("IPV6/TLS/2001:db8::1/5061", "2001:db8::1"),
        ("IPV4/UDP/198.51.100.7", ""),
        ("IPV4/UDP/198.51.100.7/5060/x", ""),
        ("LOCAL/UNIX/x/0", ""),
        ("", ""),
    ],
)
def test_the_address_of_a_remote(text, address):
    assert events.remote_address(text) == address


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("1795373381.079858", 1_795_373_381_079),
        ("1795373381", 1_795_373_381_000),
        ("1795373381.5", 1_795_373_381_500),
        ("0.000000", None),
        ("", None),
        (".5", None),
        ("-1.5", None),
        ("1.x", None),
        ("(null)", None),
        ("9" * 13, None),
        ("9" * 5000, None),
        ("\u0661.\u0665", None),
    ],
)
def test_an_instant(text, millis):
    assert events.instant(text) == millis


def status(uniqueid: str, *variables: str, **more: str) -> Message:
    headers = {"Channel": f"PJSIP/carrier-{uniqueid}", "Uniqueid": uniqueid, "Linkedid": "1.1", "ChannelState": "6"}
    first = {"Variable": variables[0]} if variables else {}
    return Message(NOW, headers | more | first, {"Variable": variables} if len(variables) > 1 else {})


def test_channels_that_are_there():
    caller = status(
        "1.1", "FRAUDGUARD_REASON=fence", "DIALEDPEERNUMBER=(null)", "CDR(answer,u)=", AccountCode="<unknown>"
    )
    called = status(
        "1.2",
        "FRAUDGUARD_REASON=(null)",
        "DIALEDPEERNUMBER=+4420;a=b@carrier",
        "CDR(answer,u)=1795373381.079858",
        Seconds="7",
        Application="AppDial",
        AccountCode="204",
    )
    first, second = events.seen("pbx", [caller, called], NOW, ahead=79)
    assert (first.string, first.answered_at, first.account, first.said) == ("", None, "", "fence")
    assert (second.string, second.answered_at, second.said) == ("+4420;a=b@carrier", 1_795_373_381_000, "fence")
    assert (second.up, second.began_at, second.application) == (True, NOW - 8000, "AppDial")


def test_a_channel_that_says_little_or_nonsense_is_there_nevertheless():
    one, other = events.seen("pbx", [status("1.2"), status("1.3", "x", Seconds="9" * 5000, ChannelState="")], NOW, 0)
    assert (one.string, one.answered_at, one.said, one.up) == ("", None, "", True)
    assert (other.up, other.began_at) == (False, NOW - 1000)
    assert events.seen("pbx", [Message(NOW, {"Event": "Status"})], NOW, 0) == []


KEYS = st.sampled_from([*BEGIN, "Cause", "BillableSeconds", "DestinationChannel", "DialStatus", "RemoteAddress"])
TEXTS = st.text(max_size=20) | st.sampled_from(["\udcff", "9" * 5000, "ANSWER", "IPV4/UDP/\udcff/1"])


@given(st.sampled_from(sorted(events.EVENTS)), st.dictionaries(KEYS, TEXTS))
def test_no_headers_are_a_defect(name, headers):
    named = headers | {"Event": name}
    events.call_events("pbx", named, NOW)
    events.sighting("pbx", named, NOW)
    events.seen("pbx", [Message(NOW, named)], NOW, 0)


@pytest.mark.parametrize("status", ["BUSY", "CONGESTION", "CHANUNAVAIL"])
def test_a_leg_that_the_far_end_would_not_have_was_turned_down(status):
    headers = {"Event": "DialEnd", "DestUniqueid": "1.2", "DialStatus": status}
    assert events.call_events("pbx", headers, NOW) == (TurnedDown(NOW, "pbx", "1.2"),)
