"""/metrics and /healthz over HTTP, from a thread with an event loop of its own.

So that it answers when the service's loop stands still, and so that nobody who asks can hold that loop up. Whoever
connects is a stranger: a connection has one request, a size, a deadline, and gives way to the next when there are
too many.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import structlog

from fraudguard.config import Http
from fraudguard.errors import UnreachableError
from fraudguard.metrics import page
from fraudguard.metrics.health import FROZEN_SECONDS, Health, Status, judge
from fraudguard.metrics.sources import Pulse, Reading

MAX_CONNECTIONS: Final = 32
"""Open at once. The oldest makes room: who asks properly is gone after milliseconds, who dawdles is not missed."""

BACKLOG: Final = 128
"""Connections the kernel holds for us; asyncio accepts as many in one go before any gives way."""

MAX_FILES: Final = MAX_CONNECTIONS + BACKLOG
"""Files that strangers can make us hold open for a moment: they are no caller's."""

MAX_REQUEST: Final = 8192
"""Bytes of request line and headers, as Apache's limit for one line."""

DEADLINE: Final = 5.0
"""Seconds from connection to the last byte of the answer. Prometheus gives up after 10."""

ASK_SECONDS: Final = FROZEN_SECONDS
"""How long the service's loop is given to hand over a reading."""

FRESH_SECONDS: Final = 1.0
"""A reading is taken at most so often, whoever asks how often."""

JOIN_SECONDS: Final = 2.0
"""How long the thread may take to end; it is a daemon and holds nobody up beyond that."""

TEXT: Final = "text/plain; charset=utf-8"

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

T = TypeVar("T")

log = structlog.get_logger()


class Answer(NamedTuple):
    """What goes back. Every one ends its connection."""

    status: int
    kind: str
    body: bytes


class MetricsServer:
    """Serves what `pulse` reads. `start` and `stop` are called in the service's loop."""

    def __init__(self, settings: Http, pulse: Pulse, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._settings = settings
        self._pulse = pulse
        self._fresh_seconds = fresh_seconds
        self._service: asyncio.AbstractEventLoop
        self._socket: socket.socket
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._ending = asyncio.Event()
        self._open: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._asking: asyncio.Task[Reading | None] | None = None
        self._reading: Reading | None = None
        self._page: tuple[Reading, bytes] | None = None
        self._complained = False

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: with port 0 configured, the port the system chose."""
        host, port, *_ = self._socket.getsockname()
        return host, port

    def start(self) -> None:
        """Listen. Raises UnreachableError when the address cannot be bound."""
        self._service = asyncio.get_running_loop()
        host, port = self._settings.host, self._settings.port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise UnreachableError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                where="http.host, http.port",
                fix="stop what uses the port, choose another, or set http.enabled = false",
            ) from None
        self._loop = asyncio.SelectorEventLoop()  # not uvloop's, which would gain nothing here
        self._thread.start()

    async def stop(self) -> None:
        """Close every connection and end the thread."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._ending.set)
        await asyncio.to_thread(self._thread.join, JOIN_SECONDS)

    # --- in the thread ---

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # cancels the connections when it ends
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=MAX_REQUEST, backlog=BACKLOG)
        await self._ending.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = None
        if len(self._open) > MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]  # or the next who comes would find it there again
            oldest.cancel()
        writer.transport.set_write_buffer_limits(0)  # drain is to wait until all has left
        try:
            async with asyncio.timeout(DEADLINE):
                await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._open.pop(task, None)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = b""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            answer = _plain(431)
        else:
            method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
            target, _, version = rest.partition(b" ")
            answer = await self._answer(method, target) if version.startswith(b"HTTP/1.") else _plain(400)
        writer.write(_response(answer, with_body=method != b"HEAD"))
        await writer.drain()

    async def _answer(self, method: bytes, target: bytes) -> Answer:
        path = target.partition(b"?")[0]
        if path not in (b"/metrics", b"/healthz"):
            return _plain(404)
        if method not in (b"GET", b"HEAD"):
            return _plain(405)
        try:
            reading = await self._read()
            if path == b"/healthz":
                return _health(judge(reading, self._pulse.age()))
            return _plain(503) if reading is None else Answer(200, page.CONTENT_TYPE, self._rendered(reading))
        except Exception:  # whoever watches is to see that something is wrong, and the next who asks to get an answer
            if not self._complained:  # ours, and the same at every scrape
                self._complained = True
                log.exception("metrics cannot be read")
            return _plain(500)

    async def _read(self) -> Reading | None:
        """Return a fresh reading, or None when the service's loop gives none. Who asks meanwhile shares it."""
        if self._pulse.age() > FROZEN_SECONDS:
            return None
        reading = self._reading
        if reading is not None and time.monotonic() - reading.at < self._fresh_seconds:
            return reading
        if self._asking is None or self._asking.done():
            self._asking = self._loop.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Reading | None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._reading = await asyncio.wrap_future(called_in(self._service, self._pulse.read))
        except TimeoutError:
            return None
        return self._reading

    def _rendered(self, reading: Reading) -> bytes:
        if self._page is None or self._page[0] is not reading:
            self._page = reading, page.render(reading)
        return self._page[1]


def called_in(loop: asyncio.AbstractEventLoop, function: Callable[[], T]) -> concurrent.futures.Future[T]:
    """Call `function` in another thread's loop; return the future of its result."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def call() -> None:
        if not future.set_running_or_notify_cancel():
            return  # nobody waits any more
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  it is whoever asked's
            future.set_exception(error)
        else:
            future.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody will answer
        loop.call_soon_threadsafe(call)
    return future


def _health(health: Health) -> Answer:
    return Answer(503 if health.status is Status.FAILED else 200, "application/json", health.document())


def _plain(status: int) -> Answer:
    return Answer(status, TEXT, f"{_REASONS[status]}\n".encode())


def _response(answer: Answer, *, with_body: bool) -> bytes:
    status, kind, body = answer
    # No Server and no Date: what runs here, and since when, is not for strangers.
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += ["Cache-Control: no-store", "X-Content-Type-Options: nosniff", "Connection: close"]
    if status == 405:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (body if with_body else b"")
