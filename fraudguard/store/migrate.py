"""The database's schema: numbered SQL files, each applied once, in one commit with its record.

A file that was applied is never edited: its checksum is recorded and compared whenever the database is
opened. All functions here are synchronous and run on a connection's own thread (see database.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path

from fraudguard.clock import Millis
from fraudguard.errors import StoreError

APPLICATION_ID = 0x66726764
"""'frgd' in the file's header: says whose database it is, to us and to file(1)."""

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did: the versions applied (none: it was up to date), and the backup made before."""

    applied: tuple[int, ...]
    backup: Path | None


@cache
def packaged() -> tuple[Migration, ...]:
    """Return the migrations shipped with this program, in order."""
    folder = resources.files("fraudguard.store") / "migrations"
    named = ((_FILE_NAME.fullmatch(file.name), file) for file in folder.iterdir())
    found = [Migration(int(name[1]), name[2], file.read_text(encoding="utf-8")) for name, file in named if name]
    return tuple(sorted(found, key=lambda migration: migration.version))


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError unless the database has exactly the schema that this program was written for."""
    done = _check(connection, path, packaged())
    if not done:  # the service refuses it too: all that operators had set is gone
        raise StoreError("is empty", where=str(path), fix="restore a backup, or remove it and run 'fraudguard init'")
    if done < len(packaged()):
        raise StoreError(
            f"has schema {done}, this program needs {len(packaged())}",
            where=str(path),
            fix="start the service once: it makes a backup and migrates",
        )


def migrate(
    connection: sqlite3.Connection, path: Path, now: Millis, migrations: tuple[Migration, ...] | None = None
) -> Migrated:
    """Bring the database up to date; a copy of one that is not empty is put beside it first.

    Each migration and its record are one transaction: after a crash the database has the schema of some
    version, and the next call goes on from there. Raises StoreError as `verify` does, except for a schema
    that is merely older.
    """
    with _one_at_a_time(path):
        return _apply_missing(connection, path, now, packaged() if migrations is None else migrations)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process migrates in this folder.

    SQLite's own locks do not do: switching to the write-ahead log waits for nobody, and backups would be made under
    one name. The lock is on the folder, because closing a second descriptor of the file would drop SQLite's.
    Raises StoreError.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        fix = "let the service's user read that folder"
        raise StoreError(f"its folder cannot be opened: {error.strerror}", where=str(path), fix=fix) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _apply_missing(connection: sqlite3.Connection, path: Path, now: Millis, steps: tuple[Migration, ...]) -> Migrated:
    done = _check(connection, path, steps)
    if done == len(steps):
        return Migrated((), None)
    backup = _back_up(connection, path, done, now) if done else None
    if not path.stat().st_size:
        # So that `store compact` can give room back in steps; it can be chosen only while the file is empty. Measured:
        # a million attempts are stored in 42.7 s instead of 39.8 s.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # Rebuilding a table drops the old one; its children are checked as a whole before the commit instead.
    connection.execute("PRAGMA foreign_keys = OFF")
    applied = []
    for step in steps[done:]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # An earlier version, or a process that reaches the file through another folder, may have migrated.
            if _check(connection, path, steps) < step.version:
                _apply(connection, path, step, now)
                applied.append(step.version)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return Migrated(tuple(applied), backup)


def _check(connection: sqlite3.Connection, path: Path, migrations: tuple[Migration, ...]) -> int:
    """Return how many of `migrations` are applied. Raises StoreError for what cannot be migrated."""
    # Tables first: whose they are is written in the same commit. Asked the other way round, another process could
    # migrate between the two questions, and its tables would look like a stranger's.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner != APPLICATION_ID:
        if owner or tables:
            raise StoreError("belongs to another program", where=str(path), fix="give store.path a file of its own")
        return 0
    recorded = connection.execute("SELECT version, sha256 FROM migrations ORDER BY version").fetchall()
    if len(recorded) > len(migrations):
        raise StoreError(
            f"has schema {len(recorded)}, newer than this program knows ({len(migrations)})",
            where=str(path),
            fix="install the version of fraudguard that last used it, or restore the backup made before its migration",
        )
    for (version, sha256), migration in zip(recorded, migrations, strict=False):
        if (version, sha256) != (migration.version, migration.sha256):
            raise StoreError(
                f"was migrated with another text of migration {version:04d}_{migration.name}.sql",
                where=str(path),
                fix="install an unmodified fraudguard; released migrations never change",
            )
    return len(recorded)


def _apply(connection: sqlite3.Connection, path: Path, migration: Migration, now: Millis) -> None:
    if migration.version == 1:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(
            "CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
            " sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT"
        )
    for statement in _statements(migration.sql):
        connection.execute(statement)
    if connection.execute("PRAGMA foreign_key_check").fetchone():
        raise StoreError(f"migration {migration.version} would break references", where=str(path), fix="report this")
    connection.execute(
        "INSERT INTO migrations VALUES (?, ?, ?, ?)", (migration.version, migration.name, migration.sha256, now)
    )


def _statements(sql: str) -> Iterator[str]:
    """Split a script. (executescript would commit the open transaction before it starts.)"""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _back_up(connection: sqlite3.Connection, path: Path, version: int, now: Millis) -> Path:
    """Copy the database as it stands, with what is still in its WAL. The copy gets its name when it is whole."""
    moment = datetime.fromtimestamp(now / 1000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    backup = path.with_name(f"{path.name}.v{version}-{moment}.backup")
    partial = backup.with_name(backup.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=path.stat().st_mode & 0o777)
        target = sqlite3.connect(partial)
        try:
            connection.backup(target)
        finally:
            target.close()
        with partial.open("rb") as copy:
            os.fsync(copy.fileno())
        partial.replace(backup)
    except OSError as error:
        raise StoreError(f"cannot be backed up before migrating: {error}", where=str(path), fix="make room") from error
    return backup
