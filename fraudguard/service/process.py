"""What the service is to the machine: signals, open files, the service manager."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable

import structlog

from fraudguard.clock import Clock
from fraudguard.config import Settings
from fraudguard.metrics.server import MAX_FILES
from fraudguard.readiness import Manager, Readiness
from fraudguard.service.composition import Service, running

OWN_FILES = 100 + MAX_FILES  # database connections, log, listeners, links, alerts, the interpreter; and the HTTP server

log = structlog.get_logger()


async def serve(settings: Settings, clock: Clock, started: Callable[[Service], None]) -> None:
    """Run until SIGTERM, SIGINT or SIGHUP; callers in the middle of a request get their answer. Raises as `running`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # its manager starts it again with the new settings
        loop.add_signal_handler(number, stop.set)
    _raise_open_files(settings.agi.sessions)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the secrets of the links, and of the PINs
    async with Readiness(Manager.of(os.environ)) as readiness, running(settings, clock) as service:
        host, port = service.address
        log.info("listening", host=host, port=port, trunks=sorted(settings.trunks))
        for deck in service.missing_decks:
            log.warning("deck holds no rates: only domestic calls can go", deck=deck)
        started(service)
        readiness.ready(service.summary)
        await stop.wait()
        readiness.stopping()
        log.info("stopping")


def _raise_open_files(sessions: int) -> None:
    """Ask for a file descriptor per session beside our own: the usual soft limit of 1024 would end at 1000 callers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sessions + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted:
        log.warning("fewer sessions than configured can be open", sessions=granted - OWN_FILES, open_files=granted)
