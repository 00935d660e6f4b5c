"""Following calls on a real Asterisk: live calls, their cost, unguarded ones, lost links and a killed service."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from asterisk_harness.link import CuttableLink
from asterisk_harness.service import Service
from asterisk_harness.waiting import wait_until

DOMESTIC = "912025550123"  # 0.01 a minute
BRITAIN = "9011442079460000"  # 0.02
BUSY = "912025550486"
RINGS = "912025550180"
CUBA = "9011537012345"  # 0.80, above the limit


@pytest.fixture
def link(site):
    with CuttableLink(site.ami_port) as link:
        yield link


@pytest.fixture(scope="module")
def prepared(running_site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("followed")
    Service(folder, running_site.guard_port).prepare(ami_port=1, ami_secret=running_site.ami_secret)
    return folder


@pytest.fixture
def stopped_service(site, prepared, link, tmp_path):
    """Configured to reach Asterisk through a link that can be cut; not running."""
    folder = shutil.copytree(prepared, tmp_path / "service")
    file = folder / "fraudguard.toml"
    file.write_text(re.sub(r"(\[ami.asterisk\]\nport = )1\n", rf"\g<1>{link.port}\n", file.read_text()))
    service = Service(folder, site.guard_port)
    yield service
    service.stop()


@pytest.fixture
def service(stopped_service):
    start(stopped_service)
    return stopped_service


def start(service):
    service.start()
    wait_for_link(service)


def wait_for_link(service, count=1):
    wait_until(lambda: service.log.count('"channels listed"') >= count, "the service followed Asterisk")


def calls(service):
    return service.read("calls")


def live(service):
    return [call for call in calls(service) if call["state"] != "ended"]


def ended(service, count=1):
    wait_until(lambda: [call["state"] for call in calls(service)].count("ended") >= count, "the calls had ended")
    return calls(service)


@pytest.fixture
def phone(site):
    """Dial in the background; everything dialled is over when the test is."""
    with ThreadPoolExecutor(8) as pool:
        yield lambda *numbers, seconds=2.0, who="alice", scenario="phone", rate=20: pool.submit(
            site.phones.dial_all,
            list(numbers),
            phone=who,
            scenario=scenario,
            rate=rate,
            milliseconds=int(seconds * 1000),
        )


def test_a_call_is_live_and_then_costs_what_its_seconds_cost(site, service, phone):
    dialled = phone(BRITAIN, seconds=4)
    (call,) = wait_until(lambda: [call for call in live(service) if call["state"] == "up"], "the call was up")
    assert (call["account"], call["number"], call["trunk"]) == ("alice", "+442079460000", "carrier")
    assert (call["why"], call["per_minute"], call["cost"]) == ("ok", "0.02", "0.02")  # a minute has begun
    (heard,) = dialled.result()
    (call,) = ended(service)
    assert heard.seconds <= call["seconds"] <= heard.seconds + 1.1
    assert (call["cost"], call["reconstructed"]) == ("0.02", False)
    wait_until(lambda: calls(service)[0]["cdr_seconds"] is not None, "Asterisk's own record was held against it")
    assert abs(calls(service)[0]["cdr_seconds"] - call["seconds"]) <= 1
    assert service.read("alerts", "list") == []


def test_what_is_not_answered_costs_nothing(site, service, phone):
    phone(BUSY).result()
    phone(RINGS, scenario="phone-gives-up").result()
    assert [(call["seconds"], call["cost"]) for call in ended(service, 2)] == [(0, "0.00")] * 2


def test_a_refused_call_is_no_call(site, service, phone):
    phone(CUBA).result()
    phone(DOMESTIC, seconds=0.2).result()
    assert [call["number"] for call in ended(service)] == ["+12025550123"]


def unguarded(service):
    (alert,) = wait_until(lambda: service.read("alerts", "list"), "an alert was stored")
    assert (alert["kind"], alert["severity"]) == ("unguarded_call", "critical")
    return alert


def test_an_unguarded_call_is_hung_up_and_the_hole_is_named(site, service, phone, reached):
    (heard,) = phone("912025550199", who="ursula", seconds=10).result()
    assert reached() == ["+12025550199"]
    assert heard.seconds is None or heard.seconds < 0.25, "it lived on"
    alert = unguarded(service)
    assert (alert["number"], alert["account"], alert["trunk"]) == ("+12025550199", "ursula", "carrier")
    details = alert["details"]
    assert (details["context"], details["extension"], details["hung_up"]) == ("unguarded", "912025550199", "yes")
    assert details["application"] == "Dial"
    (call,) = ended(service)
    assert call["why"] == "unguarded"


@pytest.mark.parametrize("how", ["originate", "call file"])
def test_what_asterisk_itself_dials_is_policed_too(site, service, how):
    target = "PJSIP/+12025550177@carrier"
    if how == "originate":
        with site.manager() as manager:
            manager.action("Originate", Channel=target, Application="Wait", Data="10", Async="true")
    else:
        site.asterisk.spool(f"Channel: {target}\nApplication: Wait\nData: 10\n")
    alert = unguarded(service)
    assert alert["number"] == "+12025550177"
    wait_until(lambda: "0 active channels" in site.asterisk.command("core show channels count"), "it was hung up", 3)


def test_an_emergency_call_is_never_hung_up(site, service, phone):
    (heard,) = phone("911", who="ursula", seconds=1.5).result()
    assert heard.answered
    assert heard.seconds >= 1.4
    (call,) = ended(service)
    assert (call["why"], call["number"]) == ("emergency", "911")
    assert service.read("alerts", "list") == []


def test_report_mode_lets_it_go_and_tells(site, stopped_service, phone):
    stopped_service.configure(
        '[trunks.carrier]\ndeck = "main"\n', '[trunks.carrier]\ndeck = "main"\npolice = "report"\n'
    )
    start(stopped_service)
    (heard,) = phone("912025550199", who="ursula", seconds=1.5).result()
    assert heard.seconds >= 1.4
    assert unguarded(stopped_service)["details"]["hung_up"] == "no"
    (call,) = ended(stopped_service)
    assert call["cost"] == "0.01"


def test_what_the_fence_let_go_is_left_alone(site, stopped_service, phone):
    dialled = phone(DOMESTIC, seconds=4)
    wait_until(lambda: "1 active call" in site.asterisk.command("core show channels count"), "the call was up")
    start(stopped_service)
    assert dialled.result()[0].seconds >= 3.9
    (call,) = ended(stopped_service)
    assert (call["why"], call["reconstructed"]) == ("fence", True)
    assert stopped_service.read("alerts", "list") == []


@pytest.mark.parametrize("missed", ["the answer", "nothing", "the end", "the whole call", "dialling and answer"])
def test_a_link_that_is_cut_loses_no_call(site, service, link, phone, missed):
    if missed in ("the whole call", "dialling and answer"):
        link.cut()
    dialled = phone(BRITAIN, seconds=4)
    if missed == "the answer":
        link.cut()
    if missed in ("nothing", "the end"):
        wait_until(lambda: [call["state"] for call in live(service)] == ["up"], "the call was up")
        link.cut()
    else:
        wait_until(lambda: "1 active call" in site.asterisk.command("core show channels count"), "the call was up")
    if missed in ("the end", "the whole call"):
        dialled.result()
        site.asterisk.wait_idle()
    link.restore()
    wait_for_link(service, 2)
    (heard,) = dialled.result()
    (call,) = ended(service)
    assert (call["why"], call["number"]) == ("ok", "+442079460000")
    assert call["seconds"] >= heard.seconds - 0.1, "money that was spent must never look unspent"
    assert call["reconstructed"] is (missed != "nothing")
    if missed not in ("the end", "the whole call"):
        assert call["seconds"] <= heard.seconds + 1.1
    assert service.read("alerts", "list") == []


def test_kill_9_with_50_calls_up_loses_none(site, service, phone):
    with ThreadPoolExecutor(1):
        dialled = phone(*[DOMESTIC] * 50, seconds=6, rate=50)
        wait_until(lambda: [call["state"] for call in live(service)].count("up") == 50, "50 calls were up")
        service.kill()
        start(service)
        heard = dialled.result()
    assert all(call.answered for call in heard)
    found = ended(service, 50)
    assert len(found) == 50
    assert {call["why"] for call in found} == {"ok"}
    assert all(5.5 <= call["seconds"] <= 8 for call in found), [call["seconds"] for call in found]
    assert service.read("alerts", "list") == []


def test_a_wrong_secret_is_loud_and_final(site, stopped_service):
    stopped_service.secret("wrong" * 8)
    stopped_service.start()
    wait_until(lambda: [a["kind"] for a in stopped_service.read("alerts", "list")] == ["ami_refused"], "it was told")
    text = json.dumps(stopped_service.read("alerts", "list")) + stopped_service.log
    assert "wrong" * 8 not in text
