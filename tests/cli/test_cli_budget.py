import asyncio
import dataclasses

import pytest

from fraudguard.clock import SystemClock
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.policy.budget import NO_REGION
from fraudguard.rating import Rate
from fraudguard.store import open_writer
from fraudguard.store.calls import save_calls

RATE = Rate("53", "Cuba", 6_000_000, 0, 0, 1, 0)


@pytest.fixture
def by_day(tenants):
    """The tenants acme and globex; it is never a strict time."""
    with tenants.config.open("a") as file:
        file.write("[strict]\nhours = []\n")
    return tenants


def call(uniqueid, *, tenant="acme", account="204", seconds=60, up=False, **changes):
    """Return a call of a tenant at 6.00 a minute that ended just now, or is up for so long."""
    now = SystemClock().now()
    made = Call(
        leg=Leg("asterisk", uniqueid, uniqueid, f"PJSIP/carrier-{uniqueid}"),
        caller="",
        call=f"c{uniqueid}",
        why="ok",
        tenant=tenant,
        account=account,
        source="",
        trunk="carrier",
        number="+5355512345",
        rate=RATE,
        lease_seconds=seconds + 58,
        state=State.UP if up else State.ENDED,
        began_at=now - seconds * 1000,
        answered_at=now - seconds * 1000,
        ended_at=None if up else now,
        seconds=None if up else seconds,
        cost=None if up else seconds * 100_000,
        region="CU",
    )
    return dataclasses.replace(made, **changes)


def store(fraudguard, *calls):
    async def save():
        async with await open_writer(fraudguard.config.with_name("fraudguard.db")) as writer:
            await writer.transaction(lambda connection: save_calls(connection, calls))

    asyncio.run(save())


def listed(fraudguard, *arguments):
    return fraudguard("budget", "list", "--json", *arguments).json


def named(fraudguard, *arguments):
    keys = ("tenant", "account", "pin", "trunk", "region", "period", "strict")
    return {tuple(one[key] for key in keys): one for one in listed(fraudguard, *arguments)}


def test_the_defaults_hold_until_others_are_set(fraudguard):
    found = listed(fraudguard)
    assert [(one["tenant"], one["account"], one["strict"], one["amount"]) for one in found] == [
        ("*", None, False, "100.00"),
        ("*", None, True, "25.00"),
        ("*", "*", False, "20.00"),
        ("*", "*", True, "5.00"),
    ]
    assert all(
        (one["default"], one["domestic"], one["period"], one["id"]) == (True, False, "day", None) for one in found
    )
    assert all(one["left"] is one["spent"] is one["live_calls"] is one["resets_at"] is None for one in found)
    assert "each account, per day, at strict times  5.00 " in fraudguard("budget", "list").out
    fraudguard("budget", "set", "30", "--per", "day", "--each", "account")
    (ours,) = [one for one in listed(fraudguard) if one["account"] == "*" and not one["strict"]]
    assert (ours["amount"], ours["default"], ours["domestic"], ours["id"]) == ("30.00", False, True, 1)


@pytest.mark.parametrize(
    ("options", "told", "scope"),
    [
        ("20 --per day --account 204", "20.00 USD per day (account 204 of tenant default)", ("default", "204")),
        ("20 --per day --tenant acme", "20.00 USD per day (tenant acme)", ("acme",)),
        ("500 --per month", "500.00 USD per month (global)", ()),
        (
            "5 --per hour --rolling --strict --non-domestic --trunk carrier",
            "5.00 USD per rolling hour, at strict times, domestic calls not counted (trunk carrier)",
            (None, None, None, "carrier"),
        ),
        ("5 --per day --region cu", "5.00 USD per day (region CU)", (None, None, None, None, "CU")),
        ("0 --per day --region 001", "0.00 USD per day (region 001)", (None, None, None, None, NO_REGION)),
        ("none --per day --each account", "no end per day (each account)", ("*", "*")),
        ("9 --per day --each person", "9.00 USD per day (each person)", ("*", None, "*")),
        ("9 --per day --each account --tenant acme", "9.00 USD per day (each account of tenant acme)", ("acme", "*")),
        (
            "9 --per day --account 204 --each region",
            "9.00 USD per day (account 204 each region of tenant default)",
            ("default", "204", None, None, "*"),
        ),
        (
            "9 --per day --each tenant --each trunk",
            "9.00 USD per day (each trunk of each tenant)",
            ("*", None, None, "*"),
        ),
    ],
)
def test_a_budget_is_told_as_it_was_set(tenants, options, told, scope):
    assert tenants("budget", "set", *options.split()).out == f"budget: {told}\n"
    keys = ("tenant", "account", "pin", "trunk", "region")
    (ours,) = [one for one in listed(tenants) if one["id"] is not None]
    assert tuple(ours[key] for key in keys) == scope + (None,) * (5 - len(scope))


