"""Work that goes on beside the calls, for as long as the service runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog

log = structlog.get_logger()


def background(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Run `work` until the stack unwinds. Should it end by a defect of ours, that is logged, not hidden."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_ended)
    stack.push_async_callback(_cancelled, task)


def _tell_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the service ended", part=task.get_name(), exc_info=error)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):  # told when it ended
        await task
