"""Sets of digit strings as boxes, and the metadata's regular expressions as lists of boxes.

A box is a string of digit classes: `[2-9]11` is three of them. A class is a bit set, bit n for digit n.
A box holds every string that has the box's length and a digit of each class in its place. Boxes can be
intersected, subtracted and written as Asterisk patterns exactly, which regular expressions cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import TypeAlias

Box: TypeAlias = tuple[int, ...]

ANY = 0b11_1111_1111
_ASTERISK_NAMES = {ANY: "X", ANY & ~1: "Z", ANY & ~3: "N"}


def literal(digits: str) -> Box:
    """Return the box that holds exactly `digits`."""
    return tuple(1 << int(digit) for digit in digits)


def intersect(one: Box, other: Box) -> Box | None:
    """Return what both boxes hold, or None."""
    if len(one) != len(other):
        return None
    both = tuple(a & b for a, b in zip(one, other, strict=True))
    return both if all(both) else None


def starts_with(box: Box, prefix: Box) -> Box | None:
    """Return the part of `box` whose strings begin with a string of `prefix`, or None."""
    if len(prefix) > len(box):
        return None
    return intersect(box, prefix + box[len(prefix) :])


def subtract(box: Box, hole: Box) -> list[Box]:
    """Return disjoint boxes that hold what `box` holds and `hole` does not."""
    common = intersect(box, hole)
    if common is None:
        return [box]
    left = []
    for place, (mine, theirs) in enumerate(zip(box, common, strict=True)):
        if mine & ~theirs:
            left.append((*common[:place], mine & ~theirs, *box[place + 1 :]))
    return left


def subtract_all(boxes: Iterable[Box], holes: Iterable[Box]) -> list[Box]:
    """Return `boxes` without anything that `holes` hold."""
    left = list(boxes)
    for hole in holes:
        left = [piece for box in left for piece in subtract(box, hole)]
    return left


def strings(box: Box) -> Iterator[str]:
    """Yield every string of a box; meant for short codes."""
    return map("".join, product(*([str(digit) for digit in range(10) if cls >> digit & 1] for cls in box)))


def first_string(box: Box) -> str:
    """Return the smallest string of a box."""
    return "".join(str((cls & -cls).bit_length() - 1) for cls in box)


def share(box: Box) -> float:
    """Return which part of all strings of its length a box holds."""
    return prod(cls.bit_count() / 10 for cls in box)


def hulls(boxes: Iterable[Box]) -> list[Box]:
    """Return the smallest box around all boxes of one length, for each length, shortest first."""
    around: dict[int, Box] = {}
    for box in boxes:
        known = around.get(len(box), box)
        around[len(box)] = tuple(a | b for a, b in zip(known, box, strict=True))
    return [around[length] for length in sorted(around)]


def asterisk(box: Box) -> str:
    """Write a box as an Asterisk extension pattern, without the leading underscore."""
    return "".join(map(_asterisk_class, box))


def merged(boxes: Iterable[Box]) -> list[Box]:
    """Return fewer boxes that hold the same strings: boxes that differ in one place become one."""
    left = set(boxes)
    size = len(left) + 1
    while len(left) < size:
        size = len(left)
        for place in range(max(map(len, left), default=0)):
            groups: dict[tuple[Box, Box], int] = {}
            done: set[Box] = set()
            for box in left:
                if place < len(box):
                    key = box[:place], box[place + 1 :]
                    groups[key] = groups.get(key, 0) | box[place]
                else:
                    done.add(box)
            left = done | {(*head, cls, *tail) for (head, tail), cls in groups.items()}
    return sorted(left, key=lambda box: (len(box), asterisk(box)))


@lru_cache(maxsize=4096)
def boxes_of(pattern: str) -> tuple[Box, ...]:
    r"""Return the boxes of a metadata pattern, in the order in which `re` would try them.

    Knows what the metadata uses: digits, `\d`, classes, groups, alternation, `?`, `{m}`, `{m,n}`, and
    `(?!)` for nothing. Raises ValueError for anything else.
    """
    reader = _Reader(pattern)
    boxes = reader.alternation()
    if reader.rest:
        raise ValueError(f"pattern {pattern!r}: {reader.rest[0]!r} is not understood")
    return tuple(boxes)


class _Reader:
    """Recursive descent over one pattern; `rest` is what has not been read yet."""

    def __init__(self, pattern: str) -> None:
        self.rest = pattern

    def alternation(self) -> list[Box]:
        boxes = self._sequence()
        while self._take("|"):
            boxes += self._sequence()
        return boxes

    def _sequence(self) -> list[Box]:
        boxes: list[Box] = [()]
        while self.rest and self.rest[0] not in "|)":
            atom = self._atom()
            low, high = self._counts()
            repeated = [sum(parts, ()) for count in range(high, low - 1, -1) for parts in product(atom, repeat=count)]
            boxes = [head + tail for head in boxes for tail in repeated]
        return boxes

    def _atom(self) -> list[Box]:
        if self._take("(?!)"):
            return []
        if self._take("(?:") or self._take("("):
            boxes = self.alternation()
            self._expect(")")
            return boxes
        if self._take("["):
            return [(self._class(),)]
        if self._take("\\d"):
            return [(ANY,)]
        digit, self.rest = self.rest[0], self.rest[1:]
        if not digit.isdecimal():
            raise ValueError(f"{digit + self.rest!r} is not understood")
        return [literal(digit)]

    def _class(self) -> int:
        body, _, self.rest = self.rest.partition("]")
        members = 0
        while body:
            low, high = (body[0], body[2]) if body[1:2] == "-" else (body[0], body[0])
            for digit in range(int(low), int(high) + 1):
                members |= 1 << digit
            body = body[3:] if body[1:2] == "-" else body[1:]
        return members

    def _counts(self) -> tuple[int, int]:
        if self._take("?"):
            return 0, 1
        if not self._take("{"):
            return 1, 1
        body, _, self.rest = self.rest.partition("}")
        low, _, high = body.partition(",")
        return int(low), int(high or low)

    def _take(self, token: str) -> bool:
        if self.rest.startswith(token):
            self.rest = self.rest[len(token) :]
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"{self.rest!r}: {token!r} expected")


@lru_cache(maxsize=ANY + 1)
def _asterisk_class(cls: int) -> str:
    if name := _ASTERISK_NAMES.get(cls):
        return name
    digits = [digit for digit in range(10) if cls >> digit & 1]
    if len(digits) == 1:
        return str(digits[0])
    return f"[{''.join(map(str, digits))}]"
