import asyncio
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.errors import InputError
from fraudguard.rating import Rate
from fraudguard.store import migrate, rates
from fraudguard.store.rates import (
    PAGE_ROWS,
    PROGRESS_ROWS,
    Delivery,
    activate_version,
    export_rates,
    import_deck,
    list_versions,
    load_deck,
    rates_of,
)

NOW = 1_800_000_000_000
DAY = 86_400_000


def rate(prefix, price=10_000, *, since=0, offered=True):
    return Rate(prefix, f"Somewhere {prefix}", price, 0, 0, 60, since, offered)


def delivery(**changes):
    fields = {
        "deck": "main",
        "currency": "USD",
        "source": "rates.csv",
        "sha256": "a" * 64,
        "author": "eve",
        "effective_from": NOW,
    }
    return Delivery(**(fields | changes))


async def bring(writer, *rows, now=NOW, **changes):
    return await import_deck(writer, delivery(**changes), rows, currency="USD", now=now)


def looked_up(deck, digits):
    found = deck.lookup(digits)
    return None if found is None else (found.prefix, found.per_minute, found.offered)


async def load(reader, at=NOW, name="main", **options):
    return await reader.read(lambda connection: load_deck(connection, name, at, **options))


async def test_an_import_answers_from_its_start(writer, reader):
    rows = [rate(""), rate("44", 20_000), rate("447", 30_000, offered=False)]
    imported = await bring(writer, *rows)
    assert (imported.rows, imported.carried) == (3, 0)
    assert await load(reader, NOW - 1) is None
    deck = await load(reader)
    assert (deck.name, deck.currency, deck.version, deck.valid_until) == ("main", "USD", imported.version, None)
    assert deck.lookup("44207") == rows[1]
    assert deck.lookup("44207").offered is True
    assert looked_up(deck, "447") == ("447", 30_000, False)
    assert looked_up(deck, "33") == ("", 10_000, True)


async def test_unknown_deck(reader):
    assert await load(reader, name="other") is None


async def test_of_many_pages(writer, reader):
    rows = [rate(str(10_000 + n), n) for n in range(2 * PAGE_ROWS + 1)]
    seen = []
    imported = await import_deck(writer, delivery(), rows, currency="USD", now=NOW, progress=seen.append)
    assert seen == [0, len(rows)]
    assert len((await load(reader)).rates) == len(rows)
    assert await reader.read(lambda c: list(rates_of(c, imported.version))) == rows
    pages = [page async for page in export_rates(reader, imported.version)]
    assert [row for page in pages for row in page] == rows
    assert max(map(len, pages)) == PAGE_ROWS


@pytest.mark.parametrize("digits", ["", "4", "44207946", "4479", "33", "999"])
async def test_one_lookup_needs_only_its_own_prefixes(writer, reader, digits):
    rows = [rate("33"), rate("4"), rate("44", 20_000), rate("447", since=NOW + 5), rate("45")]
    await bring(writer, *rows)
    deck = await load(reader, digits=digits)
    assert deck.lookup(digits) == (await load(reader)).lookup(digits)
    assert len(deck.rates) <= len(digits) + 1


async def test_a_row_dated_in_the_future_waits(writer, reader):
    await bring(writer, rate("44", 10_000), rate("44", 20_000, since=NOW + DAY), rate("44", 5_000, since=NOW + 2 * DAY))
    today, tomorrow = await load(reader), await load(reader, NOW + DAY)
    assert (looked_up(today, "44"), today.valid_until) == (("44", 10_000, True), NOW + DAY)
    assert (looked_up(tomorrow, "44"), tomorrow.valid_until) == (("44", 20_000, True), NOW + 2 * DAY)


async def test_a_version_dated_in_the_future_waits(writer, reader):
    await bring(writer, rate("44", 10_000))
    await bring(writer, rate("44", 20_000), effective_from=NOW + DAY)
    today, tomorrow = await load(reader), await load(reader, NOW + DAY)
    assert (looked_up(today, "44"), today.valid_until) == (("44", 10_000, True), NOW + DAY)
    assert (looked_up(tomorrow, "44"), tomorrow.valid_until) == (("44", 20_000, True), None)


