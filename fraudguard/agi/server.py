"""The FastAGI server: listens, turns strangers away, keeps deadlines, and stops without dropping a caller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from fraudguard.agi.counters import Counters, Failure, QuietLog
from fraudguard.agi.session import LINGER, Desk, Handler, Session
from fraudguard.errors import ConfigError, UnreachableError

SWEEP: Final = 0.1
"""Seconds between looks for sessions past their deadline: one timer for all costs less than one for each."""

BACKLOG: Final = 1024
"""Connections the kernel holds for us: a burst of callers during a slow commit must not meet a closed door."""

MAX_ADDRESSES: Final = 1024
"""Peer addresses whose admission is remembered; an Asterisk connects from one."""

Network: TypeAlias = IPv4Network | IPv6Network


class AgiServer:
    """Serves FastAGI requests by path ('outbound' of agi://host/outbound).

    `allow` are the networks that may connect, `deadline` the seconds from connection to answer, `sessions`
    how many may be open at once. Raises ConfigError for a network that is none.
    """

    _sweeper: asyncio.TimerHandle

    def __init__(
        self,
        routes: Mapping[str, Handler],
        *,
        host: str = "127.0.0.1",
        port: int = 4573,
        allow: Iterable[str] = ("127.0.0.0/8", "::1/128"),
        deadline: float = 2.0,
        sessions: int = 10_000,
    ) -> None:
        self._routes = routes
        self._host = host
        self._port = port
        self._networks = tuple(_network(text) for text in allow)
        self._deadline = deadline
        self._max_sessions = sessions
        self._allowed = lru_cache(MAX_ADDRESSES)(self._is_allowed)
        self._desk: Desk | None = None
        self._listener: asyncio.Server | None = None

    @property
    def counters(self) -> Counters:
        return self._running.counters

    @property
    def open_sessions(self) -> int:
        return len(self._running.sessions)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: with port 0 configured, the port the system chose."""
        assert self._listener is not None, "not started"
        host, port, *_ = self._listener.sockets[0].getsockname()
        return host, port

    async def start(self) -> None:
        """Listen. Raises UnreachableError when the address cannot be bound."""
        loop = asyncio.get_running_loop()
        desk = Desk(self._routes, self._admit, self._deadline, loop, QuietLog(loop.time))
        try:
            self._listener = await loop.create_server(lambda: Session(desk), self._host, self._port, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            raise UnreachableError(
                f"cannot listen on {self._host}:{self._port}: {error}",
                where="agi.host, agi.port",
                fix="stop what uses the port, or choose another",
            ) from None
        desk.idle.set()
        self._desk = desk
        self._sweep()

    async def stop(self, grace: float = 5.0) -> None:
        """Stop listening; sessions have `grace` seconds to get their answer, then a failure line.

        Those that talk with a caller would need longer, and get it at once.
        """
        if self._listener is None:
            return
        desk = self._running
        self._listener.close()
        for session in [session for session in desk.sessions if session.talks]:
            session.fail(Failure.STOPPING)
        if not await _within(grace, desk.idle):
            for session in tuple(desk.sessions):
                session.fail(Failure.STOPPING)
            await _within(2 * LINGER, desk.idle)  # the sweep resets whoever does not take the line
        self._sweeper.cancel()
        await self._listener.wait_closed()
        desk.log.flush()
        self._listener = None

    @property
    def _running(self) -> Desk:
        assert self._desk is not None, "not started"
        return self._desk

    def _sweep(self) -> None:
        desk = self._running
        now = desk.loop.time()
        for session in [session for session in desk.sessions if session.deadline <= now]:
            session.expire()
        self._sweeper = desk.loop.call_later(SWEEP, self._sweep)

    def _admit(self, peer: str) -> Failure | None:
        if not self._allowed(peer):
            return Failure.NOT_ALLOWED
        return Failure.TOO_MANY if self.open_sessions > self._max_sessions else None

    def _is_allowed(self, peer: str) -> bool:
        address = ip_address(peer)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # an IPv4 peer of a socket bound to ::
        return any(address in network for network in self._networks)


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not a network", where="agi.allow", fix="write it as 192.0.2.0/24 or 2001:db8::/32"
        ) from None


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
