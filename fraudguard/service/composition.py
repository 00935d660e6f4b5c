"""Everything put together.

configuration ──> house ─────┐       ┌───> PIN asker
database ───────> snapshots ─┴─> guard <──> FastAGI server
database <────── verdict log <─────┘
                      │ committed
                      v
Asterisk <─> followers ──> desk ──> ledger        (AMI)
                            ├─────> calls, sources ──> database
                            └─────> alerts ──> database ──> outbox ──> channels
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from fraudguard.agi import outbound
from fraudguard.agi.counters import Failure
from fraudguard.agi.server import AgiServer
from fraudguard.agi.watchdog import Watchdog
from fraudguard.alerts.build import build_channels
from fraudguard.alerts.outbox import Outbox
from fraudguard.alerts.routes import build_routes
from fraudguard.alerts.text import render
from fraudguard.clock import Clock, SteadyClock
from fraudguard.config import Settings
from fraudguard.guard import Guard
from fraudguard.house import House, build_house, refuse_other_currency
from fraudguard.metrics.meter import Meter
from fraudguard.metrics.observing import observing
from fraudguard.metrics.sources import Sources
from fraudguard.money import format_amount
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.rating import Rate
from fraudguard.service import readings
from fraudguard.service.background import background
from fraudguard.service.following import Following, following
from fraudguard.service.owner import sole_owner
from fraudguard.service.pins import pin_asking
from fraudguard.store import Reader, Writer, migrate_database, open_reader, open_writer
from fraudguard.store.outbox import OutboxStore, Terms
from fraudguard.store.reminders import remind_hourly
from fraudguard.store.retention import prune_hourly
from fraudguard.store.snapshots import SnapshotSource
from fraudguard.store.verdicts import VerdictLog

WRITE_SECONDS = 1.5
"""How long a commit waits for the write lock: less than a request's deadline, so that a verdict which nobody waits
for any more is not stored as if it had been given. An import of a million rows holds the lock for 0.7 s."""

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
async def running(settings: Settings, machine: Clock) -> AsyncIterator[Service]:
    """Run the service for as long as the context lasts.

    Raises ConfigError, StoreError (the database, or another service that owns it) or UnreachableError (a port).
    """
    house = build_house(settings)
    clock = SteadyClock(machine)
    async with AsyncExitStack() as stack:
        writer, reader = await _store(stack, settings, clock)
        meter = Meter()

        decks = frozenset(house.trunks.values())
        policy = _Policy(house, meter)
        source = await stack.enter_async_context(
            await SnapshotSource.open(settings.database, decks, clock, swapped=policy.swap, failed=policy.not_swapped)
        )
        refuse_other_currency(settings, policy.current().decks.values())
        background(stack, source.watch(), "snapshot watch")

        outbox = await stack.enter_async_context(_delivering(settings, clock, writer, reader))
        follow = following(
            settings,
            clock,
            house,
            policy.price,
            policy.current,
            writer=writer,
            reader=reader,
            meter=meter,
            wake_outbox=outbox.wake,
        )
        followed = await stack.enter_async_context(follow)
        policy.tell(followed.reconsider)
        verdicts = VerdictLog(writer, committed=followed.desk.committed, dropped=followed.desk.dropped)
        stack.push_async_callback(verdicts.close)
        asking = pin_asking(
            settings,
            clock,
            house,
            policy.current,
            writer=writer,
            reader=reader,
            alert=followed.desk.alert,
            standing=followed.ledger.standing,
        )
        asker = await stack.enter_async_context(asking)
        guard = Guard(house, policy.current, meter.measuring(verdicts), asker, followed.ledger)

        server = await stack.enter_async_context(_answering(settings, clock, house, guard))
        _keep_house(stack, settings, clock, writer, meter, outbox)
        sources = _sources(settings, clock, meter, server, followed, outbox)
        http = await stack.enter_async_context(observing(settings.http, sources))
        gc.freeze()  # the collector need not look through tables, metadata and modules again and again
        stack.callback(gc.unfreeze)
        stack.callback(Watchdog.started().stop)
        missing = tuple(sorted(decks - policy.current().decks.keys()))
        yield Service(server.address, http, missing, partial(_summary, followed, clock, settings.currency))


async def _store(stack: AsyncExitStack, settings: Settings, clock: Clock) -> tuple[Writer, Reader]:
    """Open the database, brought up to date, that is nobody else's meanwhile."""
    stack.enter_context(sole_owner(settings.database))
    migrated = await migrate_database(settings.database, clock.now())
    if migrated.applied:
        log.info("database migrated", schema=migrated.applied[-1], backup=str(migrated.backup))
    writer = await stack.enter_async_context(await open_writer(settings.database, busy_seconds=WRITE_SECONDS))
    return writer, await stack.enter_async_context(await open_reader(settings.database))


