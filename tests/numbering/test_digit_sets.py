"""Boxes of digits: their algebra, and that they say the same as the regular expressions they are read from."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.numbering import digitsets
from fraudguard.numbering.digitsets import ANY, boxes_of
from fraudguard.numbering.table import calling_codes

BOXES = st.lists(st.integers(1, ANY), min_size=3, max_size=3).map(tuple)
DIGITS = st.text("0123456789", min_size=3, max_size=3)


def holds(box: digitsets.Box, digits: str) -> bool:
    return digitsets.intersect(box, digitsets.literal(digits)) is not None


@given(one=BOXES, other=BOXES, digits=DIGITS)
def test_what_is_subtracted_is_gone_and_the_rest_stays(one, other, digits) -> None:
    pieces = digitsets.subtract_all([one], [other])
    assert sum(holds(piece, digits) for piece in pieces) == (holds(one, digits) and not holds(other, digits))


@given(boxes=st.lists(BOXES, max_size=8), digits=DIGITS)
def test_merging_changes_nothing_but_the_count(boxes, digits) -> None:
    fewer = digitsets.merged([*boxes, (1,)])
    assert len(fewer) <= len(boxes) + 1
    assert any(holds(box, digits) for box in fewer) == any(holds(box, digits) for box in boxes)


@pytest.mark.parametrize(
    ("pattern", "asterisk"),
    [
        ("", [""]),
        ("911", ["911"]),
        (r"[2-9]\d[1-9]", ["NXZ"]),
        ("11[02]|9?5", ["11[02]", "95", "5"]),
        ("(?:1|2[0-35])4{2,3}", ["1444", "144", "2[01235]444", "2[01235]44"]),
        ("(0)(?:12){2}", ["01212"]),
        ("5|(?!)", ["5"]),
    ],
)
def test_patterns_become_boxes_in_order(pattern, asterisk) -> None:
    assert [digitsets.asterisk(box) for box in boxes_of(pattern)] == asterisk


@pytest.mark.parametrize("pattern", ["1*", "a", "(?:1", "1)", "1.2"])
def test_what_is_not_understood_is_an_error(pattern) -> None:
    with pytest.raises(ValueError, match=r"understood|expected"):
        boxes_of(pattern)


def test_boxes_of_the_metadata_match_their_patterns() -> None:
    random = Random(1)
    for code in calling_codes().values():
        for region in code.regions:
            for pattern, _lengths, _tariff in region.types:
                compiled = re.compile(pattern)
                for box in boxes_of(pattern):
                    assert compiled.fullmatch(digitsets.first_string(box))
                digits = "".join(random.choices("0123456789", k=random.choice(sorted(region.lengths))))
                assert bool(compiled.fullmatch(digits)) == any(holds(box, digits) for box in boxes_of(pattern))


def test_small_tools() -> None:
    box = (*digitsets.literal("12"), ANY & ~0b11)
    assert list(digitsets.strings(box))[:2] == ["122", "123"]
    assert digitsets.share(box) == pytest.approx(0.008)
    assert digitsets.starts_with(box, digitsets.literal("1")) == box
    assert digitsets.starts_with(box, digitsets.literal("1234")) is None
    assert digitsets.hulls([digitsets.literal("12"), digitsets.literal("34"), (1,)]) == [(1,), (0b1010, 0b10100)]