def test_a_person_has_a_budget_over_all_accounts(tenants):
    tenants("pin", "add", "Ann", "--tenant", "acme")
    for whose in (["--tenant", "acme"], ["--each", "tenant"]):
        assert "person Ann" in tenants("budget", "set", "5", "--per", "day", "--pin", "Ann", *whose).out
    missing = tenants("budget", "set", "5", "--per", "day", "--pin", "Ann", status=2).err
    assert "--pin: tenant default has no PIN of 'Ann' ('fraudguard pin list'" in missing
    missing = tenants("budget", "set", "5", "--per", "day", "--pin", "Bob", "--each", "tenant", status=2).err
    assert "--pin: no tenant has a PIN of 'Bob'" in missing


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("dear --per day", "AMOUNT: 'dear' is not an amount"),
        ("1", "Missing option '--per'"),
        ("1 --per year", "'year' is not one of 'hour', 'day', 'month'"),
        ("1 --per day --tenant acmee", "--tenant: unknown tenant 'acmee' (known: acme, default, globex;"),
        ("1 --per day --trunk carier", "--trunk: unknown trunk 'carier' (configured: carrier)"),
        ("1 --per day --region Cuba", "--region: 'CUBA' is no region (a country's two letters"),
        ("1 --per day --account *", "--account: '*' is no account (for each of them: --each account)"),
        ("1 --per day --pin *", "--pin: '*' is no person (for each of them: --each person)"),
        ("1 --per day --pin " + "a" * 81, "is no name for a PIN"),
        ("1 --per day --account \x1b[2J", "is no account"),
        (
            "1 --per day --each account --account 204",
            "--each: --account names one account, and --each account means all",
        ),
        ("1 --per day --each person --pin Ann", "--pin names one person"),
        ("1 --per day --each customer", "'customer' is not one of"),
    ],
)
def test_wrong_input_is_named_with_a_way_out(tenants, options, what):
    result = tenants("budget", "set", *options.split(), status=2)
    assert what in result.err
    assert "\x1b" not in result.err
    assert result.out == ""


def test_removing_says_what_holds_then(tenants):
    def remove(options):
        return tenants("budget", "remove", "--per", "day", *options.split()).out

    for options in ("--account 204", "--each account", "--each account --tenant acme", "--account 205 --tenant acme"):
        tenants("budget", "set", "7", "--per", "day", *options.split())
    tenants("budget", "set", "1", "--per", "day", "--strict", "--tenant", "acme")
    tenants("budget", "set", "1", "--per", "day")
    assert remove("--account 204") == (
        "budget removed (account 204 of tenant default, per day); the one of each account holds: 7.00 USD\n"
    )
    assert remove("--account 205 --tenant acme") == (
        "budget removed (account 205 of tenant acme, per day); the one of each account of tenant acme holds: 7.00 USD\n"
    )
    assert remove("--each account") == "budget removed (each account, per day); the default holds: 20.00 USD\n"
    assert remove("--strict --tenant acme") == (
        "budget removed (tenant acme, per day, at strict times); the default of each tenant holds: 25.00 USD\n"
    )
    assert remove("") == "budget removed (global, per day)\n"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("--account 204", "there is no budget for account 204 of tenant default, per day ('fraudguard budget list'"),
        ("--each account", "each account, per day is a default that nobody has set ('budget set none' lifts it)"),
        ("--tenant acmee", "--tenant: unknown tenant 'acmee'"),
    ],
)
def test_what_is_not_set_cannot_be_removed(tenants, options, what):
    assert what in tenants("budget", "remove", "--per", "day", *options.split(), status=2).err


