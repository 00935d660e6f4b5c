"""The manager half of FakeAsterisk: main/manager.c of Asterisk 22 over a real socket.

Refusals are in that file's words. A client reads what Asterisk would have written: the banner at once, a response
to each action in turn, and the events of the classes it may read, through its filters, in the order they happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from fraudguard.clock import Clock
from fraudguard.testing.channels import Headers
from fraudguard.testing.faults import AmiFaults
from fraudguard.testing.filters import ALL, EventFilter, privileges, wanted
from fraudguard.testing.security import security_headers

BANNER: Final = "Asterisk Call Manager/11.0.0\r\n"

MAX_LINE: Final = 1024
"""Bytes of a line that Asterisk reads (sizeof inbuf in main/manager.c); a longer one spoils its action."""

MAX_HEADERS: Final = 128
"""AST_MAX_MANHEADERS."""

BURST: Final = 256
"""Messages handed to the socket at once, as a busy Asterisk does."""

MAX_BUFFER: Final = 16 * 1024 * 1024
"""Bytes read ahead of what was taken: only so that a test of endless lines ends."""

_TEXT: Final = {"encoding": "utf-8", "errors": "surrogateescape"}


@dataclass(frozen=True, slots=True)
class ManagerUser:
    """A section of manager.conf. `filters` are its eventfilter lines: (criteria, pattern), plain ones with ''."""

    username: str = "fraudguard"
    secret: str = "secret"  # noqa: S105  (a fake's)
    read: frozenset[str] = ALL
    write: frozenset[str] = ALL
    filters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """What a client asked for: its headers in order, as they came."""

    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """Return the first header of that name, whatever its case; '' when there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def name(self) -> str:
        return self.get("Action")


