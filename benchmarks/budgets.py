"""What budgets, leases and speed limits cost: setting money aside, deciding, renewing.

    python benchmarks/budgets.py [--rounds 7] [--decisions 6000] [--calls 4000] [--folder DIR]

- money      microseconds to look what is left, to set aside and return, and to follow a call to its end, with budgets
             of every scope and period
- decisions  verdicts per second, 64 at once, committed to a database on disk: with all limits on, and by a guard
             without a ledger, taking turns
- renewals   leases per second that one process renews: money set aside, stored on disk, told to Asterisk over a socket
             and confirmed. A process of its own answers as an Asterisk does.

The event loop is uvloop's, as in the service.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import uvloop

from fraudguard import logs
from fraudguard.ami.connection import Connection
from fraudguard.ami.events import EVENTS
from fraudguard.ami.follower import Follower
from fraudguard.clock import SystemClock
from fraudguard.config import Ami, Log, Settings
from fraudguard.detect.sources import Sighting
from fraudguard.guard import Guard
from fraudguard.house import build_house
from fraudguard.ledger import Changes, Ledger, Leg
from fraudguard.ledger.records import Answered, Dialled, HungUp, admission_of
from fraudguard.policy import Attempt, PolicyIndex, Snapshot, Verdict
from fraudguard.policy.alert import NewAlert
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Period
from fraudguard.rating import Deck, PrefixTable, Rate
from fraudguard.store import create_database, open_writer
from fraudguard.store.keepers import CallKeeper
from fraudguard.store.verdicts import VerdictLog

UNIT = 1_000_000
PRICE = Rate("44", "Britain", 20_000, 0, 0, 6, 0)
DECK = Deck("main", "USD", 1, PrefixTable([PRICE]))
SCOPES = (
    BudgetScope(),
    BudgetScope(EACH),
    BudgetScope(EACH, EACH),
    BudgetScope(trunk=EACH),
    BudgetScope(region=EACH),
)
BUDGETS = tuple(Budget(scope, period, 10**9 * UNIT, id=1) for scope in SCOPES for period in Period)
HOUSE = build_house(
    Settings(
        numbering={"home": "US", "outside_line": "9"},
        trunks={"carrier": {"deck": "main"}},
        pin={"ask": []},
        strict={"hours": []},
        policy={"lease_seconds": 60, "call_seconds": 86_400},
        # Every speed limit is looked at, and none is reached.
        speed=dict.fromkeys(
            (
                *("account_attempts", "tenant_attempts", "source_attempts", "region_attempts", "same_number"),
                *("new_regions", "account_calls", "tenant_calls", "account_calls_total", "tenant_calls_total"),
            ),
            10_000,
        ),
    )
)
POLICY = PolicyIndex(Snapshot(decks={"main": DECK}, budgets=BUDGETS))


def attempt(serial: int) -> Attempt:
    """Return one of many attempts: 200 accounts, each with a number of its own."""
    account = 200 + serial % 200
    return Attempt(
        number=f"9011442079460{account}",
        trunk="carrier",
        account=str(account),
        tenant="default",
        source=f"192.0.2.{account % 250}:5060",
        at=SystemClock().now(),
        asterisk="pbx",
        linkedid=f"{serial}.1",
        uniqueid=f"{serial}.1",
    )


def new_ledger() -> Ledger:
    ledger = Ledger(HOUSE, "pbx")
    ledger.treasury.load(POLICY.budgets)
    ledger.resync("pbx", (), 0)
    return ledger


class Forgetful:
    """Records nothing (guard.Recorder)."""

    def record(self, verdict: Verdict) -> asyncio.Future[Verdict]:
        stored: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        stored.set_result(verdict)
        return stored


# --- money ---


async def verdicts(ledger: Ledger | None, count: int) -> list[Verdict]:
    guard = Guard(HOUSE, lambda: POLICY, Forgetful(), None, ledger)
    found = [await guard.decide(attempt(serial)) for serial in range(count)]
    assert all(verdict.allowed for verdict in found), found[0].reason
    return found


def microseconds(each: Callable[[Verdict], None], over: Iterable[Verdict]) -> float:
    over = tuple(over)
    gc.collect()
    began = time.perf_counter()
    for one in over:
        each(one)
    return (time.perf_counter() - began) / len(over) * 1e6


async def money(rounds: int) -> None:
    found = await verdicts(None, 2000)
    looked, held, followed = [], [], []
    for _ in range(rounds):
        ledger = new_ledger()
        looked.append(microseconds(lambda verdict, of=ledger: of.standing(verdict.facts), found))

        def hold(verdict: Verdict, treasury=ledger.treasury) -> None:  # type: ignore[no-untyped-def]
            admission = admission_of(verdict)
            assert admission is not None
            treasury.pledge(admission, strict=False)
            treasury.withdraw(verdict.call)

        held.append(microseconds(hold, found))

        def follow(verdict: Verdict, ledger: Ledger = ledger) -> None:
            now, serial = verdict.facts.attempt.at, verdict.facts.attempt.uniqueid
            leg = Leg("pbx", f"{serial}.leg", serial, f"PJSIP/carrier-{serial}")
            ledger.note(verdict)
            ledger.admit(verdict)
            number = verdict.facts.number.dialable  # type: ignore[union-attr]
            ledger.apply(Dialled(now, leg, f"{number}@carrier", Leg("pbx", serial, serial, "PJSIP/204")))
            ledger.apply(Answered(now, "pbx", leg.uniqueid))
            ledger.apply(HungUp(now + 30_000, "pbx", serial, 16))
            (ended,) = ledger.apply(HungUp(now + 30_000, "pbx", leg.uniqueid, 16)).calls
            ledger.stored([ended], now + 30_000)

        followed.append(microseconds(follow, found))
        assert all(pot.held == 0 and pot.spent(SystemClock().now()) > 0 for pot in ledger.treasury.pots())
    print(f"money: {len(BUDGETS)} budgets apply to each call, and the default ones")
    for name, figures in (
        ("to see what is left, and whether it is too fast or too many", looked),
        ("to set aside and give back", held),
        ("a whole call: noted, dialled, answered, ended, money back", followed),
    ):
        print(f"  {name}: {statistics.median(figures):.1f} µs ({min(figures):.1f} to {max(figures):.1f})")


# --- decisions ---


async def decided(guard: Guard, count: int, concurrency: int) -> float:
    serials = iter(range(count))

    async def caller() -> None:
        for serial in serials:
            verdict = await guard.decide(attempt(serial))
            assert verdict.allowed, verdict.reason

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return count / (time.perf_counter() - began)


async def decisions(folder: Path, rounds: int, count: int) -> None:
    path = folder / "decisions.db"
    await create_database(path, SystemClock().now())
    async with await open_writer(path) as writer:
        log = VerdictLog(writer)
        rates: dict[str, list[float]] = {"without": [], "all limits on": []}
        for number in range(rounds + 1):
            for name, figures in rates.items():
                guard = Guard(HOUSE, lambda: POLICY, log, None, new_ledger() if name != "without" else None)
                rate = await decided(guard, count, 64)
                if number:  # the first round warms up
                    figures.append(rate)
        await log.close()
    print(f"decisions: {count} a round, 64 at once, committed to disk")
    medians = {name: statistics.median(figures) for name, figures in rates.items()}
    for name, figures in rates.items():
        print(f"  {name}: {medians[name]:,.0f}/s ({min(figures):,.0f} to {max(figures):,.0f})")
    print(f"  ratio: {medians['all limits on'] / medians['without']:.2f}")


# --- renewals ---


def play_asterisk() -> None:
    """Answer every action of one client with success, as far as a follower needs it."""
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    client, _ = server.accept()
    client.sendall(b"Asterisk Call Manager/11.0.0\r\n")
    pending = b""
    while data := client.recv(65536):
        *actions, pending = (pending + data).split(b"\r\n\r\n")
        replies = []
        for action in actions:
            headers = dict(line.split(b": ", 1) for line in action.split(b"\r\n"))
            ident = b"ActionID: " + headers[b"ActionID"] + b"\r\n"
            replies.append(b"Response: Success\r\n" + ident + b"Message: yes\r\n\r\n")
            if headers[b"Action"] == b"Status":
                replies.append(b"Event: StatusComplete\r\nEventList: Complete\r\nListItems: 0\r\n" + ident + b"\r\n")
        client.sendall(b"".join(replies))


class Listening:
    """Hands what follows to the keeper (follower.Listener)."""

    def __init__(self, keeper: CallKeeper) -> None:
        self._keeper = keeper

    def changed(self, changes: Changes) -> None:
        self._keeper.keep(changes.calls)

    def alert(self, alert: NewAlert) -> None:
        raise RuntimeError(alert.kind)

    def sighted(self, sighting: Sighting) -> None:
        pass


async def renewals(folder: Path, calls: int) -> None:
    path = folder / "renewals.db"
    clock = SystemClock()
    await create_database(path, clock.now())
    ledger = new_ledger()
    with subprocess.Popen([sys.executable, __file__, "--play"], stdout=subprocess.PIPE) as asterisk:  # noqa: ASYNC220  nothing else runs yet
        assert asterisk.stdout is not None
        port = int(asterisk.stdout.readline())
        connection = Connection("pbx", Ami(port=port, secret="x"), "x", events=EVENTS, clock=clock)
        async with await open_writer(path) as writer:

            def stored(batch) -> None:  # type: ignore[no-untyped-def]
                for leg in ledger.stored(batch, clock.now()):
                    follower.tell_end(leg)

            keeper = CallKeeper(writer, stored=stored)
            follower = Follower(connection, ledger, Listening(keeper), clock)
            running = asyncio.create_task(follower.run())
            while not follower.following:  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)
            now = clock.now()
            for verdict in await verdicts(ledger, calls):
                ledger.admit(verdict)
                serial = verdict.facts.attempt.uniqueid
                leg = Leg("pbx", f"{serial}.leg", serial, f"PJSIP/carrier-{serial}")
                number = verdict.facts.number.dialable  # type: ignore[union-attr]
                ledger.apply(Dialled(now, leg, f"{number}@carrier", Leg("pbx", serial, serial, "PJSIP/204")))
                # Their leases end soon.
                keeper.keep(ledger.apply(Answered(now - 50_000, "pbx", leg.uniqueid)).calls)
            while keeper.pending:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            gc.collect()
            began, busy = time.perf_counter(), time.process_time()
            renewed = ledger.renew(clock.now()).calls
            assert len(renewed) == calls, len(renewed)
            keeper.keep(renewed)
            while any(ledger.untold(call) for call in renewed):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            seconds, cpu = time.perf_counter() - began, time.process_time() - busy
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await keeper.close()
        asterisk.kill()
    print(f"renewals: {calls} due at once")
    print(f"  {calls / seconds:,.0f} a second, {cpu / calls * 1e6:.0f} µs of CPU each")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--decisions", type=int, default=6000)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--folder", type=Path, help="where the databases are put, to measure another disk")
    parser.add_argument("--play", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.play:
        play_asterisk()
        return
    logs.configure(Log(level="error"))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        await money(arguments.rounds)
        await decisions(Path(folder), arguments.rounds, arguments.decisions)
        await renewals(Path(folder), arguments.calls)


if __name__ == "__main__":
    uvloop.run(main())
