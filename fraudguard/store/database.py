"""Connections to the database: one writer that is handed whole transactions, readers that cannot write.

aiosqlite gives every connection a thread of its own. A function handed to it runs there from begin to
commit in one go, so no await stands inside a transaction: a caller who is cancelled stops waiting, and
the transaction still ends, committed or rolled back, before the next one begins.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import aiosqlite

from fraudguard.clock import Millis
from fraudguard.errors import InputError, StoreError
from fraudguard.store.faults import explained, is_locked
from fraudguard.store.migrate import Migrated, migrate, verify

T = TypeVar("T")

BUSY_SECONDS = 5.0
"""How long to wait for another process's write lock. An import of a million rows holds it for about a second."""

BRIEFLY_MILLIS = 20
"""How long work that can wait does so for another process's lock: a little more than a step of `store compact`."""

_CHECKPOINT_PAGES = 4000  # 16 MB of WAL between checkpoints: each one is two more fsyncs in somebody's commit
_WAL_KEPT_BYTES = 64 * 1024 * 1024  # what a large import leaves of the WAL after it was checkpointed
_FILE_MODE = 0o640  # numbers dialled and by whom are nobody else's business


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection and thread, handed whole functions instead of single statements.

    Beside atomicity it spares thread switches: a batch is one hop instead of one per statement.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # Since 0.22 the thread is no daemon, and one forgotten close() keeps the process from ever ending.
        # Nothing is lost by a daemon: what was answered is committed, and SQLite recovers the rest.
        self._thread.daemon = True

    async def open(self) -> None:
        try:
            await self
        except BaseException:
            # aiosqlite tells the thread to stop but does not wait for it; it would report to a loop that has ended.
            self._thread.join()
            raise

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        result: T = await self._execute(self._apply, function)  # type: ignore[no-untyped-call]
        return result

    def _apply(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return function(self._conn)


class Closing:
    """Is closed at the end of `async with`."""

    async def close(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Access(Closing):
    """What writer and readers share: the path, errors that name it, and an end."""

    def __init__(self, path: Path, connection: _Connection) -> None:
        self.path = path
        self._connection = connection
        self._closed = False

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` on the connection's thread, outside any transaction. Raises StoreError."""
        if self._closed:
            raise StoreError("is closed", where=str(self.path))
        with explained(self.path):
            return await self._connection.run(function)

    async def close(self) -> None:
        """Let what was handed over end, then close. May be called twice."""
        if not self._closed:
            self._closed = True
            await self._connection.close()


class Writer(_Access):
    """The process's one connection that writes."""

    async def transaction(self, function: Callable[[sqlite3.Connection], T], *, patient: bool = True) -> T:
        """Run `function` in a transaction of its own: committed when it returns, rolled back when it raises.

        Transactions run in the order they were handed over. Once handed over one is carried through even
        if the caller is cancelled. Raises StoreError when the database is locked, full, gone...; what
        `function` raises comes through.

        Without `patient` it waits for another process's lock only BRIEFLY_MILLIS: verdicts that are handed over
        meanwhile stand behind it, and would wait twice.
        """
        work = partial(_transact, "BEGIN IMMEDIATE", function)
        return await self.run(work if patient else partial(_briefly, work))


class Reader(_Access):
    """A connection that cannot write (query_only)."""

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` in one read transaction: all its queries see the same moment. Raises StoreError."""
        return await self.run(partial(_transact, "BEGIN", function))


async def create_database(path: Path, now: Millis) -> None:
    """Make a new database with the current schema. Raises InputError if the file exists, or StoreError."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
    except FileExistsError:
        raise InputError("exists already", where=str(path), fix="it is kept as it is; name another file") from None
    except OSError as error:
        raise StoreError(f"cannot be created: {error.strerror}", where=str(path), fix="check its folder") from error
    await _migrate(path, now)


async def migrate_database(path: Path, now: Millis) -> Migrated:
    """Bring an existing database up to date, after a backup. Does nothing to one that is. Raises StoreError."""
    if _is_empty(path):  # it was a database once, and all that operators had set is gone
        raise StoreError("is empty", where=str(path), fix="restore a backup, or remove it and run 'fraudguard init'")
    return await _migrate(path, now)


async def _migrate(path: Path, now: Millis) -> Migrated:
    connection = await _connect(path, BUSY_SECONDS, ("PRAGMA synchronous = FULL",))
    async with _Access(path, connection) as access:
        return await access.run(lambda db: migrate(db, path, now))


async def open_writer(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> Writer:
    """Open the database for writing. Raises StoreError: missing, no database, read-only, locked, other schema."""
    connection = await _connect(
        path,
        busy_seconds,
        (
            "PRAGMA synchronous = FULL",  # a committed verdict survives a power cut; group commit pays for it
            "PRAGMA foreign_keys = ON",
            f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}",
        ),
    )
    # SQLite opens what it may not write read-only, without a word: ask for the lock to find out now.
    return await _checked(Writer(path, connection), "BEGIN IMMEDIATE")


async def open_reader(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> Reader:
    """Open the database for reading. Raises StoreError: missing, no database, other schema."""
    connection = await _connect(path, busy_seconds, ("PRAGMA query_only = ON",))
    return await _checked(Reader(path, connection), "BEGIN")


async def open_exclusive(path: Path) -> Writer:
    """Open the database for work that nobody else may see begin. Raises StoreError when somebody else has it open."""
    try:
        connection = await _connect(path, 0, ("PRAGMA locking_mode = EXCLUSIVE", "PRAGMA synchronous = FULL"))
        return await _checked(Writer(path, connection), "BEGIN IMMEDIATE")
    except StoreError as error:
        if is_locked(error):
            raise StoreError(
                "is open in another process", where=str(path), fix="stop the service for so long, and try again"
            ) from error
        raise


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


A = TypeVar("A", bound=_Access)


async def _checked(access: A, begin: str) -> A:
    try:
        await access.run(partial(_transact, begin, lambda db: verify(db, access.path)))
    except BaseException:
        await access.close()
        raise
    return access


async def _connect(path: Path, busy_seconds: float, pragmas: tuple[str, ...]) -> _Connection:
    def connect() -> sqlite3.Connection:
        if not path.exists():
            raise StoreError(
                "there is no such database", where=str(path), fix="run 'fraudguard init', or see store.path"
            )
        # mode=rw: a file that vanished since is not created anew. check_same_thread: the thread is aiosqlite's.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,  # transactions are begun and ended here, not guessed by the driver
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            for pragma in pragmas:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    with explained(path):
        connection = _Connection(connect)
        await connection.open()
        return connection


def _briefly(work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {BRIEFLY_MILLIS}")
    try:
        return work(connection)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def _transact(begin: str, function: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    connection.execute(begin)
    try:
        result = function(connection)
        connection.execute("COMMIT")
    except BaseException:
        # A full disk or an I/O error may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result
