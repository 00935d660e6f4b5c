"""What became of a verdict reaches the money: set aside before it is stored, kept when it is given, returned if not."""

import asyncio
import sqlite3

import pytest
from policy_cases import NOW, attempt, rate

from fraudguard.errors import StoreError
from fraudguard.guard import Guard
from fraudguard.house import House, Tenancy
from fraudguard.ledger import Ledger
from fraudguard.numbering import HomePlan, Normaliser
from fraudguard.policy import PolicyIndex, Reason, Snapshot
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Period
from fraudguard.policy.lease import LeaseTerms
from fraudguard.rating import Deck, PrefixTable, cost
from fraudguard.rating.rate import SLACK_SECONDS
from fraudguard.store import VerdictLog, create_database, open_writer

PRICE = rate(60_000, prefix="44", increment_seconds=1)  # 1000 a second
AMOUNT = 100_000
BUDGET = Budget(BudgetScope(EACH, EACH), Period.DAY, AMOUNT, domestic=False)
POLICY = PolicyIndex(Snapshot(decks={"a": Deck("a", "USD", 1, PrefixTable([PRICE]))}, budgets=(BUDGET,)))
TENANCY = Tenancy(Normaliser(HomePlan()), {})
HOUSE = House({"carrier": "a"}, {"acme": TENANCY}, TENANCY, LeaseTerms(shortest=10, longest=600))
CALL = attempt(number="011442079460000")


class There:
    def __init__(self, writer):
        self.ledger = Ledger(HOUSE, "pbx")
        self.ledger.treasury.load(POLICY.budgets, ())
        self.given = []
        self.log = VerdictLog(writer, committed=self.committed, dropped=lambda one: self.ledger.drop(one.call))
        self.guard = Guard(HOUSE, lambda: POLICY, self.log, ledger=self.ledger)

    def committed(self, verdict):
        self.ledger.admit(verdict)
        self.given.append(verdict)

    @property
    def set_aside(self):
        return self.ledger.treasury.set_aside


@pytest.fixture
async def writer(tmp_path):
    path = tmp_path / "fraudguard.db"
    await create_database(path, NOW)
    async with await open_writer(path, busy_seconds=0.05) as opened:
        yield opened


@pytest.fixture
async def there(writer):
    made = There(writer)
    yield made
    await made.log.close()


async def test_money_is_set_aside_before_the_verdict_is_stored(there):
    decided = there.guard.decide(CALL)
    assert there.given == []
    assert there.set_aside == 12_000
    verdict = await decided
    assert (verdict.reason, verdict.lease_seconds, there.given) == (Reason.OK, 10, [verdict])
    assert there.set_aside == cost(PRICE, verdict.lease_seconds + SLACK_SECONDS)


async def test_50_callers_of_one_account_at_once_never_get_more_than_there_is(there):
    verdicts = await asyncio.gather(*(there.guard.decide(CALL) for _ in range(50)))
    allowed = [verdict for verdict in verdicts if verdict.allowed]
    assert there.set_aside == sum(cost(PRICE, one.lease_seconds + SLACK_SECONDS) for one in allowed) <= AMOUNT
    assert AMOUNT - there.set_aside < cost(PRICE, 1 + SLACK_SECONDS)
    assert {verdict.reason for verdict in verdicts} == {Reason.OK, Reason.OVER_BUDGET}
    assert len(allowed) >= 8


async def test_a_verdict_that_could_not_be_stored_returns_its_money(there, writer):
    lock = sqlite3.connect(writer.path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        came = await asyncio.gather(*(there.guard.decide(CALL) for _ in range(3)), return_exceptions=True)
    finally:
        lock.rollback()
        lock.close()
    assert {type(one) for one in came} == {StoreError}
    assert (there.set_aside, there.given) == (0, [])
    assert (await there.guard.decide(CALL)).allowed


async def test_a_verdict_that_nobody_waits_for_any_more_returns_its_money(there):
    waiting = asyncio.ensure_future(there.guard.decide(CALL))
    assert there.set_aside
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await there.guard.decide(attempt(number="911"))
    verdict = await there.guard.decide(CALL)
    assert there.set_aside == cost(PRICE, verdict.lease_seconds + SLACK_SECONDS)
    assert [one.call for one in there.given if one.reason is Reason.OK] == [verdict.call]


async def test_a_log_that_is_closed_or_full_returns_it_at_once(there):
    await there.log.close()
    with pytest.raises(StoreError):
        there.guard.decide(CALL)
    assert there.set_aside == 0
