"""A real database in a temporary folder, with a writer and a reader."""

import asyncio
import contextlib
import sqlite3
import threading

import pytest

from fraudguard.store import create_database, open_reader, open_writer

NOW = 1_800_000_000_000


@pytest.fixture
async def database(tmp_path):
    path = tmp_path / "fraudguard.db"
    await create_database(path, NOW)
    return path


@pytest.fixture
async def writer(database):
    async with await open_writer(database) as writer:
        yield writer


@pytest.fixture
async def reader(database):
    async with await open_reader(database) as reader:
        yield reader


@pytest.fixture
async def held(writer):
    """The writer's thread, kept busy until set."""
    go_on = threading.Event()
    task = asyncio.create_task(writer.run(lambda _connection: go_on.wait(10)))
    await asyncio.sleep(0)
    yield go_on
    go_on.set()
    await task


@pytest.fixture
def locked(database):
    """Hold another process's lock on the database for as long as the context that this returns lasts."""

    @contextlib.contextmanager
    def lock():
        connection = sqlite3.connect(database, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.close()

    return lock
