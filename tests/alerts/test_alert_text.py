"""What a message says, and that an attacker's texts stay texts in it."""

import json
import shlex
from dataclasses import replace

import pytest
from alert_cases import NOW, alert, delivery, message
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.alerts.text import SUBJECT_LIMIT, show_span
from fraudguard.alerts.ways import ways_to_allow, ways_to_stop


def test_a_refusal_says_all_there_is_to_know():
    told = message()
    for fact in (
        *(
            "01188216000",
            "+88216000",
            "Networks",
            "3.50 USD a minute",
            "4.00 USD per call",
            "0.25 USD a minute (tenant)",
        ),
        *("204", "acme", "198.51.100.7:5060", "carrier", "over_limit", "1, at 2027-01-15T08:00:00+00:00", "c0ffee"),
        "fraudguard grant add +88216000 --tenant acme --account 204 --max-price 4.00\n",
        "fraudguard block add --source 198.51.100.7\n",
        "fraudguard block add --tenant acme --account 204\n",
        "fraudguard block add +88216000\n",
        "fraudguard alerts ack 12\n",
    ):
        assert fact in told.text, fact
    assert told.subject == (
        "[fraudguard] warning: refused, dearer than the limit:"
        " account 204 of acme, +88216000, Networks, 3.50 USD a minute"
    )


def test_repeats_are_told_as_a_count():
    told = message(1)
    assert told.subject == (
        "[fraudguard] 47 more to +882\N{HORIZONTAL ELLIPSIS} from 198.51.100.7 in 3 min: refused, dearer than the limit"
    )
    assert "47 more from 2027-01-15T08:00:00+00:00 to 2027-01-15T08:03:10+00:00, to +882" in told.text
    told = message(1, alerts=12, origin="\N{HORIZONTAL ELLIPSIS}", dearest=9_000_000)
    assert "from several addresses, at up to 9.00 USD a minute; 12 other alerts with it" in told.text


def test_what_is_not_known_is_said_to_be_so():
    told = message(told=alert(kind="no_rate", destination=None, per_minute=None, connect_fee=None, account=""))
    for name in ("Destination:    none known", "Price:          none known", "Account:        none known"):
        assert name in told.text


def test_a_hole_in_the_dialplan_is_described():
    hole = {"channel": "PJSIP/carrier-0000002a", "context": "from-internal", "extension": "0118", "application": "Dial"}
    told = message(told=alert(kind="unguarded_call", severity="critical", details=hole))
    for value in hole.values():
        assert value in told.text
    assert told.document["details"] == hole
    assert "block add" not in told.text  # who does not ask the guard is not stopped by it


def test_a_message_sent_again_is_the_same_and_others_are_not():
    first = delivery()
    later = replace(first, attempts=9, alert=replace(first.alert, tries=500, last_at=NOW + 5, acked_at=NOW))
    assert message().id == message().thread
    assert (message().id, message().text) == (message(told=later.alert, attempts=9).id, message(told=later.alert).text)
    others = [message(1), message(channel="hook"), message(told=alert(id=13)), message(told=alert(first_at=NOW + 1))]
    assert len({message().id, *(other.id for other in others)}) == 5
    assert others[0].thread == message().id


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        (
            {"kind": "blocked"},
            "check --trunk carrier --account 204 --source 198.51.100.7:5060 --tenant acme -- 01188216000",
        ),
        (
            {"kind": "no_rate", "account": ""},
            "check --trunk carrier --source 198.51.100.7:5060 --tenant acme -- 01188216000",
        ),
        ({"kind": "bad_number", "dialled": "$(reboot)"}, "check --trunk carrier --account 204 --source"),
        ({"kind": "bad_number", "dialled": "*67\x1b[2J"}, "attempts --refused"),
        ({"number": "411"}, "limit set 4.00 --tenant acme --account 204"),
        ({"account": ""}, "grant add +88216000 --tenant acme --max-price 4.00"),
        ({"account": "-x"}, "grant add +88216000 --tenant acme --account=-x --max-price 4.00"),
        (
            {"account": "a'b; rm -rf /"},
            "grant add +88216000 --tenant acme --account 'a'\"'\"'b; rm -rf /' --max-price 4.00",
        ),
        ({"account": "a\ufffd"}, "attempts --refused"),
        ({"kind": "pin_forwarded"}, "grant add +88216000 --tenant acme --account 204 --max-price 4.00"),
        (
            {"kind": "pin_forwarded", "per_minute": None, "connect_fee": None, "account": ""},
            "grant add +88216000 --tenant acme --max-price 0.00",
        ),
        ({"kind": "pin_forwarded", "account": "a\ufffd"}, "attempts --refused"),
        ({"kind": "pin_region", "details": {"pin": "Ann Smith"}}, "pin show --tenant acme 'Ann Smith'"),
        ({"kind": "pin_price", "details": {"pin": "-x"}}, "pin show --tenant acme -- -x"),
        ({"kind": "pin_money", "details": {"pin": "Ann"}, "tenant": ""}, "pin show Ann"),
        ({"kind": "pin_time", "details": {"pin": "a\ufffd"}}, "pin list"),
        ({"kind": "pin_failures", "account": ""}, "attempts --refused"),
        ({"kind": "pin_locked_out"}, "pin locks"),
        ({"kind": "grant_expiring", "details": {"until": "soon"}}, "grant list"),
        ({"kind": "too_fast"}, "attempts --refused --tenant acme --account 204"),
        ({"kind": "too_many", "account": "-x"}, "calls --live --tenant acme --account=-x"),
        ({"kind": "over_budget"}, "budget list --tenant acme --account 204"),
        ({"kind": "over_budget", "account": "a\ufffd"}, "budget list"),
        ({"kind": "call_cut"}, "explain c0ffee"),
        ({"kind": "call_cut", "call": "-c0ffee"}, "explain -- -c0ffee"),
        ({"kind": "call_cut", "call": ""}, "calls"),
        ({"kind": "call_cut", "call": "a\ufffd"}, "calls"),
    ],
)
def test_the_way_out_fits_the_kind_and_the_texts(changes, command):
    (way,) = ways_to_allow(alert(**changes))
    assert way.command.startswith(f"fraudguard {command}")


