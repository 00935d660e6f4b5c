"""What a channel is: something that takes a message, or says why it did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fraudguard.errors import UnreachableError


@dataclass(frozen=True, slots=True)
class Message:
    """One message, ready for any channel.

    `id` is the same whenever the message is sent again; `thread` that of the first message about the same alert.
    `subject` is one line, `text` plain text, `document` what machines get. All of it is printable.
    """

    id: str
    thread: str
    severity: str
    subject: str
    text: str
    document: Mapping[str, Any]


class NotDeliveredError(UnreachableError):
    """A channel did not take a message. The text says why, and holds no secret."""


class Channel(Protocol):
    """Where messages go. A message that comes again after a crash has the same id."""

    async def send(self, message: Message) -> str:
        """Deliver, and return '' or what is worth knowing about it. Raises NotDeliveredError."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
