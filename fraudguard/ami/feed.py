"""What the connection hands to its one consumer: messages and the link's ups and downs, in order and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from fraudguard.clock import Millis

FAIR: Final = 64
"""Messages handed over before everybody else gets a turn. A consumer that never waits would otherwise hold up the
event loop, and with it the callers who wait for a verdict, for as long as the queue is long."""

SHARE: Final = 8
"""Of a long queue one in so many is handed over at a turn. One turn of the loop may read thousands of messages; a
consumer that can keep up with them must not fall behind because others get as many turns."""


class Link(StrEnum):
    """What happened to the link, at its place among the messages."""

    UP = "up"  # logged in; nothing of this link came before
    DOWN = "down"  # lost; nothing of this link comes after
    OVERFLOW = "overflow"  # messages that stood here were dropped


@dataclass(frozen=True, slots=True)
class Message:
    """One event or response, read by key as Asterisk writes it. The repr does not show values: some are secret.

    Where a key occurs twice `headers` has the first: what a caller smuggles in stands behind what Asterisk says.
    Text that is not UTF-8 is kept by surrogateescape.
    """

    at: Millis  # when it was read
    headers: Mapping[str, str] = field(repr=False)
    repeated: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def __getitem__(self, key: str) -> str:
        return self.headers[key]

    def get(self, key: str, default: str = "") -> str:
        """Return the value of `key`, `default` where the message has none."""
        return self.headers.get(key, default)

    def all(self, key: str) -> tuple[str, ...]:
        """Return every value of `key`, in order."""
        if key in self.repeated:
            return self.repeated[key]
        return (self.headers[key],) if key in self.headers else ()


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How a link is doing, at one moment; the counts are totals since the connection was made."""

    up: bool
    since: Millis  # when it came up, or was lost, or was first tried
    error: str  # why it was not up the last time; "" when it always was
    version: str  # of the manager protocol, as Asterisk last told it; not Asterisk's own
    read: int  # messages
    skipped: int  # of these: events that nobody wanted
    dropped: int  # of these: did not fit into the queue, or were too long
    overflows: int  # times that some were dropped
    reconnects: int  # links after the first
    queued: int  # waiting for the consumer now


Item: TypeAlias = Message | Link


class Feed:
    """An ordered queue of at most `size` messages. Putting never waits: what does not fit displaces all before it.

    Of what is displaced the ups and downs are kept, as far as they still mean something, and OVERFLOW follows: whoever
    reads it has to look up the calls anew, so half of the old messages would be worth no more than none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._left = 0  # of this turn
        self.dropped = 0  # messages
        self.overflows = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add what was read, or a link's UP or DOWN."""
        if len(self._items) >= self._size:
            self.overflow()
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def overflow(self) -> None:
        """Drop the messages that wait and say so to the consumer."""
        links = [item for item in self._items if item is Link.UP or item is Link.DOWN]
        self.dropped += sum(isinstance(item, Message) for item in self._items)
        self.overflows += 1
        # They alternate. Of many the last two say it all, or the last one where two would repeat what is known.
        del links[: max(0, len(links) - 2 + len(links) % 2)]
        self._items = deque(links)
        self.put(Link.OVERFLOW)

    async def next(self) -> Item:
        """Return the oldest item; waits for one. For one consumer. Cancelled while it waits, it loses nothing."""
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(0)
            self._left = max(FAIR, len(self._items) // SHARE)
        while not self._items:
            if self._waiter is not None:
                raise RuntimeError("somebody else is waiting for the next message already")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._items.popleft()
