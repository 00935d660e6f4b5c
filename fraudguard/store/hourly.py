"""What the service does to the database every hour, and its patience with those who hold the lock meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fraudguard.errors import StoreError
from fraudguard.store.faults import is_locked

EVERY_SECONDS = 3600.0
"""How often: old rows and ends of grants are no matter of minutes."""

LOCKED_TRIES = 60
LOCKED_SECONDS = 1.0
"""A step that meets another process's lock is tried again for a minute: an import holds it for a second."""

T = TypeVar("T")


async def hourly(work: Callable[[], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
    """Do `work` now and every hour until cancelled. `failed` is told what kept it from being done."""
    while True:
        try:
            await work()
        except StoreError as error:
            failed(error)
        await asyncio.sleep(EVERY_SECONDS)


async def insisting(step: Callable[[], Awaitable[T]]) -> T:
    """Do one step, again and again while another process holds the lock. Raises StoreError."""
    for _ in range(LOCKED_TRIES):
        try:
            return await step()
        except StoreError as error:
            if not is_locked(error):
                raise
            await asyncio.sleep(LOCKED_SECONDS)
    return await step()
