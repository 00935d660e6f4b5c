"""Observation as a whole: the pulse in the service's loop, and the thread that tells of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fraudguard.config import Http
from fraudguard.metrics.server import MetricsServer
from fraudguard.metrics.sources import Pulse, Sources


@asynccontextmanager
async def observing(settings: Http, sources: Sources) -> AsyncIterator[tuple[str, int] | None]:
    """Serve /metrics and /healthz for as long as the context lasts; gives where, None when it is switched off.

    Raises UnreachableError when the address cannot be bound.
    """
    if not settings.enabled:
        yield None
        return
    pulse = Pulse(sources)
    server = MetricsServer(settings, pulse)
    server.start()
    pulse.start()
    try:
        yield server.address
    finally:
        pulse.stop()
        await server.stop()
