"""The PIN dialogue: plays prompts and collects what is keyed, on the AGI connection that asked for the verdict.

No thread, and between two commands nothing but a coroutine: thousands of callers may be at the prompt at once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import structlog

from fraudguard.agi.protocol import Reply
from fraudguard.agi.session import GoneError, RefusedError, Session
from fraudguard.asking.keypad import HungUpError
from fraudguard.house import Asking
from fraudguard.pins.digits import MOST_DIGITS, Digits

PROMPT_SECONDS: Final = 30
"""The longest that a prompt may play: nobody listens longer, and a broken sound file must end somewhere."""

THINK_SECONDS: Final = 10
"""How long a caller who has keyed waits in silence at most: for the PIN to be looked at, and the verdict stored."""

MOST_KEYED: Final = MOST_DIGITS + 1
"""What is collected at most: with one less, the # after the longest PIN would be the answer to the next prompt."""

FAILED: Final = "-1"
"""The result of a command during which the caller hung up, or whose sound is not there."""

DEAD_CHANNEL: Final = 511
"""What Asterisk answers to a command that needs a caller when there is none any more."""

log = structlog.get_logger()


class Dialogue:
    """One caller's keypad (asking.keypad.Keypad). Nothing is sent before the first question."""

    __slots__ = ("_asking", "_opened", "_session")

    def __init__(self, session: Session, asking: Asking) -> None:
        self._session = session
        self._asking = asking
        self._opened = False

    async def ask(self, *, again: bool) -> Digits:
        """Play the prompt and return what was keyed, empty when nothing was. Raises HungUpError."""
        if not self._opened:
            await self._open()
            self._opened = True
        sound = self._asking.again if again else self._asking.ask
        reply = await self._collect(sound)
        if reply.result == FAILED:
            # A caller who hung up and a sound that is not there look alike, until something else is asked (measured).
            await self._command(THINK_SECONDS, "CHANNEL STATUS")
            log.error("a prompt could not be played: callers are asked without a word", sound=sound)
            reply = await self._collect("")
        if reply.result == FAILED:
            raise HungUpError("the caller hung up at the prompt")
        return Digits(reply.result)

    async def refuse(self) -> None:
        """Say that the call will not go. Whatever hinders it: the verdict has to be given all the same."""
        if self._opened and not self._session.hung_up:
            with suppress(HungUpError, RefusedError):
                await self._command(PROMPT_SECONDS, "STREAM FILE", self._asking.refused, "")

    async def _open(self) -> None:
        asking = self._asking
        if asking.language:
            await self._command(THINK_SECONDS, "SET VARIABLE", "CHANNEL(language)", asking.language)
        if asking.answered:
            await self._command(PROMPT_SECONDS, "ANSWER")
        else:  # else a phone waits for ringing, and plays nothing
            await self._command(THINK_SECONDS, "EXEC", "Progress")

    async def _collect(self, sound: str) -> Reply:
        timeout = self._asking.timeout_millis
        longest = PROMPT_SECONDS + (MOST_KEYED + 1) * timeout // 1000
        return await self._command(longest, "GET DATA", sound, str(timeout), str(MOST_KEYED))

    async def _command(self, seconds: float, verb: str, *arguments: str) -> Reply:
        """Send a command that may take so long. Raises HungUpError, RefusedError."""
        session = self._session
        session.extend(seconds)
        try:
            reply = await session.command(verb, *arguments)
        except GoneError as error:
            raise HungUpError(error.what) from None
        session.extend(THINK_SECONDS)
        if session.hung_up or reply.code == DEAD_CHANNEL:
            raise HungUpError("the caller hung up")
        if not reply.ok:
            raise RefusedError(f"Asterisk refused {verb}: {reply.code}")
        return reply
