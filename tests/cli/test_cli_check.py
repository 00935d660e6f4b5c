import asyncio
from dataclasses import replace
from functools import partial

import pytest
from policy_cases import attempt, facts, number

from fraudguard.clock import SystemClock
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.numbering import Kind
from fraudguard.policy import Outcome, Reason, Verdict
from fraudguard.rating import Rate
from fraudguard.store import open_writer
from fraudguard.store.calls import note_followed, save_calls
from fraudguard.store.verdicts import attempt_row, store_batch


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


@pytest.mark.parametrize("dialled", ["", "*67", "1" * 500, "sip:x@y", "\x1b[31m", "١٢٣", "0" * 41])
def test_check_judges_any_string(fraudguard, dialled):
    result = fraudguard("check", "--trunk", "carrier", "--", dialled, status=1)
    assert result.out.endswith("verdict: nowhere (bad_number)\n")
    assert "\x1b" not in result.out


def test_another_currency_in_the_configuration_does_not_relabel_prices(fraudguard):
    fraudguard.config.write_text(fraudguard.config.read_text().replace('"USD"', '"EUR"'))
    for command in (["check", "12125550100", "--trunk", "carrier"], ["run"]):
        assert "currency: is EUR, but deck carrier is priced in USD" in fraudguard(*command, status=2).err


def test_an_unknown_trunk_or_tenant_is_named(fraudguard):
    assert "unknown trunk 'x' (configured: carrier)" in fraudguard("check", "911", "--trunk", "x", status=2).err
    assert "unknown tenant" in fraudguard("check", "911", "--trunk", "carrier", "--tenant", "x", status=2).err


def store(fraudguard, *edits):
    async def save():
        async with await open_writer(fraudguard.config.with_name("fraudguard.db")) as writer:
            for edit in edits:
                await writer.transaction(edit)

    asyncio.run(save())


def live(uniqueid, **changes):
    now = SystemClock().now()
    made = Call(
        leg=Leg("asterisk", uniqueid, uniqueid, f"PJSIP/carrier-{uniqueid}"),
        caller="",
        call=f"c{uniqueid}",
        why="ok",
        tenant="default",
        account="204",
        source="",
        trunk="carrier",
        number="+5355512345",
        rate=Rate("53", "Cuba", 1_000_000, 0, 0, 1, 0),
        lease_seconds=598,
        state=State.UP,
        began_at=now,
        answered_at=now,
        region="CU",
    )
    return replace(made, **changes)


CUBA = ("check", "0115355512345", "--trunk", "carrier", "--account", "204")


def test_check_says_what_a_call_may_cost_before_anybody_looks_again(fraudguard):
    fraudguard("grant", "add", "+53")
    document = fraudguard(*CUBA, "--json").json
    assert (document["budget"], document["room"]) == ("account 204 of tenant default, per day", "20.00")
    # an eighth of 20.00 pays for three minutes at 0.80, two seconds of which are the carrier's
    assert (document["lease_seconds"], document["most"]) == (178, "2.40")
    step = "lease: 2 min 58 s at first, at most 2.40 USD; renewed while money remains, up to 4 h"
    assert document["explain"][-2:] == [step, "verdict: allow (ok), with a lease of 178 s"]
    assert step in fraudguard(*CUBA).out.splitlines()
    assert fraudguard("check", "911", "--trunk", "carrier", "--json").json["most"] is None
    assert fraudguard("check", "0118821600000", "--trunk", "carrier", "--json", status=1).json["most"] is None


def test_a_lease_that_is_not_renewed_is_said_to_be_all(fraudguard):
    call = ("check", "12125550100", "--trunk", "carrier")
    text = fraudguard.config.read_text()
    fraudguard.config.write_text(text[: text.index("[ami.")])
    assert "lease: 2 h, at most 1.201 USD; not renewed, because no Asterisk is followed\n" in fraudguard(*call).out
    fraudguard.config.write_text(text.replace("lease_seconds = 7200", "lease_seconds = 3600\ncall_seconds = 3600"))
    assert "lease: 1 h, at most 0.601 USD\n" in fraudguard(*call).out
    fraudguard.config.write_text(text.replace('deck = "carrier"', 'deck = "other"'))
    assert "lease: 2 h at first, without a price; renewed" in fraudguard(*call).out


