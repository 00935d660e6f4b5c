"""When calls end: a leg towards the carrier keeps its end whatever is done with the call, gets a later one while there
is money, and a sooner one when an operator wants it.
"""

from __future__ import annotations

import re
import time
from decimal import Decimal

import pytest
from asterisk_harness.loss import TARIFFS, charge, dialled, set_budget, start
from asterisk_harness.parties import Party
from asterisk_harness.waiting import wait_until

from fraudguard.dialplan.render import render

BY_SECOND = TARIFFS[0]
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


@pytest.mark.parametrize(
    ("done", "fate"),
    [*((done, "killed") for done in DONE_TO_IT), *((done, "renewed") for done in (hold, attended, park_and_fetch))],
    ids=lambda case: case if isinstance(case, str) else case.__name__,
)
def test_the_leg_to_the_carrier_keeps_its_end(site, features, stopped_service, own_carrier, own_phones, done, fate):
    """Killed: it ends with its first lease, or the one it has. Renewed: it ends when the money does."""
    asterisk = site.asterisk
    assert asterisk.load_dialplan(render(site.settings()) + OWN) == []
    set_budget(stopped_service, budget_of(9), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    with Party(site.sip_port, port=asterisk.callee_port), Party(site.sip_port) as other:
        call = own_phones.call(NUMBER, "alice").wait_answered()
        leg = answered(own_carrier)
        wait_until(lambda: live(stopped_service), "the call was followed")
        if fate == "killed":
            stopped_service.kill()
        stay_up(leg, 0.5)  # until both sides are in their bridge, Asterisk transfers nobody
        done(own_phones, call, other)
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


def test_a_cheap_call_outlives_its_first_lease_and_ends_when_the_money_does(stopped_service, own_carrier, own_phones):
    set_budget(stopped_service, budget_of(14), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    own_phones.call(NUMBER, "alice")
    leg = answered(own_carrier)
    (call,) = wait_until(lambda: live(stopped_service), "the call was up")
    leg.wait_over(20)
    assert 11 <= leg.seconds <= 14, call
    (call,) = wait_until(
        lambda: [call for call in stopped_service.read("calls") if call["state"] == "ended"], "its end was stored"
    )
    assert Decimal(call["cost"]) <= budget_of(14)
    refused = own_phones.call(NUMBER, "alice").wait_over()
    assert refused.status >= 400, "there was no money left"


def test_a_lost_link_ends_a_call_at_its_lease(stopped_service, own_carrier, own_phones, link):
    set_budget(stopped_service, budget_of(40), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    own_phones.call(NUMBER, "alice")
    leg = answered(own_carrier)
    wait_until(lambda: live(stopped_service), "the call was up")
    link.cut()
    leg.wait_over(20)
    assert leg.seconds < 12, "somebody renewed it"


def test_a_link_that_comes_back_lets_a_call_live(stopped_service, own_carrier, own_phones, link):
    set_budget(stopped_service, budget_of(80), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    own_phones.call(NUMBER, "alice")
    leg = answered(own_carrier)
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
def test_an_operator_can_end_calls_that_are_up(stopped_service, own_carrier, own_phones, change):
    set_budget(stopped_service, budget_of(2000), "--tenant", "default", "--account", "alice")
    start(stopped_service)
    for _ in range(3):
        own_phones.call(NUMBER, "alice")
    legs = [answered(own_carrier, count) for count in (1, 2, 3)]
    wait_until(lambda: len(live(stopped_service)) == 3, "the calls were up")
    at = edit(stopped_service, *change)
    for leg in legs:
        leg.wait_over(10)
    assert max(leg.ended for leg in legs) - at <= 2
    assert own_phones.call(NUMBER, "alice").wait_over().status >= 400


def test_a_call_ends_with_the_pin_it_was_allowed_by(site, stopped_service, own_carrier):
    stopped_service.configure("\n[pin]\nask = []\n", '\n[pin]\nprompts = { ask = "beep" }\n')
    pin = re.search(r"\b\d{4,12}\b", stopped_service.cli("pin", "add", "Ann"))[0]
    set_budget(stopped_service, budget_of(2000), "--tenant", "default", "--pin", "Ann")
    start(stopped_service)
    with site.phones.keypad(NUMBER) as keypad:
        keypad.wait_to_hear()
        keypad.press(f"{pin}#")
        leg = answered(own_carrier)
        wait_until(lambda: live(stopped_service), "the call was up")
        at = edit(stopped_service, "pin", "revoke", "Ann")
        leg.wait_over(10)
    assert leg.ended - at <= 2
