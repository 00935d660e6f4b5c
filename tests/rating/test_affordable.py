"""For how long money lasts: the laws, and some worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraudguard.rating import Rate, cost
from fraudguard.rating.rate import LONGEST_SECONDS, SLACK_SECONDS, affordable_seconds


def rate(per_minute, fee=0, minimum=0, increment=1):
    return Rate("44", "UK", per_minute, fee, minimum, increment, 0)


rates = st.builds(
    rate,
    st.one_of(st.integers(0, 1_000), st.integers(0, 10**8)),
    st.one_of(st.just(0), st.integers(0, 10**8)),
    st.one_of(st.just(0), st.integers(0, 200_000)),
    st.one_of(st.integers(1, 60), st.integers(1, 100_000)),
)
money = st.one_of(st.integers(-(10**6), 10**6), st.integers(0, 10**12))


def is_free(price):
    return price.per_minute == price.connect_fee == 0


law = settings(max_examples=500)


@law
@given(rates, money)
@example(rate(60, increment=7_000), 86_400)
@example(rate(60, minimum=90_000), 90_000)
def test_a_call_of_so_many_seconds_is_paid_for(price, amount):
    seconds = affordable_seconds(price, amount)
    assert 0 <= seconds <= LONGEST_SECONDS
    if seconds and not is_free(price):
        in_the_end = seconds + SLACK_SECONDS if seconds < LONGEST_SECONDS else seconds
        assert cost(price, in_the_end) <= amount


@law
@given(rates, money)
def test_it_is_nothing_exactly_where_the_beginning_is_not_paid(price, amount):
    nothing = affordable_seconds(price, amount) == 0
    assert nothing == (cost(price, 1 + SLACK_SECONDS) > amount and not is_free(price))


@law
@given(rates, money, st.integers(0, 10**9))
def test_more_money_never_lasts_less(price, amount, more):
    assert affordable_seconds(price, amount) <= affordable_seconds(price, amount + more)


@law
@given(rates, money)
def test_no_whole_increment_more_would_have_been_paid(price, amount):
    seconds = affordable_seconds(price, amount)
    if 0 < seconds < LONGEST_SECONDS:
        longer = max(seconds + SLACK_SECONDS, price.minimum_seconds) + price.increment_seconds
        assert cost(price, longer) > amount


@pytest.mark.parametrize(
    ("price", "amount", "seconds"),
    [
        (rate(60_000), 600_000, 598),  # two seconds before the end, because carriers' clocks differ
        (rate(60_000), 2_999, 0),
        (rate(60_000), 3_000, 1),
        (rate(60_000), 3_999, 1),
        (rate(60_000, increment=60), 59_999, 0),
        (rate(60_000, increment=60), 60_000, 58),
        (rate(60_000, increment=60), 119_999, 58),
        (rate(60_000, minimum=30, increment=6), 29_999, 0),
        (rate(60_000, minimum=30, increment=6), 30_000, 28),
        (rate(60_000, 5_000, increment=60), 64_999, 0),
        (rate(60_000, 5_000, increment=60), 65_000, 58),
        (rate(0), 0, LONGEST_SECONDS),
        (rate(0, 5_000), 4_999, 0),
        (rate(0, 5_000), 5_000, LONGEST_SECONDS),
        (rate(1), 10**9, LONGEST_SECONDS),
        (rate(0), -1, LONGEST_SECONDS),  # it costs nothing, whatever was overspent
        (rate(0, 5_000), -1, 0),
        (rate(60_000), -1, 0),
    ],
)
def test_worked_out_by_hand(price, amount, seconds):
    assert affordable_seconds(price, amount) == seconds