def test_a_budget_that_is_spent_refuses_and_names_itself(fraudguard):
    fraudguard("grant", "add", "+53")
    store(fraudguard, partial(save_calls, calls=[live("1"), live("2")]))
    document = fraudguard(*CUBA, "--json", status=1).json
    assert (document["reason"], document["room"], document["most"]) == ("over_budget", "0.00", None)
    assert fraudguard(*CUBA[:-1], "205")
    out = fraudguard(*CUBA, status=1).out
    assert "budget: account 204 of tenant default, per day has 0.00 USD left, which does not pay for this call\n" in out
    # however far away: budgets as they stand now
    assert "over_budget" in fraudguard(*CUBA, "--at", "2090-01-01", status=1).out
    fraudguard("budget", "set", "none", "--per", "day", "--account", "204")
    assert fraudguard(*CUBA)


def test_too_many_calls_at_once_are_told_while_a_service_follows_them(fraudguard):
    fraudguard("grant", "add", "+53")
    cheap = Rate("53", "Cuba", 0, 0, 0, 1, 0)
    store(fraudguard, partial(save_calls, calls=[live(str(n), rate=cheap) for n in range(5)]))
    assert fraudguard(*CUBA)
    store(fraudguard, partial(note_followed, until={"asterisk": SystemClock().now()}))
    assert "5 calls of account 204 of tenant default that are not domestic at once" in fraudguard(*CUBA, status=1).out


def test_too_many_attempts_are_told(fraudguard):
    fraudguard("grant", "add", "+53")
    now = SystemClock().now()
    to_cuba = number("5355512345", Kind.INTERNATIONAL, "CU")
    known = facts(dialled=to_cuba, price=Rate("53", "Cuba", 0, 0, 0, 1, 0))
    known = replace(known, attempt=attempt(tenant="default", number="0115355512345", source="", at=now - 1000))
    rows = [attempt_row(Verdict(f"c{n}", Outcome.ALLOW, Reason.OK, known, 60)) for n in range(10)]
    store(fraudguard, lambda connection: store_batch(rows, connection))
    text = fraudguard(*CUBA, status=1).out
    assert "speed: 10 attempts of account 204 of tenant default to +5355512345 within 600 s\n" in text
    assert "nowhere (too_fast)" in text


def test_a_person_can_be_named_whose_pin_is_keyed(fraudguard):
    fraudguard("pin", "add", "Ann", "--region", "FR", "--account", "204")
    london = ("check", "011442079460000", "--trunk", "carrier")
    assert fraudguard(*london, "--account", "204").out.count("pin: one would be asked for") == 1
    for account, reason in (("204", "pin_region"), ("205", "pin_account")):
        document = fraudguard(*london, "--account", account, "--pin", "Ann", "--json", status=1).json
        assert (document["reason"], document["pin"]) == (reason, "Ann")
    fraudguard("pin", "add", "Bob", "--per-day", "0.01")
    refused = fraudguard(*london, "--account", "204", "--pin", "Bob", "--json", status=0).json
    assert (refused["lease_seconds"], refused["most"]) == (28, "0.01")
    fraudguard("budget", "set", "0", "--per", "day", "--pin", "Bob")
    refused = fraudguard(*london, "--account", "204", "--pin", "Bob", status=1).out
    assert "person Bob of tenant default, per day has 0.00 USD left" in refused
    assert "--pin: tenant default has no PIN of 'Eve'" in fraudguard(*london, "--pin", "Eve", status=2).err
    assert fraudguard("check", "12125550100", "--trunk", "carrier", "--pin", "Ann")
