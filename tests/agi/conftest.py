"""A server on a free port, and the FakeAsterisk that calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from fraudguard.agi.server import AgiServer
from fraudguard.agi.session import Handler
from fraudguard.testing import FakeAsterisk


@asynccontextmanager
async def running(server: AgiServer) -> AsyncIterator[AgiServer]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=0)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Start a server of the given handlers; it is stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(routes: dict[str, Handler], **options: Any) -> tuple[AgiServer, FakeAsterisk]:
            server = await stack.enter_async_context(running(AgiServer(routes, port=0, **options)))
            return server, FakeAsterisk(*server.address)

        yield start
