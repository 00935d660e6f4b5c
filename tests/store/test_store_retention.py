import asyncio
import contextlib
import dataclasses
import sqlite3

import pytest

from fraudguard.clock import DAY_MILLIS
from fraudguard.config import Retention
from fraudguard.errors import StoreError
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.store import hourly, migrate, open_reader, open_writer, retention
from fraudguard.store.calls import list_calls, save_calls
from fraudguard.store.retention import SPENDING_DAYS, STEP_ROWS, compact, prune, prune_hourly
from fraudguard.store.sources import Source, list_sources, save_sources

NOW = 1_800_000_000_000
KEEP = Retention(attempts_days=10, calls_days=20, alerts_days=30, sources_days=40)
FOR_GOOD = Retention(attempts_days=0, calls_days=0, alerts_days=0, sources_days=0)


def days(count):
    return NOW - count * DAY_MILLIS


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    monkeypatch.setattr(retention, "REST", 0)
    monkeypatch.setattr(retention, "SHORTEST_PAUSE_SECONDS", 0)
    monkeypatch.setattr(hourly, "LOCKED_SECONDS", 0)


def call(began_at, state=State.ENDED):
    leg = Leg("pbx1", f"{began_at}-{state}", "l", "PJSIP/carrier-1")
    return Call(
        *(leg, "", "c1", "ok", "acme", "204", "", "carrier", "+53", None, 600, state, began_at),
        ended_at=began_at if state is State.ENDED else None,
    )


def insert(connection, table, rows):
    """Insert rows of which a test names only some columns; the others get what they must have."""
    columns = {name: (kind, needed) for _, name, kind, needed, *_ in connection.execute(f"PRAGMA table_info({table})")}
    for row in rows:
        whole = {
            name: row.get(name, 1 if kind == "INTEGER" else "x")
            for name, (kind, needed) in columns.items()
            if name in row or (needed and name != "id")
        }
        names = ", ".join(whole)
        connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(whole))})", tuple(whole.values())
        )


def attempts(*times):
    return [{"at": at, "outcome": "allow"} for at in times]


def alert(last_at, *, acked):
    who = {"acked_at": NOW, "acked_by": "eve"} if acked else {}
    return {"severity": "notice", "first_at": 0, "last_at": last_at, **who}


def fill(connection):
    insert(connection, "attempts", attempts(days(10) - 1, days(10), NOW))
    insert(connection, "edits", [{"at": days(10) - 1}, {"at": days(10)}])
    insert(connection, "spending", [{"until": days(SPENDING_DAYS) - 1}, {"until": days(SPENDING_DAYS)}])
    insert(
        connection,
        "alerts",
        [alert(days(30) - 1, acked=True), alert(days(30) - 1, acked=False), alert(days(30), acked=True)],
    )
    insert(connection, "deliveries", [{"alert": n, "part": n, "state": "delivered"} for n in (1, 2, 3)])
    save_calls(connection, [call(days(20) - 1), call(days(20)), call(days(20) - 1, State.UP)])
    save_sources(
        connection,
        [Source("pbx1", "204", "a", 0, days(40) - 1, succeeded=1), Source("pbx1", "204", "b", 0, days(40))],
    )


async def test_what_is_old_goes_and_what_is_open_stays(writer, reader):
    await writer.transaction(fill)
    assert await prune(writer, KEEP, NOW) == dict.fromkeys(retention._DROP, 1)
    assert await reader.read(lambda c: c.execute("SELECT at FROM attempts").fetchall()) == [(days(10),), (NOW,)]
    assert await reader.read(lambda c: c.execute("SELECT at FROM edits").fetchall()) == [(days(10),)]
    assert await reader.read(lambda c: c.execute("SELECT id FROM alerts").fetchall()) == [(2,), (3,)]
    assert await reader.read(lambda c: c.execute("SELECT alert FROM deliveries").fetchall()) == [(2,), (3,)]
    assert {(each.state, each.began_at) for each in await reader.read(list_calls)} == {
        (State.ENDED, days(20)),
        (State.UP, days(20) - 1),
    }
    assert [each.address for each in await reader.read(list_sources)] == ["b"]
    assert await reader.read(lambda c: c.execute("SELECT until FROM spending").fetchall()) == [(days(SPENDING_DAYS),)]
    assert sum((await prune(writer, KEEP, NOW)).values()) == 0


async def test_zero_keeps_for_good(writer):
    await writer.transaction(fill)
    dropped = await prune(writer, FOR_GOOD, NOW + 10**13)
    assert {table for table, rows in dropped.items() if rows} == {"spending"}


