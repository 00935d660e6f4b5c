"""Two real Asterisks and one service: the link to the second one is encrypted."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from asterisk_harness.certificates import Authority
from asterisk_harness.manager import Manager
from asterisk_harness.pbx import Asterisk
from asterisk_harness.service import Service
from asterisk_harness.sip import Carrier, Phones
from asterisk_harness.waiting import free_port, wait_until
from asterisk_harness.wiretap import Wiretap

DOMESTIC = "912025550123"  # 0.01 a minute
BRITAIN = "9011442079460000"  # 0.02
NAMES = ("pbx1", "pbx2")

PLAIN = '\n[ami.{name}]\nport = {port}\nsecret_file = "{name}.secret"\n'
ENCRYPTED = PLAIN + 'tls = true\nca_file = "ours.pem"\n'
LISTENS = """[general](+)
tlsenable = yes
tlsbindaddr = 127.0.0.1:{port}
tlscertfile = /srv/etc/manager.d/cert.pem

"""


@dataclass(frozen=True)
class Pbx:
    """One Asterisk with its phones and its carrier."""

    name: str
    asterisk: Asterisk
    carrier: Carrier
    phones: Phones
    port: int
    """Of its manager interface, in clear."""
    tls_port: int
    tests_secret: str
    """Of the user that the tests log in as."""


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder, "ours"), Authority(folder, "stranger")


@pytest.fixture(scope="module")
def guard_port():
    return free_port(socket.SOCK_STREAM)


@pytest.fixture(scope="module")
def built(asterisk_root, tmp_path_factory):
    """Both, not started."""
    return tuple(_built(asterisk_root, tmp_path_factory.mktemp(name), name) for name in NAMES)


def _built(root, folder, name):
    carrier = Carrier(folder / "carrier")
    sip, tests_secret = free_port(socket.SOCK_DGRAM), secrets.token_hex(16)
    port, tls_port = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    values = {
        "sip": str(sip),
        "sip_password": secrets.token_hex(16),
        "carrier": str(carrier.port),
        "second": str(carrier.port),
        "ami": str(port),
        "ami_secret": tests_secret,
    }
    (folder / "asterisk").mkdir()
    asterisk = Asterisk(root, folder / "asterisk", values)
    return Pbx(name, asterisk, carrier, Phones(sip, folder / "phones"), port, tls_port, tests_secret)


@pytest.fixture(scope="module")
def prepared(built, authorities, guard_port, tmp_path_factory):
    """The service's folder, and in it what `dialplan install` writes for each Asterisk."""
    folder = tmp_path_factory.mktemp("prepared")
    Service(folder, guard_port).prepare()
    pbx1, pbx2 = built
    with (folder / "fraudguard.toml").open("a") as file:
        file.write(PLAIN.format(name="pbx1", port=pbx1.port) + ENCRYPTED.format(name="pbx2", port=pbx2.tls_port))
    shutil.copy(authorities[0].file, folder)
    for name in NAMES:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("FRAUDGUARD_DIALPLAN__ASTERISK", name)
            Service(folder, guard_port).cli("dialplan", "install", f"{name}.conf", "--manager", f"{name}-manager.conf")
    return folder


@pytest.fixture(scope="module")
def pair(built, prepared, authorities):
    for pbx in built:
        tls = LISTENS.format(port=pbx.tls_port)
        pbx.asterisk.configure("fraudguard.conf", (prepared / f"{pbx.name}.conf").read_text())
        pbx.asterisk.configure("manager.d/fraudguard.conf", tls + (prepared / f"{pbx.name}-manager.conf").read_text())
        pbx.asterisk.configure("manager.d/cert.pem", authorities[0].certificate("IP:127.0.0.1"))
    try:
        for pbx in built:
            pbx.carrier.start()
        for pbx in built:
            pbx.asterisk.start()
        yield built
    finally:
        for pbx in built:
            pbx.asterisk.stop()
            pbx.carrier.stop()


