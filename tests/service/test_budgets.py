"""What operators edit reaches the ledger: the budgets with what was spent, and the calls that are up."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from ledger_cases import HOUSE, NOW, RATE, SECOND, admission, answered, dialled, hung_up
from pin_cases import StillClock

from fraudguard.errors import StoreError
from fraudguard.ledger import Ledger
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.policy.budget import DEFAULT_BUDGETS, Budget, BudgetScope, Period
from fraudguard.rating import cost
from fraudguard.service import budgets as module
from fraudguard.service.budgets import Budgets
from fraudguard.store import create_database, open_reader, open_writer
from fraudguard.store.keepers import CallKeeper

TENANT = Budget(BudgetScope("acme"), Period.DAY, 10**9)
PATIENCE = 10


class Reconsidered:
    def __init__(self):
        self.policies = []
        self.told = asyncio.Event()

    def reconsider(self, policy):
        self.policies.append(policy)
        self.told.set()

    async def again(self):
        self.told.clear()
        async with asyncio.timeout(PATIENCE):
            await self.told.wait()


class There:
    """Budgets, with a ledger and a store of their own."""

    def __init__(self, ledger, calls, reader):
        self.policy = PolicyIndex(Snapshot(decks={}, budgets=(TENANT,)))
        self.ledger = ledger
        self.calls = calls
        self.desk = Reconsidered()
        self.clock = StillClock(NOW + 200 * SECOND)
        self.budgets = Budgets(self.ledger, self.desk, calls, reader, lambda: self.policy, self.clock)

    def left(self):
        return self.ledger.treasury.room(admission().payer, self.clock.now(), strict=False).money


@asynccontextmanager
async def following(path):
    await create_database(path, NOW)
    ledger = Ledger(HOUSE, "pbx")
    async with await open_writer(path) as writer, await open_reader(path) as reader:
        calls = CallKeeper(writer, stored=lambda stored: ledger.stored(stored, NOW + 200 * SECOND))
        there = There(ledger, calls, reader)
        task = asyncio.create_task(there.budgets.follow())
        try:
            yield there
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await calls.close()


@pytest.fixture
async def there(tmp_path):
    async with following(tmp_path / "fraudguard.db") as made:
        yield made


def end_a_call(there):
    there.ledger.restore([admission()], [])
    for event in (dialled(), answered(NOW)):
        there.calls.keep(there.ledger.apply(event).calls)
    there.calls.keep(there.ledger.apply(hung_up(NOW + 100 * SECOND)).calls)


async def test_edited_budgets_begin_with_what_is_stored(there):
    end_a_call(there)
    there.budgets.edited()
    await there.desk.again()
    assert there.ledger.treasury.budgets == (*DEFAULT_BUDGETS, TENANT)
    assert there.left() == 20_000_000 - cost(RATE, 101), "of the account, by default"
    assert there.desk.policies == [there.policy]


async def test_an_edit_of_anything_else_reads_nothing_and_reconsiders_calls(there):
    there.budgets.edited()
    await there.desk.again()
    loaded = []
    there.ledger.treasury.adopt = loaded.append
    there.policy = PolicyIndex(Snapshot(decks={}, budgets=(TENANT,)))
    there.budgets.edited()
    await there.desk.again()
    assert (loaded, there.desk.policies[-1]) == ([], there.policy)
    there.budgets.reload()
    await there.desk.again()
    assert len(loaded) == 1, "the clock was set: the periods are others"


async def test_what_is_stored_meanwhile_counts_once(there):
    end_a_call(there)
    for _ in range(5):
        there.policy = PolicyIndex(Snapshot(decks={}, budgets=(TENANT,)))
        there.budgets.reload()
        await there.desk.again()
        assert there.left() == 20_000_000 - cost(RATE, 101)


async def test_when_the_store_cannot_be_read_the_budgets_of_before_hold_and_it_is_tried_again(there, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    reading = there.calls.exactly
    tries = []

    async def broken(*args, **kwargs):
        tries.append(there.ledger.treasury.budgets)
        if len(tries) < 3:
            raise StoreError("locked")
        return await reading(*args, **kwargs)

    there.calls.exactly = broken
    there.budgets.edited()
    await there.desk.again()
    assert tries == [()] * 3
    assert there.ledger.treasury.budgets == (*DEFAULT_BUDGETS, TENANT)
    assert len(there.desk.policies) == 1
