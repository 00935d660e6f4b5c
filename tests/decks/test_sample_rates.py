"""The sample price list that comes with fraudguard."""

from __future__ import annotations

from importlib import resources

import pytest

from fraudguard.decks import read_deck
from fraudguard.rating import PrefixTable


@pytest.fixture(scope="module")
def deck():
    with resources.as_file(resources.files("fraudguard") / "data" / "sample-rates.csv") as path:
        return read_deck(path)


def test_reads_without_a_warning(deck):
    assert len(deck.rows) > 150
    assert deck.warning_count == 0


@pytest.mark.parametrize(
    ("number", "destination"),
    [
        ("12125550100", "United States"),
        ("18765550100", "Jamaica"),
        ("14165550100", "Canada"),
        ("442079460000", "United Kingdom"),
        ("447700900123", "United Kingdom - Mobile"),
        ("5371234567", "Cuba"),
        ("881612345678", "Satellite - Iridium"),
    ],
)
def test_prices_what_a_newcomer_tries(deck, number, destination):
    found = PrefixTable(deck.rows).longest(number)
    assert found is not None
    assert found.destination == destination


def test_most_of_the_dangerous_is_above_the_default_limit_and_home_is_below(deck):
    table = PrefixTable(deck.rows)
    assert all(
        table.longest(number).per_minute > 250_000 for number in ("5371234567", "8816123", "23912345", "19005550100")
    )
    assert table.longest("12125550100").per_minute < 250_000
