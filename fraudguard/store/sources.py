"""Who connects, from where: one row per Asterisk, account and address, with how often it succeeded and failed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Final

from fraudguard.clock import Millis
from fraudguard.detect.sources import FAILURES, Sighting, SightingKind
from fraudguard.store.rows import chunks, narrowed, placeholders, storable

LIST_LIMIT = 100
"""How many rows a listing returns unless told otherwise."""

KNOWN_LIMIT = 100_000
"""Accounts and addresses loaded at a start, the latest used first: some 20 MB."""

_KINDS: Final = tuple(SightingKind)


@dataclass(frozen=True, slots=True)
class Source:
    """An account used, or tried, from an address, with how often. `account` is '' for all that do not exist."""

    asterisk: str
    account: str
    address: str
    first_at: Millis
    last_at: Millis
    succeeded: int = 0
    called: int = 0
    invalid_password: int = 0
    invalid_account: int = 0
    failed_challenge: int = 0
    failed_acl: int = 0

    @property
    def failed(self) -> int:
        return sum(getattr(self, kind) for kind in FAILURES)

    def plus(self, other: Source) -> Source:
        """Return both counted together."""
        sums = {kind.value: getattr(self, kind) + getattr(other, kind) for kind in _KINDS}
        first, last = min(self.first_at, other.first_at), max(self.last_at, other.last_at)
        return Source(self.asterisk, self.account, self.address, first, last, **sums)


_COLUMNS: Final = tuple(field.name for field in fields(Source))
_KEY: Final = ("asterisk", "account", "address")
_FAILED: Final = " + ".join(sorted(FAILURES))


def source_of(sighting: Sighting) -> Source:
    """Return what one sighting adds, as it is stored."""
    return Source(
        storable(sighting.asterisk),
        storable(sighting.account),
        storable(sighting.address),
        sighting.at,
        sighting.at,
        **{sighting.kind.value: 1},
    )


class Order(StrEnum):
    """By what to list sources; always the highest first."""

    LAST = "last"
    FIRST = "first"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CALLED = "called"


_ORDER: Final = {
    Order.LAST: "last_at",
    Order.FIRST: "first_at",
    Order.FAILED: _FAILED,
    Order.SUCCEEDED: "succeeded",
    Order.CALLED: "called",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sources to list; None (or False) for any. `since` is about the last time each was seen."""

    account: str | None = None
    address: str | None = None
    since: Millis | None = None
    failing: bool = False


EVERYTHING = Filter()


def save_sources(connection: sqlite3.Connection, changes: Sequence[Source]) -> None:
    """Add what was counted to what is stored, inside the caller's transaction."""
    rows = [tuple(getattr(change, name) for name in _COLUMNS) for change in changes]
    for sql, parameters in chunks(_add, rows):
        connection.execute(sql, parameters)


def list_sources(
    connection: sqlite3.Connection,
    wanted: Filter = EVERYTHING,
    *,
    order: Order = Order.LAST,
    limit: int = LIST_LIMIT,
) -> tuple[Source, ...]:
    """Return the sources that pass the filter, by `order`, the highest first."""
    conditions, parameters = narrowed("last_at", wanted.since, account=wanted.account, address=wanted.address)
    if wanted.failing:
        conditions.append(f"{_FAILED} > 0")
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM sources WHERE {' AND '.join(conditions)}"  # noqa: S608  own names
        f" ORDER BY {_ORDER[order]} DESC, last_at DESC, asterisk, account, address LIMIT ?",
        (*parameters, limit),
    )
    return tuple(Source(*row) for row in rows)


def known_sources(connection: sqlite3.Connection, *, limit: int = KNOWN_LIMIT) -> tuple[tuple[str, str], ...]:
    """Return (account, address) wherever an account was used with success, the latest used last."""
    rows = connection.execute(
        "SELECT account, address FROM sources WHERE succeeded + called > 0 ORDER BY last_at DESC LIMIT ?", (limit,)
    ).fetchall()
    return tuple(reversed(rows))


@cache
def _add(count: int) -> str:
    sums = ", ".join(f"{kind} = sources.{kind} + excluded.{kind}" for kind in _KINDS)
    return (
        f"INSERT INTO sources ({', '.join(_COLUMNS)}) VALUES {placeholders(_COLUMNS, count)}"  # noqa: S608  own names
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {sums},"
        " first_at = min(sources.first_at, excluded.first_at), last_at = max(sources.last_at, excluded.last_at)"
    )
