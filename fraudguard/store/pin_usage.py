"""How often a person's PINs were keyed, and what calls by them have cost."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from fraudguard.clock import Millis
from fraudguard.ledger.records import Call
from fraudguard.money import Micros
from fraudguard.policy.reasons import Outcome
from fraudguard.rating.rate import Rate, most
from fraudguard.store.calls import DIALLING_MILLIS, UNKNOWN_INCREMENT, unfinished_calls


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


def spent(connection: sqlite3.Connection, pin_id: int, since: Millis) -> Micros:
    """Return what calls by this PIN since then have cost, or may yet.

    Calls by the PINs that the same person had before count too: a new PIN is no new money. Calls that have ended count
    what they cost since then, those that are up what their whole lease costs but for what they cost before. A verdict
    by which no call is known counts what its lease costs: nothing was dialled yet, or nobody saw it. Where its Asterisk
    was followed until it can no longer be dialled, it was none.
    """
    person = connection.execute("SELECT tenant, name FROM pins WHERE id = ?", (pin_id,)).fetchone()
    if person is None:
        return 0
    tenant, name = person
    (ended,) = connection.execute(
        "SELECT ifnull(sum(amount), 0) FROM spending WHERE until > ? AND tenant = ? AND pin = ?", (since, tenant, name)
    ).fetchone()
    live = unfinished_calls(connection, tenant=tenant, pin=name)
    return int(ended) + sum(_may_cost(call, since) for call in live) + _undialled(connection, pin_id, since)


def _may_cost(call: Call, since: Millis) -> Micros:
    before = call.charged_at(since) if call.answered_at is not None and call.answered_at <= since else 0
    return max(0, call.reserved() - before)


def _undialled(connection: sqlite3.Connection, pin_id: int, since: Millis) -> Micros:
    rows = connection.execute(
        "SELECT at, (SELECT until FROM followed WHERE asterisk = attempts.asterisk"
        "  OR (SELECT count(*) FROM followed) = 1),"  # with one Asterisk every verdict is about it, whatever its name
        " lease_seconds, per_minute, connect_fee, minimum_seconds, increment_seconds FROM attempts"
        " WHERE pin_id IN (SELECT same.id FROM pins AS this JOIN pins AS same"
        " ON same.tenant = this.tenant AND same.name = this.name WHERE this.id = ?)"
        " AND at >= ? AND outcome = ? AND per_minute IS NOT NULL AND lease_seconds IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.call = attempts.call)",
        (pin_id, since, Outcome.ALLOW.value),
    )
    return sum(
        most(Rate("", "", per_minute, connect_fee, minimum or 0, increment or UNKNOWN_INCREMENT, 0), lease)
        for at, followed_until, lease, per_minute, connect_fee, minimum, increment in rows
        if (followed_until or 0) <= at + lease * 1000 + DIALLING_MILLIS
    )
