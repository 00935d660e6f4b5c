"""The alerts: storing new ones, folding alike ones into a count, listing them, and saying that one was seen."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any, Final, TypeAlias

from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.policy.alert import Alert, NewAlert
from fraudguard.store.database import Writer
from fraudguard.store.keepers import Keeper
from fraudguard.store.rows import Row, chunks, placeholders, storable

LIST_LIMIT = 100
"""How many alerts a listing returns unless told otherwise."""

FOLD_MILLIS = 600_000
"""What is like something less than 10 minutes ago raises that alert's count instead of a new alert."""

KEPT_LIMIT = 5_000
"""Different alerts waiting for the database at once: some 5 MB. Alike ones are counted together."""

DETAILS_LIMIT = 32
"""Details kept of one alert; no kind has as many."""

NO_DETAILS: Final = "{}"

SHARED_COLUMNS: Final = (
    *("reason", "tenant", "account", "source", "trunk", "dialled", "number", "destination", "per_minute"),
    *("connect_fee", "highest", "limit_scope", "call"),
)
"""What an alert takes over from its attempt."""

_FOLD_COLUMNS: Final = ("fold", "first_at", "last_at", "tries")
ALERT_COLUMNS: Final = (*_FOLD_COLUMNS, "kind", "severity", *SHARED_COLUMNS, "details")


_Key: TypeAlias = tuple[str, str]  # kind and fold
_Entry: TypeAlias = tuple[NewAlert, Millis, Millis]  # with its first and last instant


def store_alerts(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Raise or fold alerts inside the caller's transaction. Rows are of ALERT_COLUMNS, no two with the same fold."""
    if rows:
        for sql, parameters in chunks(_fold_alerts, [row[: len(_FOLD_COLUMNS)] for row in rows]):
            connection.execute(sql, parameters)
        for sql, parameters in chunks(_insert_alerts, rows):
            connection.execute(sql, parameters)


def raise_alerts(connection: sqlite3.Connection, alerts: Sequence[NewAlert]) -> None:
    """Raise alerts, or fold them into open ones of the same kind and fold, inside the caller's transaction."""
    store_alerts(connection, [_row(alert, first, last) for alert, first, last in _merged(alerts)])


def list_alerts(connection: sqlite3.Connection, *, acked: bool = False, limit: int = LIST_LIMIT) -> tuple[Alert, ...]:
    """Return the newest alerts, newest first: those that nobody has acknowledged, with `acked` the others too."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM alerts WHERE ? OR acked_at IS NULL ORDER BY last_at DESC, id DESC LIMIT ?",  # noqa: S608
        (acked, limit),
    )
    return tuple(map(read_alert, rows))


def find_alert(connection: sqlite3.Connection, alert_id: int) -> Alert:
    """Return an alert, acknowledged or not. Raises InputError if there is none of that id."""
    row = connection.execute(f"SELECT {COLUMNS} FROM alerts WHERE id = ?", (alert_id,)).fetchone()  # noqa: S608
    if row is None:
        raise InputError(f"there is no alert {alert_id}", fix="'fraudguard alerts list --all' shows them")
    return read_alert(row)


async def ack_alert(writer: Writer, alert_id: int, *, author: str, now: Millis) -> None:
    """Acknowledge an alert: the next one like it is a new one. Raises InputError if it is not open."""

    def edit(connection: sqlite3.Connection) -> None:
        cursor = connection.execute(
            "UPDATE alerts SET acked_at = ?, acked_by = ? WHERE id = ? AND acked_at IS NULL", (now, author, alert_id)
        )
        if not cursor.rowcount:
            raise InputError(f"there is no open alert {alert_id}", fix="'fraudguard alerts list' shows those open")

    await writer.transaction(edit)


class AlertKeeper(Keeper[_Entry]):
    """Stores alerts for those who must not wait, alike ones counted together.

    One that is only here is lost if the process is killed, and so are those beyond KEPT_LIMIT.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        stored: Callable[[Sequence[_Entry]], None] = lambda _: None,
        failed: Callable[[Exception], None] = lambda _: None,
        pending_limit: int = KEPT_LIMIT,
    ) -> None:
        super().__init__(writer, stored=stored, failed=failed, pending_limit=pending_limit)

    def keep(self, alert: NewAlert) -> None:
        """Have an alert stored soon. Never waits, never raises."""
        self._take((alert, alert.at, alert.at))

    def _key(self, entry: _Entry) -> _Key:
        alert, _, _ = entry
        return alert.kind, alert.fold

    def _merged(self, old: _Entry, new: _Entry) -> _Entry:
        return _merge(old, new)

    def _save(self, connection: sqlite3.Connection, entries: Sequence[_Entry]) -> None:
        store_alerts(connection, [_row(*entry) for entry in entries])


def read_alert(row: Sequence[Any]) -> Alert:
    """Make an Alert of a row of COLUMNS."""
    return Alert(*(*row[:-1], json.loads(row[-1])))


COLUMNS: Final = ", ".join(field.name for field in fields(Alert))
"""The columns of an Alert, in the order of its fields."""


def _merged(alerts: Sequence[NewAlert]) -> list[_Entry]:
    merged: dict[_Key, _Entry] = {}
    for alert in alerts:
        key = (alert.kind, alert.fold)
        entry = (alert, alert.at, alert.at)
        merged[key] = _merge(merged[key], entry) if key in merged else entry
    return list(merged.values())


def _merge(kept: _Entry, new: _Entry) -> _Entry:
    (first, since, until), (alert, newer_since, newer_until) = kept, new
    return replace(first, tries=first.tries + alert.tries), min(since, newer_since), max(until, newer_until)


def _row(alert: NewAlert, first: Millis, last: Millis) -> Row:
    details = {storable(str(key)): storable(str(alert.details[key])) for key in list(alert.details)[:DETAILS_LIMIT]}
    return (
        "\x1f".join((storable(alert.kind), alert.fold.encode("utf-8", "backslashreplace").decode())),
        first,
        last,
        max(1, alert.tries),
        storable(alert.kind),
        alert.severity.value,
        storable(alert.reason or alert.kind),
        storable(alert.tenant),
        storable(alert.account),
        storable(alert.source),
        storable(alert.trunk),
        storable(alert.dialled),
        None if alert.number is None else storable(alert.number),
        None if alert.destination is None else storable(alert.destination),
        alert.per_minute,
        alert.connect_fee,
        alert.highest,
        None if alert.limit_scope is None else storable(alert.limit_scope),
        storable(alert.call),
        json.dumps(details, ensure_ascii=False),
    )


@cache
def _fold_alerts(count: int) -> str:
    return (
        "UPDATE alerts SET tries = alerts.tries + new.column4, last_at = max(alerts.last_at, new.column3)"  # noqa: S608
        f" FROM (VALUES {placeholders(_FOLD_COLUMNS, count)}) AS new"
        " WHERE alerts.fold = new.column1 AND alerts.acked_at IS NULL"
        f" AND alerts.last_at > new.column2 - {FOLD_MILLIS}"
    )


@cache
def _insert_alerts(count: int) -> str:
    # Those that were folded just before have an open alert by now.
    return (
        f"INSERT INTO alerts ({', '.join(ALERT_COLUMNS)})"  # noqa: S608
        f" SELECT * FROM (VALUES {placeholders(ALERT_COLUMNS, count)}) AS new"
        " WHERE NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.fold = new.column1 AND alerts.acked_at IS NULL"
        f" AND alerts.last_at > new.column2 - {FOLD_MILLIS})"
    )
