"""Reminding of grants that end soon: one alert for each, stored in the transaction that notes that it was told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final

from fraudguard.clock import DAY_MILLIS, Clock, Millis, format_instant
from fraudguard.money import format_amount
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.policy.records import Grant
from fraudguard.store.alerts import raise_alerts
from fraudguard.store.database import Writer
from fraudguard.store.hourly import hourly, insisting
from fraudguard.store.policies import GRANT_COLUMNS, read_grant

SETTLED_MILLIS: Final = DAY_MILLIS
"""Who has just added a grant knows when it ends: nobody is reminded within a day of that. So a grant that lives no
longer ends without a word, and one of two days is told of when it has a day left."""

STEP_ROWS: Final = 100
"""Grants told of per transaction: verdicts wait for it, and it takes a few milliseconds."""

# There are as many grants as operators have typed: no index is needed.
_TAKE: Final = (
    "UPDATE grants SET reminded_at = :now WHERE id IN (SELECT id FROM grants WHERE removed_at IS NULL"  # noqa: S608
    " AND reminded_at IS NULL AND until > :now AND until <= :now + :ahead AND created_at <= :now - :settled"
    f" ORDER BY until, id LIMIT :rows) RETURNING {GRANT_COLUMNS}"
)


async def remind(writer: Writer, days: int, now: Millis) -> int:
    """Raise an alert for each grant that ends within `days`, once for each. Return how many. Raises StoreError."""
    total, count = 0, STEP_ROWS
    while count == STEP_ROWS:
        step = partial(_remind, days=days, now=now)
        count = await insisting(partial(writer.transaction, step, patient=False))
        total += count
    return total


async def remind_hourly(
    writer: Writer,
    days: int,
    clock: Clock,
    *,
    reminded: Callable[[int], None] = lambda _: None,
    failed: Callable[[Exception], None] = lambda _: None,
) -> None:
    """Remind now and every hour until cancelled; with `days` 0 of nothing.

    `reminded` is told how many grants there is an alert of now, `failed` what kept it from being stored: what was not
    is looked for again an hour later.
    """

    async def work() -> None:
        count = await remind(writer, days, clock.now())
        if count:
            reminded(count)

    if days:
        await hourly(work, failed)


def _remind(connection: sqlite3.Connection, days: int, now: Millis) -> int:
    wanted = {"now": now, "ahead": days * DAY_MILLIS, "settled": SETTLED_MILLIS, "rows": STEP_ROWS}
    ending = [read_grant(row) for row in connection.execute(_TAKE, wanted).fetchall()]
    raise_alerts(connection, [_alert(grant, now) for grant in ending])
    return len(ending)


def _alert(grant: Grant, now: Millis) -> NewAlert:
    """Return the alert. Its details are all that is needed to add the same grant again (see alerts.ways)."""
    assert grant.until is not None
    details = {
        "grant": str(grant.id),
        "until": format_instant(grant.until),
        "added": format_instant(grant.created),
        "max_price": "any" if grant.highest is None else format_amount(grant.highest),
        "asks_pin": "yes" if grant.asks_pin else "no",
        "reason": grant.reason,
        "author": grant.author,
    }
    return NewAlert(
        AlertKind.GRANT_EXPIRING,
        now,
        fold=str(grant.id),
        tenant=grant.scope.tenant or "",
        account=grant.scope.account or "",
        number=f"+{grant.prefix}" if grant.prefix else None,
        details=details,
    )