def commands(ways):
    return [way.command.removeprefix("fraudguard ") for way in ways]


def test_a_missing_pin_is_got_over_by_a_pin_or_a_grant():
    wanting = alert(kind="pin_required")
    assert commands(ways_to_allow(wanting)) == [
        "pin add NAME --tenant acme",
        "grant add +88216000 --tenant acme --account 204 --max-price 4.00",
    ]
    untypeable = alert(kind="pin_required", tenant="a\ufffd")
    assert commands(ways_to_allow(untypeable)) == ["pin add NAME", "attempts --refused"]
    short = ways_to_allow(alert(kind="pin_forwarded", number="411"))
    assert ("pin.ask" in short[0].what, short[0].command) == (True, "")


def test_whoever_keyed_a_wrong_pin_is_looked_at_before_they_are_unlocked():
    wrong = alert(kind="pin_failures", number=None, details={"counted": "account 204", "failures": "3"})
    assert commands(ways_to_allow(wrong)) == [
        "attempts --tenant acme --account 204",
        "pin unlock --tenant acme --account 204",
    ]
    assert commands(ways_to_stop(wrong)) == [
        "block add --source 198.51.100.7",
        "block add --tenant acme --account 204",
    ]


@pytest.mark.parametrize(
    ("locked", "changes", "unlock"),
    [
        ("account 204", {}, ["pin unlock --tenant acme --account 204"]),
        ("source 198.51.100.7", {}, ["pin unlock --source 198.51.100.7"]),
        ("source 2001:db8::7", {"source": "[2001:db8::7]:5060"}, ["pin unlock --source 2001:db8::7"]),
        ("tenant acme", {}, ["pin unlock --tenant acme"]),
        ("account ", {"account": ""}, []),
        ("account a\ufffd", {"account": "a\ufffd"}, []),
        ("source ?", {"source": "?"}, []),
    ],
)
def test_what_is_locked_is_what_would_be_unlocked(locked, changes, unlock):
    told = alert(kind="pin_locked_out", details={"locked": locked, "failures": "6"}, **changes)
    assert commands(ways_to_allow(told)) == ["pin locks", *unlock]


def test_a_pin_that_is_used_for_what_it_is_not_good_for_can_be_revoked():
    wrong = alert(kind="pin_region", details={"pin": "Ann Smith"})
    assert commands(ways_to_stop(wrong))[-1] == "pin revoke --tenant acme 'Ann Smith'"


def test_nothing_that_would_be_noticed_is_proposed_under_duress():
    told = message(told=alert(kind="pin_duress", severity="critical", destination=None, details={"pin": "Ann Smith"}))
    assert told.subject.startswith("[fraudguard] critical: DURESS: a PIN was keyed under threat: account 204 of acme")
    assert (told.document["allow"], told.document["stop"]) == ([], [])
    for fact in ("Ann Smith", "Call the police", "another", "Destination:    none known"):
        assert fact in told.text, fact
    assert [line for line in told.text.splitlines() if line.startswith("  fraudguard")] == [
        "  fraudguard alerts ack 12"
    ]


