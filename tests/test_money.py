import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.errors import InputError
from fraudguard.money import MAX_AMOUNT, ceil_amount, format_amount, parse_amount, parse_decimal


@pytest.mark.parametrize(
    ("text", "micros"),
    [("0.25", 250_000), ("0", 0), ("1", 1_000_000), (" 0.000001 ", 1), ("1000000000", MAX_AMOUNT), (".5", 500_000)],
)
def test_amounts_are_read_exactly(text, micros):
    assert parse_amount(text) == micros


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is not an amount"),
        ("abc", "is not an amount"),
        ("1e3", "is not an amount"),
        ("0,25", "is not an amount"),
        ("+-1", "is not an amount"),
        ("nan", "is not an amount"),
        ("٣", "is not an amount"),
        ("1" * 65, "is not an amount"),
        ("-0.10", "is negative"),
        ("0.0000001", "more than six decimals"),
        ("1000000000.01", "is too large"),
    ],
)
def test_what_is_no_amount_is_refused_with_a_way_out(text, what):
    with pytest.raises(InputError) as caught:
        parse_amount(text, where="AMOUNT")
    assert what in str(caught.value)
    assert str(caught.value).startswith("AMOUNT: ")
    assert caught.value.fix


@given(st.text(max_size=80))
def test_any_text_gives_an_amount_or_the_one_error(text):
    with contextlib.suppress(InputError):
        assert 0 <= parse_amount(text) <= MAX_AMOUNT


@given(st.integers(0, MAX_AMOUNT))
def test_written_and_read_back_is_the_same(micros):
    assert parse_amount(format_amount(micros)) == micros


@pytest.mark.parametrize(
    ("micros", "text"), [(250_000, "0.25"), (8_889, "0.008889"), (1_000_000, "1.00"), (-1, "-0.000001"), (0, "0.00")]
)
def test_amounts_are_written_with_at_least_two_decimals(micros, text):
    assert format_amount(micros) == text


@given(st.decimals(0, 1000, places=9))
def test_a_carriers_price_is_never_rounded_down(price):
    micros = ceil_amount(price)
    assert 0 <= micros - price * 1_000_000 < 1


def test_a_negative_price_is_refused():
    with pytest.raises(InputError, match="is negative"):
        ceil_amount(parse_decimal("-0.1"))
    assert ceil_amount(Decimal("-0.0000000")) == 0
