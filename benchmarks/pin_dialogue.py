"""What asking for PINs costs: callers who wait at the prompt, PINs that are looked at, and everybody else meanwhile.

    python benchmarks/pin_dialogue.py [--callers 5000] [--verdicts 6000] [--rounds 6] [--seconds 5] [--folder DIR]

The service is a process of its own, as `fraudguard run` builds it, and the callers are in this one.

- at the prompt: so many callers have been asked and key nothing. Its memory and threads with them and without, and the
  time for a domestic verdict, from connection to answer, in rounds without them and with them.
- under attack: channels that key wrong PINs without end, from as many accounts, and the same domestic verdicts.
- looked at: PINs of callers who key the right one, 16 at once, per second: two commits and one argon2 each.
- one argon2: the time to look at one PIN of a tenant that has 1, and of one that has 500.

The callers share the machine with the service, so compare the rows, not days.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from fraudguard import config, logs
from fraudguard.asking.asker import SLOTS
from fraudguard.asking.verifier import PinVerifier
from fraudguard.clock import SystemClock
from fraudguard.errors import ConfigError
from fraudguard.pins.digits import Digits
from fraudguard.pins.vault import Vault, make_pepper
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.policy.pin import NewPin, Pin, PinKind, Terms
from fraudguard.rating import Rate
from fraudguard.service import running
from fraudguard.store import create_database, open_writer
from fraudguard.store.pins import add_pin, settle_scheme
from fraudguard.store.rates import Delivery, import_deck
from fraudguard.testing import Channel, Faults
from fraudguard.testing.agi import AgiCall

CONFIG = """\
currency = "USD"
[trunks.carrier]
deck = "carrier"
[http]
port = 0
[agi]
port = 0
deadline_seconds = 30
[pin]
timeout_seconds = 60
[policy]
# Nobody calls as much as this: what bounds that is asked, and refuses nothing.
shadow = ["too_fast", "too_many", "over_budget"]
[log]
level = "error"
"""

TENANT = "default"
PIN, WRONG = "480915", "730264"
DOMESTIC, ABROAD = "12125550123", "011442079460000"
AT_ONCE = 16  # callers who key the right PIN
ATTACKERS = 100
SPARE_FILES = 200
DEADLINE = 60  # seconds that anything here may take at most


# --- the service ---


async def serve(folder: Path, ready: Callable[[int], None]) -> None:
    settings = config.load(folder / config.CONFIG_NAME)
    logs.configure(settings.log)
    async with running(settings, SystemClock()) as service:
        ready(service.address[1])
        await asyncio.Event().wait()


async def prepare(folder: Path) -> None:
    """Write configuration, pepper, and a database with a price list and a PIN into `folder`."""
    (folder / config.CONFIG_NAME).write_text(CONFIG, encoding="utf-8")
    settings = config.load(folder / config.CONFIG_NAME)
    pepper = make_pepper()
    settings.pepper.touch(0o600)
    settings.pepper.write_text(pepper, encoding="ascii")
    vault = Vault(bytes.fromhex(pepper))
    now = SystemClock().now()
    await create_database(settings.database, now)
    delivery = Delivery("carrier", "USD", "benchmark", "0" * 64, "benchmark", now - 1000)
    rates = [Rate("1", "USA", 5_000, 0, 0, 1, 0), Rate("44", "UK", 10_000, 0, 0, 1, 0)]
    async with await open_writer(settings.database) as writer:
        await import_deck(writer, delivery, rates, currency="USD", now=now)
        scheme = await settle_scheme(writer, TENANT, vault.new_scheme())
        seal = vault.seal(scheme, TENANT, Digits(PIN))
        new = NewPin(TENANT, "anna", PinKind.DIGITS, duress=False, terms=Terms())
        await add_pin(writer, new, seal, author="benchmark", now=now)


@contextlib.contextmanager
def service_process(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the service; gives its process id and port."""
    command = [sys.executable, __file__, "--serve", "--folder", str(folder)]
    # Of the lock that the attack brings about an alert is written.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def status_of(pid: int, key: str) -> int:
    """Return a number of /proc/PID/status: VmRSS in KiB, Threads."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


# --- the callers ---


def environment(number: str, serial: int) -> bytes:
    words = [f"number={number}", "trunk=carrier", f"account={serial}", f"tenant={TENANT}"]
    words += [f"source=192.0.2.{serial % 250}:5060", "asterisk=asterisk", f"linkedid=1767225600.{serial}"]
    call = AgiCall(Channel(extension=number), "outbound", words, Faults())
    return call.environment("agi://127.0.0.1:4573/outbound")


class Caller:
    """One connection. `keys` is what is keyed at each prompt, None for nothing at all, ever."""

    def __init__(self, port: int, number: str, serial: int, keys: str | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.keys = keys
        self.asked = False
        self.began = time.perf_counter()
        self.socket.send(environment(number, serial))

    def hear(self) -> str:
        """Take what the service says, and answer as Asterisk does. Return the command, '' at the end."""
        line = self.socket.recv(4096).decode()
        if line.startswith("GET DATA"):
            self.asked = True
            if self.keys is not None:
                self.socket.send(f"200 result={self.keys}\n".encode())
        elif line.startswith("SET VARIABLE"):
            self.socket.send(b"200 result=1\n")
        elif line.startswith("failure"):
            raise RuntimeError(f"the service says {line!r}")
        elif line:
            self.socket.send(b"200 result=0\n")
        return line


class Crowd:
    """Callers who are served at once. One thread, no asyncio: they must not be the bottleneck."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.callers: dict[int, Caller] = {}

    def add(self, caller: Caller) -> None:
        self.callers[caller.socket.fileno()] = caller
        self.poll.register(caller.socket.fileno(), select.EPOLLIN)

    def turn(self, seconds: float = 1) -> list[tuple[Caller, str]]:
        """Let everybody who was told something answer; return who was told what."""
        told = []
        for handle, _ in self.poll.poll(seconds):
            caller = self.callers[handle]
            line = caller.hear()
            if not line:
                self.leave(caller)
            told.append((caller, line))
        return told

    def leave(self, caller: Caller) -> None:
        del self.callers[caller.socket.fileno()]
        caller.socket.close()

    def leave_all(self) -> None:
        for caller in tuple(self.callers.values()):
            self.leave(caller)


