"""What follows the calls changes all the time and may not wait: it is taken at once, and written in batches.

A keeper holds what has changed and is not stored yet, one entry per key, and writes it at most ten times a second.
Verdicts go before: a keeper's batches are small, and when another process holds the lock it steps aside at once
and comes back. What cannot be written stays and is tried again.

A killed process loses what changed since the last batch, a tenth of a second of it, or more where the database could
not be written. For calls that is made good at the next start: the resync finds those that are up, and ends the others.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from fraudguard.detect.sources import Sighting
from fraudguard.errors import StoreError
from fraudguard.ledger.records import Call, State
from fraudguard.store.calls import save_calls
from fraudguard.store.database import Writer
from fraudguard.store.sources import Source, save_sources, source_of

PAUSE_SECONDS = 0.1
"""Between two writes: each of them costs a sync of the disk that verdicts would rather have."""

RETRY_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.0)
"""How long to wait after the first, second... write in a row that failed; after all later ones as after the last."""

BATCH_LIMIT = 256
"""Entries per transaction: a few milliseconds of work, so that no verdict waits longer for its turn."""

PENDING_LIMIT = 100_000
"""Entries held at once, about 100 MB of calls: a quarter of an hour at 100 calls a second with the disk full."""

T = TypeVar("T")


class Keeper(Generic[T]):
    """Takes entries without waiting, and stores them. Made inside a running event loop; ends with `close`.

    `stored` is told after each batch. `failed` is told when entries cannot be stored although it was tried for a
    while, when the first is lost because too many are held (once each until a write succeeds), and of every entry
    that the database refuses.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        stored: Callable[[], None] = lambda: None,
        failed: Callable[[Exception], None] = lambda _: None,
        pending_limit: int = PENDING_LIMIT,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._writer = writer
        self._tell_stored = stored
        self._failed = failed
        self._pending_limit = pending_limit
        self._pause_seconds = pause_seconds
        self._waiting: dict[tuple[str, ...], T] = {}
        self._writing: dict[tuple[str, ...], T] = {}
        self._failures = 0  # in a row
        self._overflowed = False
        self._highest = 0
        self._lost = 0
        self._stored = 0
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._worker = asyncio.get_running_loop().create_task(self._work(), name=type(self).__name__)

    @property
    def pending(self) -> int:
        """How many entries are not stored yet."""
        return len(self._waiting) + len(self._writing)

    @property
    def highest(self) -> int:
        """The most that were pending at once."""
        return self._highest

    @property
    def lost(self) -> int:
        """How many entries were given up."""
        return self._lost

    @property
    def stored(self) -> int:
        """How many entries were written."""
        return self._stored

    async def close(self) -> None:
        """Write what is left, waiting for the lock if need be, then end. The writer stays open."""
        self._closing.set()
        self._wake.set()
        await asyncio.shield(self._worker)

    def _key(self, entry: T) -> tuple[str, ...]:
        raise NotImplementedError

    def _merged(self, old: T, new: T) -> T:
        raise NotImplementedError

    def _save(self, connection: sqlite3.Connection, entries: Sequence[T]) -> None:
        raise NotImplementedError

    def _take(self, entry: T) -> None:
        key = self._key(entry)
        old = self._waiting.get(key)
        self._waiting[key] = entry if old is None else self._merged(old, entry)
        self._bound()
        self._wake.set()

    def _bound(self) -> None:
        while self.pending > self._pending_limit and self._waiting:
            del self._waiting[next(iter(self._waiting))]  # the oldest
            self._lost += 1
            if not self._overflowed:
                self._overflowed = True
                what = f"more than {self._pending_limit} records wait to be stored"
                fix = "see whether the disk is full, or another process's lock stuck"
                self._failed(StoreError(what, where=str(self._writer.path), fix=fix))
        self._highest = max(self._highest, self.pending)

    async def _work(self) -> None:
        while not self._closing.is_set():
            await self._wake.wait()
            self._wake.clear()
            await self._write(patient=False)
            if self._waiting:
                self._wake.set()
            await self._pause()
        error = await self._write(patient=True)
        if error is not None:
            self._lost += len(self._waiting)
            self._waiting.clear()
            self._failed(error)

    async def _pause(self) -> None:
        seconds = self._pause_seconds
        if self._failures:
            seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _write(self, *, patient: bool) -> Exception | None:
        """Write what waits, in batches. Return what kept one from being written; it and the rest wait again then."""
        self._writing, self._waiting = self._waiting, {}
        while self._writing:
            error = await self._write_batch(list(self._writing)[:BATCH_LIMIT], patient=patient)
            if error is not None:
                self._put_back()
                self._failures += 1
                if self._failures == len(RETRY_SECONDS):
                    self._failed(error)
                return error
        self._failures = 0
        self._overflowed = False
        return None

    async def _write_batch(self, keys: Sequence[tuple[str, ...]], *, patient: bool) -> Exception | None:
        batch = [self._writing[key] for key in keys]
        try:
            await self._writer.transaction(partial(self._save_all, batch), patient=patient)
        except Exception as error:  # noqa: BLE001  whatever it is: who stops writing loses everything to come
            if not _refused(error):
                return error
            if len(keys) > 1:  # one of them it is; the others are none the worse for it
                for key in keys:
                    failure = await self._write_batch([key], patient=patient)
                    if failure is not None:
                        return failure
                return None
            self._lost += 1
            self._failed(error)
        else:
            self._stored += len(batch)
            self._tell_stored()
        for key in keys:
            del self._writing[key]
        return None

    def _save_all(self, batch: Sequence[T], connection: sqlite3.Connection) -> None:
        self._save(connection, batch)

    def _put_back(self) -> None:
        newer, self._waiting, self._writing = self._waiting, self._writing, {}
        for key, entry in newer.items():
            old = self._waiting.get(key)
            self._waiting[key] = entry if old is None else self._merged(old, entry)
        self._bound()


class CallKeeper(Keeper[Call]):
    """Keeps the store's calls as the ledger has them: of each leg the last state, and an ended call stays ended."""

    def keep(self, calls: Iterable[Call]) -> None:
        """Take calls as they now are. Never waits."""
        for call in calls:
            self._take(call)

    def _key(self, entry: Call) -> tuple[str, ...]:
        return entry.leg.asterisk, entry.leg.uniqueid

    def _merged(self, old: Call, new: Call) -> Call:
        return old if old.state is State.ENDED and new.state is not State.ENDED else new

    def _save(self, connection: sqlite3.Connection, entries: Sequence[Call]) -> None:
        save_calls(connection, entries)


class SourceKeeper(Keeper[Source]):
    """Counts sightings per Asterisk, account and address."""

    def note(self, sighting: Sighting) -> None:
        """Count a sighting. Never waits."""
        self._take(source_of(sighting))

    def _key(self, entry: Source) -> tuple[str, ...]:
        return entry.asterisk, entry.account, entry.address

    def _merged(self, old: Source, new: Source) -> Source:
        return old.plus(new)

    def _save(self, connection: sqlite3.Connection, entries: Sequence[Source]) -> None:
        save_sources(connection, entries)


def _refused(error: Exception) -> bool:
    """Say whether the database will never take this: not locked, full or broken, but a value that it cannot hold."""
    if isinstance(error, StoreError):
        return isinstance(error.__cause__, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError)
    return True  # no error of the database at all: OverflowError...
