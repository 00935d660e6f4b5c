"""What ended calls have cost, by who pays and by 5 minutes: what budgets begin with after a start.

It is written in the transaction that stores a call's end, as a difference to what was written for that call before. So
a call that is stored again, or whose end is corrected, counts as it was stored last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import cache
from typing import Final

from fraudguard.clock import Millis
from fraudguard.ledger.accrual import accrual
from fraudguard.ledger.pots import Spent
from fraudguard.ledger.records import Call
from fraudguard.money import Micros
from fraudguard.policy.budget import Payer
from fraudguard.store.rows import chunks, placeholders

_COLUMNS: Final = ("until", *Payer._fields, "amount")


def spent_since(connection: sqlite3.Connection, since: Millis) -> list[Spent]:
    """Return what was spent in every 5 minutes that end after `since`, the oldest first."""
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM spending WHERE until > ? AND amount <> 0 ORDER BY until",  # noqa: S608
        (since,),
    )
    payers: dict[tuple[str, ...], Payer] = {}  # a few of them pay again and again
    found = []
    for until, *payer, amount in rows:
        key = tuple(payer)
        known = payers.get(key)
        if known is None:
            known = payers[key] = Payer._make((*payer[:-1], bool(payer[-1])))
        found.append((until, known, amount))
    return found


def count_ends(connection: sqlite3.Connection, before: Iterable[Call], after: Iterable[Call]) -> None:
    """Take back what ended calls cost as they were stored `before`, and count what they cost as they are `after`,
    inside the caller's transaction.
    """
    amounts: dict[tuple[Millis, Payer], Micros] = {}
    for sign, calls in ((-1, before), (1, after)):
        for call in calls:
            assert call.ended_at is not None
            for until, amount in accrual(call, call.ended_at):
                key = (until, call.payer)
                amounts[key] = amounts.get(key, 0) + sign * amount
    rows = [(until, *payer, amount) for (until, payer), amount in amounts.items() if amount]
    for sql, parameters in chunks(_add, rows):
        connection.execute(sql, parameters)


@cache
def _add(count: int) -> str:
    return (
        f"INSERT INTO spending ({', '.join(_COLUMNS)}) VALUES {placeholders(_COLUMNS, count)}"  # noqa: S608  own names
        " ON CONFLICT DO UPDATE SET amount = amount + excluded.amount"
    )
