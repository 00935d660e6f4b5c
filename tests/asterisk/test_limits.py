"""What stops a caller on a real Asterisk beside prices and blocks: budgets, speed limits, calls at once, strict times;
what is told of them, and what the money looks like meanwhile.

One service for all: each test has accounts of its own, and whoever is strict a tenant.
"""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from asterisk_harness.loss import TARIFFS, charge, dialled, prepare, start
from asterisk_harness.parties import Party
from asterisk_harness.service import Service
from asterisk_harness.waiting import wait_until

BY_SECOND, BY_SIX, BY_MINUTE = TARIFFS
GERMANY, FRANCE, BRITAIN = (dialled(tariff) for tariff in TARIFFS)
DOMESTIC = "912025550123"

BUSY, FAILED = 486, 503
REFUSED = 503
"""What a caller gets whose call the guard does not let go."""

ATTEMPTS, SAME_NUMBER, REGIONS, AT_ONCE = 5, 3, 2, 2
WINDOW = 5
WARNING = 3
"""Seconds before the cut in which the tone comes."""

SPEED = f"""[speed]
window_seconds = {WINDOW}
account_attempts = {ATTEMPTS}
source_attempts = 0
same_number = {SAME_NUMBER}
new_regions = {REGIONS}
account_calls = {AT_ONCE}
"""
TENANTS = """
[tenants.acme.strict]
hours = ["always"]
limit = "0.05"

[tenants.spoken.strict]
hours = ["always"]
ask = ["international"]

[tenants.answered.strict]
hours = ["always"]

[tenants.hasty.strict]
hours = ["always"]

[tenants.patient]
home = "AT" # where the price list has no price
outside_line = ""
emergency_numbers = ["110"] # which the dialplan does not know: the guard is asked

[tenants.patient.speed]
window_seconds = 3600
account_attempts = 1
tenant_attempts = 1
source_attempts = 1
region_attempts = 1
same_number = 1
new_regions = 1
account_calls = 1
tenant_calls = 1
account_calls_total = 1
tenant_calls_total = 1
"""
CUT_AFTER = 9
WARNED = "1.2"
"""Five minutes of a call: each is a fifth."""
BUDGETS = (
    ("0.003", "--account", "alice"),
    (WARNED, "--account", "quinn"),
    ("1", "--account", "rita"),
    (str(charge(CUT_AFTER + 2, BY_SECOND)), "--account", "erin-204"),
    ("0.003", "--account", "ida", "--strict"),
    ("0.003", "--tenant", "answered", "--account", "olga", "--strict"),
)


@pytest.fixture(scope="module")
def running_service(running_site, tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("limits"), running_site.guard_port)
    prepare(service, running_site.ami_port, running_site.ami_secret)
    service.configure("[speed]\n", "[unused]\n")
    file = service.folder / "fraudguard.toml"
    before, _, rest = file.read_text().partition("[unused]\n")
    file.write_text(before + SPEED + rest.partition("\n\n")[2] + TENANTS)
    service.configure("[policy]\n", f"[policy]\ncut_warning_seconds = {WARNING}\n")
    for amount, *scope in BUDGETS:
        service.cli("budget", "set", amount, "--per", "day", *scope)
    start(service)
    yield service
    service.stop()


@pytest.fixture
def service(site, running_service):
    return running_service


@pytest.fixture(scope="module")
def carrier_port(running_site):
    """The first carrier's, free for a party that each test asks to do something else."""
    running_site.carrier.stop()
    yield running_site.carrier.port
    running_site.carrier.start()


@pytest.fixture
def carrier(site, carrier_port):
    with Party(site.sip_port, port=carrier_port) as carrier:
        yield carrier


@pytest.fixture
def phones(own_phones):
    return own_phones


def attempts(service, account):
    """Return the reasons of an account's verdicts, in order."""
    return [one["reason"] for one in reversed(service.read("attempts")) if one["account"] == account]


def latest(service, account):
    return next(one for one in service.read("attempts") if one["account"] == account)


