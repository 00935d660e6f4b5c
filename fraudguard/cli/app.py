"""What every command shares: the settings, the store, scopes, and one way to print."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from rich.console import Console

from fraudguard import config
from fraudguard.agi.protocol import MAX_TEXT
from fraudguard.cli.tables import GAP, Column, empty_table, fit
from fraudguard.clock import Clock, Millis, SystemClock, format_instant, parse_instant
from fraudguard.config import Settings
from fraudguard.errors import InputError
from fraudguard.money import Micros, format_amount
from fraudguard.policy import DEFAULT_TENANT, Scope
from fraudguard.store import Writer, open_reader, open_writer

IDENTIFIER = click.IntRange(1, 2**63 - 1)
"""The id of a grant, block, alert or version: what SQLite can hold."""

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass
class App:
    """What a command is handed: where the configuration is, and everything derived from it on demand."""

    config_path: Path
    clock: Clock = field(default_factory=SystemClock)

    @cached_property
    def settings(self) -> Settings:
        """The checked configuration. Raises ConfigError."""
        return config.load(self.config_path)

    @property
    def author(self) -> str:
        """Who makes an edit: the login behind sudo, else the user."""
        try:
            return os.environ.get("SUDO_USER") or getpass.getuser()
        except (KeyError, OSError):  # a container's user that no passwd file knows
            return f"uid {os.getuid()}"

    def read(self, function: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `function` in one read transaction. Raises StoreError."""

        async def work() -> _T:
            async with await open_reader(self.settings.database) as reader:
                return await reader.read(function)

        return asyncio.run(work())

    def write(self, edit: Callable[[Writer], Coroutine[Any, Any, _T]]) -> _T:
        """Run one edit of the store. Raises StoreError, and whatever the edit raises."""

        async def work() -> _T:
            async with await open_writer(self.settings.database) as writer:
                return await edit(writer)

        return asyncio.run(work())

    def scope(self, tenant: str | None, account: str | None) -> Scope:
        """Build a scope from --tenant and --account. An account without a tenant is of the default tenant.

        Raises InputError for a tenant that the configuration does not name: a limit set for a misspelt
        tenant would silently guard nobody.
        """
        if account is not None and not (account.isprintable() and 0 < len(account) <= MAX_TEXT):
            raise InputError(
                f"{printable(account[:40])!r} is no account",
                where="--account",
                fix=f"1 to {MAX_TEXT} printable characters, or leave the option out",
            )
        if tenant is None:
            return Scope(DEFAULT_TENANT, account) if account is not None else Scope()
        return Scope(self.tenant(tenant), account)

    def tenant(self, name: str) -> str:
        """Return the tenant's name. Raises InputError for one that the configuration does not name."""
        known = {DEFAULT_TENANT, *self.settings.tenants}
        if name not in known:
            raise InputError(
                f"unknown tenant {name!r}",
                where="--tenant",
                fix=f"known: {', '.join(sorted(known))}; a new one needs a section in {self.config_path}",
            )
        return name

    def future(self, text: str | None, option: str) -> Millis | None:
        """Read a time (UTC unless it says otherwise) at which something ends. Raises InputError if that is past."""
        if text is None:
            return None
        instant = parse_instant(text, where=option)
        if instant <= self.clock.now():
            raise InputError(f"{text!r} is in the past", where=option, fix="give a time to come")
        return instant


def scope_options(command: _Command) -> _Command:
    """Add --tenant and --account."""
    command = click.option("--account", metavar="ACCOUNT", help="One account of the tenant.")(command)
    return click.option("--tenant", metavar="TENANT", help="One tenant. [default: everybody]")(command)


def json_option(command: _Command) -> _Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, spare: Sequence[str] = ()
) -> None:
    """Print rows as a table, or `empty` when there are none. Plain text, never wrapped, when not a terminal.

    A terminal that is too narrow is spared the columns in `spare`, the first of them first, and is told so.
    """
    texts = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    if not texts:
        click.echo(empty)
        return
    whole = [Column(heading, [row[index] for row in texts]) for index, heading in enumerate(columns)]
    console = Console(highlight=False, markup=False, emoji=False)
    room = console.width if console.is_terminal else sys.maxsize  # a pipe has no edge to wrap at
    shown, widths = fit(whole, room, spare=spare)
    table = empty_table(shown, widths)
    for cells in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*cells)
    if not console.is_terminal:
        console.width = sum(widths) + GAP * len(widths)
    console.print(table)
    headings = {column.heading for column in shown}
    if missing := [column.heading for column in whole if any(column.cells) and column.heading not in headings]:
        click.echo(f"no room for: {', '.join(missing)}. A wider terminal shows them, and --json.")


def printable(text: str, *, lines: bool = False) -> str:
    """Escape what is not printable: what was dialled is an attacker's text, and a terminal obeys escape codes.

    With `lines`, line feeds stay.
    """
    return "".join(
        c if c.isprintable() or (lines and c == "\n") else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )


def show_money(amount: Micros | None) -> str | None:
    """Write an amount: None for none."""
    return None if amount is None else format_amount(amount)


def show_instant(instant: Millis | None) -> str:
    """Write an instant for a table: '' for none."""
    return "" if instant is None else format_instant(instant).removesuffix("+00:00") + "Z"


def examples(*lines: str) -> str:
    """Write a command's examples for its help text; a paragraph each, which is what keeps the lines apart."""
    return "\n\n".join(["Examples:", *(f"fraudguard {line}" for line in lines)])
