"""The nouns of the command line, each imported when it is asked for: `limit list` waits for no HTTP client."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Final

import rich_click as click

NOUNS: Final = (
    "init",
    "demo",
    "run",
    "rates",
    "limit",
    "budget",
    "grant",
    "block",
    "pin",
    "check",
    "attempts",
    "calls",
    "explain",
    "alerts",
    "sources",
    "store",
    "dialplan",
    "doctor",
    "completion",
)
"""Each is a module or package beside this one, with a command of the same name in it."""


class Nouns(MutableMapping[str, click.Command]):
    """What click takes for a group's commands. Whoever looks at all of them, as help does, imports them all."""

    def __init__(self) -> None:
        self._commands: dict[str, click.Command | None] = dict.fromkeys(NOUNS)

    def __getitem__(self, name: str) -> click.Command:
        command = self._commands[name]
        if command is None:
            command = self._commands[name] = getattr(import_module(f"fraudguard.cli.{name}"), name)
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)
