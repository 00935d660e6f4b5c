"""Manager events per second: read, queued and consumed over a real socket, against panoramisk alone.

    python benchmarks/ami_events.py [--rounds 5] [--calls 600] [--pace 20000]

A sender plays a logged-in Asterisk. Each call is 87 events and 37 kB, 57 of them VarSet, as an answered call of two
legs makes in Asterisk 22; or, with Asterisk's own event filters, 5 events and 2.9 kB. On uvloop, each a process of its
own, taking turns:

- fraudguard   a Connection that wants the events that the service follows calls by, and one consumer
- everything   the same, wanting every event: all are parsed, queued and consumed
- panoramisk   Manager of panoramisk 1.4 with one callback for every event, which counts

First as fast as the reader takes them, with a queue that holds them all; then at a steady pace, with the queue as it
is configured by default and Asterisk's own patience: a write that waits 100 ms for a reader ends the connection. Every
event that was to come is counted; none may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import uvloop

from fraudguard import logs
from fraudguard.ami.connection import Connection, Link, Timing
from fraudguard.ami.events import EVENTS
from fraudguard.clock import SystemClock
from fraudguard.config import Ami, Log

LAST = b"Event: Hangup\r\nCause: last\r\n\r\n"
QUEUE = Ami(secret="secret").queue  # as it comes
ENDLESS = 1_000_000  # a sender without any pause is always ahead of the consumer
PATIENCE = 0.1  # seconds: writetimeout of manager.conf
TURN = 0.01  # seconds between two writes of the paced sender


# --- what is sent ---


def leg(prefix: str, channel: str, serial: int, exten: str) -> list[str]:
    """Return the headers that describe a channel in every event."""
    return [
        f"{prefix}Channel: PJSIP/{channel}-{serial:08x}",
        f"{prefix}ChannelState: 6",
        f"{prefix}ChannelStateDesc: Up",
        f"{prefix}CallerIDNum: 204",
        f"{prefix}CallerIDName: Front Desk, ground floor",
        f"{prefix}ConnectedLineNum: 442079460000",
        f"{prefix}ConnectedLineName: London, switchboard",
        f"{prefix}Language: en",
        f"{prefix}AccountCode: 204",
        f"{prefix}Context: fraudguard-out-carrier",
        f"{prefix}Exten: {exten}",
        f"{prefix}Priority: 12",
        f"{prefix}Uniqueid: 1767225600.{serial}",
        f"{prefix}Linkedid: 1767225600.{serial & ~1}",
    ]


def text(name: str, *lines: str, kind: str = "call") -> bytes:
    return "\r\n".join((f"Event: {name}", f"Privilege: {kind},all", *lines, "", "")).encode()


def call(serial: int) -> list[bytes]:
    """Return the events of one answered call, in a plausible order."""
    phone, trunk = leg("", "phone", serial, "s"), leg("", "carrier", serial + 1, "442079460000")
    both = [*phone, *leg("Dest", "carrier", serial + 1, "442079460000")]
    bridge = [f"BridgeUniqueid: {serial:08x}-aaaa-bbbb", "BridgeType: basic", "BridgeNumChannels: 2"]
    events = [text("Newchannel", *phone)]
    events += [text("VarSet", *phone, f"Variable: SET_{n}", f"Value: {n}", kind="dialplan") for n in range(31)]
    events += [text("Newexten", *phone, "Application: Set", "AppData: X=1", kind="dialplan") for _ in range(6)]
    events += [text("Newchannel", *trunk), text("DialBegin", *both, "DialString: 442079460000@carrier")]
    events += [text("NewConnectedLine", *trunk), text("NewCallerid", *trunk), text("Newstate", *trunk)] * 2
    events += [text("VarSet", *trunk, f"Variable: RTP_{n}", "Value: ssrc=1;lp=0;rxjitter=0.0001") for n in range(26)]
    events += [text("Newstate", *phone), text("DialEnd", *both, "DialStatus: ANSWER"), text("BridgeCreate", *bridge)]
    events += [text(f"Bridge{verb}", *bridge, *side) for verb in ("Enter", "Leave") for side in (phone, trunk)]
    events += [
        text("RTCPSent", *trunk),
        text("RTCPReceived", *trunk),
        text("BridgeDestroy", *bridge),
        text("SoftHangupRequest", *phone),
    ]
    events += [text("HangupRequest", *trunk), text("Newstate", *phone)]
    events += [text("Hangup", *trunk, "Cause: 16"), text("Hangup", *phone, "Cause: 16")]
    return events


def filtered(serial: int) -> list[bytes]:
    """Return what Asterisk's filters leave of it."""
    left = [event for event in call(serial) if name(event) in {"DialBegin", "DialEnd", "Hangup", "BridgeEnter"}]
    return left[:3] + left[4:]


