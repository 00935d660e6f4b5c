"""Calls towards trunks, as the ledger knows them: kept up to date, listed, and found again after a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from fraudguard.clock import Millis
from fraudguard.ledger.records import Admission, Call, Leg, State
from fraudguard.numbering.number import Kind
from fraudguard.policy.budget import NO_REGION
from fraudguard.policy.reasons import Outcome
from fraudguard.rating.rate import Rate
from fraudguard.store.rows import Row, chunks, narrowed, placeholders, storable
from fraudguard.store.spending import count_ends

LIST_LIMIT = 100
"""How many rows a listing returns unless told otherwise."""

DAY_MILLIS = 86_400_000
"""The longest lease there is; an emergency call, which has none, is taken to be over after it."""

DIALLING_MILLIS = 660_000
"""A lease begins when the call is answered: the longest ringing (10 minutes) and a minute for what comes before it."""

REDIAL_MILLIS = 60_000
"""How long after a leg's end its verdict may be dialled again: a dialplan that tries another way does so at once."""

UNSEEN_MILLIS = 31 * DAY_MILLIS
"""How long after it was given a verdict of which nobody saw what became may still have to be paid for."""

FOLLOWED_MILLIS = 16_000
"""How long before its last note an Asterisk may have been lost: the time between notes, and until that is noticed."""

ADMISSIONS_LIMIT = 200_000
"""The newest so many are enough: twice what one Asterisk has been seen to carry, many times over."""

UNKNOWN_INCREMENT = 60
"""How a call is billed whose verdict was stored before increments were: no list has been seen to bill by more."""

_LEG: Final = tuple(field.name for field in fields(Leg))
_RATE: Final = ("destination", "prefix", "per_minute", "connect_fee", "minimum_seconds", "increment_seconds")
_PLAIN: Final = tuple(field.name for field in fields(Call) if field.name not in {"leg", "rate"})
_COLUMNS: Final = (*_LEG, *_RATE, *_PLAIN)
_KEY: Final = ("asterisk", "uniqueid")
_KEYS: Final = slice(len(_KEY))  # they are the first two columns
_STATE: Final = _COLUMNS.index("state")
_FLAGS: Final = ("reconstructed", "domestic", "given_up")
_DERIVED: Final = {
    "region": f"ifnull(region, '{NO_REGION}')",
    "pin": "ifnull(pin, '')",
    "domestic": f"kind IN ('{Kind.DOMESTIC}', '{Kind.SERVICE}') OR (kind = '{Kind.TOLL_FREE}' AND region IS NOT NULL)",
}
"""Who pays for what a verdict admits, by the columns of attempts: the same as Facts.payer."""
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
    """Store calls as they now are, inside the caller's transaction, and what those that ended have spent.

    A call that has ended stays ended. One that is found alive after all counts as it ended until it ends anew.
    """
    rows = [_row(call) for call in calls]
    # Of several ends the last is what stays, and what was up after an end does not.
    ended = {row[_KEYS]: row for row in rows if row[_STATE] == State.ENDED}
    before = [row for sql, keys in chunks(_ends, list(ended)) for row in connection.execute(sql, keys)]
    for sql, parameters in chunks(_upsert, rows):
        connection.execute(sql, parameters)
    count_ends(connection, map(_call, before), map(_call, ended.values()))


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


def calls_by(connection: sqlite3.Connection, verdict: str) -> tuple[Call, ...]:
    """Return every leg that was dialled by a verdict, the oldest first."""
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM calls WHERE call = ? ORDER BY began_at, uniqueid",  # noqa: S608  own names
        (verdict,),
    )
    return tuple(map(_call, rows))


def unfinished_calls(
    connection: sqlite3.Connection, *, tenant: str | None = None, pin: str | None = None
) -> tuple[Call, ...]:
    """Return every call that has not ended, as far as was stored, the oldest first; if wanted those of a tenant, or
    by a person's PINs.
    """
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM calls WHERE state <> 'ended'"  # noqa: S608
        " AND tenant = ifnull(?, tenant) AND pin = ifnull(?, pin) ORDER BY began_at, uniqueid",
        (tenant, pin),
    )
    return tuple(map(_call, rows))


def admissions(connection: sqlite3.Connection, now: Millis) -> tuple[Admission, ...]:
    """Return the verdicts that allow a call which may still be dialled or up at `now`, the oldest first.

    Those are the ones whose lease has not run out (see DIALLING_MILLIS) and whose every known leg is not long over; and
    those by which no leg is known, given after their Asterisk was last followed: nobody saw what became of them.
    """
    followed = (
        "(SELECT max(until) FROM followed WHERE asterisk = attempts.asterisk OR (SELECT count(*) FROM followed) = 1)"
    )
    dialled = "EXISTS (SELECT 1 FROM calls WHERE calls.call = attempts.call)"
    names = ", ".join((*(_DERIVED.get(name, name) for name in _ADMISSION), *_RATE, dialled))
    rows = connection.execute(
        f"SELECT {names} FROM attempts WHERE at > ? AND outcome = '{Outcome.ALLOW}'"  # noqa: S608  own names
        f" AND (at + ifnull(lease_seconds * 1000, {DAY_MILLIS}) > ? AND (NOT {dialled}"
        " OR EXISTS (SELECT 1 FROM calls WHERE calls.call = attempts.call AND ifnull(ended_at, ?) > ?))"
        # Of those stored before their channel was, nobody knows whether they were accounted for.
        f" OR (uniqueid <> '' AND lease_seconds IS NOT NULL AND NOT {dialled} AND at >= ifnull({followed}, 0) - ?))"
        " ORDER BY at DESC, id DESC LIMIT ?",
        (
            now - UNSEEN_MILLIS,
            now - DIALLING_MILLIS,
            now,
            now - REDIAL_MILLIS,
            FOLLOWED_MILLIS,
            ADMISSIONS_LIMIT,
        ),
    ).fetchall()
    return tuple(map(_admission, reversed(rows)))


def _where(wanted: Filter) -> tuple[str, list[str | int]]:
    conditions, parameters = narrowed("began_at", wanted.since, tenant=wanted.tenant, account=wanted.account)
    if wanted.live is not None:
        conditions.append("state <> 'ended'" if wanted.live else "state = 'ended'")
    return " AND ".join(conditions), parameters


@cache
def _ends(count: int) -> str:
    return (
        # CROSS: with a million calls SQLite would rather look through them all.
        f"SELECT {', '.join(_COLUMNS)} FROM (VALUES {placeholders(_KEY, count)}) AS wanted"  # noqa: S608  own names
        " CROSS JOIN calls ON asterisk = column1 AND uniqueid = column2 WHERE state = 'ended'"
    )


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
    plain |= {name: bool(plain[name]) for name in _FLAGS}
    return Call(leg=Leg(*row[: len(_LEG)]), rate=_rate(row[len(_LEG) : len(_LEG) + len(_RATE)]), **plain)


def _admission(row: Row) -> Admission:
    plain = dict(zip(_ADMISSION, row, strict=False))
    plain["domestic"] = bool(plain["domestic"])
    return Admission(**plain, rate=_rate(row[len(_ADMISSION) : -1]), dialled=bool(row[-1]))


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
