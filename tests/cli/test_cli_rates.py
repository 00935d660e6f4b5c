import gzip

import pytest


def test_import_shows_the_layout_and_what_it_stored(empty, prices):
    result = empty("rates", "import", prices, "--deck", "carrier")
    assert 'price: column 3 "per_minute"' in result.out
    assert "deck carrier: version 1, 5 rows" in result.out


def test_a_dry_run_tells_what_would_change_and_stores_nothing(fraudguard, prices):
    text = prices.read_text()
    prices.write_text(
        text.replace("0.02", "0.30").replace("0.80", "0.70").replace("882,Networks,3.5,0,60,60\n", "7,R,1,0,1,1")
    )
    out = fraudguard("rates", "import", prices, "--deck", "carrier", "--dry-run").out
    for line in ("added: 1", "removed: 1", "dearer: 1", "cheaper: 1", "unchanged: 2"):
        assert line in out
    assert "1 prefixes rise above the limit of 0.25 USD:\n  44 United Kingdom: 0.02 -> 0.30" in out
    assert len(fraudguard("rates", "decks", "--json").json) == 1


def test_bad_rows_are_named_all_at_once_and_nothing_is_imported(empty, prices):
    prices.write_text(prices.read_text().replace("0.02", "-0.02").replace("53,", "5x,"))
    result = empty("rates", "import", prices, "--deck", "carrier", status=2)
    assert f"{prices.name}:3: " in result.err
    assert f"{prices.name}:5: " in result.err
    assert "negative" in result.err
    assert empty("rates", "decks", "--json").json == []


def test_a_currency_other_than_the_installations_is_refused(empty, prices):
    prices.write_text(prices.read_text().replace("per_minute", "price (EUR)"))
    assert "EUR" in empty("rates", "import", prices, "--deck", "carrier", status=2).err
    assert empty("rates", "decks", "--json").json == []


def test_the_version_before_can_be_activated_again(fraudguard, prices):
    prices.write_text(prices.read_text().replace("0.02", "0.03"))
    fraudguard("rates", "import", prices, "--deck", "carrier")
    lookup = ("rates", "lookup", "+442079460000", "--json")
    assert fraudguard(*lookup).json["per_minute"] == "0.03"
    fraudguard("rates", "activate", "1")
    assert fraudguard(*lookup).json["per_minute"] == "0.02"
    versions = fraudguard("rates", "decks", "--json").json
    assert [(entry["version"], entry["in_force"]) for entry in versions] == [(2, False), (1, True)]
    assert "there is no version 9" in fraudguard("rates", "activate", "9", status=2).err


def test_a_future_version_waits_for_its_time(fraudguard, prices):
    prices.write_text(prices.read_text().replace("0.02", "0.03"))
    fraudguard("rates", "import", prices, "--deck", "carrier", "--effective", "2090-01-01")
    lookup = ("rates", "lookup", "+442079460000", "--json")
    assert fraudguard(*lookup).json["per_minute"] == "0.02"
    assert fraudguard(*lookup, "--at", "2090-01-01").json["per_minute"] == "0.03"


def test_lookup_shows_the_longest_prefix_and_the_cost(fraudguard):
    document = fraudguard("rates", "lookup", "011447012345678", "--seconds", "61", "--json").json
    assert (document["prefix"], document["per_minute"], document["connect_fee"]) == ("4470", "0.40", "0.10")
    assert document["cost"] == "0.90"
    assert list(document)[:9] == [
        *("prefix", "destination", "per_minute", "connect_fee", "minimum_seconds", "increment_seconds"),
        *("currency", "deck", "effective_from"),
    ]


def test_lookup_says_when_the_row_does_not_price_the_number(fraudguard):
    result = fraudguard("rates", "lookup", "18765550100", "--json", status=1)
    assert (result.json["prefix"], result.json["applies"]) == ("1", False)
    assert "it is not the price of +18765550100" in fraudguard("rates", "lookup", "18765550100", status=1).err


def test_lookup_of_a_number_without_price_says_no(fraudguard):
    assert "has no price for +4915112345678" in fraudguard("rates", "lookup", "+4915112345678", status=1).out
    assert fraudguard("rates", "lookup", "+4915112345678", "--json", status=1).json is None


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["lookup", "911"], "911 is a short code"),
        (["lookup", "abc"], "is no number"),
        (["import", "nowhere.csv", "--deck", "a"], "nowhere.csv"),
        (["import", "{prices}", "--deck", "a b"], "is no name for a deck"),
        (["import", "{prices}", "--deck", "a", "--column", "price"], "does not map a column"),
        (["import", "{prices}", "--deck", "a", "--column", "cost=3"], "does not map a column"),
        (["import", "{prices}", "--deck", "a", "--column", "price=nowhere"], "nowhere"),
        (["import", "{prices}", "--deck", "a", "--unit", "0"], "is no unit of a price"),
        (["import", "{prices}", "--deck", "a", "--effective", "then"], "is not a time"),
        (["export", "--version", "9"], "there is no version 9"),
        (["export", "--deck", "x"], "there is no version of deck x in force"),
    ],
)
def test_wrong_input_is_named(fraudguard, prices, arguments, what):
    result = fraudguard("rates", *[argument.format(prices=prices) for argument in arguments], status=2)
    assert what in result.err


def test_what_is_exported_is_imported_as_the_same(fraudguard, tmp_path):
    exported = fraudguard("rates", "export", "--deck", "carrier").out
    copy = tmp_path / "copy.csv.gz"
    copy.write_bytes(gzip.compress(exported.encode()))
    out = fraudguard("rates", "import", copy, "--deck", "carrier", "--dry-run").out
    assert "unchanged: 5" in out


def test_a_deck_that_no_trunk_uses_is_pointed_out(empty, prices):
    assert "no trunk is priced by deck other yet" in empty("rates", "import", prices, "--deck", "other").err


def test_a_bad_row_that_is_skipped_does_not_fall_to_the_price_of_a_shorter_prefix(fraudguard, prices):
    prices.write_text(prices.read_text().replace("4470,United Kingdom personal,0.40", "447,United Kingdom mobile,soon"))
    fraudguard("rates", "import", prices, "--deck", "carrier", "--skip-bad")
    fraudguard("pin", "add", "Ann")
    assert "verdict: allow" in fraudguard("check", "011442079460000", "--trunk", "carrier").out
    assert "no_rate" in fraudguard("check", "011447400123456", "--trunk", "carrier", status=1).out


def test_terms_that_bill_by_the_day_are_refused(empty, prices):
    prices.write_text(prices.read_text().replace("0.01,0,6,6", "0.01,0,3600,86400"))
    assert (
        "longer than any carrier bills at once" in empty("rates", "import", prices, "--deck", "carrier", status=2).err
    )


def test_a_dry_run_knows_what_is_carried_over(fraudguard, prices):
    text = prices.read_text().replace("increment\n", "increment,effective\n", 1)
    head, *rows = text.splitlines()
    later = [f"{row},2090-01-01" if row.startswith("44,") else f"{row},2020-01-01" for row in rows]
    prices.write_text("\n".join([head, *later]))
    assert "dearer: 0" in fraudguard("rates", "import", prices, "--deck", "carrier", "--dry-run").out


def test_an_unknown_deck_is_named(fraudguard):
    assert "there is no deck 'x'" in fraudguard("rates", "lookup", "+442079460000", "--deck", "x", status=2).err