@pytest.fixture
def stopped_service(pair, prepared, guard_port, tmp_path):
    service = Service(shutil.copytree(prepared, tmp_path / "service"), guard_port)
    yield service
    service.stop()
    for pbx in pair:
        pbx.asterisk.wait_idle()


@pytest.fixture
def service(stopped_service):
    return started(stopped_service)


@pytest.fixture
def pbx1(pair):
    return pair[0]


@pytest.fixture
def pbx2(pair):
    return pair[1]


@pytest.fixture
def hold():
    """Place calls that last until a test hangs them up, or is over."""
    with ExitStack() as stack:

        def hold(pbx, *numbers, who="alice"):
            held = stack.enter_context(pbx.phones.keypads(numbers, phone=who))
            for one in held:
                stack.callback(one.hang_up)
            return held

        yield hold


def hung_up(held):
    """Hang up calls, and return how they went."""
    for one in held:
        one.hang_up()
    return [one.call() for one in held]


def started(service, *names, times=1):
    service.start()
    for name in names or NAMES:
        wait_for_link(service, name, times)
    return service


def entries(service, event, name):
    """Return the log's entries of a kind about one Asterisk."""
    entries = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
    return [entry for entry in entries if entry.get("event") == event and entry.get("asterisk") == name]


def wait_for_link(service, name, times=1):
    wait_until(lambda: len(entries(service, "channels listed", name)) >= times, f"the service followed {name}")


def calls(service, name, state):
    found = service.read("calls")
    assert {call["asterisk"] for call in found} <= set(NAMES)
    return [call for call in found if (call["asterisk"], call["state"]) == (name, state)]


def wait_for_calls(service, name, state, count=1):
    return wait_until(
        lambda: len(found := calls(service, name, state)) >= count and found, f"{count} of {name} were {state}"
    )


def alerts(service, kind):
    return [alert for alert in service.read("alerts", "list") if alert["kind"] == kind]


def told(service, kind, name):
    """Return the alert about one Asterisk, when it is there."""
    found = wait_until(lambda: [a for a in alerts(service, kind) if a["details"]["asterisk"] == name], f"{kind} {name}")
    (alert,) = found
    return alert


