"""A link that keeps what passes: what somebody sees who sits between the service and an Asterisk."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from asterisk_harness.link import CuttableLink


class Wiretap(CuttableLink):
    """Keeps the bytes of every connection through it."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.asked = bytearray()
        """What the service sent."""
        self.answered = bytearray()
        """What Asterisk sent."""
        self.connections = 0

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await super()._pass(
            cast("asyncio.StreamReader", _Read(reader, self.asked)),
            cast("asyncio.StreamWriter", _Written(writer, self.answered)),
        )


class _Read:
    def __init__(self, reader: asyncio.StreamReader, kept: bytearray) -> None:
        self._reader = reader
        self._kept = kept

    async def read(self, most: int) -> bytes:
        chunk = await self._reader.read(most)
        self._kept += chunk
        return chunk


class _Written:
    def __init__(self, writer: asyncio.StreamWriter, kept: bytearray) -> None:
        self._writer = writer
        self._kept = kept

    def write(self, chunk: bytes) -> None:
        self._kept += chunk
        self._writer.write(chunk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)
