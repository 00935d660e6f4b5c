"""A database of the release before, with what it held."""

import contextlib
import sqlite3
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraudguard.ledger.accrual import accrual
from fraudguard.ledger.records import State
from fraudguard.policy.budget import Payer
from fraudguard.store import migrate, migrate_database, open_reader, open_writer
from fraudguard.store.attempts import list_attempts
from fraudguard.store.calls import Filter, admissions, list_calls, save_calls, unfinished_calls
from fraudguard.store.spending import spent_since

NOW = 1_800_000_000_000
STEP = 300_000
STEPS = migrate.packaged()
BEFORE = "".join(step.sql for step in STEPS[:3])

ATTEMPT = {
    "at": NOW, "tenant": "acme", "account": "204", "source": "192.0.2.7:5060", "asterisk": "pbx1", "linkedid": "l",
    "trunk": "carrier", "dialled": "01153", "number": "+53", "region": "CU", "kind": "international", "deck": "main",
    "prefix": "53", "destination": "Cuba", "per_minute": 600_000, "connect_fee": 10_000, "highest": 900_000,
    "limit_scope": "global", "outcome": "allow", "reason": "ok", "lease_seconds": 600, "simulated": "",
    "minimum_seconds": 0, "increment_seconds": 60,
}  # fmt: skip
CALL = {
    "asterisk": "pbx1", "linkedid": "l", "channel": "PJSIP/carrier-1", "caller": "", "why": "ok", "tenant": "acme",
    "account": "204", "source": "", "trunk": "carrier", "number": "+53", "destination": "Cuba", "prefix": "53",
    "per_minute": 600_000, "connect_fee": 10_000, "minimum_seconds": 0, "increment_seconds": 60, "lease_seconds": 600,
    "began_at": NOW, "answered_at": NOW + 1, "reconstructed": 0, "call": "",
}  # fmt: skip


