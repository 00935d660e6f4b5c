"""Calls towards trunks, as the ledger knows them: kept up to date, listed, and found again after a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from fraudguard.clock import Millis
from fraudguard.ledger.records import Admission, Call, Leg, State
from fraudguard.policy.reasons import Outcome
from fraudguard.rating.rate import Rate
from fraudguard.store.rows import Row, chunks, narrowed, placeholders, storable

LIST_LIMIT = 100
"""How many rows a listing returns unless told otherwise."""

DAY_MILLIS = 86_400_000
"""The longest lease there is; an emergency call, which has none, is taken to be over after it."""

DIALLING_MILLIS = 660_000
"""A lease begins when the call is answered: the longest ringing (10 minutes) and a minute for what comes before it."""

REDIAL_MILLIS = 60_000
"""How long after a leg's end its verdict may be dialled again: a dialplan that tries another way does so at once."""

ADMISSIONS_LIMIT = 200_000
"""The newest so many are enough: twice what one Asterisk has been seen to carry, many times over."""

UNKNOWN_INCREMENT = 60
"""How a call is billed whose verdict was stored before increments were: no list has been seen to bill by more."""

_LEG: Final = tuple(field.name for field in fields(Leg))
_RATE: Final = ("destination", "prefix", "per_minute", "connect_fee", "minimum_seconds", "increment_seconds")
_PLAIN: Final = tuple(field.name for field in fields(Call) if field.name not in {"leg", "rate"})
_COLUMNS: Final = (*_LEG, *_RATE, *_PLAIN)
_KEY: Final = ("asterisk", "uniqueid")
_ADMISSION: Final = tuple(field.name for field in fields(Admission) if field.name not in {"rate", "dialled"})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which calls to list; None for any. `live` False asks for those that have ended; `since` is about their begin."""

    live: bool | None = None
    tenant: str | None = None
    account: str | None = None
    since: Millis | None = None


EVERYTHING = Filter()


def save_calls(connection: sqlite3.Connection, calls: Sequence[Call]) -> None:
    """Store calls as they now are, inside the caller's transaction. A call that has ended stays ended."""
    for sql, parameters in chunks(_upsert, [_row(call) for call in calls]):
        connection.execute(sql, parameters)


def list_calls(
    connection: sqlite3.Connection, wanted: Filter = EVERYTHING, *, limit: int = LIST_LIMIT
) -> tuple[Call, ...]:
    """Return the newest calls that pass the filter, the newest first."""
    where, parameters = _where(wanted)
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM calls WHERE {where} ORDER BY began_at DESC, uniqueid DESC LIMIT ?",  # noqa: S608
        (*parameters, limit),
    )
    return tuple(map(_call, rows))


def unfinished_calls(connection: sqlite3.Connection) -> tuple[Call, ...]:
    """Return every call that has not ended, as far as was stored, the oldest first."""
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM calls WHERE state <> 'ended' ORDER BY began_at, uniqueid"  # noqa: S608
    )
    return tuple(map(_call, rows))


def admissions(connection: sqlite3.Connection, now: Millis) -> tuple[Admission, ...]:
    """Return the verdicts that allow a call which may still be dialled or up at `now`, the oldest first.

    Those are the ones whose lease has not run out (see DIALLING_MILLIS) and whose every known leg is not long over.
    """
    dialled = "EXISTS (SELECT 1 FROM calls WHERE calls.call = attempts.call)"
    names = ", ".join((*_ADMISSION, *_RATE, dialled))
    rows = connection.execute(
        f"SELECT {names} FROM attempts WHERE at > ? AND outcome = '{Outcome.ALLOW}'"  # noqa: S608  own names
        f" AND at + ifnull(lease_seconds * 1000, {DAY_MILLIS}) > ? AND (NOT {dialled}"
        " OR EXISTS (SELECT 1 FROM calls WHERE calls.call = attempts.call AND ifnull(ended_at, ?) > ?))"
        " ORDER BY at DESC, id DESC LIMIT ?",
        (
            now - DAY_MILLIS - DIALLING_MILLIS,
            now - DIALLING_MILLIS,
            now,
            now - REDIAL_MILLIS,
            ADMISSIONS_LIMIT,
        ),
    ).fetchall()
    return tuple(
        Admission(
            **dict(zip(_ADMISSION, row, strict=False)), rate=_rate(row[len(_ADMISSION) : -1]), dialled=bool(row[-1])
        )
        for row in reversed(rows)
    )


def _where(wanted: Filter) -> tuple[str, list[str | int]]:
    conditions, parameters = narrowed("began_at", wanted.since, tenant=wanted.tenant, account=wanted.account)
    if wanted.live is not None:
        conditions.append("state <> 'ended'" if wanted.live else "state = 'ended'")
    return " AND ".join(conditions), parameters


@cache
def _upsert(count: int) -> str:
    changing = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
    return (
        f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES {placeholders(_COLUMNS, count)}"  # noqa: S608  own names
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {changing}"
        " WHERE calls.state <> 'ended' OR excluded.state = 'ended'"
    )


def _row(call: Call) -> Row:
    return tuple(_row_values(call))


def _row_values(call: Call) -> Iterator[Any]:
    for name in _LEG:
        yield storable(getattr(call.leg, name))
    if call.rate is None:
        yield from (None,) * len(_RATE)
    else:
        yield from (getattr(call.rate, name) for name in _RATE)
    for name in _PLAIN:
        value = getattr(call, name)
        yield storable(value) if isinstance(value, str) else value


def _call(row: Row) -> Call:
    plain = dict(zip(_PLAIN, row[len(_LEG) + len(_RATE) :], strict=True))
    plain["state"] = State(plain["state"])
    plain["reconstructed"] = bool(plain["reconstructed"])
    return Call(leg=Leg(*row[: len(_LEG)]), rate=_rate(row[len(_LEG) : len(_LEG) + len(_RATE)]), **plain)


def _rate(row: Row) -> Rate | None:
    """Return what was stored of a rate. From when it counted is not: it was in force, that is all one needs."""
    destination, prefix, per_minute, connect_fee, minimum, increment = row
    if per_minute is None:
        return None
    return Rate(prefix, destination, per_minute, connect_fee, minimum or 0, increment or UNKNOWN_INCREMENT, 0)


def note_followed(connection: sqlite3.Connection, until: Mapping[str, Millis]) -> None:
    """Note inside the caller's transaction that every event of these Asterisks was followed up to an instant."""
    connection.executemany(
        "INSERT INTO followed VALUES (?, ?) ON CONFLICT (asterisk) DO UPDATE SET until = excluded.until",
        list(until.items()),
    )


def followed_until(connection: sqlite3.Connection) -> dict[str, Millis]:
    """Return until when each Asterisk was followed, as of the latest note."""
    return dict(connection.execute("SELECT asterisk, until FROM followed"))
