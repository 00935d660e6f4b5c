"""How long leases are: the laws, and some worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.policy.lease import SHARE, LeaseTerms, first_lease, next_lease
from fraudguard.rating import Rate, cost
from fraudguard.rating.rate import SLACK_SECONDS

TERMS = LeaseTerms()


def rate(per_minute, fee=0, minimum=0, increment=1):
    return Rate("44", "UK", per_minute, fee, minimum, increment, 0)


rates = st.builds(
    rate,
    st.integers(0, 1_000) | st.integers(0, 10**8),
    st.just(0) | st.integers(0, 10**8),
    st.just(0) | st.integers(0, 10_000),
    st.integers(1, 60) | st.integers(1, 10_000),
)
rooms = st.integers(-(10**6), 10**6) | st.integers(0, 10**12)
terms = st.builds(
    lambda shortest, longest, call: LeaseTerms(shortest, shortest + longest, shortest + longest + call),
    st.integers(1, 600),
    st.integers(0, 7200),
    st.integers(0, 14_400),
)
law = settings(max_examples=400)


def price_of(price, seconds):
    return cost(price, seconds + SLACK_SECONDS) if seconds else 0


def begun(terms, price, room):
    """A lease that a call may have, of which it can get another."""
    return first_lease(terms, price, room)


@law
@given(terms, rates, rooms)
def test_a_first_lease_never_costs_more_than_there_is_room(terms, price, room):
    lease = first_lease(terms, price, room)
    assert 0 <= lease <= min(terms.longest, terms.call)
    free = price.per_minute == price.connect_fee == 0
    assert free or price_of(price, lease) <= max(0, room)


@law
@given(terms, rates, rooms, rooms)
def test_the_next_lease_never_costs_more_than_was_paid_and_there_is_room(terms, price, first, room):
    sofar = begun(terms, price, first)
    if not sofar:
        return
    lease = next_lease(terms, price, room, sofar)
    assert sofar <= lease <= max(sofar, min(sofar + terms.longest, terms.call))
    assert price_of(price, lease) <= price_of(price, sofar) + max(0, room)
    assert next_lease(terms, price, None, sofar) == max(sofar, min(sofar + terms.longest, terms.call))


@law
@given(terms, rates, rooms, rooms, st.integers(0, 10**9))
def test_more_room_is_never_a_shorter_lease(terms, price, first, room, more):
    assert first_lease(terms, price, room) <= first_lease(terms, price, room + more) <= first_lease(terms, price, None)
    sofar = begun(terms, price, first)
    if sofar:
        assert next_lease(terms, price, room, sofar) <= next_lease(terms, price, room + more, sofar)


@law
@given(terms, rates, rooms)
def test_a_lease_takes_no_more_than_its_share_unless_it_is_one_of_the_shortest(terms, price, room):
    lease = first_lease(terms, price, room)
    if price_of(price, lease) > max(0, room) // SHARE:
        ends = lease + SLACK_SECONDS
        assert ends - price.increment_seconds < terms.shortest + SLACK_SECONDS or price.per_minute == 0


@law
@given(terms, rates, rooms)
def test_a_call_is_allowed_exactly_where_its_beginning_is_paid_for(terms, price, room):
    free = price.per_minute == price.connect_fee == 0
    assert (first_lease(terms, price, room) > 0) == (free or cost(price, 1 + SLACK_SECONDS) <= room)


@pytest.mark.parametrize(
    ("price", "room", "lease"),
    [
        (None, 0, 7200),
        (rate(60_000), None, 7200),
        (rate(60_000), 10**12, 7200),
        (rate(60_000), 9_600_000, 1198),  # an eighth, 1_200_000, less the slack
        (rate(60_000), 480_000, 60),  # an eighth would be 58 s
        (rate(60_000), 40_000, 38),  # all of it
        (rate(60_000), 2_999, 0),
        (rate(60_000), -1, 0),
        (rate(60_000, increment=60), 480_000, 118),  # 60 s and the slack are in the second minute: all of it is talked
        (rate(60_000, increment=60), 119_999, 58),
        (rate(0), -1, 7200),
        (rate(0, 5_000), 40_000, 7200),
        (rate(0, 5_000), 39_999, 60),  # the fee is paid then, and the rest costs nothing
        (rate(0, 5_000), 4_999, 0),
    ],
)
def test_first_leases_worked_out_by_hand(price, room, lease):
    assert first_lease(TERMS, price, room) == lease


@pytest.mark.parametrize(
    ("sofar", "room", "lease"),
    [
        (60, 0, 60),
        (60, -5_000, 60),
        (60, 9_600_000, 1260),
        (60, 480_000, 120),  # at least the shortest more, as long as there is money
        (60, 30_000, 90),
        (60, None, 7260),
        (14_000, None, 14_400),
        (14_400, 10**9, 14_400),
        (15_000, 10**9, 15_000),  # no lease becomes shorter by being renewed
    ],
)
def test_next_leases_worked_out_by_hand(sofar, room, lease):
    assert next_lease(TERMS, rate(60_000), room, sofar) == lease
