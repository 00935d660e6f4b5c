"""docker/compose.yaml as a newcomer gets it: built from this checkout, brought up, called through, taken down.

Not collected with the other tests, since it needs a Docker engine and minutes: `make compose-smoke`. The tests are one
story, in this order, with one set of containers.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from decimal import ROUND_UP, Decimal
from pathlib import Path

import pytest
from asterisk_harness.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FILES = (ROOT / "docker" / "compose.yaml", ROOT / "docker" / "compose.host.yaml")
PREFIX = "fraudguard-smoke-"  # .ci/docker-engine clears away what a killed run left under this name

BUILD_SECONDS = 900  # packages from a slow mirror; 60 s is usual
HEALTHY_SECONDS = 120  # 5 s is usual
CALL_SECONDS = 60  # one call takes 3 s
PLAY_SECONDS = 240  # the day takes a minute, the attack 20 s
DOWN_SECONDS = 120

GOOD, BAD = "12125550143", "0115355551234"
E164 = {GOOD: "+12125550143", BAD: "+5355551234"}

AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # Debian's
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PIP_SETTINGS = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries"}


def host_settings(folder):
    """Return the environment with which docker/compose.host.yaml shows this machine's settings to the build."""
    apt = folder / "apt.conf"
    apt.write_text("")
    if shutil.which("apt-config"):
        dump = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True).stdout
        wanted = ("Acquire::http", "Acquire::Check", "Acquire::ForceIPv", "Acquire::Retries")
        apt.write_text("".join(line for line in dump.splitlines(keepends=True) if line.startswith(wanted)))
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    settings = {}
    for line in listed.splitlines():  # global.index-url='...', the later and more specific last
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in PIP_SETTINGS:
            words = [word for word in ast.literal_eval(value).split() if not word.startswith(("file:", "/"))]
            settings[name] = words or settings.get(name, [])
    pip = folder / "pip.conf"
    pip.write_text("[global]\n" + "".join(f"{name} = {' '.join(words)}\n" for name, words in settings.items() if words))
    authorities = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE") or AUTHORITIES
    return {
        "BUILD_APT_CONF": str(apt),
        "BUILD_PIP_CONF": str(pip),
        "BUILD_AUTHORITIES": authorities if Path(authorities).is_file() else os.devnull,
    }


