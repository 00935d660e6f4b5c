"""When the strict profile holds: by the clock on the wall, over nights, holidays and changes of the clock."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.config import StrictSettings
from fraudguard.numbering import Kind
from fraudguard.policy.hours import Hours
from fraudguard.policy.strict import NEVER, Strict

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # its clock changes by half an hour
CHRISTMAS = date(2027, 12, 25)


def strict(*hours, holiday=None):
    return Strict(tuple(map(Hours.parse, hours)), holiday)


def instant(text, zone=BERLIN):
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "held"),
    [
        ("2027-01-04T00:00", True),  # Monday: Sunday's night
        ("2027-01-04T06:59:59.999", True),
        ("2027-01-04T07:00", False),
        ("2027-01-04T19:59:59.999", False),
        ("2027-01-04T20:00", True),
        ("2027-01-05T00:00", True),
        ("2027-01-05T06:59", True),
        ("2027-01-05T07:00", False),
        ("2027-01-08T19:59", False),
        ("2027-01-08T20:00", True),  # Friday night
        ("2027-01-09T06:59", True),
        ("2027-01-09T07:00", True),
        ("2027-01-10T23:59", True),
    ],
)
def test_the_week_of_an_office(moment, held):
    default = strict(*StrictSettings().hours)
    assert default.holds(instant(moment), BERLIN) == held


def test_from_friday_night_to_monday_morning_there_is_no_gap():
    default = strict(*StrictSettings().hours)
    friday, monday = instant("2027-10-29T20:00"), instant("2027-11-01T07:00")
    assert all(default.holds(at, BERLIN) for at in range(friday, monday, 60_000))
    assert not default.holds(monday, BERLIN)


def test_it_holds_at_no_time_unless_told_when():
    for moment in ("2027-01-09T03:00", "2027-12-25T03:00"):
        assert not NEVER.holds(instant(moment), BERLIN)
        assert not Strict(limit=1, ask=frozenset({Kind.DOMESTIC})).holds(instant(moment), BERLIN)


@pytest.mark.parametrize(
    ("zone", "moment", "held"),
    [
        (BERLIN, "2027-03-28T00:59+00:00", False),  # 01:59; the clock goes on to 03:00
        (BERLIN, "2027-03-28T01:00+00:00", True),
        (BERLIN, "2027-03-28T01:59+00:00", True),
        (BERLIN, "2027-03-28T02:00+00:00", False),
        (BERLIN, "2027-10-31T00:59+00:00", True),  # 02:59; the clock goes back to 02:00
        (BERLIN, "2027-10-31T01:00+00:00", True),
        (BERLIN, "2027-10-31T02:59+00:00", True),
        (BERLIN, "2027-10-31T03:00+00:00", False),
        (NEW_YORK, "2027-03-14T06:59+00:00", False),
        (NEW_YORK, "2027-03-14T07:00+00:00", True),
        (NEW_YORK, "2027-03-14T08:00+00:00", False),
        (NEW_YORK, "2027-11-07T06:30+00:00", False),  # 01:30 for the second time
        (NEW_YORK, "2027-11-07T07:00+00:00", True),
        (LORD_HOWE, "2027-04-03T14:59+00:00", False),  # 01:59; the clock goes back to 01:30
        (LORD_HOWE, "2027-04-03T15:00+00:00", False),
        (LORD_HOWE, "2027-04-03T15:29+00:00", False),
        (LORD_HOWE, "2027-04-03T15:30+00:00", True),
        (LORD_HOWE, "2027-10-02T15:30+00:00", True),  # 02:30: half an hour was left out
    ],
)
def test_the_clock_on_the_wall_counts_when_it_is_set(zone, moment, held):
    assert strict("sun 02:00-04:00").holds(instant(moment), zone) == held


def test_a_night_in_which_the_clock_is_set_is_one_night():
    night = strict("sat 22:00-06:00")
    for day, hours in (("2027-03-27", 7), ("2027-10-30", 9), ("2027-07-31", 8)):
        begin = instant(f"{day}T22:00")
        end = begin + hours * 3_600_000
        assert [night.holds(at, BERLIN) for at in (begin - 1, begin, end - 1, end)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("zone", "moment", "held"),
    [
        (BERLIN, "2027-12-24T22:59:59.999+00:00", False),
        (BERLIN, "2027-12-24T23:00+00:00", True),
        (BERLIN, "2027-12-25T22:59:59.999+00:00", True),
        (BERLIN, "2027-12-25T23:00+00:00", False),
        (NEW_YORK, "2027-12-25T04:59+00:00", False),
        (NEW_YORK, "2027-12-25T05:00+00:00", True),
        (NEW_YORK, "2027-12-26T04:59+00:00", True),
        (NEW_YORK, "2027-12-26T05:00+00:00", False),
    ],
)
def test_a_holiday_is_a_day_of_the_tenants_own(zone, moment, held):
    assert strict(holiday=CHRISTMAS.__eq__).holds(instant(moment), zone) == held


def test_holidays_are_beside_the_hours():
    both = strict("fri 20:00-07:00", holiday=CHRISTMAS.__eq__)  # a Saturday
    assert both.holds(instant("2027-12-24T20:00"), BERLIN)
    assert both.holds(instant("2027-12-25T12:00"), BERLIN)
    assert not both.holds(instant("2027-12-26T12:00"), BERLIN)


def test_each_minute_is_looked_at_once():
    asked = []
    one = strict(holiday=lambda day: asked.append(day) or False)
    begin = instant("2027-12-25T12:00")
    for at in (begin, begin + 1, begin + 59_999, begin):
        one.holds(at, BERLIN)
    assert asked == [CHRISTMAS]
    one.holds(begin + 60_000, BERLIN)
    assert asked == [CHRISTMAS] * 2


def test_what_was_answered_does_not_make_two_of_the_same_differ():
    first, second = strict("sat,sun"), strict("sat,sun")
    first.holds(instant("2027-12-25T12:00"), BERLIN)
    assert first == second
    assert hash(first) == hash(second)
    assert repr(first) == repr(second)


WEEK = instant("2027-10-29T00:00")  # in which the clock goes back


@given(
    st.lists(st.tuples(st.integers(0, 7 * 86_400_000), st.sampled_from([BERLIN, NEW_YORK])), max_size=20),
    st.sampled_from(["fri 19:59-20:01", "sun 02:00-02:30", "sat,sun", "22:00-06:00"]),
)
def test_what_is_remembered_is_what_would_be_found(asked, hours):
    remembers = strict(hours, holiday=date(2027, 11, 1).__eq__)
    for later, zone in asked:  # also backwards
        afresh = strict(hours, holiday=date(2027, 11, 1).__eq__)
        assert remembers.holds(WEEK + later, zone) == afresh.holds(WEEK + later, zone)


@given(st.integers(0, 7 * 86_400_000), st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE]))
def test_it_holds_when_any_of_its_hours_do(later, zone):
    lines = ("mon-fri 20:00-07:00", "sat,sun", "12:00-13:00")
    local = datetime.fromtimestamp((WEEK + later) / 1000, tz=zone)
    assert strict(*lines).holds(WEEK + later, zone) == any(Hours.parse(line).hold(local) for line in lines)