MIXES: dict[str, Callable[[int], list[bytes]]] = {"unfiltered": call, "filtered": filtered}


def name(event: bytes) -> str:
    return event[len("Event: ") : event.index(b"\r")].decode()


def send(connection: socket.socket, calls: list[list[bytes]], pace: int) -> None:
    """Log one client in and send it all; `pace` events a second, 0: as fast as it takes them."""
    connection.sendall(b"Asterisk Call Manager/11.0.0\r\n")
    login = b""
    while not login.endswith(b"\r\n\r\n"):
        login += connection.recv(4096)
    (action,) = (line for line in login.decode().split("\r\n") if line.startswith("ActionID: "))
    connection.sendall(f"Response: Success\r\n{action}\r\nMessage: Authentication accepted\r\n\r\n".encode())
    if pace:
        connection.settimeout(PATIENCE)
        events = [event for each in calls for event in each]
        step = int(pace * TURN)
        due = time.monotonic()
        start = 0
        while chunk := events[start : start + step]:
            connection.sendall(b"".join(chunk))
            start += len(chunk)
            due += TURN
            time.sleep(max(0.0, due - time.monotonic()))
    else:
        for each in calls:
            connection.sendall(b"".join(each))
    connection.sendall(LAST)
    while connection.recv(4096):
        pass


# --- who reads ---


class Tally:
    """What one reader saw. Time and CPU run from the first event to the last."""

    def __init__(self) -> None:
        self.consumed = 0
        self.lag = 0
        self.began = 0.0
        self.busy = 0.0

    def first(self) -> None:
        self.began, self.busy = time.perf_counter(), time.process_time()

    def result(self, read: int) -> dict[str, float]:
        return {
            "seconds": time.perf_counter() - self.began,
            "cpu": time.process_time() - self.busy,
            "read": read,
            "consumed": self.consumed,
            "lag": self.lag,
        }


async def read_by_fraudguard(port: int, events: frozenset[str], queue: int) -> dict[str, float]:
    clock = SystemClock()
    settings = Ami(port=port, secret="secret", queue=queue)
    connection = Connection("pbx", settings, "secret", events=events, clock=clock, timing=Timing(ping=600))
    running = asyncio.create_task(connection.run())
    assert await connection.next() is Link.UP
    tally = Tally()
    tally.first()
    while True:
        item = await connection.next()
        if isinstance(item, Link):
            raise RuntimeError(f"the link is {item}: {connection.status}")  # noqa: TRY004  no fault of a type
        tally.consumed += 1
        tally.lag = max(tally.lag, clock.now() - item.at)
        if item.get("Cause") == "last":
            break
    running.cancel()
    return tally.result(connection.status.read - 1)  # the answer to the login


async def read_by_us(port: int, queue: int) -> dict[str, float]:
    return await read_by_fraudguard(port, EVENTS, queue)


async def read_everything(port: int, queue: int) -> dict[str, float]:
    return await read_by_fraudguard(port, frozenset({name(event) for event in call(0)}), queue)


async def read_by_panoramisk(port: int, _queue: int) -> dict[str, float]:
    from panoramisk import Manager  # noqa: PLC0415  only this process needs it

    loop = asyncio.get_running_loop()
    manager = Manager(host="127.0.0.1", port=port, username="x", secret="x", ping_delay=600, loop=loop)
    tally = Tally()
    done = loop.create_future()

    def count(_manager: object, event: dict[str, str]) -> None:
        if not tally.consumed:
            tally.first()
        tally.consumed += 1
        if event["event"] == "Hangup" and event["cause"] == "last":
            done.set_result(None)

    manager.register_event("*", count)
    manager.connect()
    await done
    return tally.result(tally.consumed)


