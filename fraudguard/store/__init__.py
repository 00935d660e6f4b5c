"""The database: migrations, one writer, read-only readers. SQLite through aiosqlite."""
