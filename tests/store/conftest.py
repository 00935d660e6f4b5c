"""A real database in a temporary folder, with a writer and a reader."""

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