def domestic(port: int, count: int, beside: Crowd | None = None, attackers: int = 0) -> list[float]:
    """Return milliseconds from connection to the verdict of `count` domestic calls, one after the other, while
    `attackers` of the crowd beside them key wrong PINs and call again.
    """
    crowd = beside or Crowd()
    serial = 10_000
    times: list[float] = []
    crowd.add(Caller(port, DOMESTIC, serial))
    while len(times) < count:
        for caller, line in crowd.turn():
            if caller.keys is None and not caller.asked:
                if line.startswith("SET VARIABLE"):
                    times.append((time.perf_counter() - caller.began) * 1000)
                elif not line and len(times) < count:
                    crowd.add(Caller(port, DOMESTIC, serial))
            elif not line and attackers:
                serial += 1
                crowd.add(Caller(port, ABROAD, serial, WRONG))
    return times


def show(name: str, times: list[float]) -> None:
    percentiles = statistics.quantiles(times, n=100)
    print(f"  {name:34} p50 {percentiles[49]:7.2f} ms   p99 {percentiles[98]:7.2f} ms   ({len(times)} verdicts)")


def at_the_prompt(pid: int, port: int, options: argparse.Namespace) -> None:
    domestic(port, 200)  # warm up
    alone: list[float] = []
    beside: list[float] = []
    per_caller: list[float] = []
    ratios: list[float] = []
    for _ in range(options.rounds):
        without = domestic(port, options.verdicts // options.rounds)
        crowd = Crowd()
        memory, threads = status_of(pid, "VmRSS"), status_of(pid, "Threads")
        began = time.perf_counter()
        for serial in range(options.callers):
            crowd.add(Caller(port, ABROAD, serial))
            crowd.turn(0)
        while sum(caller.asked for caller in crowd.callers.values()) < options.callers:
            crowd.turn()
        arrived = time.perf_counter() - began
        per_caller.append((status_of(pid, "VmRSS") - memory) / options.callers)
        more = status_of(pid, "Threads") - threads
        among = domestic(port, options.verdicts // options.rounds, crowd)
        ratios.append(sum(without) / sum(among))
        alone += without
        beside += among
        crowd.leave_all()
        time.sleep(1)  # they hang up all at once, and each has its verdict stored
    print(f"  {options.callers} callers were asked within {arrived:.1f} s: {more} threads more")
    again = max(per_caller[1:], default=0.0)
    print(f"  memory per caller: {per_caller[0]:.1f} KiB, used again in later rounds: {again:.1f} KiB more at most")
    show("domestic, nobody at the prompt", alone)
    show(f"domestic, {options.callers} at the prompt", beside)
    ratio = statistics.median(ratios)
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"  domestic verdicts a second, one after the other, to those without them: {ratio:.2f} {spread} (aim 0.95)")


def under_attack(port: int, options: argparse.Namespace) -> None:
    crowd = Crowd()
    for serial in range(ATTACKERS):
        crowd.add(Caller(port, ABROAD, 20_000 + serial, WRONG))
    show(f"domestic, {ATTACKERS} channels guessing", domestic(port, options.verdicts, crowd, ATTACKERS))
    crowd.leave_all()


def looked_at(port: int, options: argparse.Namespace) -> None:
    crowd = Crowd()
    for serial in range(AT_ONCE):
        crowd.add(Caller(port, ABROAD, 100 + serial, PIN))
    began = time.perf_counter()
    done, times = 0, []
    while (seconds := time.perf_counter() - began) < options.seconds:
        for caller, line in crowd.turn():
            if line.startswith("SET VARIABLE"):
                if "allow,ok" not in line:
                    raise RuntimeError(f"the service says {line!r}")
                times.append((time.perf_counter() - caller.began) * 1000)
                done += 1
            elif not line:
                crowd.add(Caller(port, ABROAD, 100 + done % AT_ONCE, PIN))
    crowd.leave_all()
    print(f"  {done / seconds:.1f} right PINs a second, {AT_ONCE} at once, from call to verdict in", end=" ")
    percentiles = statistics.quantiles(times, n=100)
    print(f"p50 {percentiles[49]:.0f} ms, p99 {percentiles[98]:.0f} ms")


# --- one argon2 ---


@dataclass
class Tenant:
    """A tenant of so many PINs, and who knows them."""

    pins: int

    def __post_init__(self) -> None:
        vault = Vault(os.urandom(32))
        scheme = vault.new_scheme()
        texts = [str(600_000 + 7 * index) for index in range(self.pins)]
        made = tuple(
            Pin(index, TENANT, text, PinKind.DIGITS, duress=False, terms=Terms(),
                seal=vault.seal(scheme, TENANT, Digits(text)), author="", created=0)
            for index, text in enumerate(texts, 1)
        )  # fmt: skip
        index = PolicyIndex(Snapshot(decks={}, pins=made, schemes={TENANT: scheme}))

        async def used(_pin: int, _step: int) -> bool:
            raise AssertionError("there is no authenticator")

        self.verifier = PinVerifier(
            lambda _: vault, lambda: index, used, SystemClock(), workers=SLOTS, failed=self.failed
        )
        self.last = Digits(texts[-1])

    @staticmethod
    def failed(error: ConfigError) -> None:
        raise error

    async def look(self) -> float:
        """Return milliseconds to look at one."""
        began = time.perf_counter()
        found = await self.verifier.verify(TENANT, "204", self.last)
        assert found is not None
        return (time.perf_counter() - began) * 1000


async def one_argon2(rounds: int) -> None:
    small, large = Tenant(1), Tenant(500)
    times: dict[int, list[float]] = {1: [], 500: []}
    for _ in range(rounds * 20):
        for tenant in (small, large):
            times[tenant.pins].append(await tenant.look())
    for tenant in (small, large):
        tenant.verifier.close()
    one, many = (statistics.median(times[pins]) for pins in (1, 500))
    print(f"  a tenant of 1 PIN {one:.1f} ms, of 500 PINs {many:.1f} ms, ratio {many / one:.2f} (aim: 1)")


def main() -> None:
    parser = argparse.ArgumentParser(description="What asking for PINs costs")
    parser.add_argument("--callers", type=int, default=5000, help="at the prompt at once")
    parser.add_argument("--verdicts", type=int, default=6000, help="domestic ones, of each kind")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5, help="of callers who key the right PIN")
    parser.add_argument("--folder", type=Path, help="where the database goes (default: the system's temporary folder)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    files = options.callers + SPARE_FILES
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files if most == resource.RLIM_INFINITY else min(files, most), most))
    if options.serve:
        uvloop.run(serve(options.folder, lambda port: print(port, flush=True)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        asyncio.run(prepare(folder))
        print(
            f"Python {platform.python_version()}, uvloop {uvloop.__version__}, {os.cpu_count()} cores,"
            f" load {os.getloadavg()[0]:.1f}; {options.rounds} rounds"
        )
        with service_process(folder) as (pid, port):
            at_the_prompt(pid, port, options)
            looked_at(port, options)
            under_attack(port, options)
    asyncio.run(one_argon2(options.rounds))


if __name__ == "__main__":
    main()
