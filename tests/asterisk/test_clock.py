"""Clocks that are set while calls are up: no call costs more than its budget by the carrier's own clock, whether it is
Asterisk's clock or the guard's.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from dataclasses import replace
from decimal import Decimal

import pytest
from asterisk_harness.clocks import Clock
from asterisk_harness.loss import TARIFFS, charge, dialled, prepare, start
from asterisk_harness.parties import Party
from asterisk_harness.pbx import Asterisk
from asterisk_harness.service import Service
from asterisk_harness.waiting import free_port, wait_until

from fraudguard.ami.events import EVENTS
from fraudguard.config import Ami
from fraudguard.dialplan import manager
from fraudguard.dialplan.render import render

BY_SECOND = TARIFFS[0]
NUMBER = dialled(BY_SECOND)
HOUR = 3600

LEASE = 7
"""Seconds of a first lease: all that the money of two accounts pays for, so that no renewal mends their ends."""
PAID = LEASE + 2
BOUND = ("alice", "ida")
RENEWED = "nina"
"""Has money for a minute, and so a renewal before the first lease ends."""


@pytest.fixture(scope="module")
def asterisk_clock(running_site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    return folder, Clock(folder)


@pytest.fixture(scope="module")
def clocked_site(asterisk_root, running_site, asterisk_clock):
    """An Asterisk that goes by a clock of its own; its carrier is the test's."""
    folder, clock = asterisk_clock
    ports = {name: free_port(socket.SOCK_DGRAM) for name in ("sip", "carrier", "second")}
    site = replace(
        running_site,
        sip_port=ports["sip"],
        ami_port=free_port(socket.SOCK_STREAM),
        ami_secret=secrets.token_hex(16),
        guard_port=free_port(socket.SOCK_STREAM),
    )
    values = {name: str(port) for name, port in ports.items()}
    values |= {"sip_password": "x", "ami": str(site.ami_port), "ami_secret": site.ami_secret}
    asterisk = Asterisk(asterisk_root, folder, values, clock)
    user = Ami(secret=site.ami_secret)
    rights = manager.render(user, site.ami_secret, permit=["127.0.0.1/32"], events=EVENTS)
    asterisk.configure("manager.d/fraudguard.conf", rights)
    try:
        asterisk.start()
        assert asterisk.load_dialplan(render(site.settings())) == []
        yield replace(site, asterisk=asterisk), ports["carrier"]
    finally:
        asterisk.stop()


@pytest.fixture(scope="module")
def folder(clocked_site, tmp_path_factory):
    site, _ = clocked_site
    folder = tmp_path_factory.mktemp("clock")
    service = Service(folder, site.guard_port)
    prepare(service, site.ami_port, site.ami_secret, shortest=LEASE)
    for account, seconds in ((BOUND[0], PAID), (BOUND[1], PAID), (RENEWED, 8 * LEASE)):
        money = str(charge(seconds, BY_SECOND))
        service.cli("budget", "set", money, "--per", "day", "--rolling", "--account", account)
    return folder


@pytest.fixture
def guard_clock(tmp_path):
    folder = tmp_path / "clock"
    folder.mkdir()
    return Clock(folder)


@pytest.fixture
def service(clocked_site, folder, guard_clock, tmp_path):
    site, _ = clocked_site
    service = Service(shutil.copytree(folder, tmp_path / "service"), site.guard_port, guard_clock)
    start(service)
    yield service
    service.stop()


@pytest.fixture
def parties(clocked_site, service):
    """Phones and the carrier, with a call of each account up and followed."""
    site, port = clocked_site
    with Party(site.sip_port, port=port) as carrier, Party(site.sip_port) as phones:
        for account in (*BOUND, RENEWED):
            phones.call(NUMBER, account)
        wait_until(lambda: [leg.up for leg in carrier.legs] == [True] * 3, "all were answered")
        wait_until(lambda: [call["state"] for call in service.read("calls")] == ["up"] * 3, "the calls were followed")
        assert {call["lease_seconds"] for call in service.read("calls")} == {LEASE}
        yield phones, carrier
    site.asterisk.wait_idle()


def wait_for_the_ends(phones, carrier):
    """Wait until the calls whose money ends are over, and the other has lived for longer; return their legs."""
    renewed = next(leg for leg in phones.legs if leg.user == RENEWED)
    last = [leg for leg in phones.legs if leg.user in BOUND]
    wait_until(lambda: all(leg.over for leg in last), "the calls without more money were over", 15)
    wait_until(lambda: renewed.over or renewed.seconds > LEASE + 1.5, "the other was longer")
    assert renewed.up, "nothing renewed it"
    renewed.hang_up()
    bound = [leg.wait_over() for leg in carrier.legs if leg.seconds < LEASE + 1]
    assert len(bound) == 2
    assert not any(leg.hung_up_here for leg in bound)
    return bound


def money(service):
    """Return, of each account's budget, what is spent, what is set aside and for how many calls."""
    lines = [line for line in service.read("budget", "list") if line["account"] in BOUND and line["rolling"]]
    return {line["account"]: (Decimal(line["spent"]), Decimal(line["set_aside"]), line["live_calls"]) for line in lines}


def wait_until_paid(service):
    """Wait until all the money of the two is spent: what the carrier charges, and the second that may be more."""
    whole = (charge(PAID, BY_SECOND), 0, 0)
    wait_until(lambda: money(service) == dict.fromkeys(BOUND, whole), "the money was spent, and none set aside", 5)


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_calls_end_when_their_money_does_though_asterisks_clock_is_set(asterisk_clock, service, parties, step):
    clock = asterisk_clock[1]
    clock.put(step)
    try:
        wait_until(lambda: "Asterisk's clock was set" in service.log, "the guard saw it", 6)
        bound = wait_for_the_ends(*parties)
    finally:
        clock.put(0)
    for leg in bound:
        assert leg.seconds > LEASE - 0.1
        assert charge(leg.seconds, BY_SECOND) <= charge(PAID, BY_SECOND)
    wait_until_paid(service)


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_calls_are_as_long_as_paid_for_though_the_guards_own_clock_is_set(service, guard_clock, parties, step):
    phones, carrier = parties
    guard_clock.put(step)
    wait_until(lambda: "the machine's clock was set" in service.log, "the guard saw it", 3)
    for leg in wait_for_the_ends(phones, carrier):
        assert LEASE - 0.1 < leg.seconds < LEASE + 0.9
    wait_until_paid(service)
    (alert,) = [alert for alert in service.read("alerts", "list") if alert["kind"] == "clock_stepped"]
    assert (alert["tries"], alert["details"]["seconds"]) == (1, f"{step:+d}.0")
    wait_until(lambda: {call["state"] for call in service.read("calls")} == {"ended"}, "all ends were stored")
    lasted = {leg.user: leg.seconds for leg in phones.legs}
    for call in service.read("calls"):
        assert -1 <= call["seconds"] - lasted[call["account"]] <= 1.5
    assert phones.call(NUMBER, BOUND[0]).wait_over().status == 503
    assert len(carrier.legs) == 3
