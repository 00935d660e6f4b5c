"""The service as a whole, in this process and as one of its own, asked over real sockets."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from command_line import CommandLine
from structlog.testing import capture_logs

from fraudguard.clock import SystemClock
from fraudguard.config import load
from fraudguard.errors import StoreError, UnreachableError
from fraudguard.service import running
from fraudguard.testing import FakeAsterisk

PRICES = "prefix,destination,per_minute\n1,United States,0.01\n53,Cuba,0.80\n882,Networks,3.50\n"
CUBA = "0115355512345"
NETWORKS = "0118821600000"
SEEN_WITHIN = 1.0  # seconds: what operators are promised for their edits


@pytest.fixture
def fraudguard(tmp_path, monkeypatch) -> CommandLine:
    monkeypatch.setenv("FRAUDGUARD_AGI__PORT", "0")
    monkeypatch.setenv("FRAUDGUARD_HTTP__PORT", "0")
    monkeypatch.setenv("FRAUDGUARD_PIN__ASK", "[]")  # tests/test_service_pins.py asks
    for limit in ("SAME_NUMBER", "ACCOUNT_ATTEMPTS"):  # the same account calls the same number again and again
        monkeypatch.setenv(f"FRAUDGUARD_SPEED__{limit}", "0")
    prices = tmp_path / "carrier.csv"
    prices.write_text(PRICES)
    command_line = CommandLine(tmp_path / "fraudguard.toml")
    command_line("init")
    command_line("rates", "import", prices, "--deck", "carrier")
    return command_line


@pytest.fixture
async def service(fraudguard):
    with capture_logs():  # commands run beside the service, and their output is read
        async with running(load(fraudguard.config), SystemClock()) as service:
            yield service


@pytest.fixture
def asterisk(service):
    return FakeAsterisk(*service.address)


async def edited(fraudguard, *arguments):
    """Run a command beside the service, as another process would: the event loop goes on."""
    return await asyncio.to_thread(fraudguard, *arguments)


async def reason_of(asterisk, number, **arguments):
    result = await asterisk.outbound(number=number, trunk="carrier", **arguments)
    return result.variables["FRAUDGUARD_VERDICT"], result.variables["FRAUDGUARD_REASON"]


async def becomes(expected, ask):
    """Ask until the answer is as expected, for as long as an edit may take to be seen."""
    deadline = time.monotonic() + SEEN_WITHIN
    answer = await ask()
    while answer != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.05)  # each call that is allowed takes its part of the account's money
        answer = await ask()
    return answer


async def test_a_dear_call_goes_nowhere_and_leaves_attempt_and_alert(asterisk, fraudguard):
    assert await reason_of(asterisk, "12125550100") == ("allow", "ok")
    for _ in range(3):
        assert await reason_of(asterisk, NETWORKS, account="204", source="198.51.100.7:5060") == (
            "nowhere",
            "over_limit",
        )
    (alert,) = (await edited(fraudguard, "alerts", "list", "--json")).json
    assert {key: alert[key] for key in ("kind", "tries", "dialled", "number", "source", "account", "per_minute")} == {
        "kind": "over_limit",
        "tries": 3,
        "dialled": NETWORKS,
        "number": "+8821600000",
        "source": "198.51.100.7:5060",
        "account": "204",
        "per_minute": "3.50",
    }
    attempts = (await edited(fraudguard, "attempts", "--json")).json
    assert [entry["verdict"] for entry in attempts] == ["nowhere"] * 3 + ["allow"]
    assert attempts[0]["explain"] == (await edited_check(fraudguard, NETWORKS))["explain"]


async def edited_check(fraudguard, number):
    result = await asyncio.to_thread(fraudguard, "check", number, "--trunk", "carrier", "--json", status=None)
    return result.json


async def test_every_edit_is_obeyed_within_a_second(asterisk, fraudguard, tmp_path):
    async def cuba():
        return await reason_of(asterisk, CUBA)

    assert await cuba() == ("nowhere", "over_limit")
    await edited(fraudguard, "limit", "set", "0.80")
    assert await becomes(("allow", "ok"), cuba) == ("allow", "ok")
    await edited(fraudguard, "block", "add", "+53")
    assert await becomes(("nowhere", "blocked"), cuba) == ("nowhere", "blocked")
    await edited(fraudguard, "block", "remove", "1")
    await edited(fraudguard, "limit", "set", "0.10")
    assert await becomes(("nowhere", "over_limit"), cuba) == ("nowhere", "over_limit")
    await edited(fraudguard, "grant", "add", "+53", "--max-price", "0.80")
    assert await becomes(("allow", "ok"), cuba) == ("allow", "ok")
    dearer = tmp_path / "dearer.csv"
    dearer.write_text(PRICES.replace("0.80", "0.81"))
    await edited(fraudguard, "rates", "import", dearer, "--deck", "carrier")
    assert await becomes(("nowhere", "over_limit"), cuba) == ("nowhere", "over_limit")


async def test_a_locked_database_gives_a_failure_and_never_an_allowance(asterisk, fraudguard):
    with sqlite3.connect(load(fraudguard.config).database, isolation_level=None) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        result = await asterisk.outbound(number="12125550100", trunk="carrier")
        waited = time.monotonic() - started
        emergency = await asterisk.outbound(number="911", trunk="carrier")
        blocker.execute("ROLLBACK")
    blocker.close()
    assert result.status == "FAILURE"
    assert "FRAUDGUARD_VERDICT" not in result.variables
    assert emergency.variables["FRAUDGUARD_VERDICT"] == "allow"
    assert waited < 3, "a caller reaches the fence within 3 s"
    assert await reason_of(asterisk, "12125550100") == ("allow", "ok")


async def test_an_unknown_trunk_is_a_failure(asterisk):
    result = await asterisk.outbound(number="12125550100", trunk="elsewhere")
    assert (result.status, result.variables) == ("FAILURE", {})


async def test_fifty_calls_at_once_each_get_their_own_verdict(asterisk):
    numbers = [f"1212555{index:04}" for index in range(50)]
    results = await asyncio.gather(*(asterisk.outbound(number=number, trunk="carrier") for number in numbers))
    assert [result.variables["FRAUDGUARD_NUMBER"] for result in results] == [f"+{number}" for number in numbers]
    assert len({result.variables["FRAUDGUARD_CALL"] for result in results}) == 50


async def test_a_second_service_on_the_same_database_is_refused(asterisk, fraudguard):
    with pytest.raises(StoreError, match="another fraudguard serves this database"):
        async with running(load(fraudguard.config), SystemClock()):
            pass


async def test_a_port_in_use_is_an_error_that_names_the_key(service, monkeypatch, tmp_path):
    other = CommandLine(tmp_path / "other" / "fraudguard.toml")
    await edited(other, "init")
    monkeypatch.setenv("FRAUDGUARD_AGI__PORT", str(service.address[1]))
    with pytest.raises(UnreachableError, match=r"agi\.port"):
        async with running(load(other.config), SystemClock()):
            pass


class Process:
    """`fraudguard run` as a process of its own."""

    def __init__(self, config) -> None:
        command = [sys.executable, "-c", "from fraudguard.cli import main; main()", "--config", str(config), "run"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        greeting = self.process.stdout.readline()
        assert "listens on" in greeting, greeting
        host, _, port = greeting.split()[3].rstrip(".").rpartition(":")
        self.asterisk = FakeAsterisk(host, int(port))

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.process.stdout.close()
        return status


@pytest.fixture
def process(fraudguard):
    started = []

    def start() -> Process:
        started.append(Process(fraudguard.config))
        return started[-1]

    yield start
    for entry in started:
        if entry.process.poll() is None:
            entry.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_ends_in_good_order_when_told(process, number):
    assert process().end(number) == 0


def test_what_was_answered_survives_kill_9(process, fraudguard):
    service = process()
    answered = []

    async def callers():
        async def call(index):
            result = await service.asterisk.outbound(number=f"1212555{index:04}", trunk="carrier")
            if "FRAUDGUARD_CALL" in result.variables:
                answered.append(result.variables["FRAUDGUARD_CALL"])
            if len(answered) == 100:
                os.kill(service.process.pid, signal.SIGKILL)

        await asyncio.gather(*(call(index) for index in range(400)))

    asyncio.run(callers())
    service.end(signal.SIGKILL)
    assert len(answered) >= 100
    stored = {entry["call"] for entry in fraudguard("attempts", "--limit", "1000", "--json").json}
    assert set(answered) <= stored
    assert process().end(signal.SIGTERM) == 0, "it starts again on the same database"
