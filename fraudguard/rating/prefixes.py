"""Longest prefix match over a million prefixes: 20 bytes each and no object per prefix.

A prefix owns the interval of 15-digit numbers that begin with it: 44 owns 440000000000000 up to 450000000000000.
Sorted by (first number, length) the prefixes stand in the order in which a trie would be walked, parents before
children. So the last prefix that begins at or before a number is the longest match itself, or lies beside or below
it; following the parents upwards finds the match, mostly at once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import lt
from typing import TypeAlias

from fraudguard.rating.rate import Rate

MAX_DIGITS = 15
"""E.164 numbers are at most this long."""

_SPAN = tuple(10 ** (MAX_DIGITS - length) for length in range(MAX_DIGITS + 1))
"""How many 15-digit numbers begin with a prefix, by its length."""

_LENGTH_BITS = 4
_LENGTH_MASK = 15
"""A key is a prefix's first number and its length in one: 10**15 * 16 fits the array's 64 bits."""

_NO_PARENT = -1

_MAX_INDEX_DIGITS = 6
"""The index over the first digits grows with the table up to a million slots, 4 MB."""

_new_tuple = tuple.__new__
"""What Rate() and Rate._make() end in; going there directly takes a tenth off a lookup."""

_Terms: TypeAlias = tuple[str, int, int, int, int, int, bool]


class PrefixTable:
    """Rates by longest prefix. Immutable; a Rate is made when it is looked up or iterated over.

    Prefixes are ASCII digits, at most MAX_DIGITS of them; '' matches every number. Rates may come in any order, but
    building is fastest when they are sorted by prefix. Raises ValueError when a prefix is something else, or comes
    twice: which of two prices counts is for the caller to say.
    """

    __slots__ = ("_bucket", "_index", "_keys", "_parents", "_terms", "_terms_of")

    def __init__(self, rates: Iterable[Rate]) -> None:
        keys, terms_of = array("Q"), array("I")
        known: dict[_Terms, int] = {}  # a deck has few distinct (destination, prices): each is kept once
        for rate in rates:
            prefix = rate[0]
            length = len(prefix)
            if length > MAX_DIGITS or (prefix and not (prefix.isdigit() and prefix.isascii())):
                raise ValueError(f"{prefix[:40]!r} is not a prefix of at most {MAX_DIGITS} digits")
            keys.append(int(prefix or "0") * _SPAN[length] << _LENGTH_BITS | length)
            terms_of.append(known.setdefault(rate[1:], len(known)))
        if not _increasing(keys):
            order = sorted(range(len(keys)), key=keys.__getitem__)
            keys = array("Q", map(keys.__getitem__, order))
            terms_of = array("I", map(terms_of.__getitem__, order))
            if not _increasing(keys):
                raise ValueError(f"prefix {_first_repeated(keys)!r} comes twice")
        self._keys, self._terms_of, self._terms = keys, terms_of, tuple(known)
        self._parents = _find_parents(keys)
        self._bucket, self._index = _build_index(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Rate]:
        """Yield all rates, sorted by prefix."""
        for key, terms in zip(self._keys, self._terms_of, strict=True):
            yield Rate._make((_prefix_of(key), *self._terms[terms]))

    def longest(self, digits: str) -> Rate | None:
        """Return the rate of the longest prefix of `digits`, or None; None also for text that is not ASCII digits."""
        size = len(digits)
        if size > MAX_DIGITS:
            digits, size = digits[:MAX_DIGITS], MAX_DIGITS
        if size and not (digits.isdigit() and digits.isascii()):
            return None
        number = int(digits or "0") * _SPAN[size]
        slot = number // self._bucket
        keys, index = self._keys, self._index
        # the key of the number itself, were it a prefix of full length: nothing that matches is greater
        target = number << _LENGTH_BITS | _LENGTH_MASK
        entry = bisect_right(keys, target, index[slot], index[slot + 1]) - 1
        while entry != _NO_PARENT:
            key = keys[entry]
            length = key & _LENGTH_MASK
            if length <= size and number - (key >> _LENGTH_BITS) < _SPAN[length]:
                return _new_tuple(Rate, (digits[:length], *self._terms[self._terms_of[entry]]))
            entry = self._parents[entry]
        return None


def _increasing(keys: array[int]) -> bool:
    return all(map(lt, keys, islice(keys, 1, None)))


def _first_repeated(keys: array[int]) -> str:
    return next(_prefix_of(key) for key, following in zip(keys, islice(keys, 1, None)) if key == following)  # noqa: B905 - the second is shorter by one


def _prefix_of(key: int) -> str:
    return f"{key >> _LENGTH_BITS:0{MAX_DIGITS}d}"[: key & _LENGTH_MASK]


def _find_parents(keys: array[int]) -> array[int]:
    """Return for each key the position of the longest proper prefix of its prefix, or _NO_PARENT."""
    parents = array("i")
    entries, ends = [_NO_PARENT], [1 << 64]  # the prefixes around the present one, outermost first
    for entry, key in enumerate(keys):
        start = key >> _LENGTH_BITS
        while start >= ends[-1]:
            entries.pop()
            ends.pop()
        parents.append(entries[-1])
        entries.append(entry)
        ends.append(start + _SPAN[key & _LENGTH_MASK])
    return parents


def _build_index(keys: array[int]) -> tuple[int, array[int]]:
    """Return how many numbers share a slot, and where each slot's keys begin (one more for the end).

    It narrows the search to a few neighbours: without it two thirds of a lookup's time are the bisection's.
    """
    digits = min(len(str(len(keys))) - 1, _MAX_INDEX_DIGITS)
    bucket = 10 ** (MAX_DIGITS - digits)
    slots = range(10**digits + 1)
    return bucket, array("I", (bisect_left(keys, slot * bucket << _LENGTH_BITS) for slot in slots))