def health(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        document = json.load(answer)
    return document["status"], document["checks"]


def detail(port, name):
    return health(port)[1][f"ami.{name}"]["detail"]


# --- TLS ---


def test_a_call_is_followed_over_tls_and_nothing_of_it_can_be_read_on_the_way(stopped_service, pbx2):
    secret = (stopped_service.folder / "pbx2.secret").read_text().strip()
    with Wiretap(pbx2.tls_port) as tap:
        stopped_service.configure(f"port = {pbx2.tls_port}", f"port = {tap.port}")
        started(stopped_service)
        heard = pbx2.phones.dial(BRITAIN, milliseconds=1500)
        (call,) = wait_for_calls(stopped_service, "pbx2", "ended")
        assert heard.seconds - 1 <= call["seconds"] <= heard.seconds + 2
        assert (call["number"], call["cost"], call["reconstructed"]) == ("+442079460000", "0.02", False)
        assert len(tap.asked) > 200
        assert len(tap.answered) > 2000
        for readable in (secret, "Login", "Secret", "2079460000", "Asterisk Call Manager"):
            assert readable.encode() not in tap.asked + tap.answered
    assert secret not in stopped_service.log


def test_who_is_not_trusted_is_told_no_secret(stopped_service, pbx1, pbx2, authorities):
    """Several ways in which TLS is set up wrong, at once, beside an Asterisk that is all right."""
    shutil.copy(authorities[1].file, stopped_service.folder)
    secret = (stopped_service.folder / "pbx2.secret").read_text().strip()
    http = free_port(socket.SOCK_STREAM)
    stopped_service.configure("[http]\nport = 0", f"[http]\nport = {http}")
    with (
        Wiretap(pbx2.tls_port) as tap,
        Wiretap(pbx2.port) as clear,
        Manager(pbx2.port, "everything", pbx2.tests_secret) as manager,
    ):
        encrypted = ENCRYPTED.format(name="pbx2", port=tap.port)
        wrong = {
            "stranger": encrypted.replace("ours.pem", "stranger.pem"),
            "system": encrypted.replace('ca_file = "ours.pem"\n', ""),
            "misnamed": encrypted + 'host = "localhost"\n',
            "clear": ENCRYPTED.format(name="pbx2", port=clear.port),  # TLS, to the port without
            "unencrypted": PLAIN.format(name="pbx2", port=tap.port),  # and the other way round
        }
        sections = (text.replace("[ami.pbx2]", f"[ami.{name}]") for name, text in wrong.items())
        stopped_service.configure(ENCRYPTED.format(name="pbx2", port=pbx2.tls_port), "".join(sections))
        started(stopped_service, "pbx1")

        assert pbx1.phones.dial(BRITAIN).answered
        assert [call["cost"] for call in wait_for_calls(stopped_service, "pbx1", "ended")] == ["0.02"]
        links = {name: told(stopped_service, "ami_absent", name)["details"]["link"] for name in wrong}
        untrusted = "its certificate is not trusted: "
        assert links["stranger"] == links["system"] == untrusted + "unable to get local issuer certificate"
        assert links["misnamed"] == untrusted + "Hostname mismatch, certificate is not valid for 'localhost'"
        assert links["clear"] == "TLS failed: wrong version number"
        wait_until(lambda: "no greeting" in detail(http, "unencrypted"), "it was given up")
        status, checks = health(http)
        assert status == "degraded"
        assert {name for name, check in checks.items() if check["status"] != "ok"} == {f"ami.{name}" for name in wrong}
        for name in ("stranger", "system", "misnamed"):
            assert untrusted in detail(http, name)
            assert untrusted in entries(stopped_service, "ami down", name)[0]["error"]

        assert tap.connections >= 8, "it was not tried again"
        assert secret.encode() not in tap.asked + clear.asked
        assert b"Action" not in tap.asked + clear.asked
        with Manager(pbx2.port, "fraudguard", secret):
            manager.wait_for("a login was seen", lambda event: event["AccountID"] == "fraudguard")
        seen = [event["Event"] for event in manager.events if event["AccountID"] == "fraudguard"]
        assert seen == ["SuccessfulAuth"], "the service had tried to log in"
    assert secret not in stopped_service.log


# --- several ---


def test_calls_are_followed_apart_and_the_police_takes_the_right_one(service, pbx1, pbx2, hold):
    first, second = hold(pbx1, BRITAIN, DOMESTIC), hold(pbx2, BRITAIN, who="erin")
    wait_for_calls(service, "pbx1", "up", 2)
    (call,) = wait_for_calls(service, "pbx2", "up")
    assert (call["account"], call["number"], call["why"]) == ("erin-204", "+442079460000", "ok")

    # The number that pbx1 has a verdict for, and pbx2 has not.
    heard = pbx2.phones.dial(DOMESTIC, phone="ursula", milliseconds=10_000)
    assert heard.seconds is None or heard.seconds < 0.25, "it lived on"
    (alert,) = wait_until(lambda: alerts(service, "unguarded_call"), "it was told")
    assert alert["details"]["asterisk"] == "pbx2"
    assert (alert["account"], alert["details"]["hung_up"]) == ("ursula", "yes")
    assert len(calls(service, "pbx1", "up")) == 2
    assert len(calls(service, "pbx2", "up")) == 1

    heard = [call.seconds for call in (*hung_up(first), *hung_up(second))]
    of_pbx1, of_pbx2 = wait_for_calls(service, "pbx1", "ended", 2), wait_for_calls(service, "pbx2", "ended", 2)
    assert sorted((call["account"], call["why"], call["number"], call["cost"]) for call in of_pbx1) == [
        ("alice", "ok", "+12025550123", "0.01"),
        ("alice", "ok", "+442079460000", "0.02"),
    ]
    assert sorted((call["account"], call["why"], call["number"]) for call in of_pbx2) == [
        ("erin-204", "ok", "+442079460000"),
        ("ursula", "unguarded", "+12025550123"),
    ]
    counted = [call["seconds"] for call in of_pbx1 + of_pbx2 if call["why"] == "ok"]
    assert all(there - 1 <= here <= there + 2 for here, there in zip(sorted(counted), sorted(heard), strict=True))
    assert len(service.read("alerts", "list")) == 1


def test_an_asterisk_that_dies_takes_nothing_of_the_other_with_it(service, pbx1, pbx2, hold):
    first = hold(pbx1, DOMESTIC)
    hold(pbx2, BRITAIN, DOMESTIC)
    wait_for_calls(service, "pbx1", "up")
    wait_for_calls(service, "pbx2", "up", 2)
    with dead(pbx2):
        died_at = time.monotonic()
        assert pbx1.phones.dial(BRITAIN).answered
        assert [call["number"] for call in wait_for_calls(service, "pbx1", "ended")] == ["+442079460000"]
        assert [call["number"] for call in calls(service, "pbx1", "up")] == ["+12025550123"]
        hung_up(first)
        of_pbx1 = wait_for_calls(service, "pbx1", "ended", 2)
        assert [(call["cost"], call["reconstructed"]) for call in of_pbx1] == [("0.02", False), ("0.01", False)]
        assert told(service, "ami_lost", "pbx2")["severity"] == "critical"
        assert len(calls(service, "pbx2", "up")) == 2, "who cannot look must not say that they ended"
        away = time.monotonic() - died_at

    wait_for_link(service, "pbx2", 2)
    of_pbx2 = wait_for_calls(service, "pbx2", "ended", 2)
    assert [(call["why"], call["reconstructed"]) for call in of_pbx2] == [("ok", True)] * 2
    assert all(call["seconds"] >= away for call in of_pbx2), "money that was spent must never look unspent"
    assert pbx2.phones.dial(DOMESTIC).answered
    newest = wait_for_calls(service, "pbx2", "ended", 3)[0]
    assert (newest["number"], newest["cost"], newest["reconstructed"]) == ("+12025550123", "0.01", False)
    assert len(entries(service, "channels listed", "pbx1")) == 1, "its link was lost too"
    assert [alert["kind"] for alert in service.read("alerts", "list")] == ["ami_lost"]


@contextmanager
def dead(pbx):
    """Kill an Asterisk as the kernel would, and start it again at the end of the block."""
    os.kill(pbx.asterisk.pid, signal.SIGKILL)
    pbx.asterisk.stop()
    try:
        yield
    finally:
        pbx.asterisk.log.rename(pbx.asterisk.log.with_suffix(".before"))  # in it stands that Asterisk is ready
        pbx.asterisk.start()


def test_kill_9_with_calls_on_both_loses_none(service, pbx1, pbx2, hold):
    first, second = hold(pbx1, *[DOMESTIC] * 10), hold(pbx2, *[BRITAIN] * 5)
    wait_for_calls(service, "pbx1", "up", 10)
    wait_for_calls(service, "pbx2", "up", 5)
    service.kill()
    hung_up(first[:3])  # what ends unseen
    started(service, times=2)
    assert len(wait_for_calls(service, "pbx1", "ended", 3)) == 3
    assert len(calls(service, "pbx1", "up")) == 7
    assert len(calls(service, "pbx2", "up")) == 5
    hung_up((*first[3:], *second))
    of_pbx1, of_pbx2 = wait_for_calls(service, "pbx1", "ended", 10), wait_for_calls(service, "pbx2", "ended", 5)
    assert {(call["number"], call["why"], call["cost"]) for call in of_pbx1} == {("+12025550123", "ok", "0.01")}
    assert {(call["number"], call["why"], call["cost"]) for call in of_pbx2} == {("+442079460000", "ok", "0.02")}
    assert [call["reconstructed"] for call in of_pbx1].count(True) == 3
    assert (len(of_pbx1), len(of_pbx2)) == (10, 5)
    assert service.read("alerts", "list") == []