def _keep_house(
    stack: AsyncExitStack, settings: Settings, clock: Clock, writer: Writer, meter: Meter, outbox: Outbox
) -> None:
    """Do every hour what has to be done."""
    pruning = prune_hourly(writer, settings.retention, clock, pruned=_tell_pruned, failed=meter.store.failed)
    background(stack, pruning, "retention")
    days = settings.policy.grant_reminder_days
    reminding = remind_hourly(writer, days, clock, reminded=lambda _: outbox.wake(), failed=meter.store.failed)
    background(stack, reminding, "grant reminders")


def _sources(
    settings: Settings, clock: Clock, meter: Meter, server: AgiServer, followed: Following, outbox: Outbox
) -> Sources:
    return Sources(
        meter,
        server,
        settings.currency,
        agi_failures=tuple(Failure),
        links=partial(readings.links, followed.followers),
        calls=partial(readings.calls, followed.ledger, clock),
        deliveries=partial(readings.deliveries, outbox),
    )


@asynccontextmanager
async def _answering(settings: Settings, clock: Clock, house: House, guard: Guard) -> AsyncIterator[AgiServer]:
    server = AgiServer(
        outbound.routes(guard, clock, lambda tenant: house.tenancy_of(tenant).asking),
        host=settings.agi.host,
        port=settings.agi.port,
        allow=settings.agi.allow,
        deadline=settings.agi.deadline_seconds,
        sessions=settings.agi.sessions,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def _delivering(settings: Settings, clock: Clock, writer: Writer, reader: Reader) -> AsyncIterator[Outbox]:
    terms = Terms(settings.alerts.repeat_minutes * 60_000, settings.alerts.expire_hours * 3_600_000)
    shelf = OutboxStore(writer, reader, clock, build_routes(settings), terms)
    outbox = Outbox(shelf, build_channels(settings, clock), partial(render, currency=settings.currency))
    outbox.start()
    try:
        yield outbox
    finally:
        await outbox.close()


class _Policy:
    """The index of the latest snapshot; the guard asks for it once per attempt."""

    def __init__(self, house: House, meter: Meter) -> None:
        self._house = house
        self._meter = meter
        self._index = PolicyIndex(Snapshot(decks={}))
        self._swapped: Callable[[], None] = lambda: None

    def tell(self, swapped: Callable[[], None]) -> None:
        """Tell of every new index from now on."""
        self._swapped = swapped
        swapped()  # of what was edited while nobody was told

    def current(self) -> PolicyIndex:
        return self._index

    def price(self, trunk: str, number: str) -> Rate | None:
        """Say what a number costs that no verdict has priced."""
        deck = self._index.decks.get(self._house.trunks.get(trunk, ""))
        return None if deck is None else deck.lookup(number.lstrip("+"))

    def swap(self, snapshot: Snapshot) -> None:
        self._index = PolicyIndex(snapshot)
        self._meter.store.swapped()
        self._swapped()
        log.info(
            "snapshot",
            decks={name: len(deck.rates) for name, deck in snapshot.decks.items()},
            limits=len(snapshot.limits),
            grants=len(snapshot.grants),
            blocks=len(snapshot.blocks),
            budgets=len(snapshot.budgets),
            people=len({(pin.tenant, pin.name) for pin in snapshot.pins}),  # with a PIN; under that name it is redacted
        )

    def not_swapped(self, error: Exception) -> None:
        self._meter.store.reload_failed(error)
        log.error("operators' edits could not be read; the previous ones stay in force", error=str(error))


def _tell_pruned(dropped: Mapping[str, int]) -> None:
    if any(dropped.values()):
        log.info("old records dropped", **dropped)


def _summary(followed: Following, clock: Clock, currency: str) -> str:
    up = sum(follower.connection.status.up for follower in followed.followers)
    cost = format_amount(followed.ledger.live_cost(clock.now()))
    calls = len(followed.ledger.live())
    return f"{calls} calls, {cost} {currency} so far; {up} of {len(followed.followers)} Asterisks linked"
