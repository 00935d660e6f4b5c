"""Connections to a manager, run beside the test; and a manager that says what the test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fraudguard.ami.connection import AmiError, Connection, Timing
from fraudguard.clock import SystemClock
from fraudguard.config import Ami

QUICK = Timing(backoff=0.01, backoff_most=0.02, steady=60.0)
WANTED = frozenset({"Newchannel", "Hangup", "VarSet", "UserEvent"})
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def link_to(port: int, *, secret: str = "secret", timing: Timing = QUICK, **settings: Any) -> Connection:
    events = settings.pop("events", WANTED)
    ami = Ami(host="127.0.0.1", port=port, secret=secret, **settings)
    return Connection("pbx", ami, secret, events=events, clock=SystemClock(), timing=timing)


@asynccontextmanager
async def kept_up(connection: Connection) -> AsyncIterator[Connection]:
    """Run it until the end of the context; whatever `run` raised but a refusal is raised there."""
    running = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, AmiError):
            await running


async def headers(reader: asyncio.StreamReader) -> dict[str, str]:
    """Read one action."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    return dict(line.split(": ", 1) for line in text.strip().split("\r\n"))


def answer(action: dict[str, str], response: str, *lines: str) -> bytes:
    return "".join(
        f"{line}\r\n" for line in (f"Response: {response}", f"ActionID: {action['ActionID']}", *lines, "")
    ).encode()


async def silence(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()
