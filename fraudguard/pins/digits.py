"""What a caller keys: held so that it cannot slip into a log, judged for how soon it would be guessed, generated."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Final, NoReturn, SupportsIndex

from fraudguard.errors import FraudguardError, InputError

LEAST_DIGITS: Final = 4
MOST_DIGITS: Final = 12

_TRIES: Final = 1000
"""One in 25 four-digit PINs is refused, fewer of longer ones: so many refused in a row are no chance."""

# The heads of published lists of 4, 6 and 8 digits, and ways over the keypad, as far as no other rule refuses them.
_MOST_USED_LIST: Final = """
0070 0852 0963 1004 1112 1122 1123 1221 1225 1236 1342 1379 1397 1472 1478 1590 1793 2580 4200 4711
7412 7896 7930 7931 8008 8520 9510 9632 9874
112233 112358 121314 123321 123654 123789 124578 142536 147258 147369 147852 159357 159753 159951 198765 220022 222333
258369 271828 292513 314159 321456 321654 332211 357159 456123 456852 520131 654123 789123 789456 951753 987123
11112222 11223344 12344321 12345679 14725836 14789632 15975346 18273645 19283746 31415926 98741236 99887766
"""
_MOST_USED: Final = frozenset(_MOST_USED_LIST.split())


class Hidden:
    """Holds a secret that neither repr nor str nor a pickle shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is a secret: it is neither pickled nor copied")


class Digits(Hidden):
    """What was keyed, or is to be. May be anything: `weakness` says whether it will do as a PIN."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the digits. For the one place that must have them; never for a message."""
        return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Digits):
            return NotImplemented
        return hmac.compare_digest(_octets(self._text), _octets(other._text))

    # Equal ones share no hash: as a dictionary's key they would be told apart by how long that takes.
    __hash__ = None  # type: ignore[assignment]


def weakness(digits: Digits, *, accounts: Collection[str] = ()) -> str:
    """Return one clause that says why these digits will not do as a PIN, without showing them, or ''.

    `accounts` are those at which it is to be keyed: their own numbers, also backwards, are the first to be tried.
    """
    text = digits.reveal()
    if not (LEAST_DIGITS <= len(text) <= MOST_DIGITS and text.isascii() and text.isdecimal()):
        return f"a PIN has {LEAST_DIGITS} to {MOST_DIGITS} digits, and nothing else"
    if any(_is_of_account(text, account) for account in accounts):
        return "it is the account's own number, or that backwards"
    return next((why for why, applies in _TRIVIAL if applies(text)), "")


def generate(count: int, *, accounts: Collection[str] = (), choose: Callable[[str], str] = secrets.choice) -> Digits:
    """Return `count` digits at random, never weak ones. Raises InputError unless there may be so many.

    `choose` picks one character of a text.
    """
    if not LEAST_DIGITS <= count <= MOST_DIGITS:
        raise InputError(f"a PIN has {LEAST_DIGITS} to {MOST_DIGITS} digits, not {count}")
    for _ in range(_TRIES):
        digits = Digits("".join(choose("0123456789") for _ in range(count)))
        if not weakness(digits, accounts=accounts):
            return digits
    raise FraudguardError("the source of random digits gives only weak ones", fix="see whether it is random")


def _is_of_account(text: str, account: str) -> bool:
    # '204' is filled up with zeros to a PIN, 'sip-2041' is known by its number.
    runs = re.findall(r"[0-9]+", account)
    numbers = {number.strip("0") for number in (*runs, "".join(runs))} - {""}
    return any(text.strip("0") in {number, number[::-1]} for number in numbers)


def _counts(text: str) -> bool:
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(text)}
    return len(steps) == 1 and steps <= {1, 2, 3, 7, 8, 9}


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_TRIVIAL: Final[tuple[tuple[str, Callable[[str], bool]], ...]] = (
    ("its digits are all the same", lambda text: len(set(text)) == 1),
    ("its digits count up or down", _counts),  # also by twos and threes, and on from 9 to 0
    ("it repeats a group of digits", lambda text: text in (text + text)[1:-1]),
    ("it is a year", lambda text: len(text) == 4 and text.startswith(("19", "20"))),
    ("it is one of those used most", _MOST_USED.__contains__),
)
