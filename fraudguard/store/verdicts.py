"""The verdict log: every verdict is committed before it is answered, many of them per transaction.

While one batch is being written and synced to disk, the verdicts that arrive queue up and are the next
batch. So the disk's sync time, not the number of calls, bounds how often it is asked to sync. When many
calls arrive, batches are given a few milliseconds more to grow.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Final, TypeAlias

from fraudguard.errors import StoreError
from fraudguard.numbering.number import BadNumber
from fraudguard.policy.alert import AlertKind, severity_of
from fraudguard.policy.index import without_port
from fraudguard.policy.pin import Keyed
from fraudguard.policy.reasons import QUIET, Outcome, Reason
from fraudguard.policy.records import Verdict
from fraudguard.store.alerts import NO_DETAILS, SHARED_COLUMNS, store_alerts
from fraudguard.store.database import Writer
from fraudguard.store.rows import TEXT_LIMIT, Row, chunks, placeholders, storable

QUEUE_LIMIT = 20_000
"""Verdicts waiting at once: twice the sessions the server takes. Beyond that the disk is stuck, and says so."""

BATCH_LIMIT = 1024
"""Verdicts per transaction: about 10 ms of work, so that nobody waits long for the lock."""

CROWD = 8
"""Verdicts in a batch from which on the next one is given time to gather."""

GATHER_SECONDS = 0.005
"""How long it is given. A batch costs two thread switches, a lock and a sync, however many share them."""

Waiter: TypeAlias = tuple[asyncio.Future[Verdict], Verdict]

# The columns that an alert takes over from its attempt stand together, so that they are one slice of the row.
_BEFORE: Final = ("outcome", "at")
_AFTER: Final = (
    *("asterisk", "linkedid", "uniqueid", "budget", "pressed"),
    *("region", "kind", "bad_number", "deck", "prefix", "lease_seconds", "simulated"),
    *("grant_id", "block_id", "minimum_seconds", "increment_seconds", "room", "strict"),
    *("pin_id", "pin", "pin_tries", "duress"),
)
_ATTEMPT_COLUMNS: Final = _BEFORE + SHARED_COLUMNS + _AFTER
_SHARED: Final = slice(len(_BEFORE), len(_BEFORE) + len(SHARED_COLUMNS))
_REASON: Final = len(_BEFORE)
_PIN: Final = _ATTEMPT_COLUMNS.index("pin")
_DURESS: Final = _ATTEMPT_COLUMNS.index("duress")

# What an alert tells of the ledger, by its reason: the name of the detail, and the column that it is taken from.
_DETAIL: Final = {
    reason.value: (name, _ATTEMPT_COLUMNS.index(name))
    for reason, name in (
        (Reason.TOO_FAST, "pressed"),
        (Reason.TOO_MANY, "pressed"),
        (Reason.OVER_BUDGET, "budget"),
    )
}

_NOBODY_ASKED: Final = (None, None, None, False)


class VerdictLog:
    """Records verdicts (guard.Recorder). Made inside a running event loop; ends with `close`.

    `committed` is told of each verdict that is stored and still waited for, before its caller is: whoever follows
    the calls knows a verdict before Asterisk can act on it. `dropped` is told of each that nobody will be given: it
    could not be stored, or nobody waits for it any more.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        committed: Callable[[Verdict], None] = lambda _: None,
        dropped: Callable[[Verdict], None] = lambda _: None,
        queue_limit: int = QUEUE_LIMIT,
        batch_limit: int = BATCH_LIMIT,
    ) -> None:
        self._writer = writer
        self._committed = committed
        self._dropped = dropped
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._rows: list[Row] = []
        self._waiters: list[Waiter] = []
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._worker = self._loop.create_task(self._work(), name="verdict log")

    def record(self, verdict: Verdict) -> asyncio.Future[Verdict]:
        """Return a future of the verdict: done when it (and its alert, if it refuses) is on disk.

        Raises StoreError when too many are waiting or the log is closed; the future does when the commit failed.
        A verdict whose future is cancelled is written nevertheless.
        """
        if self._closed:
            raise StoreError("the verdict log is closed", where=str(self._writer.path))
        if len(self._rows) >= self._queue_limit:
            raise StoreError(
                f"{self._queue_limit} verdicts are waiting to be stored",
                where=str(self._writer.path),
                fix="see whether the disk or another process's lock is stuck",
            )
        waiter = self._loop.create_future()
        self._rows.append(attempt_row(verdict))
        self._waiters.append((waiter, verdict))
        self._wake.set()
        return waiter

    async def close(self) -> None:
        """Write what is queued, then end. The writer stays open: it is whoever opened it's to close."""
        self._closed = True
        self._wake.set()
        await asyncio.shield(self._worker)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            rows, self._rows = self._rows[: self._batch_limit], self._rows[self._batch_limit :]
            waiters, self._waiters = self._waiters[: self._batch_limit], self._waiters[self._batch_limit :]
            if rows:
                await self._commit(rows, waiters)
                if len(rows) > CROWD and not self._closed:  # busy: a few calls a second are never made to wait
                    await asyncio.sleep(GATHER_SECONDS)
            elif self._closed:
                return
            else:
                self._wake.clear()

    async def _commit(self, rows: Sequence[Row], waiters: Sequence[Waiter]) -> None:
        try:
            await self._writer.transaction(partial(store_batch, rows))
        except BaseException as error:
            self._fail(waiters, error)
            if not isinstance(error, Exception):  # cancelled from outside: nobody may be left waiting
                self._fail(self._waiters, error)
                self._closed = True
                raise
        else:
            for waiter, verdict in waiters:
                if waiter.done():  # its caller was cancelled
                    self._tell(self._dropped, verdict)
                else:
                    self._tell(self._committed, verdict)
                    waiter.set_result(verdict)

    def _fail(self, waiters: Sequence[Waiter], error: BaseException) -> None:
        for waiter, verdict in waiters:
            self._tell(self._dropped, verdict)
            if not waiter.done():
                # One exception each: a shared one would collect the traceback of every waiter.
                what, fix = (error.what, error.fix) if isinstance(error, StoreError) else (repr(error), "")
                waiter.set_exception(
                    StoreError(f"the verdict is not stored: {what}", where=str(self._writer.path), fix=fix)
                )
                waiter.exception()  # known from now on: an emergency call did not wait for it

    def _tell(self, listener: Callable[[Verdict], None], verdict: Verdict) -> None:
        try:
            listener(verdict)
        except Exception as error:  # noqa: BLE001  whatever it is: who ends here answers no caller any more
            message = f"what became of verdict {verdict.call} was not taken note of"
            self._loop.call_exception_handler({"message": message, "exception": error})


