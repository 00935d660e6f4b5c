"""What the service manager is told: ready, stopping, alive, and what the service is doing (sd_notify).

The protocol is one datagram of KEY=VALUE lines to the socket that $NOTIFY_SOCKET names:
https://www.freedesktop.org/software/systemd/man/sd_notify.html. Without the variable nobody is told anything.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Final, Self

import structlog

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = "WATCHDOG_USEC"
WATCHDOG_PID: Final = "WATCHDOG_PID"

TICKS: Final = 2
"""Signs of life per watchdog period: half the period is what sd_watchdog_enabled(3) recommends."""

STATUS_SECONDS: Final = 5.0
"""How often the line of `systemctl status` is brought up to date."""

MAX_STATUS: Final = 200
"""Characters of that line."""

_SOCKET_BUFFER_FULL = (BlockingIOError, InterruptedError)

log = structlog.get_logger()


class Manager:
    """The service manager at the other end. Telling it never waits and never raises: the calls come first."""

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        self._address = "\0" + address[1:] if address.startswith("@") else address  # '@': an abstract socket
        self._socket: socket.socket | None = None
        self._complained = False
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Manager:
        """Return the manager that started this process, and take the variables away: they are not for children.

        Without $NOTIFY_SOCKET it is one that listens to nothing. `watchdog` is the period in seconds, None
        without one, or where it is meant for another process.
        """
        address = environment.pop(SOCKET, "")
        period = environment.pop(WATCHDOG, "")
        pid = environment.pop(WATCHDOG_PID, "")
        mine = pid in ("", str(os.getpid()))
        watched = bool(address) and mine and period.isdigit() and int(period) > 0
        return cls(address if address[:1] in ("/", "@") else "", int(period) / 1e6 if watched else None)

    def tell(self, **fields: str) -> None:
        """Send KEY=VALUE lines in one datagram."""
        if self._socket is None:
            return
        text = "\n".join(f"{key}={value}" for key, value in fields.items())
        try:
            self._socket.sendto(text.encode("utf-8", "replace"), self._address)
        except _SOCKET_BUFFER_FULL:
            return  # the manager is slow; the next sign of life is on its way
        except OSError as error:
            if not self._complained:  # at every tick it would fail again
                log.warning("the service manager cannot be told", error=error.strerror)
            self._complained = True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Readiness:
    """Tells the manager how the service is, from the running loop, for as long as the context lasts.

    Put it around everything, because closing takes time, too; say `ready` and `stopping` inside.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._status: Callable[[], str] | None = None
        self._told = ""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._manager.watchdog is not None:
            self._beat(loop, self._manager.watchdog / TICKS)
        self._refresh(loop)
        return self

    async def __aexit__(self, *exception: object) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._manager.close()

    def ready(self, status: Callable[[], str]) -> None:
        """Say that callers can be served. From now on `status` makes the line of `systemctl status`."""
        self._status = status
        self._told = _line(status())
        self._manager.tell(READY="1", STATUS=self._told)

    def stopping(self) -> None:
        """Say that the service was told to stop and is about to."""
        self._status = None
        self._manager.tell(STOPPING="1", STATUS="stopping")

    def _beat(self, loop: asyncio.AbstractEventLoop, every: float) -> None:
        # From the loop and nowhere else: a thread would go on saying that all is well while no caller is served.
        self._manager.tell(WATCHDOG="1")
        self._timers["beat"] = loop.call_later(every, self._beat, loop, every)

    def _refresh(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._status is not None and (line := _line(self._status())) != self._told:
            self._told = line
            self._manager.tell(STATUS=line)
        self._timers["status"] = loop.call_later(STATUS_SECONDS, self._refresh, loop)


def _line(text: str) -> str:
    return " ".join(text.split())[:MAX_STATUS]  # a line end would begin another field
