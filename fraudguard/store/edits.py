"""Who changed what, and which part of the operators' edits has changed since a snapshot was loaded."""

from __future__ import annotations

import sqlite3

from fraudguard.clock import Millis


def note_edit(
    connection: sqlite3.Connection,
    noun: str,
    what: str,
    author: str,
    now: Millis,
    *,
    tenant: str | None = None,
    about: str | None = None,
) -> None:
    """Write an edit down and raise its noun's revision, inside the edit's own transaction.

    `noun` is 'limit', 'grant', 'block', 'pin' or 'budget', or a deck's (see deck_noun). `tenant` and `about` are what
    an edit of PINs is found by: the tenant, and the person's name.
    """
    connection.execute(
        "INSERT INTO edits (at, author, noun, what, tenant, about) VALUES (?, ?, ?, ?, ?, ?)",
        (now, author, noun, what, tenant, about),
    )
    connection.execute(
        "INSERT INTO revisions VALUES (?, 1) ON CONFLICT (noun) DO UPDATE SET value = value + 1", (noun,)
    )


def deck_noun(name: str) -> str:
    """Return the noun under which the edits of a deck are counted: each by itself, because loading one is work."""
    return f"deck:{name}"


def revisions(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how often each noun was edited."""
    return dict(connection.execute("SELECT noun, value FROM revisions"))
