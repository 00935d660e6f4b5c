"""The ledger as the store has it: for a service that starts, and for a command that looks at the money."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from fraudguard.clock import Millis
from fraudguard.house import House
from fraudguard.ledger import Ledger
from fraudguard.ledger.judging import Price
from fraudguard.ledger.tempo import Tempo
from fraudguard.policy import PolicyIndex
from fraudguard.policy.budget import reach
from fraudguard.store.calls import admissions, unfinished_calls
from fraudguard.store.spending import spent_since


def stored_ledger(
    connection: sqlite3.Connection,
    house: House,
    policy: PolicyIndex,
    now: Millis,
    *,
    asterisks: Sequence[str],
    price: Price = lambda _trunk, _number: None,
    tempo: Tempo | None = None,
) -> Ledger:
    """Return a ledger that knows what may be dialled, what lived when that was last stored, and what was spent."""
    sole = asterisks[0] if len(asterisks) == 1 else ""
    ledger = Ledger(house, sole, price, asterisks=asterisks, tempo=tempo)
    ledger.restore(admissions(connection, now), unfinished_calls(connection))
    ledger.treasury.load(policy.budgets, spent_since(connection, now - reach(policy.budgets)), now)
    ledger.treasury.sink(now)
    return ledger
