import sys

import pytest

from fraudguard.config import load


def test_init_writes_configuration_and_database(fresh):
    result = fresh("init")
    settings = load(fresh.config)
    assert settings.database.exists()
    assert str(settings.database) in result.out
    assert settings.trunks["carrier"].deck == "carrier"


def test_init_overwrites_nothing(empty):
    before = empty.config.read_text()
    result = empty("init", "--home", "GB", status=2)
    assert "exists already" in result.err
    assert empty.config.read_text() == before


def test_init_keeps_a_database_that_is_there(fresh):
    fresh.config.parent.mkdir()
    database = fresh.config.parent / "fraudguard.db"
    database.write_bytes(b"precious")
    assert "exists already" in fresh("init", status=2).err
    assert database.read_bytes() == b"precious"
    assert not fresh.config.exists()


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("--home", "XX", "home"),
        ("--home", "usa", "home"),
        ("--currency", "dollar", "currency"),
        ("--trunk", "a b", "--trunk: 'a b' will not do"),
    ],
)
def test_init_leaves_nothing_behind_when_an_option_is_wrong(fresh, option, value, what):
    result = fresh("init", option, value, status=2)
    assert what in result.err
    assert not list(fresh.config.parent.glob("*"))


def test_init_with_the_sample_prices_calls_at_once(fresh):
    fresh("init", "--sample")
    said = fresh("check", "12125550100", "--trunk", "carrier").out
    assert said.endswith("verdict: allow (ok), with a lease of 7200 s\n")
    assert fresh("check", "0118821600000", "--trunk", "carrier", status=1).out.endswith("(over_limit)\n")


def test_the_sample_prices_stand_in_no_other_currency(fresh):
    assert "the sample prices are in USD" in fresh("init", "--sample", "--currency", "EUR", status=2).err
    assert not fresh.config.exists()


def test_init_is_undone_when_the_sample_cannot_be_imported(fresh, monkeypatch):
    def broken(*_):
        raise RuntimeError("full")

    monkeypatch.setattr(sys.modules["fraudguard.cli.init"], "import_sample", broken)
    fresh("init", "--sample", status=4)
    assert not fresh.config.exists()
    assert not fresh.config.with_name("fraudguard.db").exists()
    monkeypatch.undo()
    fresh("init", "--sample")


def test_a_command_before_init_says_what_to_do(fresh):
    result = fresh("limit", "list", status=2)
    assert "no such file (run 'fraudguard init' or name it with --config)" in result.err


def test_a_missing_database_says_what_to_do(empty):
    load(empty.config).database.unlink()
    assert "fraudguard init" in empty("limit", "list", status=3).err


def test_a_missing_database_is_made_beside_a_configuration_that_is_kept(empty):
    load(empty.config).database.unlink()
    before = empty.config.read_text()
    empty("init")
    assert empty.config.read_text() == before
    assert empty("grant", "list").out == "none\n"


def test_an_unknown_key_in_the_configuration_is_named(empty):
    empty.config.write_text(empty.config.read_text().replace("host =", "hots ="))
    result = empty("limit", "list", status=2)
    assert "agi.hots: unknown key (did you mean agi.host?)" in result.err
