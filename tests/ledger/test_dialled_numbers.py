import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.ledger.dialled import digits_of, number_of, reaches, tail_of


@pytest.mark.parametrize(
    ("string", "number"),
    [
        ("+442079460000@carrier", "+442079460000"),
        ("442079460000@carrier", "442079460000"),
        ("4420", "4420"),
        ("carrier/sip:+4420@192.0.2.1:5060", "+4420"),
        ("carrier/SIPS:4420@host", "4420"),
        ("carrier/tel:+44-20-7946", "+44207946"),
        ("carrier/sip:192.0.2.1", ""),
        ("carrier/4420", "4420"),
        ("carrier/4420!caller", "4420"),
        ("g1/4420", "4420"),
        ("g1/9wwww4420", "9"),
        ("user:1234@peer/4420@context", "4420"),
        ("user:1234@peer:4569/4420/a", "4420"),
        ("4420:secret:md5@host", "4420"),
        ("4420;phone-context=+44@carrier", "4420"),
        ("+44 (20) 79.46@carrier", "+44207946"),
        ("00900*4420#@carrier", "009004420"),
        ("alice@carrier", ""),
        ("carrier", ""),
        ("1-1/", ""),
        ("+@carrier", ""),
        ("#@carrier", ""),
        ("", ""),
    ],
)
def test_the_number_is_found_in_each_of_asterisks_dial_strings(string, number):
    assert number_of(string) == number


@given(st.text(max_size=60))
def test_any_string_gives_digits_or_nothing(string):
    number = number_of(string)
    assert not number or number.removeprefix("+").isdecimal()
    assert number.removeprefix("+") == digits_of(number)


@pytest.mark.parametrize(
    ("dialled", "admitted", "same"),
    [
        ("+442079460000", "+442079460000", True),
        ("02079460000", "+442079460000", True),
        ("9011442079460000", "+442079460000", True),
        ("79460001", "+442079460000", False),
        ("+88216000123", "+442079460000", False),
        ("", "+442079460000", False),
        ("411", "411", True),
        ("9411", "411", True),
        ("88216000411", "411", False),  # ends like the short code, and is another number altogether
        ("712345", "+376712345", True),  # Andorra at home
        ("0712345", "+376712345", True),
        ("345", "+376712345", False),
        ("4420", "", False),
    ],
)
def test_a_number_is_known_by_its_last_digits(dialled, admitted, same):
    assert reaches(dialled, tail_of(admitted)) is same