class Stack:
    """One project of Compose, with a name of its own."""

    def __init__(self, folder):
        self.project = f"{PREFIX}{secrets.token_hex(4)}"
        self._environment = {**os.environ, **host_settings(folder), "BUILDKIT_PROGRESS": "plain"}

    def __call__(self, *words, seconds=CALL_SECONDS, check=True):
        """Run `docker compose` with these words and return what it printed."""
        files = [word for file in FILES for word in ("--file", str(file))]
        return self.docker("compose", "--project-name", self.project, *files, *words, seconds=seconds, check=check)

    def logs(self, service):
        """Return what a service's containers have said, line by line. Compose says it with sequences for a terminal."""
        return _TERMINAL.sub("", self("logs", "--no-color", "--no-log-prefix", service)).splitlines()

    def docker(self, *words, seconds=CALL_SECONDS, check=True):
        command = ["docker", *map(str, words)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=seconds, env=self._environment
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def up(self):
        self("build", seconds=BUILD_SECONDS)
        self.start()

    def start(self):
        self("up", "--detach", "--wait", "--wait-timeout", HEALTHY_SECONDS, seconds=2 * HEALTHY_SECONDS)
        # A guard whose Asterisk is away is healthy: it goes on deciding.
        wait_until(lambda: self.health()["checks"]["ami.asterisk"]["status"] == "ok", "Asterisk was followed", 30)

    def health(self):
        return json.loads(self("exec", "--no-TTY", "fraudguard", "healthy"))

    def down(self):
        profiles = ("--profile", "day", "--profile", "attack")
        return self(*profiles, "down", "--volumes", "--rmi", "all", "--timeout", 5, seconds=DOWN_SECONDS, check=False)

    def call(self, number, *, phone="alice", service="day"):
        """Place one call from a phone's container of its own, and return how it went, in the phone's words."""
        told = self("run", "--rm", "--no-deps", "--no-TTY", service, "phones", "call", number, "2", phone)
        return told.partition(f"{phone} dialled {number}: ")[2].strip()

    def fraudguard(self, *words):
        """Ask the running service's container; return the JSON document."""
        return json.loads(self("exec", "--no-TTY", "fraudguard", "fraudguard", *words, "--json"))

    def carried(self):
        """Return the numbers that reached the carrier, in order."""
        return [line.split()[3] for line in self.logs("carrier") if line.startswith("a call for ")]

    def guarded(self):
        return [call for call in self.fraudguard("calls") if call["why"] == "ok"]

    def unended(self):
        return [call for call in self.fraudguard("calls") if call["state"] != "ended"]

    def secret(self):
        return self("exec", "--no-TTY", "fraudguard", "cat", "/var/lib/fraudguard/ami-secret").strip()


@pytest.fixture(scope="module")
def stack(request, tmp_path_factory):
    # Ended by a signal, it still takes down what it brought up. SIGINT too: what a shell starts in the background has
    # it ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    made = Stack(tmp_path_factory.mktemp("compose"))
    whole = False
    try:
        made.up()
        whole = True
        yield made
    finally:
        if not whole or request.session.testsfailed:
            states, logs = made("ps", "--all", check=False), made("logs", "--no-color", "--timestamps", check=False)
            with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                sys.stderr.write(f"\n==== {made.project}\n{states}\n{logs}\n")
        made.down()
        left = made.docker("ps", "--all", "--quiet", "--filter", f"name={made.project}")
        left += made.docker("volume", "ls", "--quiet", "--filter", f"name={made.project}")
    assert not left


def test_every_service_is_healthy(stack):
    services = [json.loads(line) for line in stack("ps", "--all", "--format", "json").splitlines()]
    assert {service["Service"]: service["Health"] or service["ExitCode"] for service in services} == {
        "setup": 0,
        "fraudguard": "healthy",
        "asterisk": "healthy",
        "carrier": "healthy",
    }


def test_the_doctor_finds_no_fault(stack):
    # Reads back what Asterisk includes, and asks Asterisk about it and about the guard's rights.
    stack(
        "exec",
        "--no-TTY",
        "fraudguard",
        "fraudguard",
        "doctor",
        "--dialplan",
        "/etc/asterisk/fraudguard/fraudguard.conf",
    )


def test_a_good_call_reaches_the_carrier_and_a_bad_one_does_not(stack):
    assert stack.call(GOOD) == "answered"
    assert stack.call(BAD, phone="bob", service="attack") == "503"
    assert stack.carried() == [E164[GOOD]]


def test_a_call_abroad_wants_a_pin(stack):
    assert stack.call("011442079460000", phone="bob", service="attack") == "503"  # heard the prompt, and keyed nothing
    keys = ("account", "reason", "pin_required", "pin_tries")
    assert [stack.fraudguard("attempts")[0][key] for key in keys] == ["bob", "pin_timeout", True, 0]


def test_both_verdicts_are_recorded(stack):
    _, bad, good = stack.fraudguard("attempts")
    keys = ("verdict", "reason", "number", "account", "trunk")
    assert [good[key] for key in keys] == ["allow", "ok", E164[GOOD], "alice", "carrier"]
    assert [bad[key] for key in keys] == ["nowhere", "over_limit", E164[BAD], "bob", "carrier"]
    # Two networks, so that one sees from where.
    assert good["source"].rpartition(".")[0] != bad["source"].rpartition(".")[0]


def test_the_bad_call_raised_an_alert(stack):
    (alert,) = [alert for alert in stack.fraudguard("alerts", "list") if alert["kind"] == "over_limit"]
    assert (alert["number"], alert["account"], alert["tries"], alert["acked_at"]) == (E164[BAD], "bob", 1, None)


def test_the_good_call_is_in_the_ledger_with_its_cost(stack):
    # Asterisk's own record is noted some seconds after the end, when no other is to be expected.
    wait_until(lambda: stack.fraudguard("calls")[0]["cdr_seconds"] is not None, "the call was settled", 20)
    (call,) = stack.fraudguard("calls")
    assert call["state"] == "ended"
    assert [call[key] for key in ("number", "account", "why", "cause")] == [E164[GOOD], "alice", "ok", 16]
    assert not call["reconstructed"]
    assert 2 <= call["seconds"] <= CALL_SECONDS
    assert Decimal(call["cost"]) == cost_of(call) > 0
    assert abs(call["seconds"] - call["cdr_seconds"]) <= 1  # Asterisk's own record agrees
    assert call["call"] in [attempt["call"] for attempt in stack.fraudguard("attempts")]


def cost_of(call):
    """Return the cost of its seconds by the deck's terms, worked out anew."""
    steps = -(-call["seconds"] // call["increment_seconds"])
    billed = max(call["minimum_seconds"], steps * call["increment_seconds"])
    cost = Decimal(call["connect_fee"]) + Decimal(call["per_minute"]) * billed / 60
    return cost.quantize(Decimal("0.000001"), ROUND_UP)


def test_a_call_past_the_guard_is_hung_up_and_told(stack):
    stack(
        "exec",
        "--no-TTY",
        "asterisk",
        "asterisk",
        "-rx",
        f"channel originate PJSIP/{E164[BAD]}@carrier application Wait 60",
    )
    wait_until(
        lambda: any(alert["kind"] == "unguarded_call" for alert in stack.fraudguard("alerts", "list")), "it was told"
    )
    wait_until(lambda: stack.fraudguard("calls")[0]["state"] == "ended", "it was hung up")
    call = stack.fraudguard("calls")[0]
    assert (call["number"], call["why"]) == (E164[BAD], "unguarded")


def test_a_day_goes_on_through_an_attack(stack):
    before, known = len(stack.carried()), stack.guarded()
    stack("up", "--detach", "--no-recreate", "day", "attack")
    containers = stack("--profile", "day", "--profile", "attack", "ps", "--all", "--quiet", "day", "attack").split()
    assert stack.docker("wait", *containers, seconds=PLAY_SECONDS).split() == ["0", "0"]
    day, attack = stack.logs("day"), stack.logs("attack")
    to_place, to_steal = calls_of("day"), calls_of("attack")
    assert sum(line.endswith(": answered") for line in day) == len(to_place) - 1
    assert [line for line in day if line.endswith(": 503")] == ["alice dialled 01137167550123: 503"]
    assert sum(line.endswith(": 503") for line in attack) == len(to_steal)
    internal = sum(";100;" in line for line in to_place)
    assert len(stack.carried()) - before == len(to_place) - 1 - internal
    # Nothing that the thief dialled is in the ledger, and what the office dialled has ended and is priced.
    with contextlib.suppress(AssertionError):  # what is asserted below says more
        wait_until(lambda: not stack.unended(), "all calls had ended")
    assert stack.unended() == []
    guarded = stack.guarded()
    assert len(guarded) - len(known) == len(to_place) - 1 - internal
    assert {Decimal(call["cost"]) == cost_of(call) for call in guarded} == {True}


def calls_of(play):
    return (ROOT / "docker" / "sipp" / f"{play}.csv").read_text().splitlines()[1:]


def test_the_secret_is_in_no_image_and_outlives_a_restart(stack):
    secret = stack.secret()
    assert len(secret) >= 24
    assert f"secret = {secret}" in stack("exec", "--no-TTY", "asterisk", "cat", "/etc/asterisk/fraudguard/manager.conf")
    images = sorted(set(stack("config", "--images").split()))
    assert len(images) == 3
    for image in images:
        assert secret not in stack.docker("history", "--no-trunc", image)
        assert not holds(image, secret.encode()), image
    stack("restart", "fraudguard", "asterisk")
    stack.start()
    assert stack.secret() == secret


def holds(image, needle):
    """Whether the bytes occur anywhere in the image: its layers, those beneath, and its configuration."""
    found, rest = False, b""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        while chunk := save.stdout.read(1 << 20):
            found = found or needle in rest + chunk
            rest = chunk[-len(needle) :]
    assert save.returncode == 0
    return found


def test_without_the_guard_emergency_and_domestic_go_and_the_rest_does_not(stack):
    stack("stop", "fraudguard")
    before = len(stack.carried())
    assert stack.call("911") == "answered"
    assert stack.call(GOOD) == "answered"
    assert stack.call("011442079460000") == "503"
    assert stack.carried()[before:] == ["911", E164[GOOD]]
