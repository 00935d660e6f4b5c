"""Price lists as carriers and projects publish them. Not part of this project; skipped without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraudguard.clock import parse_instant
from fraudguard.decks import BadRowsError, ImportOptions, Role, read_deck
from fraudguard.errors import InputError

LISTS = next(Path(__file__).parents[3].glob("*/data/rates"), Path("/nonexistent"))  # in a folder beside the checkout

pytestmark = pytest.mark.skipif(not LISTS.is_dir(), reason="no folder of published price lists beside the checkout")


def read(name, **options):
    return read_deck(LISTS / name, ImportOptions(**options))


def rate(deck, prefix):
    return next(rate for rate in deck.rows if rate.prefix == prefix)


@pytest.mark.parametrize(
    ("name", "lines", "rows", "refused", "warnings"),
    [("lcr-ARIA-2022.csv.gz", 23_611, 23_576, 5_674, 35), ("lcr-WAVECREST-2022.csv.gz", 20_206, 20_206, 2_488, 0)],
)
def test_international_lists(name, lines, rows, refused, warnings):
    deck = read(name, currency="USD")
    assert (deck.lines, len(deck.rows), deck.warning_count) == (lines, rows, warnings)
    assert sum(not rate.offered for rate in deck.rows) == refused
    assert deck.layout.describe()[:5] == [
        'prefix: column 3 "prefix"',
        'destination: column 9 "description"',
        'price: column 6 "tariff"',
        'effective: column 1 "start_date"',
        'blocked: column 7 "blocked"',
    ]


def test_repeated_prefixes_take_the_higher_price():
    deck = read("lcr-ARIA-2022.csv.gz")
    assert len({str(warning).split()[2] for warning in deck.warnings}) == 26
    assert rate(deck, "93")[1:3] == ("Afghanistan", 164_300)
    assert rate(deck, "93").effective_from == parse_instant("2022-02-15T14:30:55.477")


def test_shifted_rows_are_all_named_and_the_rest_ends_too_early():
    with pytest.raises(BadRowsError) as caught:
        read("voipaccel-AZtest1-2024.csv.gz")
    assert caught.value.bad_rows == 19
    assert len({complaint.line for complaint in caught.value.complaints}) == 19
    assert 'gz:3888: column 2: "Ontario" is not a prefix' in str(caught.value)
    deck = read("voipaccel-AZtest1-2024.csv.gz", skip_bad=True)
    assert deck.skipped == 19
    assert deck.warning_count == 1
    assert "the rest of the alphabet is missing" in str(deck.warnings[-1])


def test_several_prices_a_row():
    deck = read("voipaccel-UStest1-npanxx-2025-03-24.csv.gz")
    assert len(deck.rows) == 59_396
    assert rate(deck, "1201203").per_minute == 4_883  # intrastate and indeterminate; interstate is 0.004574
    assert rate(deck, "1407912").per_minute == 620  # interstate
    interstate = read("voipaccel-UStest1-npanxx-2025-03-24.csv.gz", columns={Role.PRICE: "rate (inter)"})
    assert rate(interstate, "1201203").per_minute == 4_574


def test_a_mixed_list_without_header():
    deck = read("voipaccel-file2-mixed.csv")
    assert len(deck.rows) == 207
    assert rate(deck, "1204204")[1:3] == ("Canada - MB", 17_520)


def test_switch_exports():
    deck = read("astpp-terminationrates_sample-v2.csv", currency="USD")
    assert [tuple(rate[:6]) for rate in deck.rows] == [("1", "USA", 50_000, 0, 30, 60), ("44", "UK", 60_000, 0, 30, 60)]
    deck = read("astpp-export-termination-rates-2019-bom.csv")
    assert deck.layout.currency == "USD"
    assert "are the columns shifted?" in str(deck.warnings[0])
    with pytest.raises(InputError, match="expected EUR"):
        read("astpp-terminationrates_sample-v2.csv", currency="EUR")


def test_lost_decimal_points_are_above_the_ceiling():
    with pytest.raises(BadRowsError) as caught:
        read("ivozprovider-pricesSample.csv")
    assert (caught.value.bad_rows, caught.value.rows) == (310, 4_743)
    deck = read("ivozprovider-pricesSample.csv", skip_bad=True)
    assert (len(deck.rows), deck.warning_count) == (4_740, 3)  # 3 prefixes come twice


def test_several_codes_a_cell_once_the_operator_says_which_columns():
    pytest.importorskip("python_calamine", reason="the spreadsheets extra is not installed")
    name = "johst-multi-code-per-cell.xlsx"
    with pytest.raises(InputError, match="MCC and MNC are codes of mobile networks"):
        read(name)
    deck = read(name, columns={Role.COUNTRY_CODE: "MCC", Role.PREFIX: "MNC"})
    assert [rate.prefix for rate in deck.rows if rate.destination == "Austria"] == ["23201", "23203", "23206"]
    assert rate(deck, "24005").per_minute == 220_000


def test_a_list_of_names_is_refused():
    with pytest.raises(InputError, match="no prefix column: its columns are traffic_direction, rate, time_slot"):
        read("interconn-names-only-rates.csv")


@pytest.mark.parametrize("part", ["DestinationRates", "Destinations", "Rates", "RatingPlans", "RatingProfiles"])
def test_a_tariff_plan_spread_over_files_is_refused(part):
    with pytest.raises(InputError, match="is one of several files of a tariff plan"):
        read(f"cgrates-tutorial-{part}.csv")
