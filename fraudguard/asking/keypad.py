"""The caller's keypad, as the guard sees it: a port, filled by the AGI dialogue."""

from __future__ import annotations

from typing import Protocol

from fraudguard.errors import PeerError
from fraudguard.pins.digits import Digits


class HungUpError(PeerError):
    """The caller hung up while being asked."""


class Keypad(Protocol):
    """One caller who can be asked."""

    async def ask(self, *, again: bool) -> Digits:
        """Play the prompt, or with `again` that it was wrong, and return what was keyed; empty when nothing was.

        Raises HungUpError.
        """
        ...

    async def refuse(self) -> None:
        """Say that the call will not go. A caller who has hung up is told nothing."""
        ...
