import copy
import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.errors import FraudguardError, InputError
from fraudguard.pins.digits import LEAST_DIGITS, MOST_DIGITS, Digits, generate, weakness

SECRET = "80417253"


def test_nothing_that_shows_things_shows_digits(caplog):
    digits = Digits(SECRET)
    shown = [
        repr(digits),
        str(digits),
        f"{digits}",
        f"{digits!r:>30}",
        format(digits),
        repr([digits]),
        repr({1: digits}),
    ]
    logging.getLogger("x").error("%s %r", digits, digits)
    try:
        int(digits)
    except TypeError as error:
        shown += ["".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())]
    shown += [caplog.text, str(weakness(digits)), str(dir(digits))]
    assert not any(SECRET in each for each in shown)
    assert not hasattr(digits, "__dict__")
    assert digits.reveal() == SECRET
    assert len(digits) == 8


def test_digits_are_neither_pickled_nor_copied():
    for leave in (pickle.dumps, copy.copy, copy.deepcopy, lambda digits: pickle.dumps([digits], 0)):
        with pytest.raises(TypeError, match="Digits is a secret") as caught:
            leave(Digits(SECRET))
        assert SECRET not in str(caught.value)


def test_digits_are_compared_and_not_looked_up():
    assert Digits(SECRET) == Digits(SECRET)
    assert Digits(SECRET) != Digits("8041725")
    assert Digits("") != Digits("\udcff")  # whatever a channel sends
    assert Digits(SECRET) != SECRET
    with pytest.raises(TypeError, match="unhashable"):
        hash(Digits(SECRET))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, "4 to 12 digits") for text in ("", "123", "1234567890123", "12a4", "12*4", "١٢٣٤", "12 4", "²²²²")),
        *((text, "all the same") for text in ("0000", "999999", "111111111111")),
        *((text, "up or down") for text in ("1234", "9876", "7890", "0987", "9012", "2468", "97531", "123456789012")),
        *((text, "repeats") for text in ("1212", "123123", "483483", "48214821", "718718718", "373737373737")),
        *((text, "a year") for text in ("1984", "2031", "1900", "2099")),
        *((text, "used most") for text in ("2580", "1004", "159753", "11223344")),
    ],
)
def test_what_is_guessed_first_is_refused(text, why):
    assert why in weakness(Digits(text))


@pytest.mark.parametrize("text", ["4071", "2171", "1884", "2184", "19840", "80417253", "131", "123132", "482748271"])
def test_others_will_do(text):
    text = text.rjust(4, "7")
    assert weakness(Digits(text), accounts=["204", "acme", ""]) == ""


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("4031", "4031"),
        ("1304", "4031"),
        ("0204", "204"),
        ("3040", "304"),
        ("0402", "204"),
        ("4031", "sip-4031"),
        ("4922", "PJSIP/49-22"),
        ("300417", "00300417"),
    ],
)
def test_an_account_s_own_number_is_refused(text, account):
    assert "account's own number" in weakness(Digits(text), accounts=["7", account])
    assert weakness(Digits(text), accounts=["000", "7"]) == ""


@given(
    st.text("0123456789*#", max_size=20) | st.text(st.characters(codec=None), max_size=20),
    st.lists(st.text(max_size=8), max_size=3),
)
def test_the_reason_never_shows_what_it_is_about(text, accounts):
    why = weakness(Digits(text), accounts=accounts)
    assert len(text) < LEAST_DIGITS or text.isalpha() or text not in why
    assert why or (LEAST_DIGITS <= len(text) <= MOST_DIGITS and text.isdecimal())


@pytest.mark.parametrize("count", range(LEAST_DIGITS, MOST_DIGITS + 1))
def test_generated_ones_are_never_weak(count):
    for _ in range(100):
        digits = generate(count, accounts=["4031"])
        assert len(digits) == count
        assert weakness(digits, accounts=["4031"]) == ""


def test_weak_ones_are_drawn_again():
    drawn = iter("1111123440310482")
    assert generate(4, accounts=["4031"], choose=lambda _: next(drawn)).reveal() == "0482"


@pytest.mark.parametrize("count", [-1, 0, 3, 13])
def test_no_other_length(count):
    with pytest.raises(InputError, match="4 to 12 digits, not"):
        generate(count)


def test_a_source_that_is_not_random_ends():
    with pytest.raises(FraudguardError, match="gives only weak ones"):
        generate(4, choose=lambda _: "7")
