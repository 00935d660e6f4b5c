"""PrefixTable against the naive longest match, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.rating import PrefixTable, Rate

# few different digits, so that prefixes nest, touch and repeat
digits = st.text("019", max_size=15)
numbers = st.text("019", max_size=18)


def rate(prefix: str, price: int = 1000) -> Rate:
    return Rate(prefix, f"to {prefix}", price, 0, 0, 1, 0)


def naive(rates: list[Rate], number: str) -> Rate | None:
    matching = [rate for rate in rates if number.startswith(rate.prefix)]
    return max(matching, key=lambda rate: len(rate.prefix), default=None)


@settings(max_examples=300)
@given(st.sets(digits, max_size=40), st.lists(numbers, max_size=20), st.randoms(use_true_random=False))
def test_agrees_with_the_naive_longest_match(prefixes, dialled, random):
    rates = [rate(prefix, price) for price, prefix in enumerate(prefixes)]
    random.shuffle(rates)
    table = PrefixTable(rates)
    assert len(table) == len(rates)
    assert list(table) == sorted(rates)
    for number in [*dialled, *prefixes]:
        assert table.longest(number) == naive(rates, number)


def test_agrees_on_a_dense_table_with_an_index_of_several_digits():
    rates = [rate(str(prefix)) for prefix in range(1, 3000)]
    table = PrefixTable(rates)
    for number in range(0, 10**8, 1_234_567):
        assert table.longest(f"{number:08d}") == naive(rates, f"{number:08d}")


def test_a_number_shorter_than_the_nearest_prefix_climbs_to_the_one_above():
    table = PrefixTable([rate("1"), rate("1000"), rate("10000")])
    assert table.longest("10") == rate("1")
    assert table.longest("1000") == rate("1000")


def test_the_empty_prefix_catches_all():
    table = PrefixTable([rate(""), rate("44")])
    assert table.longest("33123") == rate("")
    assert table.longest("") == rate("")
    assert table.longest("44") == rate("44")


def test_an_empty_table_knows_nothing():
    table = PrefixTable([])
    assert len(table) == 0
    assert list(table) == []
    assert table.longest("44") is None


def test_prefixes_of_full_length_and_the_highest_number():
    longest = "9" * 15
    table = PrefixTable([rate(longest), rate("9")])
    assert table.longest(longest) == rate(longest)
    assert table.longest(longest + "9") == rate(longest)
    assert table.longest(longest[:-1] + "8") == rate("9")


@pytest.mark.parametrize("text", ["+44", "\u0664\u0664", "4 4", "4_4", "44#", "x"])
def test_text_that_is_no_number_has_no_rate(text):
    assert PrefixTable([rate(""), rate("4"), rate("44")]).longest(text) is None


@pytest.mark.parametrize("prefix", ["+44", "4 4", "x", "\u0664\u0664", "1" * 16])
def test_refuses_what_is_not_a_prefix(prefix):
    with pytest.raises(ValueError, match="is not a prefix"):
        PrefixTable([rate(prefix)])


@pytest.mark.parametrize("prefixes", [["44", "44"], ["9", "44", "1", "44"], ["", ""]])
def test_refuses_a_prefix_that_comes_twice(prefixes):
    with pytest.raises(ValueError, match=f"prefix {max(prefixes, key=prefixes.count)!r} comes twice"):
        PrefixTable([rate(prefix) for prefix in prefixes])


def test_equal_terms_are_kept_once():
    table = PrefixTable(Rate(str(prefix), "same", 1, 0, 0, 1, 0) for prefix in range(100, 200))
    assert len(table._terms) == 1