def alerts(service, account, *kinds):
    found = [one for one in service.read("alerts", "list") if one["account"] == account and one["kind"] in kinds]
    return {one["kind"]: one for one in found}


def calls(service, account):
    return [one for one in service.read("calls") if one["account"] == account]


def states(service, account):
    return [call["state"] for call in calls(service, account)]


def pot(service, account):
    """Return what is spent, set aside and left of an account's own budget, and for how many calls."""
    (line,) = [
        line
        for line in service.read("budget", "list")
        if line["account"] == account and not line["strict"] and not line["default"]
    ]
    money = (Decimal(line[name]) for name in ("spent", "set_aside", "left"))
    return *money, line["live_calls"]


def wait_settled(service, account, spent):
    """Wait until all calls of an account have ended, and so much is spent."""
    wait_until(lambda: set(states(service, account)) == {"ended"}, "the calls had ended")
    wait_until(lambda: pot(service, account)[0::3] == (spent, 0), f"{spent} was spent", 5)
    assert pot(service, account)[1] == 0, "something is still set aside"


def place(phones, number, phone):
    """Place a call, wait for its answer, and return it."""
    leg = phones.call(number, phone).wait_answered()
    assert leg.status == 200
    return leg


def refused(phones, number, phone):
    """Place a call that has to be refused."""
    leg = phones.call(number, phone).wait_over()
    return leg.status == REFUSED and leg.rang is None


def hung_up(phones, number, phone):
    """Place a call, and hang up as soon as it is answered."""
    leg = phones.call(number, phone).wait_answered()
    leg.hang_up()
    return leg


def busy(service, phones, number, phone):
    """Place a call that the carrier turns down, and wait until its place is free again."""
    before = len(calls(service, phone))
    assert phones.call(number, phone).wait_over().status == BUSY
    wait_until(lambda: states(service, phone).count("ended") > before, "its end was stored")


def other(number, last):
    return f"{number[:-2]}{last}"


# -- money


def test_a_spent_budget_refuses_before_anything_is_dialled(service, carrier, phones):
    assert refused(phones, GERMANY, "alice")
    assert carrier.legs == []
    verdict = latest(service, "alice")
    assert (verdict["verdict"], verdict["reason"]) == ("nowhere", "over_budget")
    assert (verdict["budget"], verdict["room"]) == ("account alice of tenant default, per day", "0.003")
    checked = service.read("check", GERMANY, "--trunk", "carrier", "--account", "alice", status=1)
    assert checked["reason"] == "over_budget"


def test_who_spends_a_budget_is_told_in_time_and_the_money_agrees_with_the_calls(service, carrier, phones):
    """One call stays up; each of the others is over soon and has cost its minute."""
    minute, whole = charge(1, BY_MINUTE), Decimal(WARNED)
    first = place(phones, BRITAIN, "quinn")
    kinds = ("budget_half", "budget_low", "budget_spent")
    for last, told in ((11, 0), (12, 1), (13, 2), (14, 3)):
        leg = place(phones, other(BRITAIN, last), "quinn")
        wait_until(lambda: states(service, "quinn").count("up") == 2, "two were up")
        spent, set_aside, left, _ = pot(service, "quinn")
        costs = [Decimal(call["cost"]) for call in calls(service, "quinn")]
        assert spent + set_aside == sum(costs) == len(costs) * minute
        assert left == whole - sum(costs)
        leg.hang_up()
        wait_until(lambda: pot(service, "quinn")[3] == 1, "one was up")
        wait_until(lambda told=told: len(alerts(service, "quinn", *kinds)) == told, f"{told} alerts", 7)
    found = alerts(service, "quinn", *kinds)
    for kind, spent in zip(kinds, (3, 4, 5), strict=True):
        alert, details = found[kind], found[kind]["details"]
        assert (alert["tries"], alert["tenant"], alert["trunk"]) == (1, "default", "carrier")
        assert (alert["number"], alert["destination"]) == ("+442079460000", "United Kingdom")
        assert details["budget"] == "account quinn of tenant default, per day"
        assert (Decimal(details["spent"]), Decimal(details["amount"])) == (spent * minute, whole)
        assert int(details["lasts_minutes"]) == (5 - spent) // int(details["live_calls"])
    first.hang_up()
    wait_settled(service, "quinn", whole)
    assert sum(Decimal(call["cost"]) for call in calls(service, "quinn")) == 5 * minute
    assert refused(phones, BRITAIN, "quinn")


