"""Budgets as operators edit them: the sums they begin with, and what they mean for calls that are up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial

import structlog

from fraudguard.clock import Clock, Millis
from fraudguard.errors import StoreError
from fraudguard.ledger import Ledger
from fraudguard.ledger.pots import Pots
from fraudguard.ledger.warnings import hush
from fraudguard.policy import PolicyIndex
from fraudguard.policy.budget import reach
from fraudguard.service.desk import Desk
from fraudguard.store import Reader
from fraudguard.store.keepers import CallKeeper
from fraudguard.store.spending import spent_since

RETRY_SECONDS = 1.0
"""When it is tried again to read what was spent."""

log = structlog.get_logger()


class Budgets:
    """Brings operators' edits to the ledger. `policy` returns them as they stand."""

    def __init__(
        self,
        ledger: Ledger,
        desk: Desk,
        calls: CallKeeper,
        reader: Reader,
        policy: Callable[[], PolicyIndex],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._calls = calls
        self._reader = reader
        self._policy = policy
        self._clock = clock
        self._edited = asyncio.Event()
        self._stale = False

    def edited(self) -> None:
        """Something was edited. Never waits."""
        self._edited.set()

    def reload(self) -> None:
        """What was spent in the periods that run now is another: the clock was set. Never waits."""
        self._stale = True
        self._edited.set()

    async def follow(self) -> None:
        """Follow the edits until cancelled."""
        while True:
            await self._edited.wait()
            self._edited.clear()
            try:
                await self._bring()
            except StoreError as error:
                log.error("what was spent could not be read; the previous budgets hold", error=str(error))  # noqa: TRY400
                await asyncio.sleep(RETRY_SECONDS)
                self._edited.set()

    async def _bring(self) -> None:
        policy = self._policy()
        if self._stale or policy.budgets != self._ledger.treasury.budgets:
            filled = partial(self._filled, policy, self._clock.now())
            pots = await self._calls.exactly(lambda: None, filled, reader=self._reader)
            self._ledger.treasury.adopt(pots)  # before anything more is stored
            hush(self._ledger.treasury, self._clock.now())
            self._stale = False
        self._desk.reconsider(policy)

    def _filled(self, policy: PolicyIndex, now: Millis, db: sqlite3.Connection) -> Pots:
        """Read what was spent, in the reader's thread: with many accounts and a month to look back it takes seconds."""
        spent = spent_since(db, now - reach(policy.budgets))
        return self._ledger.treasury.prepare(policy.budgets, spent, now)
