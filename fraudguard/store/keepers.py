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
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from fraudguard.detect.sources import Sighting
from fraudguard.errors import StoreError
from fraudguard.ledger.records import Call, State
from fraudguard.store.calls import save_calls
from fraudguard.store.database import Reader, Writer
from fraudguard.store.faults import is_locked
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
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What is to be read between two writes (see Keeper.exactly)."""

    taken: Callable[[], None]
    read: Callable[[sqlite3.Connection], Any]
    reader: Reader | None
    answer: asyncio.Future[Any]


class Keeper(Generic[T]):
    """Takes entries without waiting, and stores them. Made inside a running event loop; ends with `close`.

    `stored` is told of the entries of each batch that is on disk, and of every entry that the database refuses for
    good, because nothing more will come of that one. It is not told of those that are lost otherwise. `failed` is told
    when entries cannot be stored although it was tried for a while, when the first is lost because too many are held
    (once each until a write succeeds), and of every entry that the database refuses.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        stored: Callable[[Sequence[T]], None] = lambda _: None,
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
        self._questions: list[_Question] = []
        self._failures = 0  # in a row
        self._overflowed = False
        self._highest = 0
        self._lost = 0
        self._stored = 0
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._worker = self._loop.create_task(self._work(), name=type(self).__name__)

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

    async def exactly(
        self, taken: Callable[[], None], read: Callable[[sqlite3.Connection], R], *, reader: Reader | None = None
    ) -> R:
        """Return what `read` finds when all is stored that was kept before `taken` was called, and nothing kept since.

        So what is read agrees with what the memory held at that moment. Both are called between two writes; `taken` on
        the event loop, and again whenever what was to be stored before could not be. `read` runs in a transaction, by
        `reader` where there is one: verdicts need not wait for it then. Raises StoreError when the keeper is closed or
        the database cannot be read, and what the two raise.
        """
        if self._closing.is_set():
            raise self._is_closed()
        question = _Question(taken, read, reader, self._loop.create_future())
        self._questions.append(question)
        self._wake.set()
        return cast("R", await question.answer)

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
        try:
            while not self._closing.is_set():
                await self._wake.wait()
                self._wake.clear()
                await self._write(patient=False)
                if self._waiting or self._questions:
                    self._wake.set()
                await self._pause()
            error = await self._write(patient=True)
            if error is not None:
                self._lost += len(self._waiting)
                self._waiting.clear()
                self._failed(error)
        finally:
            self._closing.set()
            for question in self._questions:
                _refuse(question, self._is_closed())

    def _is_closed(self) -> StoreError:
        return StoreError("the keeper is closed", where=str(self._writer.path))

    async def _pause(self) -> None:
        seconds = self._pause_seconds
        if self._failures:
            seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _write(self, *, patient: bool) -> Exception | None:
        """Write what waits, in batches, and answer who asks. Return what kept one from being written or answered; it
        and the rest wait again then.
        """
        self._writing, self._waiting = self._waiting, {}
        questions = [question for question in self._questions if _begins(question)]
        self._questions = questions.copy()  # those that are asked meanwhile come after them
        error = None
        while self._writing and error is None:
            error = await self._write_batch(list(self._writing)[:BATCH_LIMIT], patient=patient)
        for question in questions if error is None else ():
            error = error or await self._answer(question, patient=patient)
        if error is None:
            self._failures = 0
            self._overflowed = False
            return None
        self._put_back()
        self._failures += 1
        if self._failures == len(RETRY_SECONDS):
            self._failed(error)
        return error

    async def _answer(self, question: _Question, *, patient: bool) -> Exception | None:
        """Answer a question. Return the error if that is to be tried again."""
        try:
            if question.reader is None:
                answer = await self._writer.transaction(question.read, patient=patient)
            else:
                answer = await question.reader.read(question.read)
        except Exception as error:  # noqa: BLE001  whatever it is: it is who asks that it is for
            if isinstance(error, StoreError) and is_locked(error) and not self._closing.is_set():
                return error
            _refuse(question, error)
        else:
            if not question.answer.done():
                question.answer.set_result(answer)
        self._questions.remove(question)
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
        for key in keys:
            del self._writing[key]
        self._tell(batch)
        return None

    def _tell(self, batch: Sequence[T]) -> None:
        try:
            self._tell_stored(batch)
        except Exception as error:  # noqa: BLE001  whatever it was: who ends here stores nothing any more
            message = f"{len(batch)} records were written, and not taken note of"
            self._loop.call_exception_handler({"message": message, "exception": error})

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
        return entry.leg.key

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


def _begins(question: _Question) -> bool:
    """Tell who asks that this is the moment; say whether they wait for an answer."""
    if question.answer.done():
        return False
    try:
        question.taken()
    except Exception as error:  # noqa: BLE001  it is theirs
        _refuse(question, error)
        return False
    return True


def _refuse(question: _Question, error: Exception) -> None:
    if not question.answer.done():
        question.answer.set_exception(error)


def _refused(error: Exception) -> bool:
    """Say whether the database will never take this: not locked, full or broken, but a value that it cannot hold."""
    if isinstance(error, StoreError):
        return isinstance(error.__cause__, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError)
    return True  # no error of the database at all: OverflowError...
