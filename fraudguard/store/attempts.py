"""What happened: the attempts, newest first, and who keeps being refused."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields

from fraudguard.clock import Millis
from fraudguard.money import Micros

LIST_LIMIT = 100
"""How many rows a listing returns unless told otherwise."""


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """A verdict as it was stored. Texts, times and money as in policy.records; `number` as given to the trunk.

    `number`, `region` and `kind` are None for a bad number, of which `bad_number` says why. `highest` is the
    limit that applied, `limit_scope` whose it was; `deck`, `prefix`, `destination` and prices say what it was
    priced by. `simulated` holds the reasons of rules in shadow.
    """

    id: int
    call: str
    at: Millis
    tenant: str
    account: str
    source: str
    asterisk: str
    linkedid: str
    trunk: str
    dialled: str
    number: str | None
    region: str | None
    kind: str | None
    bad_number: str | None
    deck: str
    prefix: str | None
    destination: str | None
    per_minute: Micros | None
    connect_fee: Micros | None
    highest: Micros
    limit_scope: str
    outcome: str
    reason: str
    lease_seconds: int | None
    grant_id: int | None
    block_id: int | None
    simulated: tuple[str, ...]


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
    """Which attempts to list; None (or False) for any. `since` is the first instant that counts."""

    tenant: str | None = None
    account: str | None = None
    since: Millis | None = None
    refused: bool = False


EVERYTHING = Filter()


def list_attempts(
    connection: sqlite3.Connection, wanted: Filter = EVERYTHING, *, limit: int = LIST_LIMIT
) -> tuple[StoredAttempt, ...]:
    """Return the newest attempts that pass the filter, the newest first."""
    where, parameters = _where(wanted)
    columns = ", ".join(field.name for field in fields(StoredAttempt))
    rows = connection.execute(
        f"SELECT {columns} FROM attempts WHERE {where} ORDER BY at DESC, id DESC LIMIT ?",  # noqa: S608  own names
        (*parameters, limit),
    )
    return tuple(StoredAttempt(*(*row, tuple(filter(None, simulated.split(","))))) for *row, simulated in rows)


def list_refusals(
    connection: sqlite3.Connection, wanted: Filter = EVERYTHING, *, limit: int = LIST_LIMIT
) -> tuple[Refusals, ...]:
    """Return refused attempts grouped by account, number and reason, the most frequent first."""
    where, parameters = _where(Filter(wanted.tenant, wanted.account, wanted.since, refused=True))
    rows = connection.execute(
        "SELECT tenant, account, ifnull(number, dialled), destination, max(per_minute), reason, count(*),"  # noqa: S608
        f" min(at), max(at) FROM attempts WHERE {where} GROUP BY tenant, account, ifnull(number, dialled), reason"
        " ORDER BY count(*) DESC, max(at) DESC LIMIT ?",
        (*parameters, limit),
    )
    return tuple(Refusals(*row) for row in rows)


def _where(wanted: Filter) -> tuple[str, list[str | int]]:
    conditions = ["at >= ?"]
    parameters: list[str | int] = [wanted.since or 0]
    if wanted.tenant is not None:
        conditions.append("tenant = ?")
        parameters.append(wanted.tenant)
    if wanted.account is not None:
        conditions.append("account = ?")
        parameters.append(wanted.account)
    if wanted.refused:
        conditions.append("outcome = 'nowhere'")
    return " AND ".join(conditions), parameters
