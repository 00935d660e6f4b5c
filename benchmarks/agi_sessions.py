"""FastAGI sessions per second: the whole decision, committed to disk, against servers that decide nothing.

    python benchmarks/agi_sessions.py [--rounds 7] [--sessions 6000] [--concurrency 192] [--folder DIR]

Three servers on uvloop, each a process of its own, take turns under the same load generator:

- fraudguard   the service as `fraudguard run` builds it: number, rate, policy, verdict committed, answered
- panoramisk   fast_agi.Application of panoramisk 1.4 with a handler that returns at once
- bare         an asyncio protocol that waits for the empty line, writes one line and closes at the reply:
               what Python can do at most

The generator shares the machine, so besides sessions per second the server's own CPU time per session is
shown: that figure depends least on who else was running. At last the servers are killed, and the verdicts in the
database are counted: there must be one for every session.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import itertools
import os
import platform
import select
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from fraudguard import config, logs
from fraudguard.clock import SystemClock
from fraudguard.rating import Rate
from fraudguard.service import running
from fraudguard.store import create_database, open_writer
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
ask = []
[policy]
# Nobody calls as much as this: what bounds that is asked, and refuses nothing.
shadow = ["too_fast", "too_many", "over_budget"]
[log]
level = "error"
"""

# Cheap, dear and unknown destinations: two calls in three go out, one is refused and raises an alert.
PRICES = {"1": 5_000, "44": 10_000, "49": 12_000, "33": 15_000, "960": 1_300_000, "88213": 4_000_000}
NUMBERS = ("12125550123", "011442079460000", "011960331234", "12025550199", "011493012345678", "01188213123456")

DEADLINE = 60  # seconds a round may take at most


# --- the servers ---


async def serve_fraudguard(folder: Path, ready: Callable[[int], None]) -> None:
    settings = config.load(folder / config.CONFIG_NAME)
    logs.configure(settings.log)
    async with running(settings, SystemClock()) as service:
        ready(service.address[1])
        await asyncio.Event().wait()


async def serve_panoramisk(_folder: Path, ready: Callable[[int], None]) -> None:
    from panoramisk.fast_agi import Application  # noqa: PLC0415  only this process needs it

    async def nothing(_request: object) -> None:
        return

    application = Application(loop=asyncio.get_running_loop())
    application.add_route("outbound", nothing)
    server = await asyncio.start_server(application.handler, "127.0.0.1", 0, backlog=1024)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class Bare(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        asked = self.data.endswith(b"\n\n")
        self.data += data
        if asked:
            self.transport.close()
        elif self.data.endswith(b"\n\n"):
            self.transport.write(b'SET VARIABLE FRAUDGUARD_VERDICT "nowhere"\n')


async def serve_bare(_folder: Path, ready: Callable[[int], None]) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=1024)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


SERVERS: dict[str, Callable[[Path, Callable[[int], None]], Awaitable[None]]] = {
    "fraudguard": serve_fraudguard,
    "panoramisk": serve_panoramisk,
    "bare": serve_bare,
}


async def prepare(folder: Path) -> None:
    """Write the configuration and a database with a price list into `folder`."""
    (folder / config.CONFIG_NAME).write_text(CONFIG, encoding="utf-8")
    settings = config.load(folder / config.CONFIG_NAME)
    now = SystemClock().now()
    await create_database(settings.database, now)
    delivery = Delivery("carrier", "USD", "benchmark", "0" * 64, "benchmark", now - 1000)
    rates = [Rate(prefix, f"destination {prefix}", price, 0, 0, 1, 0) for prefix, price in PRICES.items()]
    async with await open_writer(settings.database) as writer:
        await import_deck(writer, delivery, rates, currency="USD", now=now)


# --- the load ---


@dataclass
class Figures:
    """What each round of one server gave: sessions per second, microseconds of CPU per session."""

    rate: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)


def environments() -> list[bytes]:
    """Return requests as Asterisk would print them."""
    requests = []
    for serial, number in enumerate(NUMBERS * 8):
        account = str(200 + serial % 20)
        words = [
            f"number={number}",
            "trunk=carrier",
            f"account={account}",
            "tenant=default",
            f"source=192.0.2.{serial}:5060",
            "asterisk=asterisk",
            f"linkedid=1767225600.{serial}",
        ]
        channel = Channel(account=account, extension=number, dnid=number)
        call = AgiCall(channel, "outbound", words, Faults())
        requests.append(call.environment("agi://127.0.0.1:4573/outbound"))
    return requests


