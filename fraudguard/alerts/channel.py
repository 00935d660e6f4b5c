"""What a channel is: something that takes a message, or says why it did not."""

from __future__ import annotations

import ssl
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


def system_reason(error: BaseException) -> str:
    """Return what the system said at the bottom of a failed connection: it knows neither address nor password."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return f"cannot be reached ({type(error).__name__})"


class Channel(Protocol):
    """Where messages go. A message that comes again after a crash has the same id."""

    async def send(self, message: Message) -> str:
        """Deliver, and return '' or what is worth knowing about it. Raises NotDeliveredError."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