async def test_the_price_until_then_is_carried_over(writer, reader):
    first = (
        rate("4", 1_000),
        rate("44", 10_000),
        rate("44", 15_000, since=NOW + DAY),
        rate("44", 1, since=NOW + 3 * DAY),
    )
    await bring(writer, *first)
    imported = await bring(writer, rate("4", 1_000), rate("44", 20_000, since=NOW + 2 * DAY), effective_from=NOW + 5)
    assert (imported.rows, imported.carried) == (2, 2)
    prices = [looked_up(await load(reader, NOW + 5 + day * DAY), "44")[1] for day in range(4)]
    assert prices == [10_000, 15_000, 20_000, 20_000]


async def test_a_price_that_is_not_known_yet_is_no_price(writer, reader):
    await bring(writer, rate("4", 1_000))
    await bring(writer, rate("4", 1_000), rate("44", 20_000, since=NOW + DAY), effective_from=NOW + 5)
    deck = await load(reader, NOW + 5)
    assert looked_up(deck, "4420") == ("44", 20_000, False)
    assert looked_up(await load(reader, NOW + DAY), "4420") == ("44", 20_000, True)


async def test_an_old_version_can_be_activated_again(writer, reader):
    old = await bring(writer, rate("44", 10_000))
    new = await bring(writer, rate("44", 20_000), effective_from=NOW)
    assert (await load(reader)).version == new.version  # same instant: the later activation
    await activate_version(writer, old.version, effective_from=NOW, author="bob", now=NOW + 1)
    assert (await load(reader)).version == old.version
    with pytest.raises(InputError, match="there is no version 99"):
        await activate_version(writer, 99, effective_from=NOW, author="bob", now=NOW)


async def test_versions_are_listed(writer, reader):
    old = await bring(writer, rate("44"), note="first")
    new = await bring(writer, rate("44"), rate("45"), effective_from=NOW + DAY, now=NOW + 1)
    other = await bring(writer, rate("1"), deck="other")
    listed = await reader.read(lambda c: list_versions(c, NOW))
    assert [(v.deck, v.id, v.rows, v.in_force) for v in listed] == [
        ("main", new.version, 2, False),
        ("main", old.version, 1, True),
        ("other", other.version, 1, True),
    ]
    assert (listed[1].note, listed[1].source, listed[1].author, listed[1].currency) == (
        "first",
        "rates.csv",
        "eve",
        "USD",
    )
    assert (listed[0].imported_at, listed[0].effective_from) == (NOW + 1, NOW + DAY)
    assert [v.id for v in await reader.read(lambda c: list_versions(c, NOW, "other"))] == [other.version]


async def test_currencies_do_not_mix(writer, reader):
    with pytest.raises(InputError, match=r"rates\.csv: prices are in EUR, this installation counts in USD"):
        await bring(writer, rate("44"), currency="EUR")
    await bring(writer, rate("44"))
    with pytest.raises(InputError, match="deck main is in USD, these prices are in EUR"):
        await import_deck(writer, delivery(currency="EUR"), [rate("44")], currency="EUR", now=NOW)
    assert len(await reader.read(lambda c: list_versions(c, NOW))) == 1


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "there are no rates in it"),
        ([rate("44"), rate("45", -1)], r"row 2, prefix '45': CHECK constraint failed: per_minute >= 0"),
        ([rate("44"), rate("44")], r"row 2, prefix '44': UNIQUE constraint failed"),
        ([rate("4x")], r"row 1, prefix '4x': CHECK"),
        ([rate("44")._replace(increment_seconds=0)], r"row 1, prefix '44': CHECK"),
    ],
)
async def test_all_rows_or_none(writer, reader, rows, complaint):
    await bring(writer, rate("1"))
    with pytest.raises(InputError, match=complaint):
        await bring(writer, *rows)
    assert len(await reader.read(lambda c: list_versions(c, NOW))) == 1
    assert looked_up(await load(reader), "1") == ("1", 10_000, True)
    await bring(writer, rate("44"))


