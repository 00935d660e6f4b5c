"""The money of one budget: periods in every zone, what falls out of them, and a naive sum that agrees."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.clock import DAY_MILLIS
from fraudguard.ledger import pots as module
from fraudguard.ledger.pots import BUCKET_MILLIS, HOUR_MILLIS, ROLLING_MILLIS, Pot, Pots, bucket_of, period_of
from fraudguard.policy.budget import Budget, BudgetScope, Payer, Period

NOW = 1_800_000_000_000  # 2027-01-15T08:00Z, which ends 5 minutes
NOBODY = (None,) * 5
ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Kiritimati"),
    *("Africa/Cairo", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Tehran", "America/St_Johns"),
]


def millis(text):
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def pot(period=Period.DAY, amount=1_000, zone="UTC", **changes):
    return Pot(Budget(BudgetScope(), period, amount, **changes), NOBODY, ZoneInfo(zone))


# --- when a period begins and ends ---


@pytest.mark.parametrize(
    ("period", "zone", "now", "since", "until"),
    [
        ("day", "UTC", "2027-01-15T08:00Z", "2027-01-15T00:00Z", "2027-01-16T00:00Z"),
        ("day", "UTC", "2027-01-15T23:59:59.999Z", "2027-01-15T00:00Z", "2027-01-16T00:00Z"),
        ("day", "Europe/Berlin", "2027-01-15T00:00+01:00", "2027-01-15T00:00+01:00", "2027-01-16T00:00+01:00"),
        ("day", "Europe/Berlin", "2027-03-28T12:00+02:00", "2027-03-28T00:00+01:00", "2027-03-29T00:00+02:00"),  # 23 h
        ("day", "Europe/Berlin", "2027-10-31T12:00+01:00", "2027-10-31T00:00+02:00", "2027-11-01T00:00+01:00"),  # 25 h
        # There was no midnight on the 30th, and two on the 7th.
        ("day", "Africa/Cairo", "2027-04-30T12:00+03:00", "2027-04-30T01:00+03:00", "2027-05-01T00:00+03:00"),
        ("day", "Africa/Cairo", "2027-04-29T12:00+02:00", "2027-04-29T00:00+02:00", "2027-04-30T01:00+03:00"),
        ("day", "America/Havana", "2027-11-07T00:30-04:00", "2027-11-07T00:00-04:00", "2027-11-08T00:00-05:00"),
        ("day", "America/Havana", "2027-11-07T00:30-05:00", "2027-11-07T00:00-04:00", "2027-11-08T00:00-05:00"),
        ("day", "Pacific/Kiritimati", "2027-01-15T09:59Z", "2027-01-14T10:00Z", "2027-01-15T10:00Z"),
        ("hour", "UTC", "2027-01-15T08:00Z", "2027-01-15T08:00Z", "2027-01-15T09:00Z"),
        ("hour", "UTC", "2027-01-15T08:59:59.999Z", "2027-01-15T08:00Z", "2027-01-15T09:00Z"),
        ("hour", "Asia/Kolkata", "2027-01-15T08:15Z", "2027-01-15T07:30Z", "2027-01-15T08:30Z"),
        ("hour", "Asia/Kathmandu", "2027-01-15T08:14Z", "2027-01-15T07:15Z", "2027-01-15T08:15Z"),
        ("hour", "Europe/Berlin", "2027-10-31T02:30+01:00", "2027-10-31T02:00+01:00", "2027-10-31T03:00+01:00"),
        ("month", "UTC", "2027-01-31T23:59Z", "2027-01-01T00:00Z", "2027-02-01T00:00Z"),
        ("month", "UTC", "2028-02-29T12:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        ("month", "UTC", "2026-12-31T12:00Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ("month", "Europe/Berlin", "2027-03-31T12:00+02:00", "2027-03-01T00:00+01:00", "2027-04-01T00:00+02:00"),
        ("month", "Africa/Cairo", "2027-04-30T00:30+03:00", "2027-04-01T00:00+02:00", "2027-05-01T00:00+03:00"),
        ("month", "America/Havana", "2027-11-07T00:30-05:00", "2027-11-01T00:00-04:00", "2027-12-01T00:00-05:00"),
    ],
)
def test_a_period_begins_and_ends_by_the_clock_on_the_wall(period, zone, now, since, until):
    assert period_of(Period(period), millis(now), ZoneInfo(zone)) == (millis(since), millis(until))


instants = st.datetimes(datetime(2000, 1, 1), datetime(2037, 12, 1)).map(  # noqa: DTZ001  made UTC in the next line
    lambda at: int(at.replace(tzinfo=UTC).timestamp() * 1000)
)


@given(st.sampled_from(Period), st.sampled_from(ZONES), instants)
def test_periods_hold_their_instants_and_follow_each_other_without_a_gap(period, zone, at):
    zone = ZoneInfo(zone)
    since, until = period_of(period, at, zone)
    assert since <= at < until
    assert period_of(period, since, zone) == period_of(period, until - 1, zone) == (since, until)
    assert period_of(period, until, zone)[0] == until
    assert since % BUCKET_MILLIS == until % BUCKET_MILLIS == 0, "no 5 minutes are in two of them"


@given(st.sampled_from(ZONES), instants)
def test_days_and_months_are_those_of_the_calendar(zone, at):
    zone = ZoneInfo(zone)
    local = datetime.fromtimestamp(at / 1000, tz=zone)
    for period in (Period.DAY, Period.MONTH):
        since, until = (datetime.fromtimestamp(one / 1000, tz=zone) for one in period_of(period, at, zone))
        first = local.date() if period is Period.DAY else local.date().replace(day=1)
        last = (datetime.fromtimestamp((until.timestamp() - 1), tz=zone)).date()
        assert since.date() == first
        assert (last + timedelta(days=1)).day == 1 if period is Period.MONTH else last == first


def test_money_belongs_to_the_5_minutes_that_end_with_or_after_its_moment():
    assert [bucket_of(at) - NOW for at in (NOW - 1, NOW, NOW + 1, NOW + BUCKET_MILLIS)] == [0, 0, *[BUCKET_MILLIS] * 2]


# --- what is spent ---


def test_what_is_spent_is_counted_until_the_end_of_its_period():
    one = pot()
    one.add(NOW, 300)
    midnight = NOW - NOW % DAY_MILLIS + DAY_MILLIS
    one.add(midnight, 500)
    assert (one.spent(midnight - 1), one.room(midnight - 1)) == (800, 200)
    assert (one.spent(midnight), one.room(midnight)) == (0, 1000), "what was spent at midnight was spent before it"
    one.add(midnight + BUCKET_MILLIS, 7)
    assert one.spent(midnight + 1) == 7


def test_what_is_heard_of_late_belongs_where_it_was_spent():
    one = pot()
    for until, amount in ((NOW, 1), (NOW + 2 * BUCKET_MILLIS, 2), (NOW + BUCKET_MILLIS, 4), (NOW, 8), (0, 16)):
        one.add(until, amount)
    assert [bucket for bucket, _ in one._buckets] == [NOW + turn * BUCKET_MILLIS for turn in range(3)]
    assert one.spent(NOW) == 15, "what was spent before the period is none of its money"
    rolling = pot(Period.HOUR, rolling=True)
    rolling.add(NOW, 4)
    rolling.add(NOW - HOUR_MILLIS, 2)
    assert rolling.spent(NOW) == 4


def test_less_than_nothing_takes_some_back():
    one = pot()
    one.add(NOW, 300)
    one.add(NOW, -100)
    assert one.spent(NOW) == 200


@pytest.mark.parametrize("period", Period)
def test_a_rolling_budget_looks_back_as_long_and_up_to_5_minutes_more(period):
    one = pot(period, rolling=True)
    one.add(NOW, 300)
    back = ROLLING_MILLIS[period]
    assert one.spent(NOW + back - 1) == 300
    assert one.resets_at(NOW) == NOW + back
    assert one.spent(NOW + back) == 0
    assert one.resets_at(NOW + back) is None


def test_a_calendar_budget_has_more_when_its_period_ends():
    assert pot(Period.MONTH, zone="Europe/Berlin").resets_at(NOW) == millis("2027-02-01T00:00+01:00")


def test_what_was_told_of_a_period_was_not_told_of_the_next():
    one = pot()
    one.spent(NOW)
    one.told = 80
    one.spent(NOW + 1)
    assert one.told == 80
    one.spent(NOW + DAY_MILLIS)
    assert one.told == 0


def test_room_is_what_is_neither_spent_nor_set_aside_and_below_nothing_where_that_is_more():
    one = pot()
    one.held = 900
    assert one.room(NOW) == 100
    one.add(NOW, 300)
    assert one.room(NOW) == -200


histories = st.lists(
    st.tuples(st.integers(0, 40) | st.integers(0, 12_000), st.integers(-5, 2_000), st.integers(1, 99)), max_size=40
)


@given(st.sampled_from(Period), st.booleans(), st.sampled_from(ZONES), instants, histories)
def test_a_pot_agrees_with_a_naive_sum(period, rolling, zone, start, history):
    one = pot(period, rolling=rolling, zone=zone)
    now, spent = start, []
    for minutes, ago, amount in history:
        now += minutes * 60_000 + 7
        until = bucket_of(now - ago * 60_000)
        one.add(until, amount)
        spent.append((until, amount))
        since = now - ROLLING_MILLIS[period] if rolling else period_of(period, now, ZoneInfo(zone))[0]
        assert one.spent(now) == sum(amount for until, amount in spent if until > since)


def test_too_many_payers_are_found_again(monkeypatch):
    monkeypatch.setattr(module, "PAYERS", 2)
    every = Pots([Budget(BudgetScope("acme"), Period.DAY, 1_000)], lambda _tenant: UTC, lambda _tenant, _at: False)
    payer = Payer("acme", "204", "", "carrier", "GB", domestic=False)
    found = {every.of(payer._replace(region=region), strict=False) for region in "ABCDE"}
    assert found == {tuple(every)}
