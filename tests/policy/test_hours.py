"""When in a week a PIN is good: as it is written, read and held against a clock on the wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.errors import InputError
from fraudguard.policy.hours import WEEKDAYS, Hours

MONDAY = datetime(2027, 1, 4, tzinfo=UTC)
every = st.builds(
    Hours,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
).filter(lambda hours: hours.begin != hours.end)
minutes = st.integers(0, 7 * 1440 - 1).map(lambda minute: MONDAY + timedelta(minutes=minute))


@settings(max_examples=300)
@given(every)
def test_what_is_written_is_read_as_the_same(hours):
    assert Hours.parse(str(hours)) == hours
    assert Hours.parse(f" {str(hours).upper()} ") == hours


@settings(max_examples=300)
@given(every, minutes)
def test_a_minute_is_held_by_the_day_on_which_its_shift_began(hours, moment):
    length = (hours.end - hours.begin) % 1440 or 1440
    midnight = moment.replace(hour=0, minute=0)
    begins = [midnight + timedelta(days=day, minutes=hours.begin) for day in (-1, 0)]
    shifts = [begin for begin in begins if begin <= moment < begin + timedelta(minutes=length)]
    assert hours.hold(moment) == any(begin.weekday() in hours.days for begin in shifts)


@pytest.mark.parametrize(
    ("text", "days", "begin", "end", "shown"),
    [
        ("mon-fri 08:00-18:00", {0, 1, 2, 3, 4}, 480, 1080, "mon-fri 08:00-18:00"),
        ("MON-fri  08:00-18:00", {0, 1, 2, 3, 4}, 480, 1080, "mon-fri 08:00-18:00"),
        ("sat,sun", {5, 6}, 0, 1440, "sat-sun"),
        ("sun", {6}, 0, 1440, "sun"),
        ("22:00-06:00", set(range(7)), 1320, 360, "22:00-06:00"),
        ("fri-mon", {4, 5, 6, 0}, 0, 1440, "mon,fri-sun"),
        ("tue-mon", set(range(7)), 0, 1440, "always"),
        ("mon,wed-thu,sun 00:00-24:00", {0, 2, 3, 6}, 0, 1440, "mon,wed-thu,sun"),
        ("20:00-00:00", set(range(7)), 1200, 0, "20:00-00:00"),
        ("20:00-24:00", set(range(7)), 1200, 1440, "20:00-24:00"),
    ],
)
def test_what_operators_write(text, days, begin, end, shown):
    hours = Hours.parse(text)
    assert hours == Hours(frozenset(days), begin, end)
    assert str(hours) == shown


@pytest.mark.parametrize(
    "text",
    ["", " ", "alway", "mon-", "mon fri", "mon-fri-sat", "monday", "8:00-18:00", "24:00-06:00", "08:00-25:00",
     "08:60-18:00", "08:00", "08:00-18:00 mon", "mon;tue", "mon 08:00-18:00\n12", "mon-fri 08:00 - 18:00"],
)  # fmt: skip
def test_what_are_no_hours(text):
    with pytest.raises(InputError, match=r"hours: .* are no hours \(write them as 'mon-fri 08:00-18:00'\)"):
        Hours.parse(text, where="hours")


@pytest.mark.parametrize("text", ["xyz", "mon-xyz", "xyz-mon", "mon,xyz 08:00-18:00"])
def test_what_are_no_weekdays(text):
    with pytest.raises(InputError, match=r"hours: .* are no weekdays \(days are mon, tue, wed, thu, fri, sat, sun\)"):
        Hours.parse(text, where="hours")


def test_hours_that_begin_and_end_at_once_are_not_taken():
    with pytest.raises(InputError, match="begins and ends at once"):
        Hours.parse("mon 08:00-08:00")


def test_hours_on_no_day_are_none():
    with pytest.raises(ValueError, match="some day"):
        Hours(frozenset())


@pytest.mark.parametrize(
    ("moment", "held"),
    [
        ("fri 21:59", False),
        ("fri 22:00", True),
        ("sat 05:59", True),
        ("sat 06:00", False),
        ("fri 05:59", False),
        ("sat 22:00", False),
    ],
)
def test_a_night_shift_belongs_to_the_day_on_which_it_begins(moment, held):
    day, _, time = moment.partition(" ")
    at = MONDAY + timedelta(days=WEEKDAYS.index(day), hours=int(time[:2]), minutes=int(time[3:]))
    assert Hours.parse("fri 22:00-06:00").hold(at) == held


@pytest.mark.parametrize(
    ("instant", "held"),
    [
        ("2027-03-28T00:59+00:00", False),  # 01:59, and then the clock goes on to 03:00
        ("2027-03-28T01:00+00:00", True),
        ("2027-03-28T01:59+00:00", True),
        ("2027-03-28T02:00+00:00", False),
        ("2027-10-31T00:59+00:00", True),  # 02:59, and then the clock goes back to 02:00
        ("2027-10-31T01:00+00:00", True),
        ("2027-10-31T02:59+00:00", True),
        ("2027-10-31T03:00+00:00", False),
    ],
)
def test_the_clock_on_the_wall_counts_on_the_days_when_it_is_set(instant, held):
    local = datetime.fromisoformat(instant).astimezone(ZoneInfo("Europe/Berlin"))
    assert Hours.parse("sun 02:00-04:00").hold(local) == held