async def test_the_staging_table_is_as_strict_as_the_real_one(writer):
    def columns(connection, name):
        (sql,) = connection.execute(f"SELECT sql FROM {name}").fetchone()
        return [line.split("--")[0].strip() for line in sql.splitlines() if " NOT NULL" in line]

    def compare(connection):
        connection.executescript(rates._STAGE)
        staged = columns(connection, "sqlite_temp_schema WHERE name = 'staged'")
        return staged, columns(connection, "sqlite_schema WHERE name = 'rates'")

    staged, real = await writer.run(compare)
    assert ["version           INTEGER NOT NULL,", *staged] == real


async def test_constraints_hold_again_after_an_import(writer):
    await bring(writer, rate("44"))
    assert await writer.run(lambda c: c.execute("PRAGMA ignore_check_constraints").fetchone()) == (0,)


async def test_a_reader_that_fails_half_way_leaves_nothing(writer, reader):
    def rows():
        yield rate("44")
        raise InputError("line 2 is bad")

    with pytest.raises(InputError, match="line 2 is bad"):
        await import_deck(writer, delivery(), rows(), currency="USD", now=NOW)
    assert await reader.read(lambda c: list_versions(c, NOW)) == ()


async def test_a_cancelled_import_has_ended(writer, reader):
    begun, go_on = threading.Event(), threading.Event()

    def rows():
        for n in range(PROGRESS_ROWS):
            yield rate(str(1_000_000 + n))
        begun.set()
        assert go_on.wait(10)
        yield rate("2")

    task = asyncio.create_task(import_deck(writer, delivery(), rows(), currency="USD", now=NOW))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await reader.read(lambda c: list_versions(c, NOW)) == ()
    await bring(writer, rate("44"))


async def test_reading_a_list_does_not_lock_the_database(database, writer):
    begun, go_on = threading.Event(), threading.Event()

    def rows():
        yield rate("44")
        begun.set()
        assert go_on.wait(10)

    task = asyncio.create_task(import_deck(writer, delivery(), rows(), currency="USD", now=NOW))
    await asyncio.to_thread(begun.wait, 10)
    other = sqlite3.connect(database, timeout=0)
    try:
        with other:
            other.execute("INSERT INTO revisions VALUES ('x', 1)")
    finally:
        other.close()
        go_on.set()
    assert (await task).rows == 1


PREFIXES = st.sampled_from(["", "4", "44", "447", "5"])
INSTANTS = st.integers(0, 6)
LISTS = st.dictionaries(st.tuples(PREFIXES, INSTANTS), st.integers(1, 9), min_size=1, max_size=8)


@given(LISTS, LISTS, INSTANTS, st.integers(0, 8))
def test_a_prefix_never_falls_to_a_shorter_one(old, new, start, at):
    """Held against the rule said plainly: own rows, else the old version's until the first own row, else refused."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript("".join(step.sql for step in migrate.packaged()))
        for rows, effective_from in ((old, 0), (new, start)):
            listed = [rate(prefix, price, since=since) for (prefix, since), price in sorted(rows.items())]
            importer = rates._Importer(
                delivery(effective_from=effective_from), listed, NOW, lambda _: None, threading.Event()
            )
            importer.run(connection)
        deck = load_deck(connection, "main", max(at, start))
    finally:
        connection.close()
    at = max(at, start)
    for prefix in {prefix for prefix, _ in new}:
        first = min(since for p, since in new if p == prefix)
        before = {since: price for (p, since), price in old.items() if p == prefix and since < first and first > start}
        known = before | {since: price for (p, since), price in new.items() if p == prefix}
        begun = [since for since in known if since <= at]
        expected = (prefix, known[max(begun)], True) if begun else (prefix, known[min(known)], False)
        assert looked_up(deck, prefix) == expected
