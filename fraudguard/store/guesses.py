"""What was keyed wrong, what was unlocked, and codes that were used up: the guesses that outlive the service."""

from __future__ import annotations

import sqlite3
from typing import Final

from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.pins.guessing import Failure, Guesses
from fraudguard.policy.pin import Unlock
from fraudguard.store.database import Writer
from fraudguard.store.edits import note_edit
from fraudguard.store.rows import storable

KEPT_MILLIS: Final = 48 * 3_600_000
"""How long failures and unlocks are kept: twice the time in which they count."""

DROPPED_ROWS: Final = 200
"""How many of those that are older are dropped at once: a caller waits for it."""


def stored_guesses(connection: sqlite3.Connection, now: Millis) -> Guesses:
    """Return what is known of guesses, as a service that starts now knows it."""
    since = now - KEPT_MILLIS
    guesses = Guesses()
    guesses.restore(recent_failures(connection, since), list_unlocks(connection, since))
    return guesses


def list_unlocks(connection: sqlite3.Connection, since: Millis) -> tuple[Unlock, ...]:
    """Return the unlocks not before an instant, the oldest first."""
    rows = connection.execute(
        "SELECT at, tenant, account, source FROM pin_unlocks WHERE at >= ? ORDER BY at, id", (since,)
    )
    return tuple(Unlock(*row) for row in rows)


def recent_failures(connection: sqlite3.Connection, since: Millis) -> tuple[Failure, ...]:
    """Return what was keyed and is not known to be right, not before an instant, the oldest first."""
    rows = connection.execute(
        "SELECT at, tenant, account, source FROM pin_failures WHERE at >= ? ORDER BY at, id", (since,)
    )
    return tuple(Failure(*row) for row in rows)


async def unlock(writer: Writer, unlock: Unlock, *, author: str, now: Millis) -> None:
    """Take back what wrong PINs have locked. Raises InputError when nothing is named."""
    if not (unlock.tenant or unlock.source) or (unlock.account and not unlock.tenant):
        raise InputError(
            "nothing is named that could be unlocked", fix="name an account and its tenant, a source, or a tenant"
        )

    def edit(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO pin_unlocks (at, tenant, account, source, author) VALUES (?, ?, ?, ?, ?)",
            (unlock.at, unlock.tenant, unlock.account, unlock.source, author),
        )
        _drop_old(connection, "pin_unlocks", now)
        named = [f"account {unlock.account}"] if unlock.account else ["every account"] if unlock.tenant else []
        named += [f"source {unlock.source}"] if unlock.source else []
        prefix = f"tenant {unlock.tenant}: " if unlock.tenant else ""
        what = f"{prefix}unlocked {' and '.join(named)}"
        note_edit(connection, "pin", what, author, now, tenant=unlock.tenant or None)

    await writer.transaction(edit)


async def note_failure(writer: Writer, failure: Failure) -> int:
    """Note what was keyed as a failure, before it is looked at, and return its id. Raises StoreError."""

    def note(connection: sqlite3.Connection) -> int:
        _drop_old(connection, "pin_failures", failure.at)
        id_ = connection.execute(
            "INSERT INTO pin_failures (at, tenant, account, source) VALUES (?, ?, ?, ?)",
            (failure.at, storable(failure.tenant), storable(failure.account), storable(failure.source)),
        ).lastrowid
        assert id_ is not None
        return id_

    return await writer.transaction(note)


async def forget_failure(writer: Writer, failure_id: int) -> None:
    """Take back a failure: it was right after all. Raises StoreError."""
    statement = "DELETE FROM pin_failures WHERE id = ?"
    await writer.transaction(lambda connection: connection.execute(statement, (failure_id,)).rowcount)


async def use_step(writer: Writer, pin_id: int, step: int) -> bool:
    """Use up an authenticator's code; False when that or a later one was used already. Raises StoreError."""
    statement = (
        "INSERT INTO pin_steps (pin, step) VALUES (?, ?) ON CONFLICT (pin) DO UPDATE SET step = excluded.step"
        " WHERE excluded.step > pin_steps.step"
    )
    return await writer.transaction(lambda connection: connection.execute(statement, (pin_id, step)).rowcount) > 0


def _drop_old(connection: sqlite3.Connection, table: str, now: Millis) -> None:
    connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE at < ? ORDER BY at LIMIT ?)",  # noqa: S608
        (now - KEPT_MILLIS, DROPPED_ROWS),
    )