async def test_much_goes_in_small_transactions(writer, reader, monkeypatch):
    await writer.transaction(lambda c: insert(c, "attempts", attempts(*[1] * (2 * STEP_ROWS + 1))))
    await writer.transaction(lambda c: insert(c, "edits", [{"at": 1}] * (STEP_ROWS + 1)))
    changed = []
    transaction = writer.transaction

    async def counted(function, *, patient):
        changed.append(await transaction(function, patient=patient))
        return changed[-1]

    monkeypatch.setattr(writer, "transaction", counted)
    await prune(writer, KEEP, NOW)
    assert [count for count in changed if count] == [STEP_ROWS, STEP_ROWS, 1, STEP_ROWS, 1]


async def test_forged_addresses_do_not_fill_the_disk(writer, reader, monkeypatch):
    monkeypatch.setattr(retention, "SOURCES_LIMIT", 3)
    good = [Source("pbx1", "204", f"good{n}", 0, NOW - 100, succeeded=1) for n in range(2)]
    bad = [Source("pbx1", "", f"bad{n}", 0, NOW + n, invalid_account=1) for n in range(2 * STEP_ROWS)]
    await writer.transaction(lambda c: save_sources(c, good + bad))
    assert (await prune(writer, KEEP, NOW))["sources"] == 2 * STEP_ROWS - 1
    assert await reader.read(list_sources) == (bad[-1], *good)


async def test_a_lock_is_waited_for_and_a_stuck_one_is_told(locked, writer, monkeypatch):
    monkeypatch.setattr(hourly, "LOCKED_TRIES", 2)
    await writer.transaction(fill)
    with locked(), pytest.raises(StoreError, match="is locked by another process"):
        await prune(writer, KEEP, NOW)
    tries = []
    transaction = writer.transaction

    async def locked_once(function, *, patient):
        tries.append(patient)
        if len(tries) == 1:
            with locked():
                return await transaction(function, patient=patient)
        return await transaction(function, patient=patient)

    monkeypatch.setattr(writer, "transaction", locked_once)
    assert (await prune(writer, KEEP, NOW))["attempts"] == 1


async def test_the_service_prunes_every_hour_and_survives_trouble(locked, writer, monkeypatch):
    monkeypatch.setattr(hourly, "LOCKED_TRIES", 0)
    told = asyncio.Queue()
    slept = []
    sleep = asyncio.sleep

    async def noted(seconds):
        if seconds:
            slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("fraudguard.store.hourly.asyncio.sleep", noted)
    clock = type("Clock", (), {"now": lambda _: NOW})()
    await writer.transaction(fill)
    with locked():
        task = asyncio.create_task(prune_hourly(writer, KEEP, clock, pruned=told.put_nowait, failed=told.put_nowait))
        assert isinstance(await told.get(), StoreError)
    while isinstance(found := await told.get(), StoreError):
        pass
    assert found["attempts"] == 1
    assert set(slept) == {3600}
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("table", ["attempts", "calls", "alerts", "sources", "spending"])
async def test_what_is_old_is_found_by_an_index(reader, table):
    sql = retention._DROP[table]
    plan = [d for *_, d in await reader.read(lambda c: c.execute(f"EXPLAIN QUERY PLAN {sql}", (1, 1)).fetchall())]
    assert not [line for line in plan if line.startswith("SCAN")], plan
    assert not [line for line in plan if "TEMP B-TREE" in line], plan


async def test_compacting_gives_room_back_while_others_have_it_open(database, writer, reader):
    await writer.transaction(lambda c: insert(c, "attempts", attempts(*[1] * 5000)))
    await writer.run(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
    full = database.stat().st_size
    done = await compact(database, KEEP, NOW)
    assert done.dropped["attempts"] == 5000
    assert done.before >= full
    assert done.after == database.stat().st_size < full / 2
    assert await reader.read(lambda c: c.execute("PRAGMA freelist_count").fetchone()) == (0,)
    assert await reader.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()) == ("ok",)


@pytest.fixture
def old(tmp_path):
    """A database as made before room could be given back in steps."""
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("DROP TABLE t")
        migrate.migrate(connection, path, NOW)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
        insert(connection, "attempts", attempts(*[1] * 8000))
    return path


async def test_an_old_database_is_rebuilt_when_nobody_has_it_open(old):
    full = old.stat().st_size
    async with await open_reader(old):
        with pytest.raises(StoreError, match=r"is open in another process \(stop the service"):
            await compact(old, KEEP, NOW)
    done = await compact(old, KEEP, NOW)
    assert done.after < full / 2
    async with await open_writer(old) as writer:
        assert await writer.run(lambda c: c.execute("PRAGMA auto_vacuum").fetchone()) == (2,)
        assert await writer.run(lambda c: c.execute("PRAGMA journal_mode").fetchone()) == ("wal",)


def test_every_kind_of_record_that_is_dropped_has_its_setting():
    assert {f"{table}_days" for table in retention._DROP} - {"edits_days", "spending_days"} == set(
        Retention.model_fields
    )
    assert dataclasses.is_dataclass(retention.Compacted)