@dataclass(eq=False)
class AmiSession:
    """One connected client. `user` is None until it has logged in, `events` the classes it wants and may read."""

    server: AmiServer
    writer: asyncio.StreamWriter
    user: ManagerUser | None = None
    events: frozenset[str] = frozenset()
    filters: list[EventFilter] = field(default_factory=list)
    challenge: str = ""
    _queue: asyncio.Queue[bytes | asyncio.Future[None] | None] = field(default_factory=asyncio.Queue)
    _ended: bool = False

    @property
    def peer(self) -> str:
        host, port, *_ = self.writer.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104  (nobody's)
        return f"{host}:{port}"

    def send(self, *messages: bytes) -> None:
        """Queue bytes, after all that was queued before."""
        for message in messages:
            self._queue.put_nowait(message)

    def respond(self, action: Action, response: str, *headers: tuple[str, str]) -> None:
        """Answer an action, with its ActionID where it has one."""
        given = action.get("ActionID")
        self.send(_message([("Response", response), *([("ActionID", given)] if given else []), *headers]))

    def refuse(self, action: Action, text: str) -> None:
        self.respond(action, "Error", ("Message", text))

    def deliver(self, event: str, classes: frozenset[str], text: str) -> None:
        """Send an event, if this client may read it and its filters let it through."""
        if self.events & classes and wanted(self.filters, event, text):
            self.send(text.encode(**_TEXT))

    def abort(self, *, reset: bool = False) -> None:
        """End the connection, whatever is still to be sent; with `reset` as when the machine behind it is gone."""
        if reset:
            linger = struct.pack("ii", 1, 0)  # for no time: close() sends RST instead of FIN
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Talk with the client until either side ends it."""
        sending = asyncio.create_task(self._write())
        try:
            self.send(BANNER.encode())
            while await self._act(reader):
                pass
            self._queue.put_nowait(None)
            await sending
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # gone, or nothing that Asterisk would read on
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending
            self.writer.close()

    async def flushed(self) -> None:
        """Wait until everything queued so far has been handed to the socket, or the connection is gone."""
        if not self._ended:
            reached = asyncio.get_running_loop().create_future()
            self._queue.put_nowait(reached)
            await reached

    async def _act(self, reader: asyncio.StreamReader) -> bool:
        """Read one action and obey it; False when the session is over."""
        headers: list[tuple[str, str]] = []
        too_long = False
        while True:
            line = await reader.readuntil(b"\n")
            await self.server.faults.flowing()
            text = line.rstrip(b"\n").removesuffix(b"\r").decode(**_TEXT)
            if not text:
                break
            too_long = too_long or len(line) > MAX_LINE
            if len(line) <= MAX_LINE:
                name, _, value = text.partition(":")
                headers.append((name, value.lstrip(" ")))
        action = Action(tuple(headers[:MAX_HEADERS]))
        if too_long:
            self.refuse(action, "Failed to parse message: line too long")
        elif len(headers) > MAX_HEADERS:
            self.refuse(action, "Too many lines in message or allocation failure")
        else:
            self.server.received.append(action)
            self.server.heard.set()
            return await self.server.obey(self, action)
        return True

    async def _write(self) -> None:
        try:
            more = True
            while more:
                await self.server.faults.flowing()
                data, reached, more = await self._queued()
                for piece in self.server.faults.pieces(data):
                    self.writer.write(piece)
                    if len(piece) < len(data):
                        await asyncio.sleep(0)  # the other side may run, and see each segment by itself
                await self._drain()
                for future in reached:
                    future.set_result(None)
        except (OSError, TimeoutError):  # cut, or a client that does not read
            self.abort()
        finally:
            self._ended = True
            self.server.forget(self)
            while not self._queue.empty():
                if isinstance(item := self._queue.get_nowait(), asyncio.Future):
                    item.set_result(None)

    async def _queued(self) -> tuple[bytes, list[asyncio.Future[None]], bool]:
        """Wait for something to send and take all there is: (bytes, who waits for them, whether more may come)."""
        parts: list[bytes] = []
        reached: list[asyncio.Future[None]] = []
        item = await self._queue.get()
        await self.server.faults.flowing()
        while item is not None:
            if isinstance(item, bytes):
                parts.append(item)
            else:
                reached.append(item)
            if self._queue.empty() or len(parts) >= BURST:
                return b"".join(parts), reached, True
            item = self._queue.get_nowait()
        return b"".join(parts), reached, False

    async def _drain(self) -> None:
        """Wait for the client to read, if Asterisk's patience (writetimeout) is to be played."""
        limit = self.server.write_timeout
        if limit is None:
            await self.writer.drain()
            return
        self.writer.transport.set_write_buffer_limits(0)
        async with asyncio.timeout(limit):
            await self.writer.drain()


Handler = Callable[[AmiSession, Action], bool | None]
"""Carries out an action. False ends the session."""


@dataclass(frozen=True, slots=True)
class Command:
    """An action that this server knows: what ListCommands says of it, and who may ask for it (no class: anybody)."""

    synopsis: str
    classes: tuple[str, ...]
    handler: Handler


class AmiServer:
    """Listens on a free port of `host`. `received` holds every action that came, `sessions` who is connected.

    `write_timeout` is manager.conf's writetimeout in seconds: a client that reads slower than that is cut off, with
    0.1 in Asterisk; None waits for ever. `booted` False plays an Asterisk that is not yet: FullyBooted is not sent.
    """

    def __init__(
        self,
        commands: Mapping[str, Command],
        clock: Clock,
        *,
        users: tuple[ManagerUser, ...] = (ManagerUser(),),
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        system_name: str = "",
        write_timeout: float | None = None,
    ) -> None:
        self.commands = {name.lower(): (name, command) for name, command in commands.items()}
        self.users = {user.username.lower(): user for user in users}
        self.faults = AmiFaults()
        self.sessions: list[AmiSession] = []
        self.received: list[Action] = []
        self.heard = asyncio.Event()  # set whenever an action comes
        self.write_timeout = write_timeout
        self.booted = True
        self.started_at = clock.now()
        self._clock = clock
        self._tls = tls
        self._system = [("SystemName", system_name)] if system_name else []
        self._held: socket.socket | None = None  # keeps the port while nobody listens on it
        self._host = host
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._serial = itertools.count(1)

    # --- life ---

    async def start(self) -> None:
        """Listen on a free port, or on that of before."""
        held, self._held = self._held or _bound(self._host, self.port), None
        self.port = held.getsockname()[1]
        self._listener = await asyncio.start_server(self._connected, sock=held, ssl=self._tls, limit=MAX_BUFFER)

    async def stop(self) -> None:
        """Refuse connections from now on, and end those that are there."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._held is not None:
            self._held.close()
            self._held = None
        self.cut()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection now."""
        for session in list(self.sessions):
            session.abort(reset=True)

    @asynccontextmanager
    async def booting(self) -> AsyncIterator[None]:
        """Play a restart: connections are reset, and refused until the end of the context."""
        if self._listener is not None:
            self._listener.close()
        self._held = _bound(self._host, self.port)
        self.cut()
        yield
        await self.start()

    async def flushed(self) -> None:
        """Wait until all events so far have been handed to the sockets."""
        await asyncio.gather(*(session.flushed() for session in list(self.sessions)))

    async def asked(self, *names: str) -> Action:
        """Wait until an action of one of these names has come, and return the latest."""
        while True:
            self.heard.clear()
            for action in reversed(self.received):
                if action.name in names:
                    return action
            await self.heard.wait()

    def forget(self, session: AmiSession) -> None:
        if session in self.sessions:
            self.sessions.remove(session)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # it is one
            return
        self._running.add(task)
        session = AmiSession(self, writer)
        self.sessions.append(session)
        try:
            await session.run(reader)
        except asyncio.CancelledError:  # stopped: asyncio.streams would log it
            session.abort()
        finally:
            self.forget(session)
            self._running.discard(task)

    # --- what it says ---

    def emit(self, event: str, privilege: str, headers: Headers) -> None:
        """Send an event to all who may and want to read it; `privilege` names its classes: 'call', 'system,call'."""
        classes = frozenset(privilege.split(","))
        text = _text([("Event", event), ("Privilege", privileges(classes)), *self._system, *headers])
        for session in list(self.sessions):
            session.deliver(event, classes, text)

    def send_raw(self, data: bytes) -> None:
        """Send any bytes to all who have logged in: garbage, half a message, half a character."""
        for session in self.sessions:
            if session.user is not None:
                session.send(data)

    def flood(self, count: int, event: str = "VarSet", privilege: str = "dialplan") -> None:
        """Send `count` events at once; each has a Serial."""
        for _ in range(count):
            serial = str(next(self._serial))
            self.emit(event, privilege, [("Variable", "FLOOD"), ("Value", serial), ("Serial", serial)])

    def boot(self) -> None:
        """Asterisk has booted: FullyBooted, to whoever is logged in already."""
        self.booted = True
        self.emit("FullyBooted", "system", self.boot_headers())

    def boot_headers(self) -> Headers:
        uptime = str((self._clock.now() - self.started_at) // 1000)
        return [("Uptime", uptime), ("LastReload", uptime), ("Status", "Fully Booted")]

    def report(self, event: str, session: AmiSession, account: str, more: Headers) -> None:
        """Send a security event about one of our own clients."""
        headers = security_headers(
            event,
            self._clock.now(),
            account=account,
            source=session.peer,
            service="AMI",
            session=f"0x{id(session):x}",
            local=f"{self._host}:{self.port}",
            more=[*more, ("SessionTV", "1970-01-01T00:00:00.000+0000")],
        )
        if event == "RequestBadFormat":  # the one that has its account last, and only if there is one
            headers = [pair for pair in headers if pair[0] != "AccountID"]
            headers += [("AccountID", account)] if account else []
        self.emit(event, "security", headers)

    # --- what it does ---

    async def obey(self, session: AmiSession, action: Action) -> bool:
        """Do what process_message() of main/manager.c does; False ends the session."""
        known = self.commands.get(action.name.lower())
        account = session.user.username if session.user else ""
        request = [("RequestType", f"Action: {action.name or 'NONE'}")]
        if not action.name:
            session.refuse(action, "Missing action in request")
            self.report("RequestBadFormat", session, account, request)
        elif session.user is None and action.name.lower() not in {"login", "logoff", "challenge"}:
            session.refuse(action, "Permission denied")
            self.report("RequestNotAllowed", session, account, request)
        elif known is None:
            text = f"Invalid/unknown command: {action.name}. Use Action: ListCommands to show available commands."
            session.refuse(action, text)
            self.report("RequestBadFormat", session, account, request)
        elif known[1].classes and not (session.user and session.user.write.intersection(known[1].classes)):
            session.refuse(action, "Permission denied")
            self.report("RequestNotAllowed", session, account, request)
        elif self.faults.mute and known[0] not in {"Login", "Challenge"}:
            return True
        else:
            return known[1].handler(session, action) is not False
        return True


def message(headers: Headers) -> bytes:
    """Write headers as one message."""
    return _message(headers)


def _text(headers: Headers) -> str:
    return "".join([*(f"{name}: {value}\r\n" for name, value in headers), "\r\n"])


def _message(headers: Headers) -> bytes:
    return _text(headers).encode(**_TEXT)


def _bound(host: str, port: int) -> socket.socket:
    """Take a port without listening on it: connections are refused, and nobody else can have it."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, port))
    return held