def insert(connection, table, row):
    names = ", ".join(row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


def call(uniqueid, ended_at=None, **changes):
    end = {"state": "up"} if ended_at is None else {"state": "ended", "ended_at": ended_at, "seconds": 1, "cost": 1}
    return CALL | {"uniqueid": uniqueid} | end | changes


def attempt(name, **changes):
    return ATTEMPT | {"call": name} | changes


def made(connection, attempts, calls):
    for row in attempts:
        insert(connection, "attempts", row)
    for row in calls:
        insert(connection, "calls", row)


async def upgraded(tmp_path, attempts, calls):
    path = tmp_path / "fraudguard.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate.migrate(connection, path, NOW, STEPS[:3])
        made(connection, attempts, calls)
    assert (await migrate_database(path, NOW)).applied[0] == 4
    return path


ATTEMPTS = (
    attempt("c1", pin_id=7, pin="anna"),
    attempt("c2", kind="domestic", region="US"),
    attempt("c3", kind="service", region="US"),
    attempt("c4", kind="toll_free", region="US"),
    attempt("c5", kind="toll_free", region=None),
    attempt("c6", kind="satellite", region=None),
)
PAYERS = {
    "c1": ("CU", "anna", False),
    "c2": ("US", "", True),
    "c3": ("US", "", True),
    "c4": ("US", "", True),
    "c5": ("001", "", False),
    "c6": ("001", "", False),
    "gone": ("001", "", False),
    "": ("001", "", False),
}


async def test_calls_know_who_pays_for_them(tmp_path):
    live = [call(f"{name}-up", call=name) for name in PAYERS]
    ended = [call(f"{name}-ended", NOW + 9_000, call=name) for name in PAYERS]
    fenced = call("fenced", NOW + 9_000, why="fence")
    async with await open_reader(await upgraded(tmp_path, ATTEMPTS, [*live, *ended, fenced])) as reader:
        found = {one.leg.uniqueid: one for one in await reader.read(list_calls)}
        spent = await reader.read(lambda c: spent_since(c, 0))
        assert len(await reader.read(unfinished_calls)) == len(PAYERS)
    assert (found["fenced"].region, found["fenced"].pin, found["fenced"].domestic) == ("001", "", True)
    for name, payer in PAYERS.items():
        for one in (found[f"{name}-up"], found[f"{name}-ended"]):
            assert (one.region, one.pin, one.domestic) == payer
            assert (one.cut, one.lease_seconds) == ("", 600)
    each = Counter(Payer("acme", "204", pin, "carrier", region, domestic) for region, pin, domestic in PAYERS.values())
    each[Payer("acme", "204", "", "carrier", "001", True)] += 1
    assert {payer: amount for _, payer, amount in spent} == {payer: 610_000 * count for payer, count in each.items()}
    assert {until for until, *_ in spent} == {NOW + STEP}


async def test_attempts_from_before_admit_and_are_listed(tmp_path):
    async with await open_reader(await upgraded(tmp_path, ATTEMPTS, [])) as reader:
        found = {one.call: one for one in await reader.read(lambda c: admissions(c, NOW))}
        listed = await reader.read(list_attempts)
    assert {name: (one.region, one.pin, one.domestic) for name, one in found.items()} == {
        name: payer for name, payer in PAYERS.items() if name in found
    }
    assert {one.uniqueid for one in found.values()} == {""}
    assert len(listed) == len(found) == 6
    assert {(one.budget, one.room, one.pressed, one.strict) for one in listed} == {("", None, "", False)}


async def test_a_call_from_before_that_ends_anew_counts_once(tmp_path):
    path = await upgraded(tmp_path, ATTEMPTS, [call("1", NOW + 2 * STEP + 1, call="c1"), call("2", call="c2")])
    async with await open_writer(path) as writer, await open_reader(path) as reader:
        (ended,) = await reader.read(lambda c: list_calls(c, Filter(live=False)))
        assert await reader.read(lambda c: spent_since(c, 0)) == [
            (until, ended.payer, amount) for until, amount in accrual(ended, 0)
        ]
        await writer.transaction(lambda c: save_calls(c, [ended]))
        assert sum(amount for *_, amount in await reader.read(lambda c: spent_since(c, 0))) == ended.charged_at(0)


async def test_what_no_budget_looks_back_to_is_not_counted(tmp_path):
    day = 86_400_000
    old = [call(str(days), NOW - days * day, answered_at=NOW - days * day - 9_000) for days in (0, 61, 63)]
    async with await open_reader(await upgraded(tmp_path, [], old)) as reader:
        assert [until for until, *_ in await reader.read(lambda c: spent_since(c, 0))] == [NOW - 61 * day, NOW]


async def test_an_empty_database_is_upgraded(tmp_path):
    async with await open_reader(await upgraded(tmp_path, [], [])) as reader:
        assert await reader.read(lambda c: spent_since(c, 0)) == []


near = st.integers(NOW - 3 * STEP, NOW + 6 * STEP) | st.integers(NOW // STEP - 3, NOW // STEP + 3).map(STEP.__mul__)
old_calls = st.fixed_dictionaries(
    {
        "answered_at": st.none() | near,
        "ended_at": near,
        "state": st.just(State.ENDED.value),
        "per_minute": st.none() | st.integers(0, 10**7) | st.just(10**15),  # as dear as can be
        "connect_fee": st.integers(0, 10**6),
        "minimum_seconds": st.none() | st.integers(0, 900),
        "increment_seconds": st.none() | st.integers(1, 400),
        "lease_seconds": st.none() | st.integers(0, 3000),
        "account": st.sampled_from(["204", "205"]),
    }
)


YEARS = {"answered_at": 5, "ended_at": NOW, "state": "ended", "per_minute": 10**11, "increment_seconds": 1}


@settings(max_examples=100)
@example([YEARS, YEARS])
@given(st.lists(old_calls, max_size=5))
def test_history_is_counted_as_the_ledger_would(rows):
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(BEFORE)
        made(connection, [], [CALL | {"uniqueid": str(n)} | row for n, row in enumerate(rows)])
        connection.executescript(STEPS[3].sql)
        wanted = Counter()
        for one in list_calls(connection):
            for until, amount in accrual(one, 0):
                wanted[until, one.payer] += amount
        assert {(until, payer): amount for until, payer, amount in spent_since(connection, 0)} == wanted
