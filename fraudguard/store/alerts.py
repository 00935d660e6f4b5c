"""The alerts: storing new ones, folding alike ones into a count, listing them, and saying that one was seen."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from typing import Any, Final, TypeAlias

from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.policy.alert import Alert, NewAlert
from fraudguard.store.database import Writer
from fraudguard.store.rows import Row, chunks, placeholders, storable

LIST_LIMIT = 100
"""How many alerts a listing returns unless told otherwise."""

FOLD_MILLIS = 600_000
"""What is like something less than 10 minutes ago raises that alert's count instead of a new alert."""

KEPT_LIMIT = 5_000
"""Different alerts waiting for the database at once: some 5 MB. Alike ones are counted together."""

DETAILS_LIMIT = 32
"""Details kept of one alert; no kind has as many."""

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""How long to wait after the first, second, ... failure to store; the last holds for all after it."""

CLOSE_SECONDS = 5.0
"""How long `close` goes on trying to store what is waiting: a supervisor waits longer than that."""

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


class AlertKeeper:
    """Stores alerts for those who must not wait. Made inside a running event loop; ends with `close`.

    While the database cannot be written it tries again, and counts alike alerts together. `stored` is told after each
    commit; `failed` of each failure. An alert that is only here is lost if the process is killed.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        stored: Callable[[], None] = lambda: None,
        failed: Callable[[Exception], None] = lambda _: None,
        limit: int = KEPT_LIMIT,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self._writer = writer
        self._stored = stored
        self._failed = failed
        self._limit = limit
        self._retry_seconds = retry_seconds
        self._waiting: dict[_Key, _Entry] = {}
        self._closed = False
        self._wake = asyncio.Event()
        self._worker = asyncio.get_running_loop().create_task(self._work(), name="alert keeper")
        self.dropped = 0
        """How many could not be kept, because too many different ones were waiting."""

    @property
    def waiting(self) -> int:
        """How many different alerts are not stored yet."""
        return len(self._waiting)

    def keep(self, alert: NewAlert) -> None:
        """Have an alert stored soon. Never waits, never raises."""
        key = (alert.kind, alert.fold)
        if key not in self._waiting and (self._closed or len(self._waiting) >= self._limit):
            self.dropped += 1
            return
        self._waiting[key] = _merge(self._waiting.get(key), (alert, alert.at, alert.at))
        self._wake.set()

    async def close(self) -> None:
        """Store what is waiting, for CLOSE_SECONDS at most. The writer stays open."""
        self._closed = True
        self._wake.set()
        await asyncio.wait([self._worker], timeout=CLOSE_SECONDS)
        self._worker.cancel()
        await asyncio.wait([self._worker])
        self.dropped += len(self._waiting)

    async def _work(self) -> None:
        failures = 0
        while self._waiting or not self._closed:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            taken, self._waiting = self._waiting, {}
            try:
                await self._writer.transaction(partial(store_kept, list(taken.values())))
            except BaseException as error:
                self._put_back(taken)
                if not isinstance(error, Exception):
                    raise
                self._failed(error)
                await asyncio.sleep(self._retry_seconds[min(failures, len(self._retry_seconds) - 1)])
                failures += 1
            else:
                failures = 0
                self._stored()

    def _put_back(self, taken: dict[_Key, _Entry]) -> None:
        newer, self._waiting = self._waiting, taken
        for key, entry in newer.items():
            self._waiting[key] = _merge(self._waiting.get(key), entry)


def store_kept(kept: Sequence[_Entry], connection: sqlite3.Connection) -> None:
    """Raise or fold alerts that were counted together before: each with its first and last instant."""
    store_alerts(connection, [_row(*entry) for entry in kept])


def read_alert(row: Sequence[Any]) -> Alert:
    """Make an Alert of a row of COLUMNS."""
    return Alert(*(*row[:-1], json.loads(row[-1])))


COLUMNS: Final = ", ".join(field.name for field in fields(Alert))
"""The columns of an Alert, in the order of its fields."""


def _merged(alerts: Sequence[NewAlert]) -> list[_Entry]:
    merged: dict[_Key, _Entry] = {}
    for alert in alerts:
        key = (alert.kind, alert.fold)
        merged[key] = _merge(merged.get(key), (alert, alert.at, alert.at))
    return list(merged.values())


def _merge(kept: _Entry | None, new: _Entry) -> _Entry:
    if kept is None:
        return new
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
