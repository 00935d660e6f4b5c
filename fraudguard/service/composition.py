"""Everything put together.

configuration ──> house ─────┐
database ───────> snapshots ─┴─> guard <──> FastAGI server
database <────── verdict log <─────┘
                      │ committed
                      v
Asterisk <─> followers ──> desk ──> ledger        (AMI)
                            ├─────> calls, sources ──> database
                            └─────> alerts ──> database ──> outbox ──> channels
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from fraudguard.agi import outbound
from fraudguard.agi.counters import Failure
from fraudguard.agi.server import AgiServer
from fraudguard.agi.watchdog import Watchdog
from fraudguard.alerts.build import build_channels
from fraudguard.alerts.outbox import Outbox
from fraudguard.alerts.routes import build_routes
from fraudguard.alerts.text import render
from fraudguard.ami.connection import Connection
from fraudguard.ami.events import EVENTS
from fraudguard.ami.follower import Follower
from fraudguard.clock import Clock
from fraudguard.config import Ami, Settings
from fraudguard.detect.sources import SourceWatch
from fraudguard.dialplan.manager import read_secret
from fraudguard.errors import StoreError
from fraudguard.guard import Guard
from fraudguard.house import House, build_house, refuse_other_currency
from fraudguard.ledger import Ledger
from fraudguard.metrics.meter import Meter
from fraudguard.metrics.observing import observing
from fraudguard.metrics.sources import Sources
from fraudguard.money import format_amount
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.rating import Rate
from fraudguard.service import readings
from fraudguard.service.desk import Desk
from fraudguard.service.owner import sole_owner
from fraudguard.store import Reader, Writer, migrate_database, open_reader, open_writer
from fraudguard.store.alerts import AlertKeeper
from fraudguard.store.calls import admissions, followed_until, note_followed, unfinished_calls
from fraudguard.store.keepers import CallKeeper, SourceKeeper
from fraudguard.store.outbox import OutboxStore, Terms
from fraudguard.store.retention import prune_hourly
from fraudguard.store.snapshots import SnapshotSource
from fraudguard.store.sources import known_sources
from fraudguard.store.verdicts import VerdictLog

WRITE_SECONDS = 1.5
"""How long a commit waits for the write lock: less than a request's deadline, so that a verdict which nobody waits
for any more is not stored as if it had been given. An import of a million rows holds the lock for 0.7 s."""

NOTE_SECONDS = 5
"""How often it is noted that the Asterisks are followed. After a restart, verdicts given since the note are taken for
calls that nobody saw, unless they are found."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Service:
    """A running service. `address` is where FastAGI listens, `http` where metrics are, None when they are switched
    off; `missing_decks` are configured but hold no rates. `summary` tells in a line how things are.
    """

    address: tuple[str, int]
    http: tuple[str, int] | None
    missing_decks: tuple[str, ...]
    summary: Callable[[], str]


@asynccontextmanager
async def running(settings: Settings, clock: Clock) -> AsyncIterator[Service]:
    """Run the service for as long as the context lasts.

    Raises ConfigError, StoreError (the database, or another service that owns it) or UnreachableError (a port).
    """
    house = build_house(settings)
    connections = _connections(settings, clock)
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_owner(settings.database))
        migrated = await migrate_database(settings.database, clock.now())
        if migrated.applied:
            log.info("database migrated", schema=migrated.applied[-1], backup=str(migrated.backup))
        writer = await stack.enter_async_context(await open_writer(settings.database, busy_seconds=WRITE_SECONDS))
        reader = await stack.enter_async_context(await open_reader(settings.database))
        meter = Meter()

        decks = frozenset(house.trunks.values())
        policy = _Policy(house, meter)
        source = await stack.enter_async_context(
            await SnapshotSource.open(settings.database, decks, clock, swapped=policy.swap, failed=policy.not_swapped)
        )
        refuse_other_currency(settings, policy.current().decks.values())
        _background(stack, source.watch(), "snapshot watch")

        outbox = await stack.enter_async_context(_delivering(settings, clock, writer, reader))
        ledger = await _ledger(house, policy, settings, reader, clock)
        watch = SourceWatch(settings.security)
        watch.learn(await reader.read(known_sources))
        desk = _desk(stack, settings, ledger, watch, writer, meter, outbox)
        verdicts = VerdictLog(writer, committed=desk.committed)
        stack.push_async_callback(verdicts.close)
        guard = Guard(house, policy.current, meter.measuring(verdicts))

        server = AgiServer(
            outbound.routes(guard, clock),
            host=settings.agi.host,
            port=settings.agi.port,
            allow=settings.agi.allow,
            deadline=settings.agi.deadline_seconds,
            sessions=settings.agi.sessions,
        )
        await server.start()
        stack.push_async_callback(server.stop)

        until = await reader.read(followed_until)
        followers = [
            Follower(connection, ledger, desk, clock, until.get(name)) for name, connection in connections.items()
        ]
        for follower in followers:
            _background(stack, follower.run(), f"follow {follower.connection.name}")
        _background(stack, _every_second(desk, followers, writer, clock), "settle")
        pruning = prune_hourly(writer, settings.retention, clock, pruned=_tell_pruned, failed=meter.store.failed)
        _background(stack, pruning, "retention")

        sources = Sources(
            meter,
            server,
            settings.currency,
            agi_failures=tuple(Failure),
            links=partial(readings.links, followers),
            calls=partial(readings.calls, ledger, clock),
            deliveries=partial(readings.deliveries, outbox),
        )
        http = await stack.enter_async_context(observing(settings.http, sources))
        gc.freeze()  # the collector need not look through tables, metadata and modules again and again
        stack.callback(gc.unfreeze)
        stack.callback(Watchdog.started().stop)
        missing = tuple(sorted(decks - policy.current().decks.keys()))
        yield Service(server.address, http, missing, partial(_summary, ledger, followers, clock, settings.currency))


