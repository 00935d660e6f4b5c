"""A cheap row for a calling code alone must not price what is not ordinary there."""

import pytest

from fraudguard.numbering import HomePlan, Normaliser

US = Normaliser(HomePlan(satellite_prefixes=("21396190",)))
CANADA_TOO = Normaliser(HomePlan(domestic_regions=frozenset({"CA"})))


@pytest.mark.parametrize(
    ("dialled", "least"),
    [
        ("12125550100", 0),
        ("18005550100", 0),
        ("01149301234567", 0),
        ("011442079460000", 0),
        ("18765550100", 2),  # Jamaica
        ("14165550100", 2),  # Canada
        ("19005550100", 2),
        ("12129765555", 7),
        ("12001234567", 2),
        ("011449090123456", 3),
        ("0118821600000", 3),
        ("01187077391234", 3),
        ("011979123456789", 3),
        ("01180012345678", 3),
        ("0112139619000000", 4),
        ("011999123456", 3),
        ("911", 0),
        ("611", 0),
    ],
)
def test_the_shortest_prefix_that_may_price_a_number(dialled, least):
    assert US.normalise(dialled).least_prefix == least


def test_a_region_counted_as_domestic_is_priced_like_home():
    assert CANADA_TOO.normalise("14165550100").least_prefix == 0
