import pytest

from fraudguard.errors import InputError, StoreError
from fraudguard.policy.records import EVERYBODY, Limit, Scope
from fraudguard.store import policies
from fraudguard.store.edits import revisions

NOW = 1_800_000_000_000
BY = {"author": "eve", "now": NOW}
ACCOUNT = Scope("acme", "204")


def edits(connection):
    return connection.execute("SELECT at, author, noun, what FROM edits ORDER BY id").fetchall()


async def test_limits_are_set_replaced_and_removed(writer, reader):
    await policies.set_limit(writer, EVERYBODY, 250_000, **BY)
    await policies.set_limit(writer, ACCOUNT, 100_000, **BY)
    await policies.set_limit(writer, ACCOUNT, 120_000, **BY)
    await policies.set_limit(writer, Scope("acme"), 0, **BY)
    assert await reader.read(policies.list_limits) == (
        Limit(EVERYBODY, 250_000),
        Limit(Scope("acme"), 0),
        Limit(ACCOUNT, 120_000),
    )
    await policies.remove_limit(writer, EVERYBODY, **BY)
    assert [limit.scope for limit in await reader.read(policies.list_limits)] == [Scope("acme"), ACCOUNT]
    assert (await reader.read(edits))[-1] == (NOW, "eve", "limit", "removed global")
    assert await reader.read(revisions) == {"limit": 5}


async def test_removing_a_limit_that_is_not_there(writer, reader):
    with pytest.raises(InputError, match="there is no limit for account 204 of tenant acme"):
        await policies.remove_limit(writer, ACCOUNT, **BY)
    assert await reader.read(edits) == []


async def test_grants(writer, reader):
    first = await policies.add_grant(writer, ACCOUNT, "882", highest=9_000_000, until=NOW + 5, reason="ship", **BY)
    second = await policies.add_grant(writer, EVERYBODY, "", highest=None, until=None, reason="", asks_pin=True, **BY)
    assert (first.asks_pin, second.asks_pin) == (False, True)
    assert await reader.read(policies.list_grants) == (first, second)
    await policies.remove_grant(writer, first.id, author="bob", now=NOW + 1)
    assert await reader.read(policies.list_grants) == (second,)
    with pytest.raises(InputError, match=rf"there is no grant {first.id} \('fraudguard grant list'"):
        await policies.remove_grant(writer, first.id, **BY)
    kept = await reader.read(lambda c: c.execute("SELECT reason, removed_at, removed_by FROM grants").fetchall())
    assert kept == [("ship", NOW + 1, "bob"), ("", None, None)]
    assert [what for *_, what in await reader.read(edits)] == [
        "added 1: account 204 of tenant acme, +882, up to 9.00, until 2027-01-15T08:00:00+00:00",
        "added 2: global, +*, any price, for good, asks for a PIN",
        "removed 1",
    ]


async def test_blocks(writer, reader):
    first = await policies.add_block(writer, EVERYBODY, "", "198.51.100.0/24", until=None, reason="scan", **BY)
    second = await policies.add_block(writer, Scope("acme"), "53", "", until=NOW + 9, reason="", **BY)
    assert await reader.read(policies.list_blocks) == (first, second)
    await policies.remove_block(writer, second.id, **BY)
    assert await reader.read(policies.list_blocks) == (first,)
    with pytest.raises(InputError, match="there is no block 7"):
        await policies.remove_block(writer, 7, **BY)
    assert await reader.read(revisions) == {"block": 3}


async def test_what_the_schema_forbids_leaves_no_trace(writer, reader):
    with pytest.raises(StoreError, match="CHECK constraint failed"):
        await policies.add_grant(writer, EVERYBODY, "+44", highest=None, until=None, reason="", **BY)
    assert await reader.read(edits) == []
