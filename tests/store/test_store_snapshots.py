import asyncio
import sqlite3
import sys
import time
from dataclasses import replace

import pytest

from fraudguard.errors import StoreError
from fraudguard.numbering import BadNumber
from fraudguard.pins.guessing import Failure
from fraudguard.policy.budget import Budget, BudgetScope, Period
from fraudguard.policy.pin import NewPin, PinKind, Scheme, Seal, Terms, Unlock
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import EVERYBODY, Attempt, Facts, Limit, Scope, Snapshot, Verdict
from fraudguard.rating import Rate
from fraudguard.store import SnapshotSource, VerdictLog, budgets, guesses, pins, policies
from fraudguard.store.rates import Delivery, import_deck

NOW = 1_800_000_000_000
BY = {"author": "eve", "now": NOW}
POLL = 0.005


class StillClock:
    def __init__(self):
        self.instant = NOW

    def now(self):
        return self.instant

    def monotonic(self):
        return self.instant / 1000


class Watched:
    """A source whose swaps and failures can be waited for."""

    def __init__(self):
        self.clock = StillClock()
        self.swaps = asyncio.Queue()
        self.failures = asyncio.Queue()

    async def open(self, path, names=("main",), poll_seconds=POLL):
        self.source = await SnapshotSource.open(
            path,
            names,
            self.clock,
            swapped=self.swaps.put_nowait,
            failed=self.failures.put_nowait,
            poll_seconds=poll_seconds,
        )
        self.drain()
        self.task = asyncio.create_task(self.source.watch())

    def drain(self):
        while not self.swaps.empty():
            self.swaps.get_nowait()

    async def swap(self) -> Snapshot:
        async with asyncio.timeout(10):
            return await self.swaps.get()

    async def close(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.source.close()


@pytest.fixture
async def watched(database):
    watched = Watched()
    await watched.open(database)
    yield watched
    await watched.close()


async def bring(writer, prices, *, deck="main", since=NOW, sha256="a" * 64):
    rates = [Rate(prefix, "", price, 0, 0, 60, row_since) for (prefix, row_since), price in prices.items()]
    delivery = Delivery(deck, "USD", "rates.csv", sha256, "eve", since)
    return await import_deck(writer, delivery, rates, currency="USD", now=NOW)


async def test_the_first_snapshot_is_there_at_once(database, writer):
    await policies.set_limit(writer, EVERYBODY, 5, **BY)
    await bring(writer, {("44", 0): 7})
    await bring(writer, {("44", 0): 8}, deck="not configured")
    async with await SnapshotSource.open(database, ["main", "absent"], StillClock()) as source:
        assert source.current.limits == (Limit(EVERYBODY, 5),)
        assert list(source.current.decks) == ["main"]
        assert source.current.decks["main"].lookup("44").per_minute == 7


async def test_edits_arrive_and_old_snapshots_stay_as_they_were(watched, writer):
    before = watched.source.current
    grant = await policies.add_grant(writer, EVERYBODY, "44", highest=None, until=None, reason="", **BY)
    assert (await watched.swap()).grants == (grant,)
    block = await policies.add_block(writer, EVERYBODY, "44", "", until=None, reason="", **BY)
    assert await watched.swap() == Snapshot(decks={}, grants=(grant,), blocks=(block,))
    assert before == Snapshot(decks={})
    assert watched.source.current.blocks == (block,)


async def test_pins_arrive_with_how_they_are_sealed_and_what_was_unlocked(watched, writer):
    scheme = Scheme(b"s" * 16, 2, 19_456, 1, b"m" * 32)
    await pins.settle_scheme(writer, "acme", scheme)
    new = NewPin("acme", "anna", PinKind.DIGITS, False, Terms())
    pin = await pins.add_pin(writer, new, Seal(b"i", b"p"), **BY)
    assert await watched.swap() == Snapshot(decks={}, pins=(pin,), schemes={"acme": scheme})
    rotated = await pins.rotate_pin(writer, pin, Seal(b"j", b"q"), **BY)
    assert (await watched.swap()).pins == (rotated,)
    unlock = Unlock(NOW, tenant="acme", account="204")
    await guesses.unlock(writer, unlock, **BY)
    assert (await watched.swap()).unlocks == (unlock,)
    await pins.revoke_pin(writer, "acme", "anna", **BY)
    assert (await watched.swap()).pins == ()
    watched.clock.instant = NOW + guesses.KEPT_MILLIS + 1
    await policies.set_limit(writer, EVERYBODY, 5, **BY)
    assert (await watched.swap()).unlocks == ()


async def test_budgets_arrive(watched, writer):
    budget = Budget(BudgetScope("acme"), Period.DAY, 5_000_000)
    await budgets.set_budget(writer, budget, **BY)
    stored = replace(budget, id=1, author="eve", created=NOW)
    assert await watched.swap() == Snapshot(decks={}, budgets=(stored,))
    await budgets.remove_budget(writer, budget.scope, budget.period, strict=False, **BY)
    assert (await watched.swap()).budgets == ()


async def test_what_is_keyed_wrong_swaps_nothing(watched, writer):
    await guesses.note_failure(writer, Failure(NOW, "acme", "204", "192.0.2.7"))
    await watched.source.refresh()
    assert watched.swaps.empty()


async def test_only_what_changed_is_loaded(watched, writer):
    await bring(writer, {("44", 0): 7})
    deck = (await watched.swap()).decks["main"]
    await policies.set_limit(writer, EVERYBODY, 5, **BY)
    snapshot = await watched.swap()
    assert snapshot.limits == (Limit(EVERYBODY, 5),)
    assert snapshot.decks["main"] is deck
    await bring(writer, {("44", 0): 9})
    changed = await watched.swap()
    assert changed.decks["main"].lookup("44").per_minute == 9
    assert changed.limits is snapshot.limits


async def test_verdicts_swap_nothing(watched, writer):
    log = VerdictLog(writer)
    facts = Facts(Attempt("x", "t", "", "", "", NOW), BadNumber("x", "no"), "main", None, Limit(Scope(), 1), None, None)
    await log.record(Verdict("c", Outcome.NOWHERE, Reason.BAD_NUMBER, facts, None))
    await log.close()
    await watched.source.refresh()
    assert watched.swaps.empty()


async def test_a_row_takes_over_when_its_time_comes(watched, writer):
    await bring(writer, {("44", 0): 7, ("44", NOW + 50): 9})
    assert (await watched.swap()).decks["main"].lookup("44").per_minute == 7
    watched.clock.instant = NOW + 50
    assert (await watched.swap()).decks["main"].lookup("44").per_minute == 9


async def test_a_first_version_takes_over_when_its_time_comes(watched, writer):
    await bring(writer, {("44", 0): 7}, since=NOW + 50)
    await watched.source.refresh()
    assert watched.source.current.decks == {}
    watched.clock.instant = NOW + 50
    assert (await watched.swap()).decks["main"].lookup("44").per_minute == 7


async def test_a_failing_load_keeps_the_snapshot_and_is_tried_again(database, watched, writer):
    await policies.set_limit(writer, EVERYBODY, 5, **BY)
    before = await watched.swap()
    other = sqlite3.connect(database, isolation_level=None)
    try:
        other.execute("ALTER TABLE revisions RENAME TO gone")
        async with asyncio.timeout(10):
            error = await watched.failures.get()
        assert isinstance(error, StoreError)
        assert watched.source.current is before
        other.execute("ALTER TABLE gone RENAME TO revisions")
    finally:
        other.close()
    await policies.set_limit(writer, EVERYBODY, 6, **BY)
    assert (await watched.swap()).limits == (Limit(EVERYBODY, 6),)


async def test_a_database_that_cannot_be_read_is_said_at_once(tmp_path):
    with pytest.raises(StoreError, match="there is no such database"):
        await SnapshotSource.open(tmp_path / "none.db", ["main"], StillClock())


EDIT = """
import asyncio, sys
from pathlib import Path
from fraudguard.policy.records import EVERYBODY
from fraudguard.store import open_writer, policies

async def main():
    async with await open_writer(Path(sys.argv[1])) as writer:
        for amount in range(1, 21):
            await policies.set_limit(writer, EVERYBODY, amount, author="cli", now=1)

asyncio.run(main())
"""


async def test_another_process_edits_while_verdicts_are_stored(database, writer, reader):
    watched = Watched()
    await watched.open(database, poll_seconds=0.2)
    log = VerdictLog(writer)
    facts = Facts(Attempt("x", "t", "", "", "", NOW), BadNumber("x", "no"), "main", None, Limit(Scope(), 1), None, None)
    verdict = Verdict("c", Outcome.ALLOW, Reason.OK, facts, None)
    editor = await asyncio.create_subprocess_exec(sys.executable, "-c", EDIT, str(database))
    recorded = 0
    while editor.returncode is None:
        await asyncio.gather(*(log.record(verdict) for _ in range(20)))
        recorded += 20
    committed = time.monotonic()
    while watched.source.current.limits != (Limit(EVERYBODY, 20),):
        await watched.swap()
    assert time.monotonic() - committed < 1
    await log.close()
    await watched.close()
    assert editor.returncode == 0
    assert await reader.read(lambda c: c.execute("SELECT count(*) FROM attempts").fetchone()) == (recorded,)


async def test_a_listener_that_fails_is_reported_and_edits_are_followed_further(database, writer):
    failures, swaps = asyncio.Queue(), asyncio.Queue()

    def swapped(snapshot):
        if len(snapshot.limits) == 1:
            raise ValueError("this one breaks")
        swaps.put_nowait(snapshot)

    source = await SnapshotSource.open(
        database, [], StillClock(), swapped=swapped, failed=failures.put_nowait, poll_seconds=POLL
    )
    task = asyncio.create_task(source.watch())
    try:
        async with asyncio.timeout(10):
            await policies.set_limit(writer, EVERYBODY, 5, **BY)
            assert str(await failures.get()) == "this one breaks"
            await policies.set_limit(writer, Scope("acme"), 6, **BY)
            while len((await swaps.get()).limits) < 2:
                pass
    finally:
        task.cancel()
        await asyncio.wait([task])
        await source.close()
