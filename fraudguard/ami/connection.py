"""The link to one Asterisk's manager: connects, logs in, reads, asks; and again when it is lost.

    connection = Connection("pbx", settings, secret, events=frozenset({"Hangup"}), clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        while True:
            match await connection.next():
                case Link.UP: channels = await connection.collect("Status")
                case Message() as event: ...

panoramisk composes and numbers actions, finds the action that a message answers, reads headers and dispatches events.
It is imported here and nowhere else. What it does with bytes, pings, deadlines, callbacks, lost links and refused
logins is replaced: docs/decisions/0002 says why, and tests/ami names each point.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import structlog
from panoramisk.actions import Action  # type: ignore[import-untyped]
from panoramisk.ami_protocol import AMIProtocol  # type: ignore[import-untyped]
from panoramisk.manager import Manager  # type: ignore[import-untyped]
from panoramisk.message import Message as Reading  # type: ignore[import-untyped]
from pydantic import SecretStr

from fraudguard.ami import tls
from fraudguard.ami.feed import Feed, Item, Link, LinkStatus, Message
from fraudguard.ami.framing import SURROGATES, Framer, FramingError
from fraudguard.ami.outgoing import checked, short
from fraudguard.ami.reconnect import (
    ActionRefusedError,
    ActionTimeoutError,
    AmiError,
    DisconnectedError,
    LoginRefusedError,
    Timing,
    delays,
    is_final,
)
from fraudguard.clock import Clock, Millis
from fraudguard.config import Ami

__all__ = [
    "ActionRefusedError",
    "ActionTimeoutError",
    "AmiError",
    "Connection",
    "DisconnectedError",
    "Link",
    "LinkStatus",
    "LoginRefusedError",
    "Message",
    "Timing",
    "log_in_once",
]

MAX_LIST: Final = 50_000
"""Messages of one list. Five times the channels that one Asterisk can have; a list must end somewhere."""


class _Reading(Reading):  # type: ignore[misc]
    """A message as panoramisk reads it, and when. `wire` has its headers in their own case.

    panoramisk's own mapping takes 'channel' for 'Channel', and the last one wins: an injected header would.
    """

    quoted_keys: Final = ()  # panoramisk percent-decodes every header named Result

    def __init__(self, headers: dict[str, str | list[str]], content: str = "") -> None:
        super().__init__(headers, content)
        self.wire = headers
        self.at: Millis = 0

    def first(self, key: str) -> str:
        """Return the first value of `key`, "" where there is none."""
        value = self.wire.get(key, "")
        return value[0] if isinstance(value, list) else value

    def message(self) -> Message:
        """Return what the rest of the project sees of it."""
        if list not in map(type, self.wire.values()):
            return Message(self.at, cast("dict[str, str]", self.wire))
        repeated = {key: tuple(value) for key, value in self.wire.items() if isinstance(value, list)}
        return Message(self.at, {key: self.first(key) for key in self.wire}, repeated)


class _Action(Action):  # type: ignore[misc]
    """An action that is answered by one response. `stray` gets events that carry its ActionID before that."""

    def __init__(self, name: str, headers: Mapping[str, str], stray: Callable[[_Reading], None]) -> None:
        super().__init__({**headers, "Action": name})
        self.stray = stray

    def __repr__(self) -> str:
        return f"<{self['Action']}>"  # the headers of a login hold the secret

    def add_message(self, message: _Reading) -> bool:
        """Take what carries the ActionID; True when the action is answered. Called by panoramisk."""
        if "event" in message:
            self.stray(message)
            return False
        self.settle(message)
        return True

    def settle(self, result: _Reading | list[_Reading] | Exception) -> None:
        if not self.future.done():
            settle = self.future.set_exception if isinstance(result, Exception) else self.future.set_result
            settle(result)


class _ListAction(_Action):
    """An action whose response is followed by a list of events, the last of which says that it is complete."""

    def add_message(self, message: _Reading) -> bool:
        if "event" not in message:
            if message.success:
                return False
            self.settle([message])
            return True
        ends = message.first("EventList").lower()
        if ends == "complete":
            self.settle(self.responses)
        elif ends == "cancelled":
            self.settle(ActionRefusedError(f"Asterisk cancelled the list of {self['Action']}"))
        elif len(self.responses) >= MAX_LIST:
            self.settle(ActionRefusedError(f"the list of {self['Action']} has more than {MAX_LIST} entries"))
        else:
            self.responses.append(message)
        return bool(self.future.done())


class _Wire(AMIProtocol):  # type: ignore[misc]
    """One link, from connect to loss. Nothing of it outlives it: not its actions, not what it read in part."""

    def __init__(self, wanted: frozenset[str], feed: Feed, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        self.framer = Framer(wanted)
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()  # why
        self.live = False  # logged in, and not lost
        self.turned: Millis | None = None  # when that changed
        self.manager = Manager(encoding="utf-8")
        self.manager.protocol = self
        # It comes with one callback, which sends old actions again. Ours is the only one, and only queues.
        self.manager.patterns.clear()
        self.manager.callbacks.clear()
        self.manager.register_event("*", lambda _manager, reading: self.event(reading))
        self._wanted = wanted
        self._feed = feed
        self._clock = clock
        self._thrown_away = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.factory = self.manager

    def data_received(self, data: bytes) -> None:
        """Cut, read and hand on what came. Nothing in here waits or fails for a message's sake."""
        at = self._clock.now()
        try:
            texts = self.framer.receive(data)
        except FramingError as error:
            self.end(error.what)
            return
        if not self.greeted.done() and self.framer.version is not None:
            self.greeted.set_result(None)
        if self.framer.lost > self._thrown_away:
            self._thrown_away = self.framer.lost
            if self.live:
                self._feed.overflow()
        for text in texts:
            reading = _Reading.from_line(text)
            if reading is not None:
                reading.at = at
                self.handle_message(reading)

    def send(self, data: _Action, as_list: bool | None = None) -> asyncio.Future[Any]:
        """Write an action. panoramisk's own logs it, secret and all, when it cannot be encoded."""
        del as_list  # the action's class says it
        if self.lost.done():
            data.settle(DisconnectedError(self.lost.result()))
        else:
            self.responses[data.id] = data
            self.framer.answers_due += 1
            self.transport.write(str(data).encode("utf-8", SURROGATES))
        return cast("asyncio.Future[Any]", data.future)

    def forget(self, action: _Action) -> None:
        """Expect no answer any more."""
        self.responses.pop(action.id, None)
        self.framer.answers_due -= 1

    def enter(self) -> None:
        """The login was accepted: what comes from now on are events of this link."""
        self.live = True
        self.turned = self._clock.now()
        self._feed.put(Link.UP)

    def event(self, reading: _Reading) -> None:
        """Hand an event to the consumer."""
        if self.live and reading.first("Event") in self._wanted:
            self._feed.put(reading.message())

    def connection_lost(self, exc: object) -> None:
        """The transport is gone; or, called by panoramisk with the event in hand, Asterisk says that it shuts down."""
        if isinstance(exc, Reading):
            return  # it closes the link itself, when it does
        self.end(f"the connection broke: {exc}" if exc else "Asterisk closed the connection")

    def end(self, why: str) -> None:
        """End the link, once: whoever waits for an answer is told, and the consumer."""
        if self.lost.done():
            return
        self.lost.set_result(why)
        self.closed = True
        self.transport.abort()
        for action in list(self.responses.values()):
            action.settle(DisconnectedError(why))
        if self.live:
            self.live = False
            self.turned = self._clock.now()
            self._feed.put(Link.DOWN)

    def close(self) -> None:
        """End the link. panoramisk's own would keep its actions to send them again."""
        self.end("closed")