def attempt_row(verdict: Verdict) -> Row:
    """Return the attempts row of a verdict, in the order of _ATTEMPT_COLUMNS."""
    facts = verdict.facts
    attempt = facts.attempt
    number = facts.number
    rate = facts.rate
    limit = facts.limit
    standing = facts.standing
    texts: tuple[str, ...] = (
        attempt.tenant,
        attempt.account,
        attempt.source,
        attempt.trunk,
        attempt.number,
        attempt.asterisk,
        attempt.linkedid,
        attempt.uniqueid,
        standing.budget,
        standing.pressed,
    )
    together = "".join(texts)
    if len(together) > TEXT_LIMIT or not together.isprintable():
        texts = tuple(map(storable, texts))
    known, why = (None, number.why) if isinstance(number, BadNumber) else (number, None)
    return (
        verdict.outcome.value,
        attempt.at,
        verdict.reason.value,
        *texts[:5],
        None if known is None else known.dialable,
        None if rate is None else rate.destination,
        None if rate is None else rate.per_minute,
        None if rate is None else rate.connect_fee,
        limit.per_minute,
        limit.level,
        verdict.call,
        *texts[5:],
        None if known is None else known.region,
        None if known is None else known.kind.value,
        why,
        facts.deck,
        None if rate is None else rate.prefix,
        verdict.lease_seconds,
        ",".join(verdict.simulated),
        None if facts.grant is None else facts.grant.id,
        None if facts.block is None else facts.block.id,
        None if rate is None else rate.minimum_seconds,
        None if rate is None else rate.increment_seconds,
        standing.room,
        facts.strict,
        *(_NOBODY_ASKED if facts.keyed is None else _keyed_columns(facts.keyed)),
    )


def _keyed_columns(keyed: Keyed) -> Row:
    pin = keyed.pin
    return (None, None, keyed.tries, False) if pin is None else (pin.id, pin.name, keyed.tries, pin.duress)


def store_batch(rows: Sequence[Row], connection: sqlite3.Connection) -> None:
    """Insert attempts and raise or fold the alerts that go with them, inside the caller's transaction."""
    for sql, parameters in chunks(_insert_attempts, rows):
        connection.execute(sql, parameters)
    store_alerts(connection, _alerts(rows))


def _alerts(rows: Sequence[Row]) -> list[Row]:
    """Return one row of ALERT_COLUMNS per fold key among those to be told of, counting its tries in this batch."""
    grouped: dict[str, tuple[int, int, int, Row]] = {}
    for row in rows:
        if row[0] == Outcome.ALLOW and not row[_DURESS]:
            continue
        at, name = row[1], row[_PIN]
        for kind in _kinds(row):
            told = (kind, *row[_SHARED][1:])
            key = _fold_key(name, *told[:7])
            first, last, tries, told = grouped.get(key, (at, at, 0, (*told, _details(kind, row))))
            grouped[key] = (min(first, at), max(last, at), tries + 1, told)
    return [
        (key, first, last, tries, told[0], severity_of(told[0]), *told)
        for key, (first, last, tries, told) in grouped.items()
    ]


def _kinds(row: Row) -> Iterator[str]:
    """Tell of which kinds of alert an attempt is. Whoever keys a duress PIN is heard, whether or not the call goes."""
    if row[0] == Outcome.NOWHERE and row[_REASON] not in QUIET:
        yield row[_REASON]
    if row[_DURESS]:
        yield AlertKind.PIN_DURESS


def _details(kind: str, row: Row) -> str:
    details = {} if row[_PIN] is None else {"pin": row[_PIN]}
    if kind in _DETAIL:
        name, column = _DETAIL[kind]
        details[name] = row[column]
    return json.dumps(details, ensure_ascii=False) if details else NO_DETAILS


def _fold_key(name: str | None, *shared: str | None) -> str:
    reason, tenant, account, source, _trunk, dialled, number = shared
    assert source is not None
    whose = () if name is None else (name,)
    # No stored text holds a control character (see storable), so the separator keeps the parts apart.
    return "\x1f".join((str(reason), str(tenant), str(account), without_port(source), str(number or dialled), *whose))


@cache
def _insert_attempts(count: int) -> str:
    return f"INSERT INTO attempts ({', '.join(_ATTEMPT_COLUMNS)}) VALUES {placeholders(_ATTEMPT_COLUMNS, count)}"  # noqa: S608
