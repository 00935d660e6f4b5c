"""How often a person's PINs were keyed."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from fraudguard.clock import Millis


@dataclass(frozen=True, slots=True)
class Usage:
    """Attempts at which a person's PIN was keyed, and those of them that went. None: never."""

    attempts: int
    calls: int
    last_at: Millis | None


def usage(connection: sqlite3.Connection, tenant: str, name: str) -> Usage:
    """Count what was dialled with a person's PINs, with those that were rotated or revoked too."""
    row = connection.execute(
        "SELECT count(*), ifnull(sum(outcome = 'allow'), 0), max(at) FROM attempts"
        " WHERE pin_id IN (SELECT id FROM pins WHERE tenant = ? AND name = ?)",
        (tenant, name),
    ).fetchone()
    return Usage(*row)
