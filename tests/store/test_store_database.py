import asyncio
import sqlite3
import threading

import pytest

from fraudguard.errors import InputError, StoreError
from fraudguard.store import create_database, open_reader, open_writer
from fraudguard.store.faults import explain

NOW = 1_800_000_000_000


def pragma(name):
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


def count(table):
    return lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def add(key):
    return lambda connection: connection.execute("INSERT INTO revisions VALUES (?, 1)", (key,))


async def test_writer_syncs_every_commit_and_checks_references(writer):
    assert await writer.run(pragma("journal_mode")) == "wal"
    assert await writer.run(pragma("synchronous")) == 2
    assert await writer.run(pragma("foreign_keys")) == 1


async def test_every_table_is_strict(reader):
    def loose(connection):
        return [
            name
            for _, name, kind, _, _, strict in connection.execute("PRAGMA table_list")
            if kind == "table" and not strict and not name.startswith("sqlite_")
        ]

    assert await reader.read(loose) == []


async def test_creating_refuses_to_overwrite(database):
    before = database.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        await create_database(database, NOW)
    assert database.read_bytes() == before


async def test_creating_in_a_missing_folder(tmp_path):
    with pytest.raises(StoreError, match="cannot be created: No such file or directory"):
        await create_database(tmp_path / "missing" / "fraudguard.db", NOW)


async def test_others_cannot_read_it(database):
    assert database.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("opening", [open_writer, open_reader])
async def test_missing(tmp_path, opening):
    path = tmp_path / "fraudguard.db"
    with pytest.raises(StoreError, match=r"fraudguard\.db: there is no such database \(run 'fraudguard init'"):
        await opening(path)
    assert not path.exists()


@pytest.mark.parametrize("opening", [open_writer, open_reader])
async def test_not_a_database(tmp_path, opening):
    path = tmp_path / "fraudguard.db"
    path.write_text("prefix;price\n" * 100)
    with pytest.raises(StoreError, match="is not a database"):
        await opening(path)


async def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        await open_writer(tmp_path)


@pytest.mark.parametrize("opening", [open_writer, open_reader])
async def test_somebody_elses_database(tmp_path, opening):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(StoreError, match="belongs to another program"):
        await opening(path)


async def test_readers_cannot_write(reader):
    with pytest.raises(StoreError, match="is read-only"):
        await reader.read(add("x"))


async def test_locked_beyond_the_timeout(database):
    blocker = sqlite3.connect(database, isolation_level=None)
    try:
        async with await open_writer(database, busy_seconds=0.05) as writer:
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="is locked by another process"):
                await writer.transaction(add("x"))
            with pytest.raises(StoreError, match="is locked by another process"):
                await open_writer(database, busy_seconds=0.05)
            blocker.execute("ROLLBACK")
            await writer.transaction(add("x"))
    finally:
        blocker.close()


async def test_full_disk(writer, reader):
    pages = await writer.run(pragma("page_count"))
    await writer.run(pragma(f"max_page_count = {pages}"))

    def fill(connection):
        connection.executemany(
            "INSERT INTO edits (at, author, noun, what) VALUES (1, '', '', ?)", [("x" * 500,) for _ in range(100)]
        )

    with pytest.raises(StoreError, match="cannot grow: the disk is full"):
        await writer.transaction(fill)
    assert await reader.read(count("edits")) == 0
    await writer.run(pragma(f"max_page_count = {pages + 1000}"))
    await writer.transaction(fill)
    assert await reader.read(count("edits")) == 100


async def test_a_raising_function_leaves_nothing(writer, reader):
    def half(connection):
        add("x")(connection)
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        await writer.transaction(half)
    await writer.transaction(add("y"))
    assert await reader.read(lambda c: c.execute("SELECT noun FROM revisions").fetchall()) == [("y",)]


async def test_a_cancelled_caller_leaves_a_whole_transaction(writer, reader):
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection):
        add("first")(connection)
        begun.set()
        assert go_on.wait(10)
        add("second")(connection)

    task = asyncio.create_task(writer.transaction(slow))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await reader.read(count("revisions")) == 0
    go_on.set()
    await writer.transaction(add("third"))
    assert await reader.read(count("revisions")) == 3


async def test_close_carries_out_what_was_handed_over(database, reader):
    writer = await open_writer(database)
    tasks = [asyncio.create_task(writer.transaction(add(str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    await writer.close()
    await asyncio.gather(*tasks)
    assert await reader.read(count("revisions")) == 20


async def test_closed(database):
    writer = await open_writer(database)
    await writer.close()
    await writer.close()
    with pytest.raises(StoreError, match="is closed"):
        await writer.transaction(add("x"))


async def test_a_read_sees_one_moment(writer, reader):
    first, go_on = threading.Event(), threading.Event()

    def twice(connection):
        before = count("revisions")(connection)
        first.set()
        assert go_on.wait(10)
        return before, count("revisions")(connection)

    task = asyncio.create_task(reader.read(twice))
    await asyncio.to_thread(first.wait, 10)
    await writer.transaction(add("x"))
    go_on.set()
    assert await task == (0, 0)
    assert await reader.read(count("revisions")) == 1


async def test_a_forgotten_connection_does_not_hold_the_process(database):
    # aiosqlite's thread is reached through a protected name: this says when a release changes it.
    async with await open_writer(database) as writer:
        assert writer._connection._thread.daemon


def test_unknown_complaints_are_passed_on(tmp_path):
    error = explain(sqlite3.OperationalError("no such table: x"), tmp_path)
    assert str(error) == f"{tmp_path}: refused: no such table: x"
