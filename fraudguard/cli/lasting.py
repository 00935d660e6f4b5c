"""What grants and blocks have in common: a prefix, a scope, an end, a reason and an author."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import rich_click as click

from fraudguard.cli.app import App, print_json, print_table, show_instant
from fraudguard.clock import format_instant
from fraudguard.errors import InputError
from fraudguard.policy import Block, Grant
from fraudguard.rating.prefixes import MAX_DIGITS

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Entry = TypeVar("_Entry", Grant, Block)
_Own: TypeAlias = tuple[str, str, Callable[[_Entry], str | bool | None]]


def lasting_options(command: _Command) -> _Command:
    """Add --until and --reason."""
    command = click.option("--reason", default="", help="Why; shown wherever it is listed.")(command)
    return click.option(
        "--until", metavar="TIME", help="The first instant at which it no longer holds. [default: for good]"
    )(command)


def parse_prefix(text: str) -> str:
    """Read an E.164 prefix ('+8821' or '8821', '' for any number) into digits. Raises InputError."""
    digits = text.removeprefix("+")
    if not digits and not text:
        return ""
    if not (digits.isascii() and digits.isdigit()) or len(digits) > MAX_DIGITS or digits.startswith("0"):
        raise InputError(
            f"{text!r} is not an E.164 prefix",
            where="PREFIX",
            fix="write country code and digits, such as +8821; no 00 or 011 in front",
        )
    return digits


def show_prefix(prefix: str) -> str:
    """Write a prefix for people."""
    return f"+{prefix}" if prefix else "any number"


def show_until(entry: Grant | Block) -> str:
    """Write the end of a grant or block as the tail of a sentence."""
    return "" if entry.until is None else f", until {format_instant(entry.until)}"


def print_lasting(app: App, entries: Sequence[_Entry], *own: _Own[_Entry], as_json: bool) -> None:
    """Print grants or blocks; `own` are the fields they do not share: table heading, JSON key, and its value."""
    now = app.clock.now()
    if as_json:
        print_json([_document(entry, now) | {key: value(entry) for _, key, value in own} for entry in entries])
        return
    headings = ["id", "scope", "prefix", *(column[0] for column in own), "until", "reason", "author", "added"]
    rows = [_row(entry, [value(entry) for _, _, value in own], now) for entry in entries]
    print_table(headings, rows, empty="none")


def _row(entry: Grant | Block, values: Sequence[str | bool | None], now: int) -> list[object]:
    return [
        entry.id,
        entry.scope,
        show_prefix(entry.prefix),
        *(("yes" if value else "no") if isinstance(value, bool) else value or "any" for value in values),
        show_instant(entry.until) + (" (expired)" if _expired(entry, now) else ""),
        entry.reason,
        entry.author,
        show_instant(entry.created),
    ]


def _document(entry: Grant | Block, now: int) -> dict[str, object]:
    return {
        "id": entry.id,
        "tenant": entry.scope.tenant,
        "account": entry.scope.account,
        "prefix": entry.prefix,
        "until": None if entry.until is None else format_instant(entry.until),
        "expired": _expired(entry, now),
        "reason": entry.reason,
        "author": entry.author,
        "created": format_instant(entry.created),
    }


def _expired(entry: Grant | Block, now: int) -> bool:
    return entry.until is not None and entry.until <= now
