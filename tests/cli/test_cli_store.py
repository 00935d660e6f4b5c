import asyncio
import json
import sqlite3

import pytest

from fraudguard.detect.sources import Sighting, SightingKind
from fraudguard.store import open_writer
from fraudguard.store.keepers import SourceKeeper

NOW = 1_800_000_000_000


@pytest.fixture
def seen(fraudguard):
    async def note():
        async with await open_writer(fraudguard.config.with_name("fraudguard.db")) as writer:
            keeper = SourceKeeper(writer)
            for n in range(3):
                keeper.note(Sighting(NOW + n, "pbx1", "204", "198.51.100.7", SightingKind.INVALID_PASSWORD))
            keeper.note(Sighting(NOW, "pbx1", "205", "203.0.113.9", SightingKind.SUCCEEDED))
            keeper.note(Sighting(NOW - 1, "pbx1", "", "\x1b[2J", SightingKind.INVALID_ACCOUNT))
            await keeper.close()

    asyncio.run(note())
    return fraudguard


def test_sources_are_listed(seen):
    listed = seen("sources", "--json").json
    assert [(each["account"], each["failed"], each["succeeded"]) for each in listed] == [
        ("204", 3, 0),
        ("205", 0, 1),
        ("", 1, 0),
    ]
    assert seen("sources", "--sort", "succeeded", "--json").json[0]["account"] == "205"
    assert [each["account"] for each in seen("sources", "--failing", "--json").json] == ["204", ""]
    assert [each["account"] for each in seen("sources", "--account", "", "--json").json] == [""]
    assert [each["account"] for each in seen("sources", "--address", "203.0.113.9", "--json").json] == ["205"]
    assert seen("sources", "--since", "2090-01-01").out == "nobody yet\n"
    out = seen("sources").out
    assert "invalid_password 3" in out
    assert "\x1b" not in out


def test_the_database_is_counted(seen):
    found = seen("store", "info", "--json").json
    tables = {table["name"]: (table["rows"], table["oldest_at"]) for table in found["tables"]}
    assert tables["sources"] == (3, "2027-01-15T07:59:59+00:00")
    assert tables["rates"] == (5, None)
    assert tables["calls"] == (0, None)
    assert found["bytes"] >= seen.config.with_name("fraudguard.db").stat().st_size
    assert json.dumps(found["path"]).strip('"') in seen("store", "info").out


def test_compacting_says_what_went(seen):
    connection = sqlite3.connect(seen.config.with_name("fraudguard.db"))
    with connection:
        connection.execute("UPDATE sources SET last_at = 1")
    connection.close()
    out = seen("store", "compact").out
    assert "sources: 3 rows dropped\n" in out
    assert "MB before" in out
    assert seen("sources", "--json").json == []
