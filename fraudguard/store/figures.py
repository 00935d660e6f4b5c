"""How large the database is, and what it holds since when."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudguard.clock import Millis
from fraudguard.store.retention import size_of

# Every table of records that grow by themselves or by imports, and the column that says how old a row is.
_TABLES: Final = {
    "attempts": "at",
    "calls": "began_at",
    "alerts": "first_at",
    "deliveries": "since",
    "sources": "last_at",
    "edits": "at",
    "spending": "until",
    "rates": None,
}


@dataclass(frozen=True, slots=True)
class TableFigures:
    """One table: its rows, and when the oldest is from (None: it is empty, or its rows have no time)."""

    name: str
    rows: int
    oldest_at: Millis | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The database: bytes on disk with its WAL, and those of them that `compact` can give back now."""

    path: Path
    schema: int
    size: int
    free: int
    tables: tuple[TableFigures, ...]


def figures(connection: sqlite3.Connection, path: Path) -> Figures:
    """Count everything; a million rows take some tens of milliseconds."""

    def one(sql: str) -> int:
        return int(connection.execute(sql).fetchone()[0])

    tables = []
    for name, column in _TABLES.items():
        oldest = f"(SELECT min({column}) FROM {name})" if column else "NULL"  # noqa: S608  own names
        rows, oldest_at = connection.execute(f"SELECT count(*), {oldest} FROM {name}").fetchone()  # noqa: S608  own names
        tables.append(TableFigures(name, rows, oldest_at))
    return Figures(
        path,
        one("SELECT max(version) FROM migrations"),
        size_of(path),
        one("PRAGMA freelist_count") * one("PRAGMA page_size"),
        tuple(tables),
    )
