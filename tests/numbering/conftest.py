"""Numbers made from the metadata itself, so that every region is met, not only the famous ones."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from fraudguard.numbering.digitsets import boxes_of
from fraudguard.numbering.table import Region

NumberMaker = Callable[[Random, Region], str]


@pytest.fixture(scope="session")
def make_national() -> NumberMaker:
    """Return a function that makes a national number of a region, often valid, sometimes slightly wrong."""

    def make(random: Random, region: Region) -> str:
        pattern, _lengths, _tariff = random.choice(region.types)
        box = random.choice(boxes_of(pattern))
        number = "".join(str(random.choice([digit for digit in range(10) if cls >> digit & 1])) for cls in box)
        place = random.randrange(len(number))
        mutations = (
            number[:place] + str(random.randrange(10)) + number[place + 1 :],
            number[:place] + number[place + 1 :],
            number + "1",
            "0" + number,
        )
        return random.choice(mutations) if random.random() < 0.25 else number

    return make
