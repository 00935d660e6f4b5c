"""Which of a prefix's dated rates counts at an instant."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.rating import Rate
from fraudguard.rating.deck import in_force


def rate(prefix: str, begins: int, price: int = 1) -> Rate:
    return Rate(prefix, "somewhere", price, 0, 0, 1, begins)


def test_the_latest_begun_rate_counts():
    dated = [rate("33", 10, 1), rate("33", 20, 2), rate("33", 30, 3), rate("44", 5)]
    assert list(in_force(dated, 20)) == [rate("33", 20, 2), rate("44", 5)]


def test_a_prefix_that_begins_later_is_not_offered_until_then():
    assert list(in_force([rate("44", 10), rate("44", 20)], 9)) == [rate("44", 10)._replace(offered=False)]


def test_no_rates():
    assert list(in_force([], 0)) == []


@settings(max_examples=100)
@given(st.sets(st.tuples(st.sampled_from(["", "4", "44"]), st.integers(0, 9)), max_size=12), st.integers(0, 9))
def test_one_rate_for_each_prefix_and_never_an_early_one(keys, at):
    dated = [rate(*key) for key in sorted(keys)]
    found = list(in_force(dated, at))
    assert [one.prefix for one in found] == sorted({prefix for prefix, _ in keys})
    for one in found:
        begun = [begins for prefix, begins in keys if prefix == one.prefix and begins <= at]
        assert one.offered == bool(begun)
        assert one.effective_from == max(begun, default=one.effective_from)
