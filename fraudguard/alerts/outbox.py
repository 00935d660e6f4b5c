"""The outbox at work: plans what is to be told, and hands it to the channels until it is delivered or expired.

Stored first, delivered after: all that this holds in memory is which messages a channel has taken and the database
does not know of yet. A process killed there sends such a message again, with the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from fraudguard.alerts.channel import Channel, Message, NotDeliveredError
from fraudguard.policy.alert import Delivery

POLL_SECONDS = 1.0
"""How often to look without being woken: another process may have stored an alert, and what waits becomes due."""

PLAN_SECONDS = 0.2
"""Between two plans: a plan is a commit, and an attack must not make one of each of its calls."""

SEND_LIMIT = 4
"""Messages on their way to one channel at once."""

SEND_SECONDS = 60.0
"""The longest one message may take, whatever the channel's own deadlines are."""

RETRY_SECONDS = 5.0
"""How long to wait after the first failure. It doubles with each ..."""

RETRY_LIMIT = 900.0
"""... up to a quarter of an hour: whoever mends the mail server sees the alerts soon after."""

JITTER = 0.2
"""The wait is up to so much shorter or longer, so that many messages do not come back at the same instant."""

STOP_SECONDS = 5.0
"""How long `close` waits for messages on their way. Cut off, they may be sent again at the next start."""

log = structlog.get_logger()


class Shelf(Protocol):
    """Where deliveries are kept (store.outbox.OutboxStore). Its methods raise when the database cannot be used."""

    async def plan(self) -> bool: ...
    async def due(self, channel: str, limit: int) -> Sequence[Delivery]: ...
    async def delivered(self, delivery: Delivery, note: str) -> None: ...
    async def failed(self, delivery: Delivery, error: str, retry_seconds: float) -> bool: ...
    async def retire(self, channels: Sequence[str]) -> int: ...
    async def pending(self) -> Mapping[str, int]: ...


@dataclass(slots=True)
class ChannelCounters:
    """What became of one channel's messages since the start; `pending` is how many should have gone and have not."""

    pending: int = 0
    delivered: int = 0
    failed: int = 0
    expired: int = 0


def backoff(attempts: int, jitter: float) -> float:
    """Return the seconds to wait after so many failed attempts; `jitter` is from -1 to 1."""
    return float(min(RETRY_SECONDS * 2 ** min(attempts - 1, 16), RETRY_LIMIT) * (1 + JITTER * jitter))


class Outbox:
    """Delivers alerts. `start` inside a running loop, `close` at the end; `wake` when alerts were stored.

    Each channel has a task of its own, so that a dead mail server holds up nothing but mail.
    """

    def __init__(
        self,
        shelf: Shelf,
        channels: Mapping[str, Channel],
        render: Callable[[Delivery], Message],
        *,
        jitter: Callable[[], float] = lambda: random.uniform(-1, 1),
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._shelf = shelf
        self._channels = channels
        self._render = render
        self._jitter = jitter
        self._poll_seconds = poll_seconds
        self._news = asyncio.Event()
        self._planned = {name: asyncio.Event() for name in channels}
        self._stop = asyncio.Event()
        self._retired = False
        self._tasks: list[asyncio.Task[None]] = []
        self.counters: Mapping[str, ChannelCounters] = {name: ChannelCounters() for name in channels}

    def start(self) -> None:
        """Begin to deliver."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep_on(self._plan, self._news), name="alert planner")]
        self._tasks += [
            loop.create_task(self._keep_on(self._deliverer(name), self._planned[name]), name=f"alert channel {name}")
            for name in self._channels
        ]

    def wake(self) -> None:
        """Look for new alerts at once."""
        self._news.set()

    async def close(self) -> None:
        """Let messages on their way arrive, for STOP_SECONDS, then end. What waits goes after the next start."""
        for event in (self._stop, self._news, *self._planned.values()):
            event.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name, channel in self._channels.items():
            try:
                await channel.close()
            except Exception as error:  # noqa: BLE001  the others are to be closed too
                log.warning("alert channel did not close", channel=name, error=type(error).__name__)

    async def _keep_on(self, work: Callable[[], Awaitable[bool]], event: asyncio.Event) -> None:
        """Do a piece of work when woken, and every poll; again at once while there is more of it."""
        while not self._stop.is_set():
            more = False
            event.clear()
            try:
                more = await work()
            except Exception as error:  # noqa: BLE001  whatever it was: who ends here delivers nothing any more
                log.error("alerts cannot be worked on", error=repr(error))  # noqa: TRY400  every poll
                await self._pause(self._poll_seconds)
            if not more and not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), self._poll_seconds)

    async def _plan(self) -> bool:
        if not self._retired:
            if given_up := await self._shelf.retire(list(self._channels)):
                log.warning("messages for channels that are not configured any more were given up", messages=given_up)
            self._retired = True
        more = await self._shelf.plan()
        for event in self._planned.values():
            event.set()
        if self._news.is_set() or more:
            await self._pause(PLAN_SECONDS)
        return more

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _deliverer(self, name: str) -> Callable[[], Awaitable[bool]]:
        channel, counters = self._channels[name], self.counters[name]

        async def deliver() -> bool:
            found = await self._shelf.due(name, SEND_LIMIT)
            await asyncio.gather(*(self._deliver(channel, counters, delivery) for delivery in found))
            counters.pending = (await self._shelf.pending()).get(name, 0)
            return bool(found)

        return deliver

    async def _deliver(self, channel: Channel, counters: ChannelCounters, delivery: Delivery) -> None:
        try:
            note = await send(channel, partial(self._render, delivery))
        except NotDeliveredError as error:
            await self._failed(counters, delivery, str(error))
            return
        counters.delivered += 1
        if note:
            log.warning("alert delivered in part", channel=delivery.channel, alert=delivery.alert.id, note=note)
        await self._noted(lambda: self._shelf.delivered(delivery, note))

    async def _failed(self, counters: ChannelCounters, delivery: Delivery, error: str) -> None:
        counters.failed += 1
        attempt = delivery.attempts + 1
        wait = backoff(attempt, self._jitter())
        what = {"channel": delivery.channel, "alert": delivery.alert.id, "attempt": attempt, "error": error}
        if await self._noted(lambda: self._shelf.failed(delivery, error, wait)):
            counters.expired += 1
            log.error("alert given up", **what)
        else:
            log.warning("alert not delivered", retry_seconds=round(wait, 1), **what)

    async def _noted(self, write: Callable[[], Awaitable[object]]) -> object:
        """Write down what happened, however often it takes: what was delivered must not be sent again."""
        while True:
            try:
                return await write()
            except Exception as error:
                if self._stop.is_set():
                    raise
                log.error("the fate of an alert is not stored yet", error=repr(error))  # noqa: TRY400  every poll
                await self._pause(self._poll_seconds)


async def send(channel: Channel, render: Callable[[], Message]) -> str:
    """Hand a message to a channel, within SEND_SECONDS. Raises NotDeliveredError, whatever went wrong."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            return await channel.send(render())
    except NotDeliveredError:
        raise
    except TimeoutError:
        raise NotDeliveredError(f"no answer within {SEND_SECONDS:.0f} s") from None
    except Exception as error:  # a defect of ours or of a library: its text may hold a secret, its type does not
        raise NotDeliveredError(f"inner error: {type(error).__name__}") from error
