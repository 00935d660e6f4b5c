"""What operators edit: limits, grants and blocks. Each edit is one transaction with an entry in the edits table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from fraudguard.clock import Millis, format_instant
from fraudguard.errors import InputError
from fraudguard.money import Micros, format_amount
from fraudguard.policy.records import Block, Grant, Limit, Scope
from fraudguard.store.database import Writer
from fraudguard.store.edits import note_edit

GRANT_COLUMNS = "id, tenant, account, prefix, highest, until, reason, author, created_at, asks_pin"
_BLOCK_COLUMNS = "id, tenant, account, prefix, source, until, reason, author, created_at"


def list_limits(connection: sqlite3.Connection) -> tuple[Limit, ...]:
    """Return all limits, the widest scope first."""
    rows = connection.execute("SELECT tenant, account, per_minute FROM limits ORDER BY tenant, account")
    return tuple(Limit(Scope(tenant, account), per_minute) for tenant, account, per_minute in rows)


def list_grants(connection: sqlite3.Connection) -> tuple[Grant, ...]:
    """Return the grants that were not removed, expired ones too, oldest first."""
    rows = connection.execute(f"SELECT {GRANT_COLUMNS} FROM grants WHERE removed_at IS NULL ORDER BY id")  # noqa: S608
    return tuple(map(read_grant, rows))


def read_grant(row: Sequence[Any]) -> Grant:
    """Make a Grant of a row of GRANT_COLUMNS."""
    id_, tenant, account, prefix, highest, until, reason, author, created, asks_pin = row
    scope = Scope(tenant, account)
    return Grant(id_, scope, prefix, highest, until, reason, author, created, bool(asks_pin))


def list_blocks(connection: sqlite3.Connection) -> tuple[Block, ...]:
    """Return the blocks that were not removed, expired ones too, oldest first."""
    rows = connection.execute(f"SELECT {_BLOCK_COLUMNS} FROM blocks WHERE removed_at IS NULL ORDER BY id")  # noqa: S608
    return tuple(Block(id_, Scope(tenant, account), *rest) for id_, tenant, account, *rest in rows)


async def set_limit(writer: Writer, scope: Scope, per_minute: Micros, *, author: str, now: Millis) -> None:
    """Set the limit of a scope, in place of the one it has. Raises StoreError."""

    def edit(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO limits (tenant, account, per_minute, author, created_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (ifnull(tenant, ''), ifnull(account, '')) DO UPDATE SET per_minute = excluded.per_minute,"
            " author = excluded.author, created_at = excluded.created_at",
            (scope.tenant, scope.account, per_minute, author, now),
        )
        note_edit(connection, "limit", f"set {scope} {format_amount(per_minute)}", author, now)

    await writer.transaction(edit)


async def remove_limit(writer: Writer, scope: Scope, *, author: str, now: Millis) -> None:
    """Remove the limit of a scope, so that the next wider one holds. Raises InputError if it has none."""

    def edit(connection: sqlite3.Connection) -> None:
        cursor = connection.execute(
            "DELETE FROM limits WHERE tenant IS ? AND account IS ?", (scope.tenant, scope.account)
        )
        if not cursor.rowcount:
            raise InputError(f"there is no limit for {scope}", fix="'fraudguard limit list' shows those set")
        note_edit(connection, "limit", f"removed {scope}", author, now)

    await writer.transaction(edit)


async def add_grant(
    writer: Writer,
    scope: Scope,
    prefix: str,
    *,
    highest: Micros | None,
    until: Millis | None,
    reason: str,
    author: str,
    now: Millis,
    asks_pin: bool = False,
) -> Grant:
    """Store a new grant and return it with its id; the fields are those of Grant. Raises StoreError."""

    def edit(connection: sqlite3.Connection) -> Grant:
        values = (prefix, highest, until, reason, author, now)
        id_ = _insert(
            connection,
            "INSERT INTO grants (tenant, account, prefix, highest, until, reason, author, created_at, asks_pin)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (scope.tenant, scope.account, *values, asks_pin),
        )
        price = "any price" if highest is None else f"up to {format_amount(highest)}"
        what = f"added {id_}: {scope}, +{prefix or '*'}, {price}, {_end(until)}{', asks for a PIN' * asks_pin}"
        note_edit(connection, "grant", what, author, now)
        return Grant(id_, scope, *values, asks_pin=asks_pin)

    return await writer.transaction(edit)


async def add_block(
    writer: Writer,
    scope: Scope,
    prefix: str,
    source: str,
    *,
    until: Millis | None,
    reason: str,
    author: str,
    now: Millis,
) -> Block:
    """Store a new block and return it with its id; the fields are those of Block. Raises StoreError."""

    def edit(connection: sqlite3.Connection) -> Block:
        values = (prefix, source, until, reason, author, now)
        id_ = _insert(
            connection,
            "INSERT INTO blocks (tenant, account, prefix, source, until, reason, author, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (scope.tenant, scope.account, *values),
        )
        origin = source or "any source"
        note_edit(connection, "block", f"added {id_}: {scope}, +{prefix or '*'}, {origin}, {_end(until)}", author, now)
        return Block(id_, scope, *values)

    return await writer.transaction(edit)


async def remove_grant(writer: Writer, grant_id: int, *, author: str, now: Millis) -> None:
    """Remove a grant; it stays in the database as history. Raises InputError if there is none of that id."""
    await _remove(
        writer,
        "grant",
        "UPDATE grants SET removed_at = ?, removed_by = ? WHERE id = ? AND removed_at IS NULL",
        grant_id,
        author=author,
        now=now,
    )


async def remove_block(writer: Writer, block_id: int, *, author: str, now: Millis) -> None:
    """Remove a block; it stays in the database as history. Raises InputError if there is none of that id."""
    await _remove(
        writer,
        "block",
        "UPDATE blocks SET removed_at = ?, removed_by = ? WHERE id = ? AND removed_at IS NULL",
        block_id,
        author=author,
        now=now,
    )


def _insert(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...]) -> int:
    id_ = connection.execute(sql, parameters).lastrowid
    assert id_ is not None
    return id_


async def _remove(writer: Writer, noun: str, sql: str, id_: int, *, author: str, now: Millis) -> None:
    def edit(connection: sqlite3.Connection) -> None:
        if not connection.execute(sql, (now, author, id_)).rowcount:
            raise InputError(f"there is no {noun} {id_}", fix=f"'fraudguard {noun} list' shows those in force")
        note_edit(connection, noun, f"removed {id_}", author, now)

    await writer.transaction(edit)


def _end(until: Millis | None) -> str:
    return "for good" if until is None else f"until {format_instant(until)}"
