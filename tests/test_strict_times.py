"""The strict profile: from the configuration file to the verdict."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from pin_cases import pin
from policy_cases import attempt, rate

from fraudguard.config import Settings
from fraudguard.errors import ConfigError
from fraudguard.guard import judge
from fraudguard.house import build_house
from fraudguard.numbering import Kind
from fraudguard.policy import Grant, Limit, PolicyIndex, Reason, Scope, Snapshot, explain, flatten
from fraudguard.policy.hours import Hours
from fraudguard.policy.pin import Keyed
from fraudguard.policy.ruling import as_json
from fraudguard.policy.strict import NEVER
from fraudguard.rating import Deck, PrefixTable

NEW_YORK = ZoneInfo("America/New_York")
DAY, NIGHT = "2027-01-05T12:00", "2027-01-05T23:00"  # of a Tuesday
HOME, ABROAD, SHIP, HELP = "12125550100", "011442079460000", "01188216000000", "911"
RATES = [
    rate(10_000, prefix="1"),
    rate(10_000, prefix="1900"),
    rate(200_000, prefix="44"),
    rate(2_000_000, prefix="882"),
]
DECK = Deck("a", "USD", 1, PrefixTable(sorted(RATES)))


@pytest.fixture(autouse=True)
def as_configured(monkeypatch):
    monkeypatch.delenv("FRAUDGUARD_STRICT__HOURS")


def at(text, zone=NEW_YORK):
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def house(everywhere=None, shadow=(), **acme):
    return build_house(
        Settings(
            zone="America/New_York",
            trunks={"carrier": {"deck": "a"}},
            tenants={"acme": acme},
            strict=everywhere or {},
            pin={"ask": ["premium"]},
            policy={"shadow": shadow},
        )
    )


def judged(built, number, when, keyed=None, tenant="acme", **parts):
    policy = PolicyIndex(Snapshot(**({"decks": {"a": DECK}} | parts)))
    return judge(built, policy, attempt(number=number, at=at(when), tenant=tenant), "id", keyed)


# --- the house ---


def test_what_is_configured_is_made_ready():
    built = house({"limit": "0.05", "ask": ["domestic", "unknown"]}, strict={"hours": ["fri 14:00-24:00"]})
    fallback, acme = built.fallback.strict, built.tenancies["acme"].strict
    assert fallback.hours == tuple(map(Hours.parse, ("20:00-07:00", "sat,sun")))
    assert acme.hours == (Hours.parse("fri 14:00-24:00"),)
    assert fallback.limit == acme.limit == 50_000
    assert fallback.ask == acme.ask == {Kind.DOMESTIC, Kind.UNKNOWN}
    assert fallback.holiday is acme.holiday is None


def test_without_hours_and_holidays_it_never_holds():
    assert house({"hours": []}).fallback.strict == NEVER


@pytest.mark.parametrize(
    ("home", "part", "day", "off"),
    [
        ("US", "", date(2027, 7, 4), True),
        ("US", "", date(2027, 7, 5), True),  # the fourth is a Sunday
        ("US", "", date(2027, 7, 6), False),
        ("DE", "", date(2027, 10, 3), True),
        ("DE", "", date(2027, 1, 6), False),
        ("DE", "BY", date(2027, 1, 6), True),
        ("DE", "Bayern", date(2027, 1, 6), True),
        ("US", "", date(2027, 3, 31), False),
        ("US", "CA", date(2027, 3, 31), True),
    ],
)
def test_holidays_are_those_of_the_region_at_home(home, part, day, off):
    acme = house(home=home, strict={"holidays": True, "holidays_in": part}).tenancies["acme"].strict
    assert acme.holiday(day) == off


def test_a_part_is_one_of_the_region_at_home():
    both = {"holidays": True, "holidays_in": "CA"}
    assert house(both).tenancies["acme"].strict.holiday(date(2027, 3, 31))
    assert house(both, home="US").tenancies["acme"].strict.holiday(date(2027, 3, 31))
    assert not house(both, home="IT").tenancies["acme"].strict.holiday(date(2027, 3, 31))  # CA is Cagliari there
    assert house(both, home="DE", strict={"holidays_in": "BY"}).tenancies["acme"].strict.holiday(date(2027, 1, 6))


@pytest.mark.parametrize(
    ("everywhere", "acme", "expected"),
    [
        (
            {"hours": ["mon-fri 8-18"]},
            {},
            "strict.hours: 'mon-fri 8-18' are no hours (write them as 'mon-fri 08:00-18:00')",
        ),
        ({}, {"strict": {"hours": ["sat", "x-y"]}}, "tenants.acme.strict.hours: 'x-y' are no hours (write them"),
        ({"hours": ["sat", "abc"]}, {}, "strict.hours: 'abc' are no weekdays (days are mon, tue,"),
        (
            {"holidays": True, "holidays_in": "XX"},
            {},
            "strict.holidays_in: 'XX' is no part of US with holidays of its own (known: AK, AL,",
        ),
        ({"holidays": True, "holidays_in": "ca"}, {}, "(did you mean CA?)"),
        (
            {"holidays": True},
            {"strict": {"holidays_in": "YB"}, "home": "DE"},
            "tenants.acme.strict.holidays_in: 'YB' is no part of DE with holidays of its own (known: BB, BE,",
        ),
        (
            {"holidays": True},
            {"home": "MC", "strict": {"holidays_in": "ZZ"}},
            "tenants.acme.strict.holidays_in: 'ZZ' is no part of MC with holidays of its own (leave it out)",
        ),
        (
            {"holidays": True},
            {"home": "AC"},
            "tenants.acme.strict.holidays: no public holidays are known for AC (set it to false for this home)",
        ),
        ({}, {"home": "AC", "strict": {"holidays": True}}, "tenants.acme.strict.holidays: no public holidays are"),
    ],
)
def test_what_cannot_be_is_told_with_its_key_and_the_way_out(everywhere, acme, expected):
    with pytest.raises(ConfigError) as caught:
        house(everywhere, **acme)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"fraudguard.toml: {'tenants' if 'tenants' in expected else 'strict'}.")


def test_a_home_without_known_holidays_is_told_of_the_installation_too():
    with pytest.raises(ConfigError, match=r"^fraudguard.toml: strict.holidays: no public holidays are known for AC"):
        build_house(Settings(numbering={"home": "AC"}, strict={"holidays": True}))


def test_holidays_are_loaded_only_where_they_count():
    script = (
        "import sys\nfrom fraudguard.config import Settings\nfrom fraudguard.house import build_house\n"
        "build_house(Settings())\nassert 'holidays' not in sys.modules\n"
        "build_house(Settings(strict={'holidays': True}))\nassert 'holidays' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# --- the verdict ---

STRICT = {"limit": "0.15", "ask": ["domestic"]}


def test_meanwhile_the_limit_is_lower_and_the_verdict_says_whose_it_was():
    built = house(STRICT)
    by_day, by_night = judged(built, ABROAD, DAY), judged(built, ABROAD, NIGHT)
    assert (by_day.reason, by_day.facts.strict, by_day.facts.limit.per_minute) == (Reason.OK, False, 250_000)
    assert (by_night.reason, by_night.facts.strict, by_night.facts.limit.per_minute) == (
        Reason.OVER_LIMIT,
        True,
        150_000,
    )
    assert [flatten(one).limit_scope for one in (by_day, by_night)] == ["global", "strict"]
    assert "limit: 0.15 USD (at strict times) is exceeded and no grant applies" in explain(flatten(by_night), "USD")


@pytest.mark.parametrize(
    ("limits", "per_minute", "scope"),
    [
        ([Limit(Scope("acme"), 900_000)], 150_000, "strict"),
        ([Limit(Scope("acme", "204"), 900_000)], 150_000, "strict"),
        ([Limit(Scope("acme"), 150_001)], 150_000, "strict"),
        ([Limit(Scope("acme"), 150_000)], 150_000, "tenant"),
        ([Limit(Scope("acme"), 900_000), Limit(Scope("acme", "204"), 0)], 0, "account"),
    ],
)
def test_the_lower_limit_holds(limits, per_minute, scope):
    ruling = flatten(judged(house(STRICT), ABROAD, NIGHT, limits=tuple(limits)))
    assert (ruling.limit, ruling.limit_scope) == (per_minute, scope)


def test_without_a_limit_of_its_own_the_usual_one_holds():
    verdict = judged(house(), ABROAD, NIGHT)
    assert (verdict.reason, verdict.facts.strict, flatten(verdict).limit_scope) == (Reason.OK, True, "global")


def test_grants_lift_the_limit_and_spare_the_pin_as_by_day():
    built = house(STRICT)
    grants = (Grant(1, Scope(), "88", None, None, "", "", 0), Grant(2, Scope(), "1", None, None, "", "", 0))
    assert judged(built, SHIP, NIGHT, grants=grants).reason is Reason.OK
    assert judged(built, HOME, NIGHT, grants=grants).reason is Reason.OK
    low = (Grant(1, Scope(), "44", 199_999, None, "", "", 0),)
    assert judged(built, ABROAD, NIGHT, grants=low).reason is Reason.OVER_LIMIT


def test_meanwhile_more_kinds_of_number_want_a_pin():
    built = house(STRICT)
    assert judged(built, HOME, DAY).reason is Reason.OK
    assert judged(built, HOME, NIGHT).reason is Reason.PIN_REQUIRED
    keyed = Keyed(at(NIGHT), pin())
    assert judged(built, HOME, NIGHT, keyed).reason is Reason.OK
    premium = "19005550100"
    assert {judged(built, premium, when).reason for when in (DAY, NIGHT)} == {Reason.PIN_REQUIRED}


def test_each_tenant_has_its_own_times():
    built = house(STRICT, strict={"hours": []})
    assert judged(built, ABROAD, NIGHT).reason is Reason.OK
    assert judged(built, ABROAD, NIGHT, tenant="default").reason is Reason.OVER_LIMIT
    tokyo = house(STRICT, zone="Asia/Tokyo")  # where it is noon of the next day
    assert judged(tokyo, ABROAD, NIGHT).reason is Reason.OK
    assert judged(tokyo, ABROAD, DAY).reason is Reason.OVER_LIMIT


def test_holidays_are_strict_all_day():
    built = house(STRICT | {"holidays": True})
    assert judged(built, ABROAD, "2027-07-05T12:00").reason is Reason.OVER_LIMIT
    assert judged(built, ABROAD, "2027-07-06T12:00").reason is Reason.OK


def test_an_emergency_goes_whatever_becomes_of_the_calendar(monkeypatch):
    built = house(STRICT | {"ask": ["domestic", "unknown"]})
    assert judged(built, HELP, NIGHT).reason is Reason.EMERGENCY

    def broken(*_):
        raise RuntimeError

    monkeypatch.setattr("fraudguard.policy.strict.Strict.holds", broken)
    assert judged(built, HELP, NIGHT).reason is Reason.EMERGENCY
    with pytest.raises(RuntimeError):
        judged(built, HOME, NIGHT)


def test_a_limit_in_shadow_is_noted_at_strict_times_too():
    verdict = judged(house(STRICT, shadow=["over_limit"]), ABROAD, NIGHT)
    assert (verdict.reason, verdict.simulated) == (Reason.OK, (Reason.OVER_LIMIT,))
    steps = explain(flatten(verdict), "USD")
    assert [step.partition(":")[0] for step in steps[2:7]] == ["rate", "strict", "limit", "shadow", "budget"]


def test_scripts_and_people_are_told_that_it_held():
    by_day, by_night = (flatten(judged(house(), HOME, when)) for when in (DAY, NIGHT))
    assert [as_json(one, "USD")["strict"] for one in (by_day, by_night)] == [False, True]
    line = "strict: the strict profile holds at this time (nights, weekends, holidays)"
    assert [line in explain(one, "USD") for one in (by_day, by_night)] == [False, True]
