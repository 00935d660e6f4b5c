"""What a call of n seconds costs: the laws, and some bills worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.rating import Deck, PrefixTable, Rate, billed_seconds, cost

rates = st.builds(
    Rate,
    prefix=st.just("44"),
    destination=st.just("UK"),
    per_minute=st.integers(0, 10**8),
    connect_fee=st.integers(0, 10**8),
    minimum_seconds=st.integers(0, 3600),
    increment_seconds=st.integers(1, 3600),
    effective_from=st.just(0),
    offered=st.booleans(),
)
seconds = st.integers(0, 10**6)


@settings(max_examples=200)
@given(rates, seconds, seconds)
def test_more_seconds_never_cost_less(rate, some, more):
    assert cost(rate, some) <= cost(rate, some + more)


@settings(max_examples=200)
@given(rates, seconds)
def test_cost_covers_the_time_and_is_rounded_up_by_less_than_one(rate, talked):
    exact = rate.connect_fee + Fraction(rate.per_minute * billed_seconds(rate, talked), 60)
    assert exact <= cost(rate, talked) < exact + 1
    assert cost(rate, talked) >= rate.connect_fee + Fraction(rate.per_minute * talked, 60)


@settings(max_examples=200)
@given(rates, seconds)
def test_billed_seconds_are_the_minimum_or_the_next_whole_increment(rate, talked):
    billed = billed_seconds(rate, talked)
    assert billed >= max(talked, rate.minimum_seconds)
    assert billed == rate.minimum_seconds or (
        billed % rate.increment_seconds == 0 and billed - talked < rate.increment_seconds
    )


@pytest.mark.parametrize(
    ("minimum", "increment", "talked", "billed", "micros"),
    [
        (0, 1, 0, 0, 10_000),
        (0, 1, 1, 1, 10_834),  # 50000 / 60 = 833.33, rounded up
        (60, 60, 1, 60, 60_000),
        (60, 60, 61, 120, 110_000),
        (30, 6, 31, 36, 40_000),
        (30, 6, 5, 30, 35_000),
    ],
)
def test_bills_worked_out_by_hand(minimum, increment, talked, billed, micros):
    rate = Rate("44", "UK", 50_000, 10_000, minimum, increment, 0)
    assert billed_seconds(rate, talked) == billed
    assert cost(rate, talked) == micros


def test_a_deck_answers_by_longest_prefix():
    deck = Deck("a", "USD", 1, PrefixTable([Rate("44", "UK", 1, 0, 0, 1, 0), Rate("447", "UK mobile", 2, 0, 0, 1, 0)]))
    found = deck.lookup("447700900123")
    assert found is not None
    assert found.destination == "UK mobile"
    assert deck.lookup("33") is None
