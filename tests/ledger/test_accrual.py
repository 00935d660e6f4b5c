from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.ledger.accrual import LONGEST_MILLIS, accrual
from fraudguard.ledger.pots import BUCKET_MILLIS, bucket_of
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.rating import Rate

BEGIN = 1_800_000_000_000
STEP = BUCKET_MILLIS
PRICE = Rate("53", "Cuba", 600_000, 10_000, 0, 60, 0)


def call(answered_at, ended_at=None, *, rate=PRICE, lease=7200):
    state = State.UP if ended_at is None else State.ENDED
    fields = dict.fromkeys(("caller", "call", "why", "tenant", "account", "source", "trunk", "number"), "")
    return Call(Leg("pbx", "1", "", ""), rate=rate, lease_seconds=lease, state=state, began_at=BEGIN,
                answered_at=answered_at, ended_at=ended_at, **fields)  # fmt: skip


@pytest.mark.parametrize("made", [call(BEGIN + 1, rate=None), call(None), call(None, BEGIN + 5)])
def test_what_costs_nothing(made):
    assert accrual(made, BEGIN + 9) == ()


def test_each_part_counts_when_it_was_spent():
    made = call(BEGIN + 60_000, BEGIN + 2 * STEP + 1)
    assert accrual(made, 0) == (
        (BEGIN + STEP, 4 * 600_000 + 10_000),
        (BEGIN + 2 * STEP, 5 * 600_000),
        (BEGIN + 3 * STEP, 600_000),
    )


def test_what_comes_at_the_end_of_five_minutes_is_theirs():
    assert accrual(call(BEGIN, BEGIN + 59_000), 0) == ((BEGIN, 10_000), (BEGIN + STEP, 600_000))
    assert accrual(call(BEGIN + 1000, BEGIN + STEP, rate=PRICE._replace(increment_seconds=1), lease=None), 0) == (
        (BEGIN + STEP, 299 * 10_000 + 10_000),
    )


def test_a_minimum_is_spent_with_the_answer():
    long = PRICE._replace(minimum_seconds=600)
    assert accrual(call(BEGIN + 1, BEGIN + 2 * STEP - 1_000, rate=long), 0) == ((BEGIN + STEP, 6_010_000),)


def test_a_call_that_is_up_has_cost_what_it_cost_by_now():
    made = call(BEGIN + 1)
    assert accrual(made, BEGIN + 60_001) == ((BEGIN + STEP, 610_000),)
    assert accrual(made, BEGIN + STEP + 5_000) == ((BEGIN + STEP, 5 * 600_000 + 10_000), (BEGIN + 2 * STEP, 600_000))


def test_an_end_before_the_answer_counts_at_the_end():
    assert accrual(call(BEGIN + STEP + 1, BEGIN, lease=None), 0) == ((BEGIN, 10_000),)


def test_a_call_of_years_takes_no_million_steps():
    made = call(1, BEGIN, lease=None)
    amounts = accrual(made, 0)
    assert amounts[0][0] == BEGIN - LONGEST_MILLIS
    assert len(amounts) == LONGEST_MILLIS // STEP + 1
    assert sum(amount for _, amount in amounts) == made.charged_at(0)


rates = st.builds(
    lambda *figures: Rate("", "", *figures, 0),
    st.integers(0, 10**7),
    st.integers(0, 10**6),
    st.integers(0, 900),
    st.integers(1, 400),
)
instants = st.integers(-2 * STEP, 6 * STEP).map(lambda after: BEGIN + after)


@given(rates, instants, st.none() | instants, st.none() | st.integers(0, 3000), instants)
def test_the_parts_are_the_whole_in_order(rate, answered_at, ended_at, lease, now):
    made = call(answered_at, ended_at, rate=rate, lease=lease)
    amounts = accrual(made, now)
    assert sum(amount for _, amount in amounts) == made.charged_at(now)
    assert all(amount > 0 for _, amount in amounts)
    assert all(before < after for (before, _), (after, _) in pairwise(amounts))
    end = now if ended_at is None else ended_at
    assert all(min(bucket_of(answered_at), bucket_of(end)) <= until <= bucket_of(end) for until, _ in amounts)


@given(rates, instants, instants, instants)
def test_what_is_past_stays_as_it_was(rate, answered_at, one, other):
    made = call(answered_at, rate=rate)
    earlier, later = sorted((one, other))
    past = [part for part in accrual(made, earlier) if part[0] < bucket_of(earlier)]
    assert list(accrual(made, later))[: len(past)] == past or earlier < answered_at