def play(port: int, sessions: int, concurrency: int, requests: list[bytes]) -> None:
    """Play `sessions` sessions, `concurrency` at once. One thread, no asyncio: the load must not be the bottleneck."""
    request = itertools.cycle(requests)
    address = ("127.0.0.1", port)
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    begun = done = 0
    deadline = time.monotonic() + DEADLINE
    while done < sessions:
        while len(sockets) < concurrency and begun < sessions:
            sock = socket.create_connection(address)  # the kernel answers it, whether or not the server runs
            sock.send(next(request))
            poll.register(sock.fileno(), select.EPOLLIN)
            sockets[sock.fileno()] = sock
            begun += 1
        if time.monotonic() > deadline:
            raise TimeoutError(f"{sessions - done} sessions left after {DEADLINE} s")
        for handle, _ in poll.poll(1):
            sock = sockets[handle]
            line = sock.recv(4096)
            if line.startswith(b"SET VARIABLE "):
                sock.send(b"200 result=1\n")
            elif line:
                raise RuntimeError(f"the server says {line!r}")
            else:
                del sockets[handle]
                sock.close()  # which also takes it out of the poll
                done += 1
    poll.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server_process(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Run one server; gives its process id and port."""
    command = [sys.executable, __file__, "--serve", name, "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Figures]:
    figures = {name: Figures() for name in SERVERS}
    requests = environments()
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(server_process(name, folder)) for name in SERVERS}
        for number in range(arguments.rounds + 1):
            for name, (pid, port) in servers.items():
                busy, own, began = cpu_seconds(pid), time.process_time(), time.perf_counter()
                play(port, arguments.sessions, arguments.concurrency, requests)
                seconds = time.perf_counter() - began
                if number:  # the first round warms up
                    figures[name].rate.append(arguments.sessions / seconds)
                    figures[name].server_cpu.append((cpu_seconds(pid) - busy) * 1e6 / arguments.sessions)
                    figures[name].client_cpu.append((time.process_time() - own) * 1e6 / arguments.sessions)
    return figures


def report(figures: dict[str, Figures]) -> None:
    print(f"{'':12}{'sessions/s':>12}{'(spread)':>18}{'server CPU us':>15}{'(spread)':>14}{'client CPU us':>15}")
    for name, figure in figures.items():
        rate, server, client = (statistics.median(x) for x in (figure.rate, figure.server_cpu, figure.client_cpu))
        rates = f"({min(figure.rate):.0f}-{max(figure.rate):.0f})"
        cpus = f"({min(figure.server_cpu):.0f}-{max(figure.server_cpu):.0f})"
        print(f"{name:12}{rate:12.0f}{rates:>18}{server:15.1f}{cpus:>14}{client:15.1f}")
    ours = figures["fraudguard"]
    for name, aim in (("panoramisk", 1.25), ("bare", 0.75)):
        other = figures[name]
        rate = statistics.median(a / b for a, b in zip(ours.rate, other.rate, strict=True))
        cpu = statistics.median(b / a for a, b in zip(ours.server_cpu, other.server_cpu, strict=True))
        print(f"fraudguard / {name}: {rate:.2f} of its sessions per second, {cpu:.2f} by server CPU (aim {aim})")


def main() -> None:
    parser = argparse.ArgumentParser(description="FastAGI sessions per second")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sessions", type=int, default=6000, help="per round and server")
    parser.add_argument("--concurrency", type=int, default=192)
    parser.add_argument("--folder", type=Path, help="where the database goes (default: the system's temporary folder)")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(SERVERS[arguments.serve](arguments.folder, lambda port: print(port, flush=True)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        asyncio.run(prepare(folder))
        print(
            f"Python {platform.python_version()}, uvloop {uvloop.__version__}, panoramisk"
            f" {importlib.metadata.version('panoramisk')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f};"
            f" {arguments.rounds} rounds of {arguments.sessions} sessions, {arguments.concurrency} at once"
        )
        report(measure(arguments, folder))
        with contextlib.closing(sqlite3.connect(folder / "fraudguard.db")) as connection:
            (stored,) = connection.execute("SELECT count(*) FROM attempts").fetchone()
    wanted = (arguments.rounds + 1) * arguments.sessions
    print(f"verdicts committed: {stored} of {wanted}")
    sys.exit(stored != wanted)


if __name__ == "__main__":
    main()
