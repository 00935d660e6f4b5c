"""What a tempo has to know from before: attempts that passed, and where each account has called."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from fraudguard.clock import DAY_MILLIS, Millis
from fraudguard.house import House
from fraudguard.ledger.tempo import Account, Called, Caller, Tempo
from fraudguard.policy.index import host_of
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.rules import AFTER_SPEED

PASSED_ROWS: Final = 100_000
"""Attempts read at a start, the latest, in 1.5 s: 160 a second for the ten minutes that the longest window has."""

_OTHERWISE_REFUSED: Final = ", ".join(f"'{reason}'" for reason in sorted(AFTER_SPEED - {Reason.OK}))

# Word by word the condition of the index attempts_regions: what is not domestic, as Facts.payer means it.
_COUNTS: Final = "kind NOT IN ('emergency', 'domestic', 'service') AND (kind <> 'toll_free' OR region IS NULL)"

_REGION: Final = "ifnull(region, '001')"

_FIRST: Final = (  # from a tenant, account and region to what comes next in the index
    f"SELECT tenant, account, {_REGION}, at FROM attempts WHERE outcome = 'allow' AND {_COUNTS} AND {{}}"  # noqa: S608  own names
    f" ORDER BY tenant, account, {_REGION}, at LIMIT 1"
)
_NEXT_REGION: Final = _FIRST.format(f"tenant = ? AND account = ? AND {_REGION} > ?")
_NEXT_ACCOUNT: Final = _FIRST.format("tenant = ? AND account > ?")
_NEXT_TENANT: Final = _FIRST.format("tenant > ?")


def stored_tempo(connection: sqlite3.Connection, house: House, now: Millis, only: Account | None = None) -> Tempo:
    """Return a tempo that knows what a service knows that starts now, but for the calls that are up.

    With `only` it knows of no other account where it has called.
    """
    tempo = Tempo(house.speed_of)
    tempo.restore(_passed(connection, now - house.longest_window), _called(connection, now, only))
    return tempo


def _passed(connection: sqlite3.Connection, since: Millis) -> Iterator[tuple[Caller, Millis, bool]]:
    """Yield the attempts that passed since then, in the order in which they came."""
    rows = connection.execute(
        f"SELECT * FROM (SELECT tenant, account, source, {_REGION}, number, strict, at, outcome, id"  # noqa: S608  own names
        f" FROM attempts WHERE at >= ? AND (outcome = 'allow' OR reason IN ({_OTHERWISE_REFUSED})) AND {_COUNTS}"
        " ORDER BY at DESC LIMIT ?) ORDER BY id",
        (since, PASSED_ROWS),
    )
    for tenant, account, source, region, number, strict, at, outcome, _ in rows:
        address = host_of(source) if source else ""
        caller = Caller(tenant, account, address, region, number, domestic=False, strict=bool(strict))
        yield caller, at, outcome == Outcome.ALLOW


def _called(connection: sqlite3.Connection, now: Millis, only: Account | None) -> Iterator[Called]:
    """Yield where each account has called, as long as attempts are kept; then where it was refused within a day."""
    first = _first_call(connection, ("", "", "") if only is None else (*only, ""), only)
    while first is not None:
        yield first
        first = _first_call(connection, first[:3], only)
    rows = connection.execute(
        f"SELECT tenant, account, {_REGION}, max(at) FROM attempts"  # noqa: S608  own names
        f" WHERE at >= ? AND outcome = 'nowhere' AND reason IN ({_OTHERWISE_REFUSED}) AND {_COUNTS}"
        f" GROUP BY tenant, account, {_REGION}",
        (now - DAY_MILLIS,),
    )
    for tenant, account, region, at in rows:
        if only is None or (tenant, account) == only:
            yield Called(tenant, account, region, at, called=False)


def _first_call(connection: sqlite3.Connection, after: tuple[str, str, str], only: Account | None) -> Called | None:
    """Return the first call to the region that comes next.

    One by one, because many attempts are to few regions. Measured: 0.1 s for 10,000 of an account each, however many
    attempts; reading through the index takes 0.4 s for each million of them.
    """
    searches = (_NEXT_REGION, _NEXT_ACCOUNT, _NEXT_TENANT) if only is None else (_NEXT_REGION,)
    for search in searches:
        row = connection.execute(search, after[: search.count("?")]).fetchone()
        if row is not None:
            tenant, account, region, at = row
            return Called(tenant, account, region, at, called=True)
    return None
