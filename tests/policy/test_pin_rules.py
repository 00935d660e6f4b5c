"""The rules about PINs: what each refuses, in which order, and who is not asked at all."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pin_cases import LONDON, PRICE, pin, wanted
from policy_cases import BAD, NOW, facts, number, rate

from fraudguard.numbering import Kind
from fraudguard.policy import Grant, Outcome, Reason, Scope, decide
from fraudguard.policy.hours import Hours
from fraudguard.policy.lease import LeaseTerms
from fraudguard.policy.pin import Keyed
from fraudguard.policy.records import Standing
from fraudguard.policy.rules import ORDER
from fraudguard.rating.rate import SLACK_SECONDS, cost

LEASE = 7200
TERMS = LeaseTerms(longest=LEASE)
SHIP = number()
GRANT = Grant(1, Scope(), "44", None, None, "fax", "root", 0)
LOW = replace(GRANT, highest=59_999)
ASKING = replace(GRANT, asks_pin=True)


def keyed(refusal=None, *, tries=1, **terms):
    return Keyed(NOW, pin(**terms), refusal, tries)


def judged(came, dialled=LONDON, price=PRICE, shadow=(), **changes):
    case = replace(facts(dialled=dialled, price=price, asks=True, keyed=came), **changes)
    verdict = decide(case, "id", TERMS, frozenset(shadow))
    assert verdict.allowed == (verdict.reason in {Reason.OK, Reason.EMERGENCY})
    return verdict


@pytest.mark.parametrize(
    ("came", "reason"),
    [
        (None, "pin_required"),
        (Keyed(NOW), "pin_required"),
        (Keyed(NOW, tries=3), "pin_required"),
        (Keyed(NOW, refusal=Reason.PIN_HANGUP), "pin_hangup"),
        (Keyed(NOW, refusal=Reason.PIN_TIMEOUT), "pin_timeout"),
        (Keyed(NOW, refusal=Reason.PIN_LOCKED), "pin_locked"),
        (Keyed(NOW, refusal=Reason.PIN_ACCOUNT), "pin_account"),
        (Keyed(NOW, refusal=Reason.PIN_WRONG), "pin_wrong"),
        (keyed(Reason.PIN_ACCOUNT), "pin_account"),
        (keyed(Reason.PIN_HANGUP), "pin_hangup"),
        (keyed("something new"), "pin_wrong"),
        (keyed("ok"), "pin_wrong"),
        (Keyed(NOW, refusal=Reason.OK, assumed=True), "pin_wrong"),
        (keyed(), "ok"),
        (Keyed(NOW, assumed=True), "ok"),
    ],
)
def test_what_came_of_asking(came, reason):
    assert judged(came).reason == reason


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"begins": NOW}, "ok"),
        ({"begins": NOW + 1}, "pin_time"),
        ({"until": NOW + 1}, "ok"),
        ({"until": NOW}, "pin_time"),
        ({"hours": Hours.parse("fri 08:00-08:01")}, "ok"),  # it is a Friday, 8 o'clock
        ({"hours": Hours.parse("thu")}, "pin_time"),
        ({"regions": frozenset({"GB"})}, "ok"),
        ({"regions": frozenset({"FR", "DE"})}, "pin_region"),
        ({"prefixes": ("33", "4420")}, "ok"),
        ({"prefixes": ("33", "4421")}, "pin_region"),
        ({"regions": frozenset({"FR"}), "prefixes": ("44",)}, "ok"),
        ({"regions": frozenset({"GB"}), "prefixes": ("33",)}, "ok"),
        ({"highest": 60_000}, "ok"),
        ({"highest": 59_999}, "pin_price"),
        ({"highest": 0}, "pin_price"),
    ],
)
def test_what_a_pin_is_good_for(terms, reason):
    assert judged(keyed(**terms)).reason == reason


def test_hours_are_in_the_tenants_own_time():
    came = keyed(hours=Hours.parse("thu"))
    assert judged(came, zone=ZoneInfo("Pacific/Honolulu")).reason == "ok"
    assert judged(came, zone=ZoneInfo("Asia/Tokyo")).reason == "pin_time"


def test_a_number_of_no_region_needs_its_prefix_named():
    price = rate()
    assert judged(keyed(regions=frozenset({"GB"})), dialled=SHIP, price=price).reason == "pin_region"
    assert judged(keyed(prefixes=("8821",)), dialled=SHIP, price=price).reason == "ok"


def test_a_connect_fee_counts_as_a_price():
    fee = rate(0, 60_000, prefix="44")
    assert judged(keyed(highest=59_999), price=fee).reason == "pin_price"
    assert judged(keyed(highest=60_000), price=fee).reason == "ok"


def test_an_unknown_price_is_too_high_for_a_pin_that_has_a_limit():
    home = number("12125550100", Kind.DOMESTIC, "US")  # the only calls that may go without a price
    assert judged(keyed(highest=10**9), dialled=home, price=None).reason == "pin_price"
    assert judged(keyed(per_day=10**9), dialled=home, price=None).reason == "pin_money"
    assert judged(keyed(), dialled=home, price=None).reason == "ok"


def left(pin_room, room=None):
    return {"standing": Standing(room, pin_room=pin_room)}


@pytest.mark.parametrize(
    ("room", "reason"), [(None, "ok"), (3_000, "ok"), (2_999, "pin_money"), (0, "pin_money"), (-1, "pin_money")]
)
def test_what_is_left_of_the_money_has_to_pay_for_the_beginning_of_a_call(room, reason):
    assert judged(keyed(per_day=10**9), **left(room)).reason == reason  # 60_000 a minute, and 2 seconds of slack


def test_the_lease_is_an_eighth_of_what_is_left_of_the_money_and_at_least_the_shortest():
    assert judged(keyed(), **left(9_600_000)).lease_seconds == 1198
    assert judged(keyed(), **left(600_000)).lease_seconds == 73
    assert judged(keyed(), **left(300_000)).lease_seconds == 60
    assert judged(keyed(), **left(30_000)).lease_seconds == 28
    assert judged(keyed(), **left(10**12)).lease_seconds == LEASE
    assert judged(keyed()).lease_seconds == LEASE


def test_the_lease_is_as_short_as_the_budget_or_the_pin_has_it():
    assert judged(keyed(), **left(10**12, 30_000)).lease_seconds == 28
    assert judged(keyed(), **left(30_000, 10**12)).lease_seconds == 28
    assert judged(keyed(), **left(10**12, 2_000)).reason == "over_budget"
    assert judged(keyed(), **left(2_000, 10**12)).reason == "pin_money"


# --- order ---

REFUSED = ("pin_forwarded", "pin_time", "pin_region", "pin_price", "pin_money")
SPOILT = {
    "pin_time": {"until": NOW},
    "pin_region": {"regions": frozenset({"FR"})},
    "pin_price": {"highest": 1},
    "pin_money": {},
}


@pytest.mark.parametrize("spoilt", [set(which) for which in product(["", *SPOILT], repeat=2)])
def test_the_first_in_order_gives_its_reason(spoilt):
    spoilt -= {""}
    terms = {key: value for one in spoilt for key, value in SPOILT[one].items()}
    first = next((reason for reason in REFUSED if reason in spoilt), "ok")
    money = left(1 if "pin_money" in spoilt else None)
    assert judged(keyed(**terms), **money).reason == first
    attempt = replace(wanted().attempt, forwarded=True)
    assert judged(keyed(**terms), attempt=attempt, **money).reason == "pin_forwarded"


def test_nobody_is_asked_for_a_call_that_would_be_refused_anyway():
    order = [reason for reason, _ in ORDER]
    pins = [reason for reason in order if reason.startswith("pin_")]
    assert order == [*order[: order.index(pins[0])], *pins, Reason.OK]
    assert judged(None, price=None).reason == "no_rate"
    assert judged(None, price=rate(900_000, prefix="44")).reason == "over_limit"
    assert judged(keyed(), price=rate(900_000, prefix="44")).reason == "over_limit"
    assert set(pins) == {reason for reason in Reason if reason.startswith("pin_")}


# --- who is not asked ---


@pytest.mark.parametrize(
    "came", [None, keyed(Reason.PIN_WRONG), keyed(until=NOW, regions=frozenset({"FR"}), highest=0, per_day=0)]
)
@pytest.mark.parametrize("forwarded", [False, True])
def test_a_grant_that_reaches_the_price_waives_it(came, forwarded):
    attempt = replace(wanted().attempt, forwarded=forwarded)
    assert judged(came, grant=GRANT, attempt=attempt).reason == "ok"
    assert judged(came, grant=GRANT, attempt=attempt).lease_seconds == LEASE
    assert judged(came, grant=LOW, attempt=attempt).reason != "ok"
    assert judged(came, grant=ASKING, attempt=attempt).reason != "ok"


def test_a_grant_that_asks_for_a_pin_lifts_the_limit_only():
    dear = rate(900_000, prefix="44")
    assert judged(None, price=dear, grant=ASKING).reason == "pin_required"
    assert judged(keyed(), price=dear, grant=ASKING).reason == "ok"


@pytest.mark.parametrize("came", [None, Keyed(NOW), keyed(Reason.PIN_WRONG), keyed(until=0)])
def test_where_none_is_asked_for_what_was_keyed_does_not_matter(came):
    assert judged(came, asks=False).reason == "ok"


@pytest.mark.parametrize("came", [None, Keyed(NOW), keyed(Reason.PIN_LOCKED), keyed(until=0, per_day=0)])
@pytest.mark.parametrize("forwarded", [False, True])
def test_an_emergency_goes_whatever_was_keyed(came, forwarded):
    verdict = judged(
        came,
        dialled=number("911", Kind.EMERGENCY, "US"),
        price=None,
        attempt=replace(wanted().attempt, forwarded=forwarded),
    )
    assert (verdict.reason, verdict.lease_seconds) == ("emergency", None)


def test_what_is_no_number_is_refused_as_such():
    assert judged(keyed(regions=frozenset({"GB"})), dialled=BAD).reason == "bad_number"
    for _, rule in ORDER[2:-1]:
        assert rule(replace(wanted(), number=BAD, keyed=keyed(regions=frozenset({"GB"})))) is not Outcome.ALLOW


# --- shadow ---


def test_a_pin_that_is_only_simulated_is_noted_and_the_call_goes():
    verdict = judged(None, shadow=[Reason.PIN_REQUIRED])
    assert (verdict.reason, verdict.simulated, verdict.lease_seconds) == ("ok", (Reason.PIN_REQUIRED,), LEASE)


def test_a_forwarded_call_is_still_asked_when_only_that_is_simulated():
    attempt = replace(wanted().attempt, forwarded=True)
    verdict = judged(None, attempt=attempt, shadow=[Reason.PIN_FORWARDED])
    assert (verdict.reason, verdict.simulated) == ("pin_required", (Reason.PIN_FORWARDED,))
    both = judged(None, attempt=attempt, shadow=[Reason.PIN_FORWARDED, Reason.PIN_REQUIRED])
    assert (both.reason, both.simulated) == ("ok", (Reason.PIN_FORWARDED, Reason.PIN_REQUIRED))


def test_a_shadow_over_one_refusal_is_none_over_the_others():
    for came in (keyed(Reason.PIN_WRONG), keyed(Reason.PIN_LOCKED), keyed(until=0)):
        assert not judged(came, shadow=[Reason.PIN_REQUIRED, Reason.PIN_FORWARDED]).allowed
    assert judged(keyed(Reason.PIN_HANGUP), shadow=[Reason.PIN_HANGUP]).reason == "pin_wrong"


# --- nothing is allowed by falling through ---


@given(
    refusal=st.none() | st.sampled_from(list(Reason)),
    tries=st.integers(0, 3),
    known=st.booleans(),
    assumed=st.booleans(),
    forwarded=st.booleans(),
    room=st.none() | st.integers(-(10**6), 10**7),
    pin_room=st.none() | st.integers(-(10**6), 10**7),
)
def test_only_a_pin_without_a_refusal_lets_a_call_go(refusal, tries, known, assumed, forwarded, room, pin_room):
    came = Keyed(NOW, pin() if known else None, refusal, tries, assumed)
    attempt = replace(wanted().attempt, forwarded=forwarded)
    verdict = judged(came, attempt=attempt, **left(pin_room, room))
    assert verdict.allowed <= (not refusal and (known or assumed) and not forwarded)
    for most in (room, pin_room):
        if verdict.allowed and most is not None:
            assert cost(PRICE, verdict.lease_seconds + SLACK_SECONDS) <= most