READERS: dict[str, Callable[[int, int], Awaitable[dict[str, float]]]] = {
    "fraudguard": read_by_us,
    "everything": read_everything,
    "panoramisk": read_by_panoramisk,
}


# --- the measurement ---


def play(reader: str, calls: list[list[bytes]], pace: int = 0) -> dict[str, float]:
    """Let one reader read it all. Raises when an event is missing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, __file__, "--read", reader, "--port", str(port)]
        command += ["--queue", str(QUEUE if pace else ENDLESS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            connection, _ = server.accept()
            with connection:
                send(connection, calls, pace)
            assert process.stdout is not None
            result: dict[str, float] = json.loads(process.stdout.read())
    sent = [event for each in calls for event in each] + [LAST]
    wanted = sum(name(event) in EVENTS for event in sent) if reader == "fraudguard" else len(sent)
    if (result["read"], result["consumed"]) != (len(sent), wanted):
        raise RuntimeError(f"{reader}: {result} of {len(sent)} sent and {wanted} wanted")
    return result


def rounds(count: int, calls: list[list[bytes]]) -> Iterator[tuple[str, list[float], list[float]]]:
    """Give (reader, events per second, milliseconds of CPU per 1,000 events), each of every round."""
    rates: dict[str, list[float]] = {reader: [] for reader in READERS}
    cpus: dict[str, list[float]] = {reader: [] for reader in READERS}
    for _ in range(count):
        for reader in READERS:
            result = play(reader, calls)
            rates[reader].append(result["read"] / result["seconds"])
            cpus[reader].append(result["cpu"] * 1e6 / result["read"])
    for reader in READERS:
        yield reader, rates[reader], cpus[reader]


def report(mix: str, count: int, calls: list[list[bytes]]) -> None:
    per_call, size = len(calls[0]), sum(map(len, calls[0]))
    print(f"{mix}: {len(calls)} calls of {per_call} events and {size / 1000:.1f} kB")
    print(f"{'':12}{'events/s':>10}{'(spread)':>20}{'CPU ms per 1,000':>18}{'(spread)':>16}")
    measured = {}
    for reader, rate, cpu in rounds(count, calls):
        measured[reader] = rate, cpu
        rates, cpus = f"({min(rate):.0f}-{max(rate):.0f})", f"({min(cpu):.1f}-{max(cpu):.1f})"
        print(f"{reader:12}{statistics.median(rate):10.0f}{rates:>20}{statistics.median(cpu):18.1f}{cpus:>16}")
    rate, cpu = measured["panoramisk"]
    for reader in ("fraudguard", "everything"):
        faster = statistics.median(a / b for a, b in zip(measured[reader][0], rate, strict=True))
        cheaper = statistics.median(b / a for a, b in zip(measured[reader][1], cpu, strict=True))
        print(f"{reader} / panoramisk: {faster:.2f} times its events per second, {cheaper:.2f} times by CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description="Manager events per second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=600, help="per round and reader, of the unfiltered mix")
    parser.add_argument("--pace", type=int, default=20_000, help="events per second of the paced run")
    parser.add_argument("--read", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--queue", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        logs.configure(Log(level="error"))
        print(json.dumps(uvloop.run(READERS[arguments.read](arguments.port, arguments.queue))))
        return
    print(
        f"Python {platform.python_version()}, uvloop {uvloop.__version__}, panoramisk"
        f" {importlib.metadata.version('panoramisk')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f};"
        f" {arguments.rounds} rounds"
    )
    for mix, make in MIXES.items():
        count = arguments.calls * (10 if make is filtered else 1)
        report(mix, arguments.rounds, [make(serial * 2) for serial in range(count)])
    calls = [call(serial * 2) for serial in range(5 * arguments.pace // len(call(0)))]
    for reader in READERS:
        try:
            result = play(reader, calls, arguments.pace)
        except (OSError, json.JSONDecodeError) as error:
            print(f"{arguments.pace} events/s to {reader}: disconnected ({type(error).__name__})")
            continue
        share = result["cpu"] / result["seconds"]
        print(
            f"{arguments.pace} events/s to {reader} for {result['seconds']:.1f} s: {result['read']} read, none lost,"
            f" {share:.0%} of a core" + (f", consumed {result['lag']} ms late at most" if result["lag"] else "")
        )


if __name__ == "__main__":
    main()
