import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.errors import InputError, StoreError
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Period
from fraudguard.store import budgets, migrate
from fraudguard.store.edits import revisions

NOW = 1_800_000_000_000
BY = {"author": "eve", "now": NOW}
ALL = Budget(BudgetScope(), Period.MONTH, 500_000_000, domestic=False)
EACH_ACCOUNT = Budget(BudgetScope(EACH, EACH), Period.DAY, None, rolling=True)
ACME = Budget(BudgetScope("acme"), Period.DAY, 0)
ACCOUNT = Budget(BudgetScope("acme", "204", region="CU"), Period.HOUR, 2_500_000, strict=True)


def edits(connection):
    return [what for (what,) in connection.execute("SELECT what FROM edits ORDER BY id")]


def bare(found):
    return tuple(replace(one, id=0, author="", created=0) for one in found)


async def test_budgets_are_set_replaced_and_removed(writer, reader):
    for budget in (ACCOUNT, ACME, EACH_ACCOUNT, ALL):
        await budgets.set_budget(writer, budget, **BY)
    await budgets.set_budget(writer, replace(ACME, amount=7_000_000, rolling=True), author="bob", now=NOW + 1)
    found = await reader.read(budgets.list_budgets)
    assert bare(found) == (ALL, EACH_ACCOUNT, replace(ACME, amount=7_000_000, rolling=True), ACCOUNT)
    assert [(one.id, one.author, one.created) for one in found] == [
        (4, "eve", NOW),
        (3, "eve", NOW),
        (2, "bob", NOW + 1),
        (1, "eve", NOW),
    ]
    await budgets.remove_budget(writer, ACME.scope, Period.DAY, strict=False, **BY)
    assert ACME.scope not in {one.scope for one in await reader.read(budgets.list_budgets)}
    assert await reader.read(edits) == [
        "set account 204 region CU of tenant acme, per hour, at strict times: 2.50",
        "set tenant acme, per day: 0.00",
        "set each account, per rolling day: no end",
        "set global, per month: 500.00, without domestic calls",
        "set tenant acme, per rolling day: 7.00",
        "removed tenant acme, per day",
    ]
    assert await reader.read(revisions) == {"budget": 6}


async def test_period_and_strictness_tell_budgets_of_one_scope_apart(writer, reader):
    made = [replace(ACME, period=period, strict=strict) for strict in (False, True) for period in Period]
    for budget in reversed(made):
        await budgets.set_budget(writer, budget, **BY)
    assert bare(await reader.read(budgets.list_budgets)) == tuple(made)
    await budgets.remove_budget(writer, ACME.scope, Period.HOUR, strict=True, **BY)
    assert len(await reader.read(budgets.list_budgets)) == 5


async def test_removing_a_budget_that_is_not_there(writer, reader):
    await budgets.set_budget(writer, ACME, **BY)
    for scope, period, strict in (
        (BudgetScope("acme", EACH), Period.DAY, False),
        (ACME.scope, Period.HOUR, False),
        (ACME.scope, Period.DAY, True),
    ):
        with pytest.raises(InputError, match=r"there is no budget for .* \('fraudguard budget list' shows those set"):
            await budgets.remove_budget(writer, scope, period, strict=strict, **BY)
    assert len(await reader.read(edits)) == 1


async def test_what_the_schema_forbids_leaves_no_trace(writer, reader):
    for budget in (replace(ACME, amount=-1), replace(ACME, scope=BudgetScope(account="204"))):
        with pytest.raises(StoreError, match="CHECK constraint failed"):
            await budgets.set_budget(writer, budget, **BY)
    assert await reader.read(edits) == []


names = st.none() | st.just(EACH) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
scopes = st.builds(BudgetScope, names, names, names, names, names).filter(
    lambda scope: scope.tenant is not None or scope.account is None is scope.pin
)


def test_budgets_are_read_as_they_were_written():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("".join(step.sql for step in migrate.packaged()))

    class Here:
        async def transaction(self, edit):
            edit(connection)

    def run(coroutine):
        with pytest.raises(StopIteration):
            coroutine.send(None)

    @given(
        st.builds(
            Budget,
            scopes,
            st.sampled_from(Period),
            st.none() | st.integers(0, 2**60),
            rolling=st.booleans(),
            domestic=st.booleans(),
            strict=st.booleans(),
        )
    )
    def check(budget):
        connection.execute("DELETE FROM budgets")
        for _ in range(2):
            run(budgets.set_budget(Here(), budget, **BY))
        assert bare(budgets.list_budgets(connection)) == (budget,)
        run(budgets.remove_budget(Here(), budget.scope, budget.period, strict=budget.strict, **BY))
        assert budgets.list_budgets(connection) == ()

    try:
        check()
    finally:
        connection.close()
