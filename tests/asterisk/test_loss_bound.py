"""The loss bound on a real Asterisk: what an account costs, by the carrier's own clock, is never above its budget,
whatever dies meanwhile; and a leg towards the carrier keeps its end, whatever is done with the call.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import cycle

import pytest
from asterisk_harness.loss import (
    TARIFFS,
    Account,
    Crowd,
    Faults,
    charge,
    dialled,
    prepare,
    spent,
)
from asterisk_harness.parties import Party
from asterisk_harness.service import Service
from asterisk_harness.waiting import wait_until
from asterisk_harness.wiretap import Wiretap

from fraudguard.dialplan.render import render

KILLS = int(os.environ.get("FRAUDGUARD_KILLS", "100"))
KILLS_PER_STAGE = 10
SEED = int(os.environ.get("FRAUDGUARD_SEED", str(random.randrange(10**6))))

BY_SECOND, BY_SIX, BY_MINUTE = TARIFFS
NUMBER = dialled(BY_SECOND)

OWN = """
[phones] ; what the operator has beside trunks: conferences and a parking lot
exten => 300,1,Answer()
 same => n,ConfBridge(room)
exten => 400,1,Answer()
 same => n,Park()
exten => 401,1,ParkedCall(default,701)
"""
MODULES = (
    *("app_confbridge.so", "bridge_softmix.so", "bridge_holding.so", "res_parking.so"),
    *("bridge_builtin_interval_features.so",),
)
PHONES = ("alice", "ida", "nina", "oscar", "paul", "quinn", "rita", "fiona", "carol", "erin")
NAMES = {"erin": "erin-204"}


@pytest.fixture(scope="module")
def prepared(running_site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loss")
    prepare(Service(folder, running_site.guard_port), 1, running_site.ami_secret)
    return folder


@pytest.fixture
def link(site):
    with Wiretap(site.ami_port) as link:
        yield link


@pytest.fixture
def make_service(site, prepared, link, tmp_path):
    """Make a service with a database of its own, that reaches Asterisk through the link; not running."""
    made = []

    def make():
        folder = shutil.copytree(prepared, tmp_path / f"service{len(made)}")
        file = folder / "fraudguard.toml"
        file.write_text(re.sub(r"(\[ami.asterisk\]\nport = )1\n", rf"\g<1>{link.port}\n", file.read_text()))
        made.append(Service(folder, site.guard_port))
        return made[-1]

    yield make
    for service in made:
        service.stop()


@pytest.fixture
def stopped_service(make_service):
    return make_service()


@pytest.fixture
def carrier(site):
    site.carrier.stop()
    try:
        with Party(site.sip_port, port=site.carrier.port) as carrier:
            yield carrier
    finally:
        site.carrier.start()


@pytest.fixture
def phones(site):
    with Party(site.sip_port) as phones:
        yield phones


def start(service):
    linked = service.log.count('"channels listed"')
    service.start()
    wait_until(lambda: service.log.count('"channels listed"') > linked, "the service followed Asterisk")


def set_budget(service, amount, *options):
    service.cli("budget", "set", str(amount), "--per", "day", *options)


def edit(service, *arguments):
    """Run a command that edits; the service obeys within a second."""
    service.cli(*arguments)
    return time.monotonic()


def answered(carrier, count=1):
    wait_until(lambda: len([leg for leg in carrier.legs if leg.answered]) >= count, "the carrier answered")
    return [leg for leg in carrier.legs if leg.answered][count - 1]


def live(service):
    return [call for call in service.read("calls") if call["state"] == "up"]


def budget_of(seconds):
    """Return the money for so many seconds by the second."""
    return charge(seconds, BY_SECOND)


def stay_up(leg, seconds):
    time.sleep(max(0, leg.answered + seconds - time.monotonic()))
    assert leg.up, f"ended after {leg.seconds:.2f} s"


# -- the carrier's clock


@pytest.mark.parametrize(
    ("seconds", "tariff", "cost"),
    [
        *((0.001, BY_SECOND, "0.004"), (1.0, BY_SECOND, "0.004"), (1.001, BY_SECOND, "0.008")),
        *((0.2, BY_SIX, "0.024"), (6.01, BY_SIX, "0.048"), (0.2, BY_MINUTE, "0.24"), (60.1, BY_MINUTE, "0.48")),
    ],
)
def test_the_carrier_charges_every_increment_that_began(seconds, tariff, cost):
    assert charge(seconds, tariff) == Decimal(cost)


# -- whatever dies


def accounts(chance):
    """Return ten accounts, in all three tariffs: who has least can talk for ten seconds, or pay one call's minute."""
    tariffs = cycle(TARIFFS)
    return [
        Account(
            phone,
            NAMES.get(phone, phone),
            tariff := next(tariffs),
            dialled(tariff, 11 + index),
            tariff.per_minute * (60 * chance.randint(1, 4) if tariff is BY_MINUTE else chance.randint(12, 50)) / 60,
        )
        for index, phone in enumerate(PHONES)
    ]


