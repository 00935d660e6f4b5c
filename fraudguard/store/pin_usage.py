"""How often a person's PINs were keyed, and what calls by them have cost."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.policy.reasons import Outcome
from fraudguard.rating.rate import Rate, cost
from fraudguard.store.calls import DIALLING_MILLIS, UNKNOWN_INCREMENT


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

    Calls by the PINs that the same person had before count too: a new PIN is no new money. Legs that have ended count
    what they cost, everything else what its whole lease costs: a call that is up, one that is not yet dialled, and one
    that nobody saw. Where its Asterisk was followed until it can no longer be dialled, it was none.
    """
    rows = connection.execute(
        "SELECT ifnull(sum(calls.cost), 0), count(calls.call), ifnull(sum(calls.state <> 'ended'), 0),"
        " attempts.at, (SELECT until FROM followed WHERE asterisk = attempts.asterisk"
        "  OR (SELECT count(*) FROM followed) = 1),"  # with one Asterisk every verdict is about it, whatever its name
        " attempts.per_minute, attempts.connect_fee, attempts.minimum_seconds, attempts.increment_seconds,"
        " attempts.lease_seconds FROM attempts LEFT JOIN calls ON calls.call = attempts.call"
        " WHERE attempts.pin_id IN (SELECT same.id FROM pins AS this JOIN pins AS same"
        " ON same.tenant = this.tenant AND same.name = this.name WHERE this.id = ?)"
        " AND attempts.at >= ? AND attempts.outcome = ? GROUP BY attempts.id",
        (pin_id, since, Outcome.ALLOW.value),
    )
    return sum(ended + _reserved(known, going, *rest) for ended, known, going, *rest in rows)


def _reserved(known: int, going: int, *rest: Any) -> Micros:
    """Return what legs may yet cost by the attempt's own price: those that go on, or one that is not known."""
    at, followed_until, per_minute, connect_fee, minimum, increment, lease = rest
    if per_minute is None or (known and not going):
        return 0
    if not known and (followed_until or 0) > at + (lease or 0) * 1000 + DIALLING_MILLIS:
        return 0
    rate = Rate("", "", per_minute, connect_fee, minimum or 0, increment or UNKNOWN_INCREMENT, 0)
    return max(1, going) * cost(rate, lease or 0)
