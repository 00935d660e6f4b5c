"""Two real Asterisks and one service: the link to the second one is encrypted."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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
TOLD = 12.0  # a lost link is told after 10 s

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
def dial():
    """Dial in the background; everything dialled is over when the test is."""
    with ThreadPoolExecutor(8) as pool:
        yield lambda pbx, *numbers, seconds=2.0, who="alice": pool.submit(
            pbx.phones.dial_all, list(numbers), phone=who, milliseconds=int(seconds * 1000)
        )


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


# --- TLS ---


def test_a_call_is_followed_over_tls_and_nothing_of_it_can_be_read_on_the_way(stopped_service, pbx2, dial):
    secret = (stopped_service.folder / "pbx2.secret").read_text().strip()
    with Wiretap(pbx2.tls_port) as tap:
        stopped_service.configure(f"port = {pbx2.tls_port}", f"port = {tap.port}")
        started(stopped_service)
        (heard,) = dial(pbx2, BRITAIN, seconds=1.5).result()
        (call,) = wait_for_calls(stopped_service, "pbx2", "ended")
        assert heard.seconds <= call["seconds"] <= heard.seconds + 1.1
        assert (call["number"], call["cost"], call["reconstructed"]) == ("+442079460000", "0.02", False)
        assert len(tap.asked) > 200
        assert len(tap.answered) > 2000
        for readable in (secret, "Login", "Secret", "2079460000", "Asterisk Call Manager"):
            assert readable.encode() not in tap.asked + tap.answered
    assert secret not in stopped_service.log


def test_who_proves_to_be_another_is_told_no_secret(stopped_service, pbx1, pbx2, authorities, dial):
    """Four ways in which TLS is set up wrong, at once, beside an Asterisk that is all right."""
    shutil.copy(authorities[1].file, stopped_service.folder)
    secret = (stopped_service.folder / "pbx2.secret").read_text().strip()
    http = free_port(socket.SOCK_STREAM)
    stopped_service.configure("[http]\nport = 0", f"[http]\nport = {http}")
    with Wiretap(pbx2.tls_port) as tap, Wiretap(pbx2.port) as clear, Manager(pbx2.port, "everything", pbx2.tests_secret) as manager:
        right = ENCRYPTED.format(name="pbx2", port=pbx2.tls_port)
        wrong = {
            "stranger": ENCRYPTED.format(name="pbx2", port=tap.port).replace("ours.pem", "stranger.pem"),
            "system": PLAIN.format(name="pbx2", port=tap.port) + "tls = true\n",
            "name": ENCRYPTED.format(name="pbx2", port=tap.port) + 'host = "localhost"\n',
            "clear": ENCRYPTED.format(name="pbx2", port=clear.port),
            "unencrypted": PLAIN.format(name="pbx2", port=tap.port),
        }
        sections = (text.replace("[ami.pbx2]", f"[ami.{name}]") for name, text in wrong.items())
        stopped_service.configure(right, "".join(sections))
        started(stopped_service, "pbx1")
        for name in wrong:
            print(told(stopped_service, "ami_absent", name))
        print(health(http))
        print(stopped_service.log)
        print(stopped_service.cli("alerts", "list"))
        print(tap.connections, len(tap.asked), len(clear.asked))
        print([e for e in manager.events])
        mark = pbx2.asterisk.logged_since(0)
        print("\n".join(mark[-30:]))
        print("HEALTH", health(http))
