"""The end of a frozen worker: when the event loop stands still, the process is killed.

Asterisk has no read timeout on FastAGI: a server that accepts and stays silent holds the caller for ever
(measured on 22.10.1). When the loop itself does not run, neither does any deadline of ours; but a closed
connection sends the waiting callers to the fence at once, and the supervisor starts the service again.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from typing import Final

LIMIT: Final = 2.5
"""Seconds without a tick that mean frozen: a caller is to reach the fence within 3."""

_TICKS: Final = 5  # per limit; each re-arms a C thread, some 50 microseconds


class Watchdog:
    """Kills this process, with a traceback of every thread on standard error, when the loop stands still.

    The waiting is done by a C thread of faulthandler that needs no GIL, so a loop held up by Python code, by
    a C extension or by a lock is all the same to it. There is one such thread in a process: the last
    Watchdog started rules. A process stopped by a signal or a debugger for longer than the limit dies when
    it goes on.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._handle: asyncio.TimerHandle | None = None

    @classmethod
    def started(cls) -> Watchdog:
        """Return one that watches already."""
        watchdog = cls()
        watchdog.start()
        return watchdog

    def start(self) -> None:
        """Watch the running loop from now on."""
        self._tick(asyncio.get_running_loop())

    def stop(self) -> None:
        """Watch no longer: before work that may block, such as closing down."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            faulthandler.cancel_dump_traceback_later()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        faulthandler.dump_traceback_later(self._limit, exit=True, file=sys.__stderr__ or sys.stderr)
        self._handle = loop.call_later(self._limit / _TICKS, self._tick, loop)