def _connections(settings: Settings, clock: Clock) -> Mapping[str, Connection]:
    return {name: _connection(settings, name, clock) for name in settings.ami}


def _connection(settings: Settings, name: str, clock: Clock) -> Connection:
    ami = settings.ami[name]
    if ami.ca_file is not None:  # taken from the configuration file's folder, as every path in it
        ami = ami.model_copy(update={"ca_file": settings.path.parent / ami.ca_file})
    return Connection(name, ami, read_secret(settings, name), events=EVENTS, clock=clock)


async def _ledger(house: House, policy: _Policy, settings: Settings, reader: Reader, clock: Clock) -> Ledger:
    sole = next(iter(settings.ami)) if len(settings.ami) == 1 else ""
    ledger = Ledger(house, sole, policy.price)
    if settings.ami:
        now = clock.now()
        ledger.restore(*await reader.read(lambda db: (admissions(db, now), unfinished_calls(db))))
        for trunk in house.unfollowed:
            log.warning("calls on this trunk are neither followed nor policed: set its channel", trunk=trunk)
    return ledger


async def _every_second(desk: Desk, followers: Sequence[Follower], writer: Writer, clock: Clock) -> None:
    """Settle what has ended; now and then note which Asterisks are followed, so that a restart knows what it missed."""
    for second in itertools.count():
        now = clock.now()
        desk.settle(now)
        following = [follower.connection.name for follower in followers if follower.following]
        if following and second % NOTE_SECONDS == 0:
            with contextlib.suppress(StoreError):  # whoever stores verdicts has said it already
                await writer.transaction(partial(note_followed, following, now))
        await asyncio.sleep(1)


def _desk(
    stack: AsyncExitStack,
    settings: Settings,
    ledger: Ledger,
    watch: SourceWatch,
    writer: Writer,
    meter: Meter,
    outbox: Outbox,
) -> Desk:
    calls = CallKeeper(writer, failed=meter.store.failed)
    stack.push_async_callback(calls.close)
    sources = SourceKeeper(writer, failed=meter.store.failed)
    stack.push_async_callback(sources.close)
    alerts = AlertKeeper(writer, stored=outbox.wake, failed=meter.store.failed)
    stack.push_async_callback(alerts.close)
    return Desk(
        ledger,
        watch.see,
        calls,
        sources,
        alerts,
        meter=meter,
        follows=bool(settings.ami),
        wake_outbox=outbox.wake,
    )


class _Policy:
    """The index of the latest snapshot; the guard asks for it once per attempt."""

    def __init__(self, house: House, meter: Meter) -> None:
        self._house = house
        self._meter = meter
        self._index = PolicyIndex(Snapshot(decks={}))

    def current(self) -> PolicyIndex:
        return self._index

    def price(self, trunk: str, number: str) -> Rate | None:
        """Say what a number costs that no verdict has priced."""
        deck = self._index.decks.get(self._house.trunks.get(trunk, ""))
        return None if deck is None else deck.lookup(number.lstrip("+"))

    def swap(self, snapshot: Snapshot) -> None:
        self._index = PolicyIndex(snapshot)
        self._meter.store.swapped()
        log.info(
            "snapshot",
            decks={name: len(deck.rates) for name, deck in snapshot.decks.items()},
            limits=len(snapshot.limits),
            grants=len(snapshot.grants),
            blocks=len(snapshot.blocks),
        )

    def not_swapped(self, error: Exception) -> None:
        self._meter.store.reload_failed(error)
        log.error("operators' edits could not be read; the previous ones stay in force", error=str(error))


def _tell_pruned(dropped: Mapping[str, int]) -> None:
    if any(dropped.values()):
        log.info("old records dropped", **dropped)


def _summary(ledger: Ledger, followers: list[Follower], clock: Clock, currency: str) -> str:
    live = ledger.live()
    up = sum(follower.connection.status.up for follower in followers)
    cost = format_amount(ledger.live_cost(clock.now()))
    return f"{len(live)} calls, {cost} {currency} so far; {up} of {len(followers)} Asterisks linked"


def _background(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Run `work` until the stack unwinds. Should it end by a defect of ours, that is logged, not hidden."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_ended)
    stack.push_async_callback(_cancelled, task)


def _tell_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the service ended", part=task.get_name(), exc_info=error)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):  # told when it ended
        await task
