"""One FastAGI connection: carries bytes between the socket and the protocol, and runs one handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

from fraudguard.agi import protocol
from fraudguard.agi.counters import Counters, Failure, QuietLog, harmless
from fraudguard.agi.protocol import Conversation, End, Event, ProtocolError, Reply, Request
from fraudguard.errors import PeerError, UnreachableError

LINGER: Final = 1.0
"""Seconds a failed connection has to take its failure line before it is reset."""

MAX_UNSENT: Final = 64 * 1024
"""Bytes waiting for a peer that answers but does not read. One command at a time never comes near it."""


class GoneError(PeerError):
    """The peer closed before it answered a command."""


class RefusedError(PeerError):
    """Asterisk did not carry out a command that had to succeed."""


Handler: TypeAlias = Callable[["Session"], Coroutine[Any, Any, None] | None]
"""Serves one request: arranges the answer with `answer_when`, or is a coroutine that talks with `command` and
returns when the request has been answered. Whatever is raised becomes a failure line."""

T = TypeVar("T")


@dataclass(slots=True)
class Desk:
    """What all sessions of one server share."""

    routes: Mapping[str, Handler]
    admit: Callable[[str], Failure | None]  # the peer's address -> why it is turned away
    deadline: float  # seconds from connection to answer
    loop: asyncio.AbstractEventLoop
    log: QuietLog
    counters: Counters = field(default_factory=Counters)
    usual_headers: int = 0  # in a request of this Asterisk: another number is looked at closer
    sessions: set[Session] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever the last session has gone


class Session(asyncio.Protocol):
    """What a handler works with: `request`, `answer_when`, `command`, `extend`. `talks`: with a caller.

    Ends with the answer, with the coroutine that a handler is, or at `deadline`. That is in the loop's time; a
    handler that talks with a caller moves it.
    """

    __slots__ = (
        "_answered",
        "_conversation",
        "_desk",
        "_done",
        "_lost",
        "_peer",
        "_transport",
        "_waiter",
        "_work",
        "_write",
        "deadline",
        "request",
        "talks",
    )

    _transport: asyncio.Transport
    _write: Callable[[Any], bytes]
    request: Request

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._conversation = Conversation()
        self._answered = False
        self._done = False
        self._lost = False
        self._peer = ""
        self._work: asyncio.Future[Any] | None = None  # what the answer comes from: a decision or a task
        self._waiter: asyncio.Future[Reply] | None = None
        self.deadline = desk.loop.time() + desk.deadline
        self.talks = False

    # --- for handlers ---

    @property
    def counters(self) -> Counters:
        return self._desk.counters

    @property
    def hung_up(self) -> bool:
        """True once Asterisk said that the caller has gone; commands still work, as far as they need no caller."""
        return self._conversation.hung_up

    def extend(self, seconds: float) -> None:
        """Move the deadline: the session has so many seconds from now."""
        self.deadline = self._desk.loop.time() + seconds
        self.talks = True

    def answer_when(self, decided: Awaitable[T], write: Callable[[T], bytes]) -> None:
        """Send the command that `write` makes of what was `decided`, as soon as it is; its success ends the session.

        A task for every session would cost as much as all that is decided in it.
        """
        self._write = write
        self._work = asyncio.ensure_future(decided, loop=self._desk.loop)
        self._work.add_done_callback(self._answer)

    async def command(self, verb: str, *arguments: str) -> Reply:
        """Send one command and return Asterisk's reply, a refusal (5xx) included.

        Raises GoneError when the connection ends first, UnsendableError for arguments that cannot be written.
        """
        return await self._ask(protocol.command(verb, *arguments))

    async def _ask(self, line: bytes) -> Reply:
        self._send(line)
        self._waiter = self._desk.loop.create_future()
        return await self._waiter

    def _send(self, line: bytes) -> None:
        conversation = self._conversation
        if self._done or self._lost or (conversation.ended and conversation.awaiting):
            raise GoneError("the connection is closed")
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            raise PeerError("the peer answers but does not read")
        self._transport.write(conversation.ask(line))
        if conversation.ended:  # written all the same: a request typed by hand ends before it is answered
            raise GoneError("the peer ended its side before it could reply")

    # --- for the server ---

    def expire(self) -> None:
        """The deadline has passed: fail, or if that was already done and the peer does not take it, reset."""
        if self._done:
            self._transport.abort()
        else:
            self.fail(Failure.DEADLINE)

    def fail(self, kind: Failure, detail: str = "", error: BaseException | None = None) -> None:
        """End the session with a failure line; the handler, if one runs, is cancelled. Once is enough."""
        if self._done:
            return
        self._done = True
        self._desk.counters.failures[kind] += 1
        self._desk.log.failure(kind, self._peer, detail, error)
        self.deadline = self._desk.loop.time() + LINGER
        if kind is not Failure.GONE:
            self._transport.write(protocol.failure(f"{kind.value} {harmless(detail)}".rstrip()))
        self._transport.close()
        if self._work is not None and self._work is not asyncio.current_task(self._desk.loop):
            self._work.cancel()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        desk = self._desk
        desk.sessions.add(self)
        desk.idle.clear()
        desk.counters.connections += 1
        peer = self._transport.get_extra_info("peername")
        if peer is None:  # already reset
            self._transport.abort()
            return
        self._peer = peer[0]
        if (refusal := desk.admit(self._peer)) is not None:
            self.fail(refusal)

    def data_received(self, data: bytes) -> None:
        self._conversation.receive(data)
        self._read_events()

    def eof_received(self) -> bool:
        self._conversation.receive(b"")
        self._read_events()
        return self._work is not None  # what is being decided may still be answered

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # how it ended makes no difference
        self._lost = True
        if self._work is None and not self._done:
            self._desk.counters.probes += 1
        waiting = self._end_wait()
        if self._work is not None and not self._work.done() and not waiting:
            self.fail(Failure.GONE, "the peer closed before it was answered")
        self._settle()

    def _read_events(self) -> None:
        try:
            while not self._done and (event := self._conversation.next_event()) is not None:
                self._take(event)
                if isinstance(event, End):
                    return
        except ProtocolError as error:
            self.fail(Failure.BAD_REQUEST, error.what)

    def _take(self, event: Event) -> None:
        if isinstance(event, Reply):
            self._take_reply(event)
        elif isinstance(event, Request):
            self._open(event)
        elif isinstance(event, End):
            self._end_wait()
        else:
            self._desk.counters.hangups += 1

    def _open(self, request: Request) -> None:
        desk = self._desk
        if request.headers != desk.usual_headers:  # more than usual: are there duplicates?
            desk.counters.duplicate_headers += len(request.duplicates)
            desk.usual_headers = request.headers
        path = request.path
        handler = desk.routes.get(path)
        if handler is None:
            self.fail(Failure.UNKNOWN_PATH, path)
            return
        desk.counters.requests[path] += 1
        self.request = request
        try:
            dialogue = handler(self)
        except Exception as error:  # noqa: BLE001  as in _serve
            self._fail_for(error)
        else:
            if dialogue is not None:
                self._work = desk.loop.create_task(self._serve(dialogue))

    async def _serve(self, dialogue: Coroutine[Any, Any, None]) -> None:
        try:
            await dialogue
        except asyncio.CancelledError as error:
            self._fail_for(error)
            raise
        except Exception as error:  # noqa: BLE001  a caller is waiting: whatever went wrong, say so and close
            self._fail_for(error)
        else:
            self._end()
        finally:
            if self._lost:  # cancelled, and slow to end
                self._desk.loop.call_soon(self._settle)

    def _answer(self, work: asyncio.Future[Any]) -> None:
        try:
            self._send(self._write(work.result()))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  as in _serve
            self._fail_for(error)
        else:
            self._answered = True
        finally:
            if self._lost:  # cancelled, and slower to end than the connection
                self._settle()

    def _take_reply(self, reply: Reply) -> None:
        if reply.code >= 500:
            self._desk.counters.refused_commands += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(reply)
        elif self._answered:
            try:
                _demand_set(reply)
            except RefusedError as error:
                self._fail_for(error)
            else:
                self._end()

    def _end(self) -> None:
        self._done = True
        self._transport.close()

    def _fail_for(self, error: BaseException) -> None:
        if isinstance(error, GoneError):
            self.fail(Failure.GONE, error.what)
        elif isinstance(error, RefusedError):
            self.fail(Failure.REFUSED, error.what)
        elif isinstance(error, PeerError):
            self.fail(Failure.BAD_REQUEST, str(error))
        elif isinstance(error, UnreachableError):
            self.fail(Failure.NOT_STORED, str(error))
        elif isinstance(error, asyncio.CancelledError):
            self.fail(Failure.INNER_ERROR, "cancelled")  # unless whoever cancelled has said why
        else:
            self.fail(Failure.INNER_ERROR, type(error).__name__, error)

    def _end_wait(self) -> bool:
        """Tell whoever waits for a reply that none will come; False when nobody waits."""
        if self._answered:
            self.fail(Failure.GONE, "the peer closed before it replied")
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_exception(GoneError("the peer closed before it replied"))
        return True

    def _settle(self) -> None:
        if self._work is None or self._work.done():
            self._desk.sessions.discard(self)
            if not self._desk.sessions:
                self._desk.idle.set()


def _demand_set(reply: Reply) -> None:
    if not reply.ok or reply.result != "1":
        raise RefusedError(f"Asterisk did not set the variables: {reply.code} {harmless(reply.extra)}".rstrip())
