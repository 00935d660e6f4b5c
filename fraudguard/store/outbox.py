"""The outbox: which message about which alert goes to which channel, and what became of it.

`plan` turns what is new about the alerts into deliveries, in one transaction. Alerts are told together with those
that look like the same attack (see _Leaders), so that somebody who dials through a range does not also fill a mailbox.
A first message is due at once; what comes after it is counted into the next one, which waits for its time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from os.path import commonprefix
from typing import Any, Final, Protocol, TypeVar

from fraudguard.clock import Clock, Millis
from fraudguard.policy.alert import Alert, Delivery, NewAlert
from fraudguard.policy.index import without_port
from fraudguard.policy.reasons import Reason
from fraudguard.store.alerts import COLUMNS, FOLD_MILLIS, raise_alerts, read_alert
from fraudguard.store.database import Reader, Writer
from fraudguard.store.rows import storable

PLAN_LIMIT = 256
"""Alerts planned per transaction: it shares the write lock with verdicts that callers wait for."""

FLOOD_LIMIT = 20
"""First messages of one kind and tenant within one repeat time; more alerts are told with the latest of them."""

GROWTH_LIMIT = 8
"""The time between repeats doubles with each, up to so many times the first: an hours-long attack stays in sight."""

MARGIN_MILLIS = 1_000
"""A message is added to until so long before it is due: one that may be on its way must not change any more."""

ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"

TEST_MILLIS = 60_000
"""How long whoever sends a test has for it."""

T = TypeVar("T")


class Routing(Protocol):
    """Which channels hear of what, and when."""

    def channels(self, kind: str, tenant: str, severity: str) -> Sequence[str]:
        """Return the channels that an alert goes to."""
        ...

    def not_before(self, severity: str, instant: Millis) -> Millis:
        """Return `instant`, or the end of the quiet hours that it falls into."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How often repeats are told, and how long a delivery is tried."""

    repeat: Millis
    expire: Millis


@dataclass(slots=True)
class _Tale:
    """What one message is to tell of, while it is put together."""

    tries: int
    alerts: int
    since: Millis
    until: Millis
    target: str
    origin: str
    dearest: int | None

    def add(self, other: _Tale) -> None:
        self.tries += other.tries
        self.alerts += other.alerts
        self.since = min(self.since, other.since)
        self.until = max(self.until, other.until)
        self.target = _in_common(self.target, other.target)
        self.origin = self.origin if self.origin == other.origin else ELLIPSIS
        self.dearest = max((price for price in (self.dearest, other.dearest) if price is not None), default=None)


_ALERT_KEYS: Final = (
    *("id", "kind", "severity", "tenant", "account", "source", "number", "dialled", "per_minute"),
    *("tries", "announced", "first_at", "last_at", "leader"),
)
_UNANNOUNCED = (
    f"SELECT json_group_array(json_array({', '.join(_ALERT_KEYS)})) FROM"  # noqa: S608  own names
    " (SELECT * FROM alerts WHERE announced < tries ORDER BY id LIMIT ?)"
)
_LEADER_KEYS: Final = ("id", "kind", "tenant", "account", "source", "first_at")
_LEADERS = (
    f"SELECT json_group_array(json_array({', '.join(_LEADER_KEYS)})) FROM"  # noqa: S608
    " (SELECT * FROM alerts WHERE led_at > ? AND acked_at IS NULL ORDER BY id)"
)
_TALE: Final = tuple(field.name for field in fields(_Tale))
_TAILS = (
    f"SELECT json_group_array(json_array(alert, channel, part, planned_at, {', '.join(_TALE)},"  # noqa: S608
    " state = 'pending' AND attempts = 0 AND (due_at > ? OR EXISTS (SELECT 1 FROM deliveries AS earlier WHERE"
    " earlier.alert = latest.alert AND earlier.channel = latest.channel AND earlier.part < latest.part"
    " AND earlier.state = 'pending')))) FROM deliveries AS latest"
    " WHERE alert IN (SELECT value FROM json_each(?)) AND part ="
    " (SELECT max(part) FROM deliveries AS one WHERE one.alert = latest.alert AND one.channel = latest.channel)"
)
_NEW_KEYS: Final = ("alert", "channel", "part", *_TALE, "planned_at", "due_at", "expires_at")
_STORE = (
    f"INSERT INTO deliveries ({', '.join(_NEW_KEYS)}, state, attempts, error)"  # noqa: S608
    f" SELECT {', '.join(f'value ->> {place}' for place in range(len(_NEW_KEYS)))}, 'pending', 0, ''"
    " FROM json_each(?) WHERE true ON CONFLICT (alert, channel, part) DO UPDATE SET"
    f" {', '.join(f'{name} = excluded.{name}' for name in _TALE)}"
)
_ANNOUNCE = (
    "UPDATE alerts SET announced = new.value ->> 1, leader = new.value ->> 2 FROM json_each(?) AS new"
    " WHERE alerts.id = new.value ->> 0"
)
_LEAD = "UPDATE alerts SET led_at = ? WHERE id IN (SELECT value FROM json_each(?))"