def told(callers, names, legs):
    """Tell of accounts' answered calls: when the carrier answered, in UTC, and for how many seconds."""
    began = datetime.now(UTC) - timedelta(seconds=time.monotonic())
    numbers = {caller.number.removeprefix("9011"): caller.name for caller in callers if caller.name in names}
    return [
        f"{numbers[number]} {began + timedelta(seconds=leg.answered):%T.%f} {leg.seconds:.3f}"
        for leg in legs
        if (number := leg.number.lstrip("+")) in numbers and leg.answered
    ]


def test_no_account_costs_more_than_its_budget_whatever_is_killed(site, make_service, link, carrier, phones):
    """Twenty lines, two of each account; stages of some faults each, with budgets of their own."""
    chance = random.Random(SEED)
    done, costs, budgets = {}, Decimal(0), Decimal(0)
    carrier.ring = lambda _: chance.choice((0.0, 0.0, chance.uniform(0, 0.6)))
    for stage in range(-(-KILLS // KILLS_PER_STAGE)):
        callers = accounts(chance)
        service = make_service()
        for caller in callers:
            set_budget(service, caller.budget, "--tenant", "default", "--account", caller.name)
        start(service)
        first = len(carrier.legs)
        with Crowd(phones, callers, chance) as crowd:
            faults = Faults(service, link, crowd, carrier, chance, done)
            time.sleep(0.5)
            for _ in range(min(KILLS_PER_STAGE, KILLS - stage * KILLS_PER_STAGE)):
                faults.strike()
        wait_until(lambda: all(leg.over for leg in carrier.legs), "all calls were over", 90)
        service.kill()
        cost = spent(callers, carrier.legs[first:])
        sys.stdout.write(f"seed {SEED}, stage {stage}: {[f'{cost[c.name]}/{c.budget:.3f}' for c in callers]}\n")
        over = {c.name: (cost[c.name], c.budget) for c in callers if cost[c.name] > c.budget}
        assert not over, f"seed {SEED}: {over}, {told(callers, over, carrier.legs[first:])}, see {service.folder}"
        costs, budgets = costs + sum(cost.values()), budgets + sum(c.budget for c in callers)
    crossed = sum(leg.crossed for leg in carrier.legs)
    sys.stdout.write(f"{done}; {len(carrier.legs)} calls, {crossed} of them crossed; {costs} of {budgets}\n")
    assert sum(done.values()) == KILLS
    assert costs > budgets / 3, "hardly anything was spent: nothing was tried"


# -- whatever is done with the call


@pytest.fixture(scope="module")
def features(running_site):
    """Conferences and parking, which the other tests have no use for."""
    asterisk = running_site.asterisk
    asterisk.configure("confbridge.conf", "[general]\n[default_user]\ntype=user\n[default_bridge]\ntype=bridge\n")
    asterisk.configure(
        "res_parking.conf", "[general]\n[default]\nparkext => 700\nparkpos => 701-709\ncontext => parked\n"
    )
    for module in MODULES:
        asterisk.command(f"module load {module}")
    return asterisk


def blind(phone, leg, _):
    assert leg.transfer("201") == 202


def attended(phone, leg, _):
    consulted = phone.call("201", "alice").wait_answered()
    assert leg.transfer("201", consulted=consulted) == 202


def hold(phone, leg, _):
    leg.hold()


def hold_and_back(phone, leg, _):
    leg.hold()
    time.sleep(0.3)
    leg.unhold()


def confer(phone, leg, other):
    assert leg.transfer("300") == 202
    other.call("300", "bob").wait_answered()


def park(phone, leg, _):
    assert leg.transfer("400") == 202


def park_and_fetch(phone, leg, other):
    park(phone, leg, other)
    time.sleep(0.5)
    other.call("401", "bob").wait_answered()


DONE_TO_IT = (blind, attended, hold, hold_and_back, confer, park, park_and_fetch)


@pytest.mark.parametrize("fate", ["killed", "renewed"])
@pytest.mark.parametrize("done", DONE_TO_IT, ids=lambda done: done.__name__)
def test_the_leg_to_the_carrier_keeps_its_end(site, features, stopped_service, carrier, phones, done, fate):
    """Killed: it ends with its first lease, or the one it has. Renewed: it ends when the money does."""
    asterisk = site.asterisk
    assert asterisk.load_dialplan(render(site.settings()) + OWN) == []
    set_budget(stopped_service, budget_of(9), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    with Party(site.sip_port, port=asterisk.callee_port), Party(site.sip_port) as other:
        call = phones.call(NUMBER, "alice").wait_answered()
        leg = answered(carrier)
        wait_until(lambda: live(stopped_service), "the call was followed")
        if fate == "killed":
            stopped_service.kill()
        stay_up(leg, 0.5)  # until both sides are in their bridge, Asterisk transfers nobody
        done(phones, call, other)
        time.sleep(0.3)
        if done not in (hold, hold_and_back):
            call.hang_up()
        stay_up(leg, 1.5)
        leg.wait_over(15)
    assert not leg.hung_up_here
    assert charge(leg.seconds, BY_SECOND) <= budget_of(9)
    if fate == "renewed":
        assert leg.seconds >= 5, "nothing renewed it"


# -- renewals


def test_a_cheap_call_outlives_its_first_lease_and_ends_when_the_money_does(stopped_service, carrier, phones):
    set_budget(stopped_service, budget_of(14), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    phones.call(NUMBER, "alice")
    leg = answered(carrier)
    (call,) = wait_until(lambda: live(stopped_service), "the call was up")
    leg.wait_over(20)
    assert 11 <= leg.seconds <= 14, call
    (call,) = wait_until(
        lambda: [call for call in stopped_service.read("calls") if call["state"] == "ended"], "its end was stored"
    )
    assert Decimal(call["cost"]) <= budget_of(14)
    refused = phones.call(NUMBER, "alice").wait_over()
    assert refused.status >= 400, "there was no money left"


def test_a_lost_link_ends_a_call_at_its_lease(stopped_service, carrier, phones, link):
    set_budget(stopped_service, budget_of(40), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    phones.call(NUMBER, "alice")
    leg = answered(carrier)
    wait_until(lambda: live(stopped_service), "the call was up")
    link.cut()
    leg.wait_over(20)
    assert leg.seconds < 12, "somebody renewed it"


def test_a_link_that_comes_back_lets_a_call_live(stopped_service, carrier, phones, link):
    set_budget(stopped_service, budget_of(80), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    phones.call(NUMBER, "alice")
    leg = answered(carrier)
    (call,) = wait_until(lambda: live(stopped_service), "the call was up")
    assert call["lease_seconds"] < 12
    link.cut()
    time.sleep(0.5)
    link.restore()
    stay_up(leg, 12)


@pytest.mark.parametrize(
    "change",
    [
        ("block", "add", "+49", "--reason", "stolen"),
        ("block", "add", "--account", "alice", "--tenant", "default"),
        ("budget", "set", "0.004", "--per", "day", "--tenant", "default", "--account", "alice"),
    ],
    ids=lambda change: " ".join(change[:3]),
)
def test_an_operator_can_end_calls_that_are_up(stopped_service, carrier, phones, change):
    set_budget(stopped_service, budget_of(2000), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    for _ in range(3):
        phones.call(NUMBER, "alice")
    legs = [answered(carrier, count) for count in (1, 2, 3)]
    wait_until(lambda: len(live(stopped_service)) == 3, "the calls were up")
    at = edit(stopped_service, *change)
    for leg in legs:
        leg.wait_over(10)
    assert max(leg.ended for leg in legs) - at <= 2
    assert phones.call(NUMBER, "alice").wait_over().status >= 400


def test_a_call_ends_with_the_pin_it_was_allowed_by(site, stopped_service, carrier):
    stopped_service.configure("\n[pin]\nask = []\n", '\n[pin]\nprompts = { ask = "beep" }\n')
    pin = re.search(r"\b\d{4,12}\b", stopped_service.cli("pin", "add", "Ann"))[0]
    set_budget(stopped_service, budget_of(2000), "--tenant", "default", "--pin", "Ann")
    start(stopped_service)
    with site.phones.keypad(NUMBER) as keypad:
        keypad.wait_to_hear()
        keypad.press(f"{pin}#")
        leg = answered(carrier)
        wait_until(lambda: live(stopped_service), "the call was up")
        at = edit(stopped_service, "pin", "revoke", "Ann")
        leg.wait_over(10)
    assert leg.ended - at <= 2
