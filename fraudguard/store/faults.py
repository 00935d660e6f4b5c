"""What SQLite complains about, as StoreErrors that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraudguard.errors import StoreError

_KNOWN = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "wait for its import or migration to end and try again"),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "wait for its import or migration to end and try again"),
    sqlite3.SQLITE_READONLY: ("is read-only", "check its owner and mode, those of its folder, and the mount options"),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "make room on its file system"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check the path and that its folder is writable"),
    sqlite3.SQLITE_NOTADB: ("is not a database", "check store.path; restore a backup if it was one"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "restore a backup, or recover it with the sqlite3 shell's .recover"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: input/output error", "check the disk"),
}


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the StoreError that tells an operator what `error` means for the database at `path`."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte; the rest says which kind of it
    what, fix = _KNOWN.get(primary, (f"refused: {error}", ""))
    return StoreError(what, where=str(path), fix=fix)


def is_locked(error: StoreError) -> bool:
    """Say whether the error is another process's lock, which will go away."""
    return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite inside the block into StoreErrors about the database at `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