def plan(connection: sqlite3.Connection, now: Millis, routing: Routing, terms: Terms) -> int:
    """Make deliveries of what is new about at most PLAN_LIMIT alerts; return how many alerts that were.

    Runs inside the caller's transaction. Each statement returns one row: see rows.chunks for why.
    """
    fresh = [_Fresh(*row) for row in _rows(connection, _UNANNOUNCED, PLAN_LIMIT)]
    if not fresh:
        return 0
    leaders = _Leaders(_rows(connection, _LEADERS, now - FOLD_MILLIS), now - terms.repeat)
    tales: dict[int, tuple[_Fresh, _Tale]] = {}
    announced = []
    for alert in fresh:
        leader = alert.leader if alert.leader is not None else leaders.find(alert)
        announced.append((alert.id, alert.tries, leader))
        if leader in tales:
            tales[leader][1].add(alert.tale())
        else:
            tales[leader] = (alert, alert.tale())
    led = json.dumps(list(tales))
    tails = {(row[0], row[1]): row[2:] for row in _rows(connection, _TAILS, now + MARGIN_MILLIS, led)}
    made = [
        _planned(leader, channel, tails.get((leader, channel)), alert.severity, tale, now, routing, terms)
        for leader, (alert, tale) in tales.items()
        for channel in routing.channels(alert.kind, alert.tenant, alert.severity)
    ]
    connection.execute(_STORE, (json.dumps(made),))
    connection.execute(_ANNOUNCE, (json.dumps(announced),))
    connection.execute(_LEAD, (now, led))
    return len(fresh)


def _planned(
    leader: int,
    channel: str,
    tail: Sequence[Any] | None,
    severity: str,
    news: _Tale,
    now: Millis,
    routing: Routing,
    terms: Terms,
) -> tuple[Any, ...]:
    """Return a row of _NEW_KEYS: the next message, or the waiting one that tells of this too."""
    tale = _Tale(**{name: getattr(news, name) for name in _TALE})
    if tail is None:
        part, due = 0, now
    else:
        part, before, *told, is_open = tail
        latest = _Tale(*told)
        if is_open:
            latest.add(tale)
            tale, due = latest, before  # only the tale is taken over from this row
        else:
            part += 1
            tale.since = max(tale.since, latest.until)  # it may have begun before: that was told
            tale.until = max(tale.until, tale.since)
            due = max(now, before + terms.repeat * min(2 ** min(part - 1, 10), GROWTH_LIMIT))
    due = routing.not_before(severity, due)
    return (leader, channel, part, *(getattr(tale, name) for name in _TALE), due, due, due + terms.expire)


@dataclass(frozen=True, slots=True)
class _Fresh:
    """An alert of which something is new."""

    id: int
    kind: str
    severity: str
    tenant: str
    account: str
    source: str
    number: str | None
    dialled: str
    per_minute: int | None
    tries: int
    announced: int
    first_at: Millis
    last_at: Millis
    leader: int | None

    def tale(self) -> _Tale:
        return _Tale(
            tries=self.tries - self.announced,
            alerts=0 if self.announced else 1,
            since=self.last_at if self.announced else self.first_at,  # when between the two is not known
            until=self.last_at,
            target=self.number or self.dialled,
            origin=without_port(self.source),
            dearest=self.per_minute,
        )


_JOINING: Final = frozenset(map(str, Reason))