def test_who_gives_up_while_it_rings_pays_for_one_increment(service, carrier, phones):
    carrier.ring = lambda _: 20
    leg = phones.call(FRANCE, "rita")
    wait_until(lambda: leg.rang, "it rang")
    wait_until(lambda: pot(service, "rita")[3] == 1, "its money was set aside")
    assert pot(service, "rita")[1] > 0
    leg.hang_up()
    leg.wait_over()
    wait_settled(service, "rita", charge(1, BY_SIX))


@pytest.mark.parametrize("status", [BUSY, FAILED])
def test_what_the_carrier_turns_down_costs_nothing(service, carrier, phones, status):
    before = pot(service, "rita")
    carrier.refuse = lambda _: status
    assert phones.call(FRANCE, "rita").wait_over().status == status
    assert len(carrier.legs) == 1
    wait_until(lambda: states(service, "rita")[0] == "ended", "its end was stored")
    wait_until(lambda: pot(service, "rita") == before, "its money was back", 5)


def test_who_is_cut_for_want_of_money_hears_a_tone_before_and_it_is_told_why(service, carrier, phones):
    place(phones, GERMANY, "erin")
    (leg,) = carrier.legs
    wait_until(lambda: phones.tones, "there was a tone")
    at = leg.seconds
    leg.wait_over()
    assert CUT_AFTER - WARNING - 1 <= at < leg.seconds
    assert CUT_AFTER - 0.1 < leg.seconds < CUT_AFTER + 0.5
    assert (phones.tones, carrier.tones) == ([5], [])
    budget = "account erin-204 of tenant default, per day"
    wait_until(lambda: alerts(service, "erin-204", "call_cut"), "it was told of")
    assert alerts(service, "erin-204", "call_cut")["call_cut"]["details"]["cut"] == budget
    (call,) = calls(service, "erin-204")
    assert call["cut"] == budget
    assert f"ended by the guard: budget {budget} had no more money" in service.cli("explain", call["call"])
    wait_settled(service, "erin-204", charge(CUT_AFTER + 2, BY_SECOND))
    checked = service.read("check", GERMANY, "--trunk", "carrier", "--account", "erin-204", status=1)
    assert (checked["reason"], checked["budget"]) == ("over_budget", budget)


# -- how fast, and how many


def test_calls_at_once_count_from_when_they_ring(service, carrier, phones):
    carrier.ring = lambda number: 20 if number.endswith("11") else 0
    up = place(phones, GERMANY, "ida")
    rings = phones.call(other(GERMANY, 11), "ida")
    wait_until(lambda: rings.rang, "it rang")
    assert refused(phones, other(GERMANY, 12), "ida")
    assert latest(service, "ida")["reason"] == "too_many"
    assert len(carrier.legs) == AT_ONCE
    for leg in (rings, up):
        leg.hang_up()
        # Within a second; three on a machine that has other work.
        wait_until(lambda: phones.call(other(GERMANY, 13), "ida").wait_answered().up, "there was a place", 3)
    assert refused(phones, other(GERMANY, 15), "ida")
    assert set(attempts(service, "ida")) == {"ok", "too_many"}


