"""AMI as the guard reads it: bytes in, the text of whole messages out. No I/O, no clock.

    framer = Framer(frozenset({"Hangup"}))
    for text in framer.receive(data):  # all of one event or answer
        ...

However the bytes are cut, the messages are the same. Asterisk (main/manager.c) greets with one line, ends every line
with CR LF and every message with an empty one; a message that answers an action carries its ActionID, and an event
begins with its name. Of 87 events that one call makes the guard wants about a dozen: the others are never decoded.
"""

from __future__ import annotations

from typing import Final

from fraudguard.errors import PeerError

MAX_MESSAGE: Final = 256 * 1024
"""Bytes of one message. Events are about 500 bytes; the longest is the answer to a command with much output."""

MAX_BANNER: Final = 256
"""Bytes of the greeting, 'Asterisk Call Manager/11.0.0' and its line end. Who sends more is no Asterisk."""

SURROGATES: Final = "surrogateescape"
"""How text that is not UTF-8 is kept: a caller's name may be cut inside a character, and goes back as it came."""

_GREETING: Final = b"Asterisk Call Manager/"
_LINE_END: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_EVENT: Final = b"Event: "
_ANSWERS: Final = b"\r\nActionID: "
_HEAD: Final = 256  # bytes kept of a message that is thrown away: enough for its name


class FramingError(PeerError):
    """What answered is not an Asterisk manager."""


class Framer:
    """Cuts what one connection receives into messages.

    Events outside `wanted` are skipped, but for those that carry an ActionID while `answers_due` is not 0. Messages
    of more than `limit` bytes are thrown away while they come: memory stays bounded, and whoever can make one long
    event cannot end the connection with it.
    """

    __slots__ = (
        "_head",
        "_held",
        "_known",
        "_limit",
        "_searched",
        "_wanted",
        "answers_due",
        "lost",
        "read",
        "skipped",
        "version",
    )

    def __init__(self, wanted: frozenset[str], *, limit: int = MAX_MESSAGE) -> None:
        self.version: str | None = None  # of the protocol; None until the greeting has come
        self.answers_due = 0  # actions that wait for their answer
        self.read = 0  # whole messages
        self.skipped = 0  # of these: events that nobody wanted
        self.lost = 0  # of these: over the limit, and possibly wanted
        self._wanted = frozenset(name.encode() for name in wanted)
        self._limit = limit
        self._known = min(_HEAD, limit)  # the same bytes, however the message came
        self._held = bytearray()
        self._searched = 0  # no end of a message before this
        self._head: bytes | None = None  # how the message begins that is being thrown away

    def receive(self, data: bytes) -> list[str]:
        """Take what the socket gave, return the messages that it completes: no empty line, no last line end.

        Raises FramingError when the first line is not Asterisk's greeting.
        """
        self._held += data
        if self.version is None and not self._greeted():
            return []
        if self._held.find(_END, self._searched) < 0:
            self._hold()
            return []
        *whole, rest = bytes(self._held).split(_END)
        self._held = bytearray(rest)
        self.read += len(whole)
        if self._head is not None:
            self._throw_away(self._head)
            self._head = None
            del whole[0]
        self._hold()
        return [message.decode("utf-8", SURROGATES) for message in map(self._judged, whole) if message]

    def _greeted(self) -> bool:
        line, end, rest = bytes(self._held).partition(_LINE_END)
        begins = line.startswith(_GREETING) if end else _GREETING.startswith(line[: len(_GREETING)])
        if not begins or len(line) + len(end or b"\n") > MAX_BANNER:  # without an end its CR may be there already
            raise FramingError(f"what answers is no Asterisk manager: it says {line[:40]!r}")
        if not end:
            return False
        self.version = line[len(_GREETING) :].decode("ascii", "replace").strip()
        self._held = bytearray(rest)
        return True

    def _hold(self) -> None:
        """Keep what has no end yet, as far as it is bounded."""
        held = self._held
        if len(held) > self._limit + len(_END) - 1:  # whatever comes next, it is too long
            if self._head is None:
                self._head = bytes(held[: self._known])
            del held[: 1 - len(_END)]
        self._searched = max(0, len(held) - len(_END) + 1)

    def _judged(self, message: bytes) -> bytes:
        """Return the message, or b"" when nobody is to see it."""
        if len(message) > self._limit:
            self._throw_away(message[: self._known])
            return b""
        message = message.removeprefix(_LINE_END)  # some modules send one empty line too many
        if message.startswith(_EVENT):
            end = message.find(_LINE_END)
            name = message[len(_EVENT) : end if end >= 0 else None]
            if name not in self._wanted and not (self.answers_due and _ANSWERS in message):
                self.skipped += 1
                return b""
        return message

    def _throw_away(self, head: bytes) -> None:
        name, end, _ = head.removeprefix(_LINE_END).partition(_LINE_END)
        if end and name.startswith(_EVENT) and name[len(_EVENT) :] not in self._wanted:
            self.skipped += 1
        else:
            self.lost += 1
