import pytest


def test_check_tells_every_step_and_ends_with_the_verdict(fraudguard):
    result = fraudguard("check", "0118821600000", "--trunk", "carrier", status=1)
    assert result.out.splitlines() == [
        "number: '0118821600000' is +8821600000, satellite",
        "block: none applies",
        "rate: deck carrier, prefix 882 (Networks): 3.50 USD a minute",
        "limit: 0.25 USD (global) is exceeded and no grant applies",
        "verdict: nowhere (over_limit)",
    ]


def test_check_as_json_has_the_promised_keys(fraudguard):
    call = ("check", "011442079460000", "--trunk", "carrier", "--json")
    assert fraudguard(*call, status=1).json["reason"] == "pin_required"
    fraudguard("pin", "add", "Ann")
    document = fraudguard(*call).json
    assert {key: document[key] for key in ("verdict", "reason", "number", "region", "kind", "prefix", "deck")} == {
        "verdict": "allow",
        "reason": "ok",
        "number": "+442079460000",
        "region": "GB",
        "kind": "international",
        "prefix": "44",
        "deck": "carrier",
    }
    assert (document["per_minute"], document["limit"], document["lease_seconds"]) == ("0.02", "0.25", 7200)
    assert (document["pin_required"], document["pin"]) == (True, None)


def test_check_changes_nothing(fraudguard):
    fraudguard("check", "0118821600000", "--trunk", "carrier", status=1)
    assert fraudguard("attempts").out == "no attempts\n"
    assert fraudguard("alerts", "list").out == "no open alerts\n"


def test_check_at_another_time_uses_the_prices_of_then(fraudguard, prices):
    prices.write_text(prices.read_text().replace("0.02", "0.30"))
    fraudguard("rates", "import", prices, "--deck", "carrier", "--effective", "2090-01-01")
    fraudguard("pin", "add", "Ann")
    call = ("check", "011442079460000", "--trunk", "carrier", "--json")
    assert fraudguard(*call).json["per_minute"] == "0.02"
    assert fraudguard(*call, "--at", "2090-01-02", status=1).json["per_minute"] == "0.30"


@pytest.mark.parametrize("number", ["", "*67", "1" * 500, "sip:x@y", "\x1b[31m", "١٢٣", "0" * 41])
def test_check_judges_any_string(fraudguard, number):
    result = fraudguard("check", "--trunk", "carrier", "--", number, status=1)
    assert result.out.endswith("verdict: nowhere (bad_number)\n")
    assert "\x1b" not in result.out


def test_another_currency_in_the_configuration_does_not_relabel_prices(fraudguard):
    fraudguard.config.write_text(fraudguard.config.read_text().replace('"USD"', '"EUR"'))
    for command in (["check", "12125550100", "--trunk", "carrier"], ["run"]):
        assert "currency: is EUR, but deck carrier is priced in USD" in fraudguard(*command, status=2).err


def test_an_unknown_trunk_or_tenant_is_named(fraudguard):
    assert "unknown trunk 'x' (configured: carrier)" in fraudguard("check", "911", "--trunk", "x", status=2).err
    assert "unknown tenant" in fraudguard("check", "911", "--trunk", "carrier", "--tenant", "x", status=2).err