def test_attempts_within_the_window(service, carrier, phones):
    """Those that the carrier turned down count too; those that were too fast do not."""
    carrier.refuse = lambda _: BUSY
    began = time.monotonic()
    for last in range(11, 11 + ATTEMPTS):
        busy(service, phones, other(GERMANY, last), "nina")
    assert time.monotonic() - began < WINDOW - 0.5, "too slow to be too fast"
    for _ in range(2):
        assert refused(phones, other(GERMANY, 21), "nina")
    busy(service, phones, DOMESTIC, "nina")
    verdict = next(one for one in service.read("attempts") if one["reason"] == "too_fast")
    pressed = f"{ATTEMPTS} attempts of account nina of tenant default within {WINDOW} s"
    assert any(pressed in step for step in verdict["explain"])
    time.sleep(max(0, began + WINDOW + 0.5 - time.monotonic()))
    busy(service, phones, other(GERMANY, 22), "nina")
    assert len(carrier.legs) == ATTEMPTS + 2


def test_the_same_number_again_and_again(service, carrier, phones):
    carrier.refuse = lambda _: BUSY
    for _ in range(SAME_NUMBER):
        busy(service, phones, GERMANY, "oscar")
    assert refused(phones, GERMANY, "oscar")
    busy(service, phones, other(GERMANY, 11), "oscar")
    assert attempts(service, "oscar") == [*["ok"] * SAME_NUMBER, "too_fast", "ok"]


def test_countries_that_an_account_never_called_before(service, carrier, phones):
    carrier.refuse = lambda _: BUSY
    for number in (GERMANY, FRANCE):
        busy(service, phones, number, "paul")
    assert refused(phones, BRITAIN, "paul")
    busy(service, phones, other(GERMANY, 11), "paul")
    assert attempts(service, "paul") == ["ok", "ok", "too_fast", "ok"]


# -- strict times


def test_strict_times_have_a_limit_of_their_own(service, carrier, phones):
    assert refused(phones, "0033142685300", "bob")
    assert place(phones, "0012025550123", "bob")
    goes, dear = service.read("attempts")[:2]
    assert (dear["reason"], dear["limit"], dear["limit_scope"], dear["strict"]) == (
        "over_limit",
        "0.05",
        "strict",
        True,
    )
    assert (goes["reason"], goes["strict"]) == ("ok", True)


def test_strict_times_ask_for_a_pin_where_others_do_not(service, carrier, phones):
    assert refused(phones, GERMANY, "sam")
    assert place(phones, DOMESTIC, "sam")
    assert attempts(service, "sam") == ["pin_required", "ok"]


def test_strict_budgets_hold_at_strict_times_only(service, carrier, phones):
    """Another account with such a budget calls above: its tenant is never strict."""
    assert refused(phones, GERMANY, "olga")
    verdict = latest(service, "olga")
    assert verdict["reason"] == "over_budget"
    assert verdict["budget"] == "account olga of tenant answered, per day, at strict times"
    assert carrier.legs == []


def test_strict_times_halve_the_speed(service, carrier, phones):
    place(phones, GERMANY, "hugo")
    assert refused(phones, other(GERMANY, 11), "hugo")
    place(phones, DOMESTIC, "hugo")
    assert attempts(service, "hugo") == ["ok", "too_many", "ok"]
    assert "1 call of account hugo" in str(service.read("attempts")[1]["explain"])


# -- emergencies


def test_emergency_calls_go_when_nothing_else_does(service, carrier, phones):
    hung_up(phones, "004930901820", "pat")  # it counts, in every window
    wait_until(lambda: [call["state"] for call in calls(service, "pat")] == ["ended"], "its place was free", 5)
    place(phones, "00431514440", "pat")
    service.cli("budget", "set", "0", "--per", "day", "--tenant", "patient", "--account", "pat")
    service.cli("budget", "set", "0", "--per", "day", "--tenant", "patient")
    service.cli("budget", "set", "0", "--per", "hour")
    try:
        wait_until(lambda: hung_up(phones, DOMESTIC, "nina").status == REFUSED, "there was no money for anybody", 5)
        assert refused(phones, "004930901820", "pat")
        assert refused(phones, "00431514441", "pat")
        assert attempts(service, "pat") == ["ok", "ok", "too_fast", "too_many"]
        for number in ("110", "911", "112"):
            assert place(phones, number, "pat")
        assert attempts(service, "pat")[4:] == ["emergency"]
    finally:
        service.cli("budget", "remove", "--per", "hour")
