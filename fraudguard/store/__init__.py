"""The database: migrations, one writer, read-only readers. SQLite through aiosqlite."""

from fraudguard.store.database import Reader, Writer, create_database, migrate_database, open_reader, open_writer

__all__ = ["Reader", "Writer", "create_database", "migrate_database", "open_reader", "open_writer"]
