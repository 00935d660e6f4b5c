"""Following the calls, put together: what was stored before, the links, the ledger, and where it all arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import structlog

from fraudguard.ami.connection import Connection
from fraudguard.ami.events import EVENTS
from fraudguard.ami.follower import Follower
from fraudguard.clock import Clock, Millis, SteadyClock
from fraudguard.config import Settings
from fraudguard.detect.sources import SourceWatch
from fraudguard.dialplan.manager import read_secret
from fraudguard.errors import StoreError
from fraudguard.house import House
from fraudguard.ledger import Ledger
from fraudguard.ledger.judging import Price
from fraudguard.ledger.warnings import hush
from fraudguard.metrics.meter import Meter
from fraudguard.policy import PolicyIndex
from fraudguard.service.background import background
from fraudguard.service.budgets import Budgets
from fraudguard.service.desk import Desk
from fraudguard.store import Reader, Writer
from fraudguard.store.alerts import AlertKeeper
from fraudguard.store.calls import followed_until, note_followed
from fraudguard.store.keepers import CallKeeper, SourceKeeper
from fraudguard.store.ledger import stored_ledger
from fraudguard.store.sources import known_sources
from fraudguard.store.tempo import stored_tempo

RENEW_SECONDS = 0.25
"""How often it is looked which leases end soon: it costs nothing when none does."""

CLOCK_SECONDS = 0.5
STEP_MILLIS = 250
"""How often the machine's clock is looked at, and what is too much to be the way it goes."""

NOTE_MILLIS = 5_000
"""How often it is noted that the Asterisks are followed. After a restart, verdicts given since the note are taken for
calls that nobody saw, unless they are found."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Following:
    """What follows the calls: the desk where verdicts and events arrive, the ledger, one follower per Asterisk.

    `reconsider` is to be called when operators have changed something.
    """

    desk: Desk
    ledger: Ledger
    reconsider: Callable[[], None]
    followers: tuple[Follower, ...]


@asynccontextmanager
async def following(
    settings: Settings,
    clock: SteadyClock,
    house: House,
    price: Price,
    policy: Callable[[], PolicyIndex],
    *,
    writer: Writer,
    reader: Reader,
    meter: Meter,
    wake_outbox: Callable[[], None],
) -> AsyncIterator[Following]:
    """Follow every configured Asterisk for as long as the context lasts. Raises ConfigError or StoreError."""
    connections = [_connection(settings, name, clock) for name in settings.ami]
    ledger = await _ledger(settings, clock, house, price, policy(), reader)
    watch = SourceWatch(settings.security)
    watch.learn(await reader.read(known_sources))
    until = await reader.read(followed_until)
    async with AsyncExitStack() as stack:
        orders: dict[str, Follower] = {}
        calls = CallKeeper(writer, stored=lambda stored: desk.stored(stored), failed=meter.store.failed)  # noqa: PLW0108  made below
        stack.push_async_callback(calls.close)
        sources = SourceKeeper(writer, failed=meter.store.failed)
        stack.push_async_callback(sources.close)
        alerts = AlertKeeper(writer, stored=lambda _: wake_outbox(), failed=meter.store.failed)
        stack.push_async_callback(alerts.close)
        desk = Desk(
            ledger,
            watch,
            calls,
            sources,
            alerts,
            meter=meter,
            clock=clock,
            orders=orders,
            wake_outbox=wake_outbox,
        )
        followers = tuple(Follower(link, ledger, desk, clock, until.get(link.name)) for link in connections)
        orders |= {follower.connection.name: follower for follower in followers}
        budgets = Budgets(ledger, desk, calls, reader, policy, clock)
        background(stack, budgets.follow(), "budgets")
        background(stack, _renewing(desk), "renewals")
        for follower in followers:
            background(stack, _keep_following(follower), f"follow {follower.connection.name}")
        background(stack, _every_second(desk, ledger, followers, writer, clock), "settle")
        background(stack, _watching(clock, desk, budgets), "clock")
        yield Following(desk, ledger, budgets.edited, followers)


def _connection(settings: Settings, name: str, clock: Clock) -> Connection:
    return Connection(name, settings.ami_of(name), read_secret(settings, name), events=EVENTS, clock=clock)


async def _ledger(
    settings: Settings, clock: Clock, house: House, price: Price, policy: PolicyIndex, reader: Reader
) -> Ledger:
    """Return the ledger as it is in the store: what may be dialled, what lived when that was last known, and money."""
    now = clock.now()
    ledger = await reader.read(
        lambda db: stored_ledger(
            db,
            house,
            policy,
            now,
            asterisks=tuple(settings.ami),
            price=price,
            tempo=stored_tempo(db, house, now),
        )
    )
    hush(ledger.treasury, now)
    for trunk in house.unfollowed if settings.ami else ():
        log.warning("calls on this trunk are neither followed nor policed: set its channel", trunk=trunk)
    return ledger


async def _watching(clock: SteadyClock, desk: Desk, budgets: Budgets) -> None:
    """Notice when the machine's clock is set."""
    while True:
        await asyncio.sleep(CLOCK_SECONDS)
        delta = clock.step(STEP_MILLIS)
        if delta:
            log.warning("the machine's clock was set", seconds=delta / 1000)
            desk.clock_set(delta)
            budgets.reload()


async def _renewing(desk: Desk) -> None:
    """Renew leases; a lease is never shorter than a second."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            desk.renew()
        except Exception:  # whatever it was: the others want to be renewed
            log.exception("leases not renewed")


async def _keep_following(follower: Follower) -> None:
    """Follow until cancelled, or until the login is refused. A defect of ours costs a second, not the whole day."""
    while True:
        try:
            return await follower.run()
        except Exception:
            log.exception("following broke off and begins again", asterisk=follower.connection.name)
            await asyncio.sleep(1)


async def _every_second(
    desk: Desk, ledger: Ledger, followers: Sequence[Follower], writer: Writer, clock: Clock
) -> None:
    """Settle what has ended; now and then note which Asterisks are followed, so that a restart knows what it missed."""
    noted: dict[str, Millis] = {}
    while True:
        now = clock.now()
        try:
            desk.settle(now)
        except Exception:  # whatever it was: the next second has other calls to settle
            log.exception("calls not settled")
        names = [follower.connection.name for follower in followers if follower.following]
        # What an earlier interruption left to look into is not past yet: a restart has to look again.
        until = {name: now for name in names if not ledger.looks_into(name)}
        if any(at - noted.get(name, 0) >= NOTE_MILLIS for name, at in until.items()):
            with suppress(StoreError):  # whoever stores verdicts has said it already
                await writer.transaction(partial(note_followed, until=until), patient=False)
                noted |= until
        await asyncio.sleep(1)