class _Leaders:
    """Finds the alert in whose messages another is told.

    Refusals of one kind and tenant belong together when they share the account or the source address: a thief
    has the one or the other, and many numbers. What verdicts do not raise is told by itself, each hole and each
    guesser; but beyond FLOOD_LIMIT first messages everything of a kind and tenant is told together.
    """

    def __init__(self, rows: Sequence[Sequence[Any]], recent: Millis) -> None:
        self._recent = recent
        self._shared: dict[tuple[str, ...], int] = {}
        self._latest: dict[tuple[str, str], list[int]] = {}
        for row in rows:
            self._add(*row)

    def find(self, alert: _Fresh) -> int:
        """Return the leader of an alert that has none; often itself."""
        if alert.kind in _JOINING:
            for key in _likeness(alert.kind, alert.tenant, alert.account, alert.source):
                if key in self._shared:
                    return self._shared[key]
        flood = self._latest.get((alert.kind, alert.tenant), [])
        if len(flood) >= FLOOD_LIMIT:
            return flood[-1]
        self._add(alert.id, alert.kind, alert.tenant, alert.account, alert.source, alert.first_at)
        return alert.id

    def _add(self, id_: int, kind: str, tenant: str, account: str, source: str, first_at: Millis) -> None:
        for key in _likeness(kind, tenant, account, source):
            self._shared[key] = id_
        if first_at > self._recent:
            self._latest.setdefault((kind, tenant), []).append(id_)


def _likeness(kind: str, tenant: str, account: str, source: str) -> list[tuple[str, ...]]:
    address = without_port(source)
    keys: list[tuple[str, ...]] = [
        (kind, tenant, what, value) for what, value in (("account", account), ("source", address)) if value
    ]
    return keys or [(kind, tenant, "nobody", "")]


def _in_common(one: str, other: str) -> str:
    if one == other:
        return one
    return commonprefix((one.rstrip(ELLIPSIS), other.rstrip(ELLIPSIS))) + ELLIPSIS  # noqa: RUF071  numbers, no paths


def _rows(connection: sqlite3.Connection, sql: str, *parameters: object) -> list[list[Any]]:
    (text,) = connection.execute(sql, parameters).fetchone()
    found: list[list[Any]] = json.loads(text)
    return found


_DELIVERY = "d.id, d.channel, d.part, d.tries, d.alerts, d.since, d.until, d.target, d.origin, d.dearest, d.attempts"
_SELECT = (
    f"SELECT {_DELIVERY}, {', '.join('a.' + name for name in COLUMNS.split(', '))}"  # noqa: S608
    " FROM deliveries AS d JOIN alerts AS a ON a.id = d.alert"
)
_OF_ALERT = f"{_SELECT} WHERE d.alert = ? ORDER BY d.id"
_DUE = (
    f"{_SELECT} WHERE d.state = 'pending' AND d.channel = ? AND"  # noqa: S608
    " d.due_at <= ? AND NOT EXISTS (SELECT 1 FROM deliveries AS earlier WHERE earlier.alert = d.alert AND"
    " earlier.channel = d.channel AND earlier.part < d.part AND earlier.state = 'pending')"
    " ORDER BY CASE a.severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, d.due_at, d.id LIMIT ?"
)


def due(connection: sqlite3.Connection, channel: str, now: Millis, limit: int) -> tuple[Delivery, ...]:
    """Return what is to be sent to a channel now, the most urgent first. A later part waits for the one before it."""
    return tuple(_delivery(row) for row in connection.execute(_DUE, (channel, now, limit)).fetchall())


def _delivery(row: Sequence[Any]) -> Delivery:
    id_, channel, part, tries, alerts, since, until, target, origin, dearest, attempts = row[:11]
    return Delivery(
        id=id_,
        alert=read_alert(row[11:]),
        channel=channel,
        part=part,
        tries=tries,
        alerts=alerts,
        since=since,
        until=until,
        target=target,
        origin=origin,
        dearest=dearest,
        attempts=attempts,
    )


def delivered(connection: sqlite3.Connection, delivery_id: int, now: Millis, note: str = "") -> None:
    """Note that a channel has taken a message: it is never sent again."""
    connection.execute(
        "UPDATE deliveries SET state = 'delivered', delivered_at = ?, attempts = attempts + 1, error = ?"
        " WHERE id = ? AND state = 'pending'",
        (now, storable(note), delivery_id),
    )


def failed(connection: sqlite3.Connection, delivery_id: int, now: Millis, error: str, retry: Millis) -> bool:
    """Note that a message could not be delivered, to be tried again at `retry`; say whether it was given up.

    The last attempt is when it expires, and there is at least one.
    """
    row = connection.execute(
        "UPDATE deliveries SET attempts = attempts + 1, error = ?, due_at = min(?, expires_at),"
        " state = iif(expires_at <= ?, 'expired', 'pending') WHERE id = ? AND state = 'pending' RETURNING state",
        (storable(error), retry, now, delivery_id),
    ).fetchone()
    return row is not None and row[0] == "expired"


