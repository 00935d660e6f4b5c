"""What happened: the attempts, newest first, and who keeps being refused."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields, replace
from typing import Any

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.policy import Outcome, Reason, Ruling
from fraudguard.store.rows import narrowed

LIST_LIMIT = 100
"""How many rows a listing returns unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Attempts of one account to one number, refused for one reason: who might need a grant, or a block.

    `number` is the dialled text where it is not a number. The price is the dearest of them.
    """

    tenant: str
    account: str
    number: str
    destination: str | None
    per_minute: Micros | None
    reason: str
    tries: int
    first_at: Millis
    last_at: Millis


@dataclass(frozen=True, slots=True)
class Filter:
    """Which attempts to list; None (or False) for any. `since` is the first instant that counts.

    `pin` is the name of whose PIN was keyed, also one that did not help.
    """

    tenant: str | None = None
    account: str | None = None
    since: Millis | None = None
    refused: bool = False
    pin: str | None = None


EVERYTHING = Filter()

# A ruling's fields are the table's columns, but for the limit: LIMIT is a word of SQL.
_FIELDS = tuple(field.name for field in fields(Ruling))
_FLAGS = tuple(field.name for field in fields(Ruling) if field.type == "bool")
_COLUMNS = ", ".join("highest" if name == "limit" else name for name in _FIELDS)


def list_attempts(
    connection: sqlite3.Connection, wanted: Filter = EVERYTHING, *, limit: int = LIST_LIMIT
) -> tuple[Ruling, ...]:
    """Return the newest attempts that pass the filter, the newest first."""
    where, parameters = _where(wanted)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM attempts WHERE {where} ORDER BY at DESC, id DESC LIMIT ?",  # noqa: S608  own names
        (*parameters, limit),
    )
    return tuple(map(_ruling, rows))


def find_attempt(connection: sqlite3.Connection, call: str) -> Ruling | None:
    """Return the attempt with a verdict of that id, None if there is none. Those of today are found at once."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM attempts WHERE call = ? ORDER BY id DESC LIMIT 1",  # noqa: S608  own names
        (call,),
    ).fetchone()
    return None if row is None else _ruling(row)


def list_refusals(
    connection: sqlite3.Connection, wanted: Filter = EVERYTHING, *, limit: int = LIST_LIMIT
) -> tuple[Refusals, ...]:
    """Return refused attempts grouped by account, number and reason, the most frequent first."""
    where, parameters = _where(replace(wanted, refused=True))
    rows = connection.execute(
        "SELECT tenant, account, ifnull(number, dialled), destination, max(per_minute), reason, count(*),"  # noqa: S608
        f" min(at), max(at) FROM attempts WHERE {where} GROUP BY tenant, account, ifnull(number, dialled), reason"
        " ORDER BY count(*) DESC, max(at) DESC LIMIT ?",
        (*parameters, limit),
    )
    return tuple(Refusals(*row) for row in rows)


def _where(wanted: Filter) -> tuple[str, list[str | int]]:
    conditions, parameters = narrowed("at", wanted.since, tenant=wanted.tenant, account=wanted.account)
    if wanted.refused:
        conditions.append("outcome = 'nowhere'")
    if wanted.pin is not None:  # by ids, which have an index
        conditions.append("pin_id IN (SELECT id FROM pins WHERE name = ?)")
        parameters.append(wanted.pin)
    return " AND ".join(conditions), parameters


def _ruling(row: tuple[Any, ...]) -> Ruling:
    columns = dict(zip(_FIELDS, row, strict=True))
    columns["outcome"] = Outcome(columns["outcome"])
    columns["reason"] = Reason(columns["reason"])
    columns |= {name: bool(columns[name]) for name in _FLAGS}
    columns["simulated"] = tuple(Reason(name) for name in columns["simulated"].split(",") if name)
    return Ruling(**columns)
