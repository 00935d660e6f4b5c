"""What goes wrong on the way from a manager to its clients, and how a test arranges it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class AmiFaults:
    """The faults of one AmiServer. Set an attribute for good, or use the context managers for a while.

    `segments`: sizes of the segments that bytes are sent in, over and over; (1,) is byte by byte, () as they come.
    `refusal`: the Message that every login is refused with. `no_pongs`: Ping is not answered, all else is.
    `mute`: no action but Login is answered, while events go on. `list_stops_after`: a list ends without a word after
    so many items, and its Complete never comes.
    """

    def __init__(self) -> None:
        self.segments: Sequence[int] = ()
        self.refusal: str | None = None
        self.no_pongs = False
        self.mute = False
        self.list_stops_after: int | None = None
        self._left: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()

    def cut_after(self, count: int) -> None:
        """Cut the connection once `count` more bytes have been sent, on whichever session sends them."""
        self._left = count

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Connections are accepted and nothing is ever said, nor read, until the end of the context.

        What was to be said meanwhile is said then, all at once, as when a stopped process goes on.
        """
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    @contextmanager
    def during(self, **attributes: object) -> Iterator[None]:
        """Set attributes, and put them back at the end: `with faults.during(no_pongs=True): ...`."""
        before = {name: getattr(self, name) for name in attributes}
        for name, value in attributes.items():
            setattr(self, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    async def flowing(self) -> None:
        """Wait while everything is frozen."""
        await self._flowing.wait()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Split what is to be sent into segments. Raises ConnectionAbortedError where the connection is to be cut."""
        sizes = itertools.cycle(self.segments) if self.segments else itertools.repeat(len(data))
        start = 0
        while start < len(data):
            piece = data[start : start + max(1, next(sizes))]
            start += len(piece)
            if self._left is not None and len(piece) >= self._left:
                piece, self._left = piece[: self._left], None
                if piece:
                    yield piece
                raise ConnectionAbortedError("cut")
            if self._left is not None:
                self._left -= len(piece)
            yield piece