class Connection:
    """One Asterisk: `run` it, take what it reads with `next`, ask it with `action` and `collect`.

    `events` are the names of those wanted; all others are skipped unread. `secret` is sent at login to whoever greets
    as an Asterisk manager at the configured place (with TLS: and proves to be that host), and appears nowhere else.
    Raises ConfigError when the file of certificate authorities cannot be used.
    """

    def __init__(
        self,
        name: str,
        settings: Ami,
        secret: str,
        *,
        events: frozenset[str],
        clock: Clock,
        timing: Timing | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._settings = settings
        self._secret = SecretStr(secret)
        self._events = events
        self._clock = clock
        self._timing = timing or Timing()
        self._jitter = jitter
        self._tls = tls.context(name, settings)
        self._where = f"Asterisk {name} at {settings.host}:{settings.port}"
        self._log = structlog.get_logger("fraudguard.ami").bind(asterisk=name)
        self._feed = Feed(settings.queue)
        self._wire: _Wire | None = None
        self._since = clock.now()
        self._error = self._told = ""
        self._version = ""
        self._links = 0  # that are gone, and were up
        self._read = self._skipped = self._thrown_away = 0  # of links that are gone

    # --- for whoever consumes and asks ---

    @property
    def status(self) -> LinkStatus:
        """How the link is doing now."""
        wire = self._wire
        framer = wire.framer if wire else Framer(frozenset())
        return LinkStatus(
            up=wire is not None and wire.live,
            since=(wire and wire.turned) or self._since,
            error=wire.lost.result() if wire and wire.lost.done() else self._error,
            version=self._version,
            read=self._read + framer.read,
            skipped=self._skipped + framer.skipped,
            dropped=self._feed.dropped + self._thrown_away + framer.lost,
            overflows=self._feed.overflows,
            reconnects=max(0, self._links + bool(wire and wire.turned) - 1),
            queued=len(self._feed),
        )

    async def next(self) -> Item:
        """Return the next event, or what happened to the link, in order. For one consumer; waits for ever."""
        return await self._feed.next()

    async def action(self, name: str, /, **headers: str) -> Message:
        """Do one action and return Asterisk's response.

        Raises ActionRefusedError when Asterisk says no or the headers cannot be sent, ActionTimeoutError without an
        answer in time, DisconnectedError without a link or when it is lost first. Nothing is sent a second time.
        """
        wire = self._live_wire(name)
        answer = await self._ask(wire, _Action(name, checked(name, headers), wire.event), self._timing.action)
        return self._granted(name, answer).message()

    async def collect(self, name: str, /, **headers: str) -> list[Message]:
        """Do an action that answers with a list, and return the events of the list, without the one that ends it.

        Raises as `action` does; a list that was cut off is an error, never a shorter list.
        """
        wire = self._live_wire(name)
        request = _ListAction(name, checked(name, headers), wire.event)
        answers = await self._ask(wire, request, self._timing.collect)
        if answers and "event" not in answers[0]:
            self._granted(name, answers[0])
        return [answer.message() for answer in answers]

    # --- the link's life ---

    async def run(self) -> None:
        """Keep the link up until cancelled. Raises LoginRefusedError, which no further try would change."""
        wait = delays(self._timing, self._jitter)
        try:
            while True:
                try:
                    wire = await self._open()
                    began = self._clock.monotonic()
                    await self._keep(wire)
                    self._lost(wire.lost.result())
                    if self._clock.monotonic() - began >= self._timing.steady:
                        wait = delays(self._timing, self._jitter)
                except LoginRefusedError as error:
                    self._error = error.what
                    self._log.error("ami login refused, not tried again", error=str(error))
                    raise
                except AmiError as error:
                    self._lost(error.what)
                await asyncio.sleep(next(wait))
        finally:
            self.close()

    def close(self) -> None:
        """End the link now, if there is one. `run` would make a new one: cancel that first."""
        if self._wire is not None:
            self._wire.close()
            self._forget_wire()

    async def _open(self) -> _Wire:
        """Connect and log in. Raises AmiError; then nothing is left open."""
        try:
            wire = await self._connect()
            self._wire = wire
            await self._log_in(wire)
        except BaseException:
            self.close()
            raise
        self._told = ""
        self._log.info("ami up", host=self._settings.host, port=self._settings.port, version=self._version)
        return wire

    async def _connect(self) -> _Wire:
        host, port = self._settings.host, self._settings.port
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timing.connect):
                _, wire = await loop.create_connection(
                    lambda: _Wire(self._events, self._feed, self._clock), host, port, ssl=self._tls
                )
        except TimeoutError:
            raise DisconnectedError(f"no connection within {self._timing.connect:g} s", where=self._where) from None
        except OSError as error:  # a certificate that does not prove the host among them
            raise tls.not_connected(error, self._where) from None
        return wire

    async def _log_in(self, wire: _Wire) -> None:
        limit = self._timing.login
        deadline = self._clock.monotonic() + limit
        await asyncio.wait((wire.greeted, wire.lost), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if wire.lost.done():
            raise DisconnectedError(wire.lost.result(), where=self._where)
        if wire.framer.version is None:
            raise ActionTimeoutError(f"no greeting within {limit:g} s", where=self._where)
        self._version = wire.framer.version
        headers = {"Username": self._settings.username, "Secret": self._secret.get_secret_value(), "Events": "on"}
        answer = await self._ask(
            wire, _Login(checked("Login", headers), wire), max(0.0, deadline - self._clock.monotonic())
        )
        if answer.success:
            return
        text = answer.first("Message")
        if is_final(text):
            raise LoginRefusedError(
                f"login as {self._settings.username!r} refused: {short(text)}",
                where=self._where,
                fix="compare user, secret and permit lines with Asterisk's manager.conf, then start again",
            )
        raise ActionRefusedError(f"login refused for now: {short(text)}", where=self._where)

    async def _keep(self, wire: _Wire) -> None:
        """Return when the link is lost; ping it meanwhile, and give it up when it does not answer."""
        while not wire.lost.done():
            await asyncio.wait((wire.lost,), timeout=self._timing.ping)
            if wire.lost.done():
                return
            try:
                await self._ask(wire, _Action("Ping", {}, wire.event), self._timing.pong)
            except ActionTimeoutError:
                wire.end(f"no answer to a ping within {self._timing.pong:g} s")
            except DisconnectedError:
                return

    def _lost(self, why: str) -> None:
        self._forget_wire()
        self._error = why
        if why != self._told:  # said once, and not at each try
            self._told = why
            self._log.warning("ami down", host=self._settings.host, port=self._settings.port, error=why)

    def _forget_wire(self) -> None:
        if self._wire is not None:
            framer = self._wire.framer
            self._since = self._wire.turned or self._since
            self._links += bool(self._wire.turned)
            self._read += framer.read
            self._skipped += framer.skipped
            self._thrown_away += framer.lost
            self._wire = None

    # --- actions ---

    def _live_wire(self, name: str) -> _Wire:
        if self._wire is None or not self._wire.live:
            raise DisconnectedError(f"no link for {name}", where=self._where)
        return self._wire

    async def _ask(self, wire: _Wire, action: _Action, deadline: float) -> Any:
        """Send an action and wait for what it is settled with, `deadline` seconds."""
        future: asyncio.Future[Any] = wire.manager.send_action(action)
        try:
            # Not timeout(): an answer that was read in the turn in which the time ran out is an answer.
            await asyncio.wait((future,), timeout=deadline)
        finally:
            wire.forget(action)
            if not future.done():
                future.cancel()
            elif not future.cancelled():
                future.exception()  # seen, also when whoever waited was cancelled
        if future.cancelled():
            raise ActionTimeoutError(f"no answer to {action['Action']} within {deadline:g} s", where=self._where)
        if isinstance(error := future.exception(), AmiError):
            raise type(error)(error.what, where=self._where) from None
        return future.result()

    def _granted(self, name: str, answer: _Reading) -> _Reading:
        if not answer.success:
            text = answer.first("Message")
            raise ActionRefusedError(f"{name} refused: {short(text)}", where=self._where)
        return answer


class _Login(_Action):
    """The login. Its success opens the link at once: the next event may stand in the same packet."""

    def __init__(self, headers: Mapping[str, str], wire: _Wire) -> None:
        super().__init__("Login", headers, wire.event)
        self._enter = wire.enter

    def add_message(self, message: _Reading) -> bool:
        if "event" not in message and message.success:
            self._enter()
        return super().add_message(message)


async def log_in_once(
    name: str,
    settings: Ami,
    secret: str,
    *,
    clock: Clock,
    events: frozenset[str] = frozenset(),
    timing: Timing | None = None,
) -> Connection:
    """Connect and log in, and hand over the connection; end it with `close`. For a look at the rights, not for a
    listener: it is not pinged and not made again.

    Raises LoginRefusedError, or the AmiError that says why there is no link.
    """
    connection = Connection(name, settings, secret, events=events, clock=clock, timing=timing)
    await connection._open()  # noqa: SLF001  of this module
    return connection
