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
    ],
)
def test_the_way_out_fits_the_kind_and_the_texts(changes, command):
    (way,) = ways_to_allow(alert(**changes))
    assert way.command.startswith(f"fraudguard {command}")


@pytest.mark.parametrize(
    ("millis", "text"), [(0, "1 s"), (12_345, "12 s"), (190_000, "3 min"), (7_500_000, "2 h 5 min")]
)
def test_spans(millis, text):
    assert show_span(millis) == text


HOSTILE = st.text(
    st.characters() | st.sampled_from("\r\n\t\x00\x1b\u202e\u2028'\"$`;&|<>\\ -\ufffd\udcff"), max_size=40
)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.sampled_from(["over_limit", "bad_number", "blocked", "unguarded_call"]))
def test_hostile_texts_stay_one_line_and_one_word(dialled, account, source, number, kind):
    hostile = alert(
        kind=kind,
        dialled=dialled,
        account=account,
        source=source,
        number=number,
        destination=dialled,
        details={dialled: source},
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
