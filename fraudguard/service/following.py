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
from fraudguard.clock import Clock, Millis
from fraudguard.config import Settings
from fraudguard.detect.sources import SourceWatch
from fraudguard.dialplan.manager import read_secret
from fraudguard.errors import StoreError
from fraudguard.house import House
from fraudguard.ledger import Ledger
from fraudguard.ledger.judging import Price
from fraudguard.metrics.meter import Meter
from fraudguard.service.background import background
from fraudguard.service.desk import Desk
from fraudguard.store import Reader, Writer
from fraudguard.store.alerts import AlertKeeper
from fraudguard.store.calls import admissions, followed_until, note_followed, unfinished_calls
from fraudguard.store.keepers import CallKeeper, SourceKeeper
from fraudguard.store.sources import known_sources

NOTE_MILLIS = 5_000
"""How often it is noted that the Asterisks are followed. After a restart, verdicts given since the note are taken for
calls that nobody saw, unless they are found."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Following:
    """What follows the calls: the desk where verdicts and events arrive, the ledger, one follower per Asterisk."""

    desk: Desk
    ledger: Ledger
    followers: tuple[Follower, ...]


@asynccontextmanager
async def following(
    settings: Settings,
    clock: Clock,
    house: House,
    price: Price,
    *,
    writer: Writer,
    reader: Reader,
    meter: Meter,
    wake_outbox: Callable[[], None],
) -> AsyncIterator[Following]:
    """Follow every configured Asterisk for as long as the context lasts. Raises ConfigError or StoreError."""
    connections = [_connection(settings, name, clock) for name in settings.ami]
    ledger = await _ledger(settings, clock, house, price, reader)
    watch = SourceWatch(settings.security)
    watch.learn(await reader.read(known_sources))
    until = await reader.read(followed_until)
    async with AsyncExitStack() as stack:
        calls = CallKeeper(writer, failed=meter.store.failed)
        stack.push_async_callback(calls.close)
        sources = SourceKeeper(writer, failed=meter.store.failed)
        stack.push_async_callback(sources.close)
        alerts = AlertKeeper(writer, stored=wake_outbox, failed=meter.store.failed)
        stack.push_async_callback(alerts.close)
        desk = Desk(
            ledger,
            watch,
            calls,
            sources,
            alerts,
            meter=meter,
            follows=bool(connections),
            wake_outbox=wake_outbox,
        )
        followers = tuple(Follower(link, ledger, desk, clock, until.get(link.name)) for link in connections)
        for follower in followers:
            background(stack, _keep_following(follower), f"follow {follower.connection.name}")
        background(stack, _every_second(desk, ledger, followers, writer, clock), "settle")
        yield Following(desk, ledger, followers)


def _connection(settings: Settings, name: str, clock: Clock) -> Connection:
    return Connection(name, settings.ami_of(name), read_secret(settings, name), events=EVENTS, clock=clock)


async def _ledger(settings: Settings, clock: Clock, house: House, price: Price, reader: Reader) -> Ledger:
    sole = next(iter(settings.ami)) if len(settings.ami) == 1 else ""
    ledger = Ledger(house, sole, price, asterisks=tuple(settings.ami))
    if settings.ami:
        now = clock.now()
        ledger.restore(*await reader.read(lambda db: (admissions(db, now), unfinished_calls(db))))
        for trunk in house.unfollowed:
            log.warning("calls on this trunk are neither followed nor policed: set its channel", trunk=trunk)
    return ledger


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
