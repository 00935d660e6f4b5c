"""The composition root: builds everything, owns start and stop.

configuration -> house ───────┐
database ------> snapshots ───┴─> guard <-> FastAGI server
database <------ verdict log <─────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from fraudguard.agi import outbound
from fraudguard.agi.server import AgiServer
from fraudguard.agi.watchdog import Watchdog
from fraudguard.clock import Clock
from fraudguard.config import Settings
from fraudguard.errors import StoreError
from fraudguard.guard import Guard
from fraudguard.house import build_house, refuse_other_currency
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.store import migrate_database, open_writer
from fraudguard.store.snapshots import SnapshotSource
from fraudguard.store.verdicts import VerdictLog

WRITE_SECONDS = 1.5
"""How long a commit waits for the write lock: less than a request's deadline, so that a verdict which nobody waits
for any more is not stored as if it had been given. An import of a million rows holds the lock for 0.7 s."""

OWN_FILES = 100  # database connections, log, listener and what the interpreter opens

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Service:
    """A running service. `address` is where FastAGI listens; `missing_decks` are configured but hold no rates."""

    address: tuple[str, int]
    missing_decks: tuple[str, ...]


@asynccontextmanager
async def running(settings: Settings, clock: Clock) -> AsyncIterator[Service]:
    """Run the service for as long as the context lasts.

    Raises ConfigError, StoreError (the database, or another service that owns it) or UnreachableError (the port).
    """
    house = build_house(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(_sole_owner(settings.database))
        migrated = await migrate_database(settings.database, clock.now())
        if migrated.applied:
            log.info("database migrated", schema=migrated.applied[-1], backup=str(migrated.backup))
        writer = await stack.enter_async_context(await open_writer(settings.database, busy_seconds=WRITE_SECONDS))

        decks = frozenset(house.trunks.values())
        policy = _Policy()
        source = await stack.enter_async_context(
            await SnapshotSource.open(settings.database, decks, clock, swapped=policy.swap, failed=_reload_failed)
        )
        refuse_other_currency(settings, policy.current().decks.values())
        watching = asyncio.create_task(source.watch(), name="snapshot watch")
        stack.push_async_callback(_cancelled, watching)

        verdicts = VerdictLog(writer)
        stack.push_async_callback(verdicts.close)
        guard = Guard(house, policy.current, verdicts)

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
        gc.freeze()  # the collector need not look through tables, metadata and modules again and again
        stack.callback(gc.unfreeze)
        watchdog = Watchdog()
        watchdog.start()
        stack.callback(watchdog.stop)
        missing = tuple(sorted(decks - policy.current().decks.keys()))
        yield Service(server.address, missing)


async def serve(settings: Settings, clock: Clock, started: Callable[[Service], None]) -> None:
    """Run until SIGTERM or SIGINT; callers in the middle of a request get their answer. Raises as `running`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _raise_open_files(settings.agi.sessions)
    async with running(settings, clock) as service:
        host, port = service.address
        log.info("listening", host=host, port=port, trunks=sorted(settings.trunks))
        for deck in service.missing_decks:
            log.warning("deck holds no rates: only domestic calls can go", deck=deck)
        started(service)
        await stop.wait()
        log.info("stopping")


class _Policy:
    """The index of the latest snapshot; the guard asks for it once per attempt."""

    def __init__(self) -> None:
        self._index = PolicyIndex(Snapshot(decks={}))

    def current(self) -> PolicyIndex:
        return self._index

    def swap(self, snapshot: Snapshot) -> None:
        self._index = PolicyIndex(snapshot)
        log.info(
            "snapshot",
            decks={name: len(deck.rates) for name, deck in snapshot.decks.items()},
            limits=len(snapshot.limits),
            grants=len(snapshot.grants),
            blocks=len(snapshot.blocks),
        )


def _reload_failed(error: Exception) -> None:
    log.error("operators' edits could not be read; the previous ones stay in force", error=str(error))


def _raise_open_files(sessions: int) -> None:
    """Ask for a file descriptor per session beside our own: the usual soft limit of 1024 would end at 1000 callers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sessions + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted:
        log.warning("fewer sessions than configured can be open", sessions=granted - OWN_FILES, open_files=granted)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextmanager
def _sole_owner(database: Path) -> Iterator[None]:
    """Hold the lock that says: this process serves this database. The kernel lets go of it however we end."""
    path = database.with_name(database.name + ".lock")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreError(f"cannot be created: {error.strerror}", where=str(path), fix="check its folder") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreError(
            "another fraudguard serves this database",
            where=str(database),
            fix="stop it, or give store.path another file",
        ) from None
    try:
        yield
    finally:
        os.close(handle)