def retire(connection: sqlite3.Connection, channels: Sequence[str]) -> int:
    """Give up what waits for channels that are not configured any more; return how many messages that were."""
    return connection.execute(
        "UPDATE deliveries SET state = 'expired', error = 'the channel is not configured any more'"
        " WHERE state = 'pending' AND channel NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(list(channels)),),
    ).rowcount


def pending(connection: sqlite3.Connection, now: Millis) -> dict[str, int]:
    """Return how many messages should have gone by now, by channel; not those whose time is to come."""
    found = connection.execute(
        "SELECT channel, count(*) FROM deliveries WHERE state = 'pending' AND planned_at <= ? GROUP BY channel", (now,)
    )
    return dict(found.fetchall())


def add_test(
    connection: sqlite3.Connection, alert: NewAlert, channels: Sequence[str], now: Millis
) -> tuple[Delivery, ...]:
    """Store an alert with a message for each of the channels, which the caller sends at once and once only.

    Should it die, the service sends what is left after TEST_MILLIS.
    """
    raise_alerts(connection, (alert,))
    (id_,) = connection.execute("SELECT max(id) FROM alerts").fetchone()
    connection.execute("UPDATE alerts SET announced = tries, leader = id WHERE id = ?", (id_,))
    later = now + TEST_MILLIS
    tale = _Tale(tries=1, alerts=1, since=now, until=now, target="", origin="", dearest=None)
    told = tuple(getattr(tale, name) for name in _TALE)
    connection.execute(_STORE, (json.dumps([(id_, channel, 0, *told, now, later, now) for channel in channels]),))
    found = connection.execute(_OF_ALERT, (id_,)).fetchall()
    return tuple(map(_delivery, found))


@dataclass(frozen=True, slots=True)
class Stand:
    """What became of one message."""

    channel: str
    part: int
    state: str
    tries: int
    attempts: int
    due_at: Millis
    delivered_at: Millis | None
    error: str


def stands(connection: sqlite3.Connection, alerts: Sequence[Alert]) -> Mapping[int, list[Stand]]:
    """Return what became of the messages about each of these alerts: those of its leader where it has another."""
    told: dict[int, list[Stand]] = {}
    rows = connection.execute(
        "SELECT alert, channel, part, state, tries, attempts, due_at, delivered_at, error FROM deliveries"
        " WHERE alert IN (SELECT value FROM json_each(?)) ORDER BY alert, channel, part",
        (json.dumps([alert.leader for alert in alerts if alert.leader is not None]),),
    )
    for alert, *rest in rows:
        told.setdefault(alert, []).append(Stand(*rest))
    return {alert.id: told.get(alert.leader or 0, []) for alert in alerts}


class OutboxStore:
    """The outbox as the service works with it (alerts.outbox.Shelf). Raises StoreError where it cannot."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock, routing: Routing, terms: Terms) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._routing = routing
        self._terms = terms

    async def plan(self) -> bool:
        """Make deliveries of what is new, if anything is; say whether there may be more."""
        if not await self._reader.read(_anything_new):  # looking costs no lock
            return False
        return await self._write(partial(plan, routing=self._routing, terms=self._terms)) == PLAN_LIMIT

    async def due(self, channel: str, limit: int) -> tuple[Delivery, ...]:
        """Return what is to be sent to a channel now."""
        return await self._reader.read(lambda connection: due(connection, channel, self._clock.now(), limit))

    async def delivered(self, delivery: Delivery, note: str) -> None:
        """Note that a channel has taken a message."""
        await self._write(lambda connection, now: delivered(connection, delivery.id, now, note))

    async def failed(self, delivery: Delivery, error: str, retry_seconds: float) -> bool:
        """Note that a message could not be delivered; say whether it was given up."""
        later = int(retry_seconds * 1000)
        return await self._write(lambda connection, now: failed(connection, delivery.id, now, error, now + later))

    async def retire(self, channels: Sequence[str]) -> int:
        """Give up what waits for other channels than these."""
        return await self._writer.transaction(lambda connection: retire(connection, channels))

    async def pending(self) -> Mapping[str, int]:
        """Return how many messages should have gone by now, by channel."""
        return await self._reader.read(lambda connection: pending(connection, self._clock.now()))

    async def _write(self, function: Callable[[sqlite3.Connection, Millis], T]) -> T:
        # The time is taken when the lock is there: a message that became due meanwhile must not be added to.
        return await self._writer.transaction(lambda connection: function(connection, self._clock.now()))


def _anything_new(connection: sqlite3.Connection) -> bool:
    (found,) = connection.execute("SELECT EXISTS (SELECT 1 FROM alerts WHERE announced < tries)").fetchone()
    return bool(found)
