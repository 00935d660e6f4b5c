"""Dropping what is older than the configuration keeps, and giving the room back, while verdicts go on.

A verdict waits for whatever holds the write lock, so everything here is done in steps of a few milliseconds with
pauses in between. Measured on two cores with a million attempts (240 MB): a step of 200 rows takes 2.3 ms (median),
one of 64 pages 1.7 ms. 99 of 100 verdicts are stored within 4.7 ms while nothing else goes on, 9.3 ms while the
service prunes (4,500 rows a second) and 13.4 ms while `store compact` halves the file (11 s). A VACUUM would hold the
lock for 2.5 s, longer than a caller is made to wait for a verdict.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from fraudguard.clock import DAY_MILLIS, Clock, Millis
from fraudguard.config import Retention
from fraudguard.store.database import Writer, open_exclusive, open_writer
from fraudguard.store.hourly import hourly, insisting

STEP_ROWS = 200
"""Rows dropped per transaction."""

STEP_PAGES = 64
"""Pages given back per transaction: a quarter of a megabyte."""

REST = 9
"""A pause is so many times as long as the step before it: retention takes a tenth of the lock's time."""

SHORTEST_PAUSE_SECONDS = 0.005
"""Also after a step that took next to nothing: those who wait for the lock look for it every few milliseconds."""

SOURCES_LIMIT = 200_000
"""Sources kept at most, some 40 MB; beyond that those that only ever failed are dropped, the longest unseen first.
Addresses can be forged: somebody who does so must not fill the disk."""

SPENDING_DAYS = 62
"""What was spent is kept for twice as long as any budget looks back."""

_INCREMENTAL: Final = 2  # of PRAGMA auto_vacuum

T = TypeVar("T")

# Each drops at most :rows that are older than :before, finding them by an index.
_DROP: Final = {
    "attempts": "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE at < :before ORDER BY at LIMIT :rows)",
    "calls": "DELETE FROM calls WHERE (asterisk, uniqueid) IN (SELECT asterisk, uniqueid FROM calls"
    " WHERE began_at < :before AND state = 'ended' ORDER BY began_at LIMIT :rows)",
    "alerts": "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts"
    " WHERE last_at < :before AND acked_at IS NOT NULL ORDER BY last_at LIMIT :rows)",
    "sources": "DELETE FROM sources WHERE (asterisk, account, address) IN"
    " (SELECT asterisk, account, address FROM sources WHERE last_at < :before ORDER BY last_at LIMIT :rows)",
    # Edits have no index by time and need none: they are numbered as they come.
    # Who did what to PINs is kept for good.
    "edits": "DELETE FROM edits WHERE id IN"
    " (SELECT id FROM edits WHERE at < :before AND noun <> 'pin' ORDER BY id LIMIT :rows)",
    "spending": "DELETE FROM spending WHERE (until, tenant, account, pin, trunk, region, domestic) IN"
    " (SELECT until, tenant, account, pin, trunk, region, domestic FROM spending WHERE until < :before"
    " ORDER BY until LIMIT :rows)",
}

_DROP_FAILING: Final = (
    "DELETE FROM sources WHERE (asterisk, account, address) IN (SELECT asterisk, account, address FROM sources"
    " WHERE succeeded + called = 0 ORDER BY last_at LIMIT :rows)"
)


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compacting did: rows dropped by table, and the bytes that the database and its WAL took and take."""

    dropped: dict[str, int]
    before: int
    after: int


async def prune(writer: Writer, keep: Retention, now: Millis, *, patient: bool = False) -> dict[str, int]:
    """Drop what is older than `keep` says, in small steps with pauses. Return how many rows went, by table.

    Open alerts and calls that have not ended stay, however old. Raises StoreError. `patient` is for those whose writer
    nobody else waits for (see Writer.transaction).
    """
    days = {
        "attempts": keep.attempts_days,
        "calls": keep.calls_days,
        "alerts": keep.alerts_days,
        "sources": keep.sources_days,
        "edits": keep.attempts_days,  # they explain the verdicts
        "spending": SPENDING_DAYS,
    }
    dropped = dict.fromkeys(_DROP, 0)
    for table, statement in _DROP.items():
        if days[table]:
            before = now - days[table] * DAY_MILLIS
            dropped[table] = await _drop(writer, statement, before=before, patient=patient)
    excess = await writer.run(_count_sources) - SOURCES_LIMIT
    if excess > 0:
        dropped["sources"] += await _drop(writer, _DROP_FAILING, most=excess, patient=patient)
    return dropped


async def prune_hourly(
    writer: Writer,
    keep: Retention,
    clock: Clock,
    *,
    pruned: Callable[[dict[str, int]], None] = lambda _: None,
    failed: Callable[[Exception], None] = lambda _: None,
) -> None:
    """Prune now and every hour until cancelled. `pruned` is told what went, `failed` what kept it from going."""

    async def work() -> None:
        pruned(await prune(writer, keep, clock.now()))

    await hourly(work, failed)


async def compact(path: Path, keep: Retention, now: Millis) -> Compacted:
    """Prune, and give the room back to the file system; a running service goes on meanwhile. Raises StoreError.

    A database from before room could be given back step by step is rebuilt as a whole. That takes nobody else
    having it open.
    """
    before = size_of(path)
    async with await open_writer(path) as writer:
        dropped = await prune(writer, keep, now, patient=True)
        stepwise = await writer.run(_gives_back_in_steps)
        if stepwise:
            while await writer.run(_has_room):
                await _paced(partial(writer.run, _give_back))
            # What disturbs nobody goes first; then little is left to do while writers wait.
            await writer.run(partial(_pragma, "wal_checkpoint(PASSIVE)"))
            await writer.run(partial(_pragma, "wal_checkpoint(TRUNCATE)"))
    if not stepwise:
        async with await open_exclusive(path) as writer:
            await writer.run(_rebuild)
    return Compacted(dropped, before, size_of(path))


def size_of(path: Path) -> int:
    """Return the bytes that the database and its WAL take."""
    wal = path.with_name(path.name + "-wal")
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)


async def _drop(writer: Writer, statement: str, *, before: Millis = 0, most: int | None = None, patient: bool) -> int:
    """Run `statement` step by step until it finds nothing more, or `most` rows went. Return how many did."""
    total, count, rows = 0, STEP_ROWS, STEP_ROWS
    while count == rows and rows:
        rows = STEP_ROWS if most is None else min(STEP_ROWS, most - total)
        step = partial(_delete, statement, {"before": before, "rows": rows})
        count = await insisting(partial(_paced, partial(writer.transaction, step, patient=patient)))
        total += count
    return total


async def _paced(step: Callable[[], Awaitable[T]]) -> T:
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await step()
    await asyncio.sleep(max(SHORTEST_PAUSE_SECONDS, REST * (loop.time() - began)))
    return result


def _delete(statement: str, parameters: dict[str, int], connection: sqlite3.Connection) -> int:
    return connection.execute(statement, parameters).rowcount


def _count_sources(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM sources").fetchone()
    return int(count)


def _pragma(name: str, connection: sqlite3.Connection) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _gives_back_in_steps(connection: sqlite3.Connection) -> bool:
    return _pragma("auto_vacuum", connection) == _INCREMENTAL


def _has_room(connection: sqlite3.Connection) -> bool:
    return _pragma("freelist_count", connection) > 0


def _give_back(connection: sqlite3.Connection) -> None:
    # execute() would stop after the first page: the statement returns a row without columns for each.
    connection.executescript(f"PRAGMA incremental_vacuum({STEP_PAGES})")


def _rebuild(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
