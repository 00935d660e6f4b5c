import asyncio
import contextlib
import sqlite3

import pytest

from fraudguard.errors import StoreError
from fraudguard.store import create_database, migrate, migrate_database, open_writer
from fraudguard.store.migrate import Migration

NOW = 1_800_000_000_000
LATEST = len(migrate.packaged())
NEXT = Migration(LATEST + 1, "next", "CREATE TABLE more (x INTEGER) STRICT;\nDROP TABLE edits;\n")


@contextlib.contextmanager
def plain(path):
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def tables(path):
    with plain(path) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_packaged_migrations_are_numbered_from_one():
    assert [step.version for step in migrate.packaged()] == list(range(1, len(migrate.packaged()) + 1))


async def test_an_empty_file_is_not_quietly_made_a_database(tmp_path):
    path = tmp_path / "fraudguard.db"
    path.touch()
    with pytest.raises(StoreError, match="is empty"):
        await migrate_database(path, NOW)
    assert path.read_bytes() == b""


async def test_a_database_that_is_up_to_date_is_left_alone(database):
    assert (await migrate_database(database, NOW)) == migrate.Migrated((), None)


async def test_migrating_keeps_a_copy_of_what_was(database):
    with plain(database) as connection:
        connection.execute("INSERT INTO edits (at, author, noun, what) VALUES (2, 'a', 'limit', 'kept')")
        done = migrate.migrate(connection, database, NOW, (*migrate.packaged(), NEXT))
    assert done.applied == (NEXT.version,)
    assert "more" in tables(database)
    assert "edits" not in tables(database)
    assert done.backup == database.with_name(f"fraudguard.db.v{LATEST}-20270115T080000Z.backup")
    with plain(done.backup) as copy:
        assert copy.execute("SELECT what FROM edits").fetchall() == [("kept",)]
    assert done.backup.stat().st_mode == database.stat().st_mode
    assert not list(database.parent.glob("*.partial"))


async def test_an_older_schema_asks_for_migration(database, monkeypatch):
    steps = (*migrate.packaged(), NEXT)
    monkeypatch.setattr(migrate, "packaged", lambda: steps)
    with pytest.raises(StoreError, match=f"has schema {LATEST}, this program needs {LATEST + 1}"):
        await open_writer(database)


async def test_a_newer_schema_is_left_alone(database):
    with plain(database) as connection:
        migrate.migrate(connection, database, NOW, (*migrate.packaged(), NEXT))
    for attempt in (open_writer(database), migrate_database(database, NOW)):
        with pytest.raises(StoreError, match=rf"has schema {LATEST + 1}, newer than this program knows \({LATEST}\)"):
            await attempt


async def test_a_changed_migration_is_an_error(database):
    with plain(database) as connection:
        connection.execute("UPDATE migrations SET sha256 = 'other'")
    with pytest.raises(StoreError, match="another text of migration 0001_start"):
        await open_writer(database)


async def test_a_failing_migration_leaves_the_version_before(database):
    broken = Migration(NEXT.version, "broken", "CREATE TABLE more (x);\nCREATE TABLE edits (x);\n")
    with plain(database) as connection, pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate.migrate(connection, database, NOW, (*migrate.packaged(), broken))
    assert "more" not in tables(database)
    async with await open_writer(database):
        pass


async def test_a_migration_may_not_break_references(database):
    orphan = "INSERT INTO activations VALUES (1, 99, 99, 0, 'a', 0);"
    with plain(database) as connection, pytest.raises(StoreError, match="would break references"):
        migrate.migrate(connection, database, NOW, (*migrate.packaged(), Migration(LATEST + 1, "orphan", orphan)))


async def test_no_backup_no_migration(database):
    path = database.with_name(f"fraudguard.db.v{LATEST}-20270115T080000Z.backup.partial")
    path.mkdir()
    with plain(database) as connection, pytest.raises(StoreError, match="cannot be backed up before migrating"):
        migrate.migrate(connection, database, NOW, (*migrate.packaged(), NEXT))
    assert "more" not in tables(database)


async def test_many_may_migrate_at_once(tmp_path):
    path = tmp_path / "fraudguard.db"
    with plain(path) as connection:
        connection.execute("VACUUM")  # a database without anything in it, as a crash in `init` leaves it
    done = await asyncio.gather(*(migrate_database(path, NOW) for _ in range(12)))
    assert sorted(step for each in done for step in each.applied) == list(range(1, LATEST + 1))  # each once


def test_a_folder_that_cannot_be_locked_is_named(tmp_path):
    with plain(":memory:") as connection, pytest.raises(StoreError, match=r"gone/fraudguard\.db.*its folder cannot"):
        migrate.migrate(connection, tmp_path / "gone" / "fraudguard.db", NOW)


async def test_another_programs_database_is_not_migrated(tmp_path):
    path = tmp_path / "other.db"
    with plain(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="belongs to another program"):
        await migrate_database(path, NOW)


async def test_created_databases_are_ours(tmp_path):
    await create_database(tmp_path / "a.db", NOW)
    with plain(tmp_path / "a.db") as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (migrate.APPLICATION_ID,)
