"""The database: migrations, one writer, read-only readers. SQLite through aiosqlite."""

from fraudguard.store.database import Reader, Writer, create_database, migrate_database, open_reader, open_writer
from fraudguard.store.snapshots import SnapshotSource
from fraudguard.store.verdicts import VerdictLog

__all__ = [
    "Reader",
    "SnapshotSource",
    "VerdictLog",
    "Writer",
    "create_database",
    "migrate_database",
    "open_reader",
    "open_writer",
]
