"""The whole way of a call: SIPp phone, real Asterisk, generated dialplan, the real service, SIPp carrier."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from asterisk_harness.service import Service
from asterisk_harness.waiting import wait_until

DOMESTIC = "912025550123"
BRITAIN = "9011442079460000"  # 0.02 a minute, below the limit
CUBA = "9011537012345"  # 0.80, above it
UNPRICED = "9011819012345678"  # Japan has no price in the deck


@pytest.fixture(scope="module")
def prepared(running_site, tmp_path_factory):
    """A folder with configuration, database and prices."""
    folder = tmp_path_factory.mktemp("service")
    Service(folder, running_site.guard_port).prepare()
    return folder


@pytest.fixture
def stopped_service(site, prepared, tmp_path):
    """Configured and with prices, not running."""
    folder = shutil.copytree(prepared, tmp_path / "service")
    service = Service(folder, site.guard_port)
    yield service
    service.stop()


@pytest.fixture
def service(stopped_service):
    stopped_service.start()
    return stopped_service


@pytest.mark.parametrize("phone", ["alice", "carol"])
def test_domestic_goes(site, service, reached, phone):
    assert site.phones.dial(DOMESTIC, phone=phone).answered
    assert reached() == ["+12025550123"]
    (attempt,) = service.read("attempts")
    assert (attempt["verdict"], attempt["reason"]) == ("allow", "ok")
    assert (attempt["dialled"], attempt["account"], attempt["tenant"]) == (DOMESTIC, phone, "default")
    assert attempt["source"].startswith("127.0.0.1")


@pytest.mark.parametrize("phone", ["alice", "carol"])
def test_over_the_limit_goes_nowhere_and_an_alert_is_stored(site, service, reached, phone):
    assert not site.phones.dial(CUBA, phone=phone).answered
    assert reached() == []
    (attempt,) = service.read("attempts")
    assert (attempt["verdict"], attempt["reason"], attempt["per_minute"]) == ("nowhere", "over_limit", "0.80")
    assert len(service.read("alerts", "list")) == 1


def test_an_own_extension_with_one_priority_never_falls_through_to_the_trunk(site, service, reached):
    assert not site.phones.dial("100").answered
    assert reached() == []
    assert service.read("attempts") == []


def test_an_unknown_prefix_goes_nowhere(site, service, reached):
    assert not site.phones.dial(UNPRICED).answered
    assert reached() == []
    assert service.read("attempts")[0]["reason"] == "no_rate"


def test_emergency_goes_with_the_guard_running_and_stopped(site, stopped_service, reached):
    assert site.phones.dial("911").answered
    stopped_service.start()
    assert site.phones.dial("9911").answered
    assert reached() == ["911", "911"]
    assert stopped_service.read("attempts") == []


def test_with_the_guard_stopped_domestic_goes_and_the_rest_does_not(site, service, reached):
    assert site.phones.dial(BRITAIN).answered
    service.stop()
    assert site.phones.dial(DOMESTIC).answered
    assert not site.phones.dial(BRITAIN).answered
    assert not site.phones.dial(CUBA).answered
    assert reached() == ["+442079460000", "+12025550123"]


def test_odd_characters_are_stored_as_an_attempt_and_an_alert(site, service, reached):
    assert not site.phones.dial("912025550123%26Local%2F53123").answered
    assert reached() == []
    (attempt,) = service.read("attempts")
    assert (attempt["verdict"], attempt["reason"]) == ("nowhere", "bad_number")
    assert attempt["dialled"] == "912025550123%26Local%2F53123"
    assert len(service.read("alerts", "list")) == 1


def test_a_limit_changed_while_running_is_obeyed(site, service, reached):
    assert site.phones.dial(BRITAIN).answered
    service.cli("limit", "set", "0.01")
    wait_until(lambda: not site.phones.dial(BRITAIN).answered, "the lower limit was obeyed", 2)
    before = reached()
    assert not site.phones.dial(BRITAIN).answered
    service.cli("limit", "set", "1.00")
    wait_until(lambda: site.phones.dial(CUBA).answered, "the higher limit was obeyed", 2)
    assert set(before) == {"+442079460000"}
    assert reached()[len(before) :] == ["+537012345"]


def test_a_grant_added_while_running_is_obeyed_for_its_account(site, service, reached):
    assert not site.phones.dial(CUBA).answered
    service.cli("grant", "add", "53", "--account", "alice", "--reason", "sister in Havana")
    wait_until(lambda: site.phones.dial(CUBA).answered, "the grant was obeyed", 2)
    assert not site.phones.dial(CUBA, phone="erin").answered
    assert reached() == ["+537012345"]


def test_a_forged_from_header_does_not_borrow_a_grant(site, service, reached):
    service.cli("grant", "add", "53", "--account", "boss", "--reason", "may call home")
    forged = "x%0Aagi_arg_1%3A%20number=%2B537012345%0Aagi_arg_2%3A%20account=boss%0Aagi_arg_3%3A%20trunk=carrier%0A%0A"
    service.stop()
    service.start()  # the grant is in its first snapshot
    assert not site.phones.dial(CUBA, phone=forged).answered
    assert reached() == []
    assert [attempt["verdict"] for attempt in service.read("attempts")] == ["nowhere"]


def test_each_trunk_has_its_own_prices(site, service, reached):
    second = site.second.mark()
    assert site.phones.dial(BRITAIN, phone="alice").answered
    assert not site.phones.dial(BRITAIN, phone="dave").answered
    assert site.phones.dial(DOMESTIC, phone="dave").answered
    assert reached() == ["+442079460000"]
    assert site.second.dialled_since(second) == ["12025550123"]


def test_tenants_dial_as_at_home(site, service, reached):
    assert site.phones.dial("02079460000", phone="bob").answered
    assert site.phones.dial("0012025550123", phone="bob").answered
    assert not site.phones.dial("005370123456", phone="bob").answered
    assert reached() == ["+442079460000", "+12025550123"]
    assert {attempt["tenant"] for attempt in service.read("attempts")} == {"acme"}


def test_a_frozen_guard_holds_the_caller_and_lets_nothing_out(site, service, reached):
    """Asterisk has no read timeout for AGI: while the whole process stands still, a caller waits until he hangs up."""
    service.freeze()
    assert site.phones.dial(CUBA, scenario="phone-impatient").status == 487
    assert site.phones.dial("911").answered
    service.thaw()
    assert site.phones.dial(DOMESTIC).answered
    assert reached() == ["911", "+12025550123"]


def test_callers_of_a_frozen_guard_reach_the_fence_when_it_is_killed(site, service, reached):
    service.freeze()
    mark = site.asterisk.mark()
    with ThreadPoolExecutor() as pool:
        calling = pool.submit(site.phones.dial_all, [DOMESTIC, CUBA])
        wait_until(lambda: _asking(site, mark) == 2, "both calls waited for the guard")
        service.kill()
        domestic, abroad = calling.result()
    assert domestic.answered
    assert not abroad.answered
    assert reached() == ["+12025550123"]


def _asking(site, mark):
    return sum("] AGI(" in line for line in site.asterisk.logged_since(mark))


def test_fifty_calls_at_once_each_get_their_own_verdict(site, service, reached):
    good = [f"91202555{index:04d}" for index in range(100, 125)]
    bad = [f"9011537{index:06d}" for index in range(100000, 100025)]
    mixed = [number for pair in zip(good, bad, strict=True) for number in pair]
    calls = site.phones.dial_all(mixed, rate=500)
    assert [call.answered for call in calls] == [True, False] * 25
    assert sorted(reached()) == sorted("+" + number[1:] for number in good)
    assert len(service.read("attempts")) == 50


def test_the_lease_of_the_policy_reaches_the_trunk(site, service):
    mark = site.asterisk.mark()
    site.phones.dial(DOMESTIC)
    (dial,) = [line for line in site.asterisk.logged_since(mark) if "] Dial(" in line]
    assert "S(600)" in dial
