"""The budgets that operators set. Each edit is one transaction with an entry in the edits table."""

from __future__ import annotations

import sqlite3

from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.money import format_amount
from fraudguard.policy.budget import Budget, BudgetScope, Period
from fraudguard.store.database import Writer
from fraudguard.store.edits import note_edit

_SCOPE = ", ".join(BudgetScope._fields)
_KEY = ", ".join((*(f"ifnull({name}, '')" for name in BudgetScope._fields), "period", "strict"))
_PERIODS = " ".join(Period)  # the shortest first


def list_budgets(connection: sqlite3.Connection) -> tuple[Budget, ...]:
    """Return all budgets that operators have set, the widest scope first."""
    rows = connection.execute(
        f"SELECT {_SCOPE}, period, amount, rolling, domestic, strict, id, author, created_at FROM budgets"  # noqa: S608
        f" ORDER BY {_SCOPE}, strict, instr('{_PERIODS}', period)"
    )
    return tuple(
        Budget(
            BudgetScope._make(scope),
            Period(period),
            amount,
            rolling=bool(rolling),
            domestic=bool(domestic),
            strict=bool(strict),
            id=id_,
            author=author,
            created=created,
        )
        for *scope, period, amount, rolling, domestic, strict, id_, author, created in rows
    )


async def set_budget(writer: Writer, budget: Budget, *, author: str, now: Millis) -> None:
    """Set a budget, in place of the one of the same scope, period and strictness. Its id, author and time do not
    matter. Raises StoreError.
    """

    def edit(connection: sqlite3.Connection) -> None:
        connection.execute(
            f"INSERT INTO budgets ({_SCOPE}, period, strict, amount, rolling, domestic, author, created_at)"  # noqa: S608
            f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT ({_KEY}) DO UPDATE SET"
            " amount = excluded.amount, rolling = excluded.rolling, domestic = excluded.domestic,"
            " author = excluded.author, created_at = excluded.created_at",
            (
                *(*budget.scope, budget.period.value, budget.strict),
                *(budget.amount, budget.rolling, budget.domestic, author, now),
            ),
        )
        amount = "no end" if budget.amount is None else format_amount(budget.amount)
        without = "" if budget.domestic else ", without domestic calls"
        note_edit(connection, "budget", f"set {budget}: {amount}{without}", author, now)

    await writer.transaction(edit)


async def remove_budget(
    writer: Writer, scope: BudgetScope, period: Period, *, strict: bool, author: str, now: Millis
) -> None:
    """Remove a budget, so that the default one of its scope holds, or one that names less. Raises InputError if there
    is none.
    """
    which = Budget(scope, period, None, strict=strict)
    where = " AND ".join(f"{name} IS ?" for name in (*BudgetScope._fields, "period", "strict"))

    def edit(connection: sqlite3.Connection) -> None:
        cursor = connection.execute(f"DELETE FROM budgets WHERE {where}", (*scope, period.value, strict))  # noqa: S608
        if not cursor.rowcount:
            raise InputError(f"there is no budget for {which}", fix="'fraudguard budget list' shows those set")
        note_edit(connection, "budget", f"removed {which}", author, now)

    await writer.transaction(edit)