SPENDING = {
    "budget": "account 204 of tenant acme, per day",
    "amount": "20.00",
    "spent": "16.40",
    "set_aside": "2.50",
    "live_calls": "2",
    "lasts_minutes": "14",
}


@pytest.mark.parametrize(
    ("kind", "headline"),
    [
        ("budget_half", "half of a budget is spent"),
        ("budget_low", "four fifths of a budget are spent"),
        ("budget_spent", "a budget is spent"),
    ],
)
def test_a_budget_that_comes_to_its_end_is_told_with_who_spends_it(kind, headline):
    low = alert(kind=kind, dialled="", number="+88216000", details=SPENDING, reason=kind, call="")
    told = message(told=low)
    assert told.subject == (
        f"[fraudguard] warning: {headline}: account 204 of tenant acme, per day, 16.40 of 20.00 USD"
    )
    lines = {name: value.strip() for name, _, value in (line.partition(":") for line in told.text.splitlines())}
    for name, value in {
        "Dearest live call": "+88216000",
        "Source address": "198.51.100.7:5060",
        "Price": "3.50 USD a minute and 4.00 USD per call",
        "Spent": "16.40 USD",
        "Set aside": "2.50 USD",
        "Live calls": "2",
        "Minutes that the rest lasts": "14",
    }.items():
        assert lines[name] == value, name
    assert commands(ways_to_allow(low)) == ["budget list", "calls --live"]
    assert "block add --tenant acme --account 204" in commands(ways_to_stop(low))
    assert told.document["details"] == SPENDING


def test_a_budget_by_which_nobody_calls_any_more_is_told_all_the_same():
    nobody = {"account": "", "source": "", "trunk": "", "dialled": "", "number": None, "destination": None, "call": ""}
    spent = alert(kind="budget_spent", **nobody, per_minute=None, connect_fee=None, details=SPENDING)
    assert "Dearest live call" not in message(told=spent).text
    assert ways_to_stop(spent) == ()
    assert "a budget is spent: unknown, ? of ? USD" in message(told=replace(spent, details={})).subject


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ("blocked", "a block refuses such calls now"),
        ("pin revoked", "the PIN that it went by was revoked"),
        ("second leg", "a second call by one verdict, and no money for both"),
        ("link", "its lease ended, and Asterisk could not be told of another"),
        ("call_seconds", "it lived as long as any call may (policy.call_seconds)"),
        ("pin", "its PIN's money of the day is spent"),
        ("tenant acme, per month", "no money left: tenant acme, per month"),
    ],
)
def test_why_a_call_was_ended_is_said_in_words(cut, words):
    details = {"asterisk": "pbx1", "channel": "PJSIP/carrier-0000002a", "cut": cut, "seconds": "178", "lease": "178"}
    told = message(told=alert(kind="call_cut", details=details))
    assert f"Why it was ended: {words}" in told.text.splitlines()
    assert told.subject == (
        "[fraudguard] warning: a call was ended: account 204 of acme, +88216000, Networks, 3.50 USD a minute"
    )
    assert told.document["details"] == details


@pytest.mark.parametrize(
    ("kind", "headline", "details", "line"),
    [
        (
            "too_fast",
            "refused, too many attempts",
            {"pressed": "20 attempts of account 204 of tenant acme within 60 s"},
            "What was exceeded: 20 attempts of account 204 of tenant acme within 60 s",
        ),
        (
            "too_many",
            "refused, too many calls at once",
            {"pressed": "5 calls of account 204 of tenant acme that are not domestic at once"},
            "What was exceeded: 5 calls of account 204 of tenant acme that are not domestic at once",
        ),
        (
            "over_budget",
            "refused, no money left in a budget",
            {"budget": "tenant acme, per day"},
            "Budget:         tenant acme, per day",
        ),
    ],
)
def test_what_the_ledger_refused_says_what_was_too_much(kind, headline, details, line):
    told = message(told=alert(kind=kind, reason=kind, details=details))
    assert headline in told.subject
    assert line in told.text.splitlines()


def test_a_clock_that_was_set_is_no_ones_fault():
    nobody = {"tenant": "", "account": "", "source": "", "trunk": "", "dialled": "", "number": None, "call": ""}
    stepped = alert(
        kind="clock_stepped",
        **nobody,
        destination=None,
        per_minute=None,
        connect_fee=None,
        highest=None,
        limit_scope=None,
        details={"seconds": "-3600.0"},
    )
    told = message(told=stepped)
    assert told.subject == "[fraudguard] warning: the machine's clock was set"
    assert any(line.startswith("Seconds:") and line.endswith(" -3600.0") for line in told.text.splitlines())
    assert ("slewed" in told.text, told.document["allow"], told.document["stop"]) == (True, [], [])