def test_a_budget_of_who_is_gone_can_be_removed(tenants):
    tenants("pin", "add", "Ann", "--tenant", "globex")
    tenants("budget", "set", "1", "--per", "day", "--tenant", "globex", "--pin", "Ann")
    tenants("pin", "revoke", "Ann", "--tenant", "globex")
    tenants.config.write_text(tenants.config.read_text().replace("[tenants.globex]", ""))
    assert "removed" in tenants("budget", "remove", "--per", "day", "--tenant", "globex", "--pin", "Ann").out


def test_what_is_spent_and_set_aside_is_shown_with_when_it_begins_anew(by_day):
    by_day("budget", "set", "1000", "--per", "month", "--tenant", "acme")
    by_day("budget", "set", "50", "--per", "hour", "--rolling")
    store(by_day, call("1"), call("2", up=True), call("3", tenant="globex", account="7"))
    found = named(by_day)
    acme = found["acme", None, None, None, None, "month", False]
    assert (acme["amount"], acme["live_calls"], acme["default"]) == ("1000.00", 1, False)
    # a minute that ended, with the second more that the carrier may have seen; and the lease of 118 s, with 2 s more
    assert float(acme["spent"]) + float(acme["set_aside"]) == pytest.approx(6.1 + 12)
    assert float(acme["left"]) == pytest.approx(1000 - 6.1 - 12)
    assert acme["resets_at"].endswith(("T22:00:00+00:00", "T23:00:00+00:00")), "midnight in Berlin"
    everybody = found[None, None, None, None, None, "hour", False]
    assert float(everybody["left"]) == pytest.approx(50 - 12.2 - 12)
    assert everybody["resets_at"] is not None
    account = found["acme", "204", None, None, None, "day", False]
    assert (account["default"], account["amount"], account["id"]) == (True, "20.00", None)
    text = by_day("budget", "list").out
    assert "T00:00:00+0" in text
    rule = next(i for i, line in enumerate(text.splitlines()) if line.startswith("each account, per day "))
    assert [line.split("  ")[1] for line in text.splitlines()[rule + 1 : rule + 3]] == [
        "account 204 of tenant acme",
        "account 7 of tenant globex",
    ]


def test_of_those_who_have_one_each_the_ten_with_least_left_are_shown(by_day):
    store(by_day, *(call(str(n), account=f"a{n:02}", seconds=n) for n in range(1, 14)))
    text = by_day("budget", "list", "--tenant", "acme").out
    assert "  and 3 more: --all" in text
    rows = [line.split()[1] for line in text.splitlines() if line.startswith("  account ")]
    assert rows == [f"a{n:02}" for n in range(13, 3, -1)]
    every = by_day("budget", "list", "--tenant", "acme", "--all").out
    assert every.count("  account ") == 13
    assert "more" not in every
    assert sum(one["account"] not in (None, "*") for one in listed(by_day)) == 13


def test_filters_show_what_bounds_such_calls(by_day):
    by_day("budget", "set", "1", "--per", "hour", "--tenant", "globex")
    by_day("budget", "set", "1", "--per", "hour", "--account", "204", "--tenant", "acme")
    by_day("budget", "set", "9", "--per", "hour")
    store(by_day, call("1"), call("2", account="205"), call("3", tenant="globex"))
    found = [one for one in named(by_day, "--tenant", "acme", "--account", "205") if one[0] != "*"]
    assert found == [
        (None, None, None, None, None, "hour", False),
        ("acme", None, None, None, None, "day", False),
        ("acme", "205", None, None, None, "day", False),
    ]
    assert "unknown tenant" in by_day("budget", "list", "--tenant", "acmee", status=2).err


def test_what_callers_chose_cannot_command_the_terminal(by_day):
    store(by_day, call("1", account="\x1b[2J"))
    assert "\x1b" not in by_day("budget", "list").out
