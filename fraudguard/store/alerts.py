"""The alerts that verdicts raised (see verdicts.py): listing them, and saying that somebody has seen one."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields

from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.money import Micros
from fraudguard.store.database import Writer

LIST_LIMIT = 100
"""How many alerts a listing returns unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person should know. `tries` counts the attempts folded into it, the details are the first one's.

    `severity` is 'notice', 'warning' or 'critical'. For an alert raised by a verdict `kind` is its reason.
    The other fields are those of the attempt (see policy.Ruling; `highest` is its limit).
    """

    id: int
    kind: str
    severity: str
    first_at: Millis
    last_at: Millis
    tries: int
    tenant: str
    account: str
    source: str
    trunk: str
    dialled: str
    number: str | None
    destination: str | None
    per_minute: Micros | None
    connect_fee: Micros | None
    highest: Micros | None
    limit_scope: str | None
    reason: str
    call: str
    acked_at: Millis | None
    acked_by: str | None


_COLUMNS = ", ".join(field.name for field in fields(Alert))


def list_alerts(connection: sqlite3.Connection, *, acked: bool = False, limit: int = LIST_LIMIT) -> tuple[Alert, ...]:
    """Return the newest alerts, newest first: those that nobody has acknowledged, with `acked` the others too."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM alerts WHERE ? OR acked_at IS NULL ORDER BY last_at DESC, id DESC LIMIT ?",  # noqa: S608
        (acked, limit),
    )
    return tuple(Alert(*row) for row in rows)


async def ack_alert(writer: Writer, alert_id: int, *, author: str, now: Millis) -> None:
    """Acknowledge an alert: the next refusal of its kind raises a new one. Raises InputError if it is not open."""

    def edit(connection: sqlite3.Connection) -> None:
        cursor = connection.execute(
            "UPDATE alerts SET acked_at = ?, acked_by = ? WHERE id = ? AND acked_at IS NULL", (now, author, alert_id)
        )
        if not cursor.rowcount:
            raise InputError(f"there is no open alert {alert_id}", fix="'fraudguard alerts list' shows those open")

    await writer.transaction(edit)