EXPIRING = {
    "grant": "7",
    "until": "2027-01-20T08:00:00+00:00",
    "added": "2027-01-10T08:00:00+00:00",
    "max_price": "0.10",
    "asks_pin": "no",
    "reason": "fax to London",
    "author": "eve",
}
RENEWED = "--until 2027-01-30T08:00:00+00:00 --reason 'fax to London'"
ATTEMPT = ("source", "trunk", "dialled", "destination", "per_minute", "connect_fee", "highest", "limit_scope", "call")


def expiring(**changes):
    nothing = {name: None if name[0] in "dphcl" and name not in ("dialled", "call") else "" for name in ATTEMPT}
    fields = {"severity": "notice", "number": "+44207946", "details": EXPIRING, "reason": "grant_expiring"}
    return alert(kind="grant_expiring", **(nothing | fields | changes))


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, f"grant add +44207946 --tenant acme --account 204 --max-price 0.10 {RENEWED}"),
        (
            {"details": EXPIRING | {"max_price": "any", "asks_pin": "yes"}, "tenant": "", "account": ""},
            f"grant add +44207946 --ask-pin {RENEWED}",
        ),
        ({"number": None}, f"grant add --tenant acme --account 204 --max-price 0.10 {RENEWED}"),
        (
            {"details": EXPIRING | {"reason": "a\ufffd"}},
            f"grant add +44207946 --tenant acme --account 204 --max-price 0.10 {RENEWED.partition(' --reason')[0]}",
        ),
        ({"details": EXPIRING | {"until": "9998-01-20T08:00:00+00:00"}}, "grant list"),
        ({"details": EXPIRING | {"max_price": ""}}, "grant list"),
        ({"account": "a\ufffd"}, "grant list"),
    ],
)
def test_a_grant_that_ends_is_added_again_for_as_long(changes, command):
    assert commands(ways_to_allow(expiring(**changes))) == [command]
    assert ways_to_stop(expiring(**changes)) == ()


def test_the_message_of_a_grant_that_ends_says_which_and_when():
    told = message(told=expiring())
    assert told.subject == "[fraudguard] notice: a grant ends soon: account 204 of acme, +44207946"
    for line in ("Grant:          7", "Until:          2027-01-20T08:00:00+00:00", "Reason:         fax to London"):
        assert line in told.text.splitlines()
    assert "grant_expiring" not in told.text


@pytest.mark.parametrize(
    ("millis", "text"), [(0, "1 s"), (12_345, "12 s"), (190_000, "3 min"), (7_500_000, "2 h 5 min")]
)
def test_spans(millis, text):
    assert show_span(millis) == text


HOSTILE = st.text(
    st.characters() | st.sampled_from("\r\n\t\x00\x1b\u202e\u2028'\"$`;&|<>\\ -\ufffd\udcff"), max_size=40
)

HOSTILE_KINDS = ["over_limit", "bad_number", "blocked", "unguarded_call", "pin_forwarded", "pin_required", "pin_region"]
HOSTILE_KINDS += ["pin_failures", "pin_locked_out", "pin_duress", "grant_expiring"]
HOSTILE_KINDS += ["too_fast", "too_many", "over_budget", "budget_low", "call_cut", "clock_stepped"]


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.sampled_from(HOSTILE_KINDS))
def test_hostile_texts_stay_one_line_and_one_word(dialled, account, source, number, kind):
    hostile = alert(
        kind=kind,
        dialled=dialled,
        account=account,
        source=source,
        number=number,
        destination=dialled,
        details={dialled: source, "pin": account, "locked": f"{dialled} {source}", "budget": account, "cut": number},
    )
    told = message(told=hostile, target=number, origin=source)
    assert told.subject.isprintable()
    assert len(told.subject) <= SUBJECT_LIMIT
    assert all(line.isprintable() for line in told.text.split("\n"))
    json.dumps(told.document, ensure_ascii=False).encode()
    for way in (*ways_to_allow(hostile), *ways_to_stop(hostile)):
        assert way.command.isprintable()
        assert way.command in told.text
        words = shlex.split(way.command)
        assert not words or words[0] == "fraudguard"
        for given_text in (dialled, account):
            if given_text in words:  # whole, and as the value of its option or behind the end of options
                assert not given_text.startswith("-") or "--" in words[: words.index(given_text)]
