"""`fraudguard rates import`: a carrier's price list becomes a new version of a deck."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fraudguard.cli.app import App, examples, printable, show_instant
from fraudguard.clock import Millis, parse_instant
from fraudguard.config import NAME_PATTERN
from fraudguard.decks import ImportOptions, ParsedDeck, Role
from fraudguard.decks.cells import MAX_INCREMENT
from fraudguard.decks.diff import Change, DeckDiff, compare
from fraudguard.decks.reader import read_deck
from fraudguard.errors import InputError
from fraudguard.money import Micros, format_amount, parse_amount, parse_decimal
from fraudguard.policy import DEFAULT_LIMIT, EVERYBODY
from fraudguard.rating import PrefixTable, Rate, in_force
from fraudguard.store import open_writer, policies
from fraudguard.store.rates import Delivery, Imported, import_deck, load_deck

_MINIMUM = click.IntRange(0, MAX_INCREMENT)
_INCREMENT = click.IntRange(1, MAX_INCREMENT)

SHOWN = 20
"""Changes of each sort, and warnings, that are printed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class _Request:
    file: Path
    deck: str
    effective_from: Millis
    note: str


@click.command(
    "import",
    epilog=examples(
        "rates import carrier.csv --deck carrier --dry-run",
        "rates import carrier.xlsx --deck carrier --effective 2027-01-01",
        "rates import list.csv.gz --deck carrier --column price=tariff --column prefix=3 --date-format dmy",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--deck", required=True, metavar="DECK", help="The deck it becomes a version of.")
@click.option("--effective", metavar="TIME", help="From when on it counts. [default: now]")
@click.option("--dry-run", is_flag=True, help="Show layout and changes, store nothing.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=COLUMN", help="Map a column: name, letter or number.")
@click.option("--delimiter", default="", help="What separates the columns. [default: detected]")
@click.option("--encoding", default="", help="The text's encoding. [default: detected]")
@click.option("--header/--no-header", default=None, help="Whether there is a header line. [default: detected]")
@click.option("--unit", metavar="AMOUNT", help="What a price of 1 is worth: 0.0001 for ten-thousandths. [default: 1]")
@click.option("--decimal-mark", type=click.Choice([".", ","]), help="[default: detected]")
@click.option("--date-format", default="", metavar="FORMAT", help="dmy, mdy, ymd, or as in strptime.")
@click.option("--connect-fee", default="0", show_default=True, metavar="AMOUNT", help="For rows that state none.")
@click.option("--minimum", type=_MINIMUM, default=0, show_default=True, help="Seconds; for rows that state none.")
@click.option("--increment", type=_INCREMENT, default=60, show_default=True, help="Seconds; for rows that state none.")
@click.option("--ceiling", default="25", show_default=True, metavar="AMOUNT", help="A price above it is an error.")
@click.option("--nanp/--no-nanp", default=None, help="Whether codes lack North America's leading 1.")
@click.option("--member", default="", help="Which file of a ZIP.")
@click.option("--sheet", default="", help="Which sheet of a spreadsheet: name, or number from 1.")
@click.option("--skip-bad", is_flag=True, help="Import despite bad rows: their prefixes count as not offered.")
@click.option("--note", default="", help="Kept with the version.")
@click.pass_obj
def import_(
    app: App,
    /,
    file: Path,
    deck: str,
    effective: str | None,
    dry_run: bool,
    columns: tuple[str, ...],
    note: str,
    unit: str | None,
    decimal_mark: str | None,
    connect_fee: str,
    minimum: int,
    increment: int,
    ceiling: str,
    **as_given: Any,
) -> None:
    """Import a price list (CSV, gzip, ZIP, XLSX): all rows, or none.

    The layout is detected and shown. The version before stays and can be activated again. ROLE is one of
    prefix, country-code, area-code, destination, price, old-price, surcharge, connect-fee, minimum, increment,
    effective, blocked, offered, status, currency.
    """
    instant = app.clock.now() if effective is None else parse_instant(effective, where="--effective")
    options = ImportOptions(
        columns=_columns(columns),
        currency=app.settings.currency,
        unit=_unit(unit),
        decimal_mark=decimal_mark or "",
        connect_fee=parse_amount(connect_fee, where="--connect-fee"),
        minimum_seconds=minimum,
        increment_seconds=increment,
        effective_from=instant,
        ceiling=parse_amount(ceiling, where="--ceiling"),
        **as_given,
    )
    request = _Request(file, _deck_name(deck), instant, note)
    if file.exists() and not file.is_file():  # it is read twice: for its prices and for its checksum
        raise InputError("is not a regular file", where=str(file), fix="save the list in a file first")
    with _bar(f"reading {file.name}") as progress:
        parsed = read_deck(file, options, progress)
    _print_reading(parsed)
    if dry_run:
        limit, diff = _compare(app, request, parsed)
        _print_diff(diff, f"{format_amount(limit)} {app.settings.currency}")
        return
    imported = asyncio.run(_store(app, request, parsed))
    carried = f", {imported.carried} carried over until theirs begin" if imported.carried else ""
    click.echo(
        f"deck {deck}: version {imported.version}, {imported.rows} rows{carried}, effective {show_instant(instant)}"
    )
    if deck not in {trunk.deck for trunk in app.settings.trunks.values()}:
        click.echo(f"no trunk is priced by deck {deck} yet: set trunks.NAME.deck in {app.config_path}", err=True)


def import_sample(app: App, file: Path, deck: str) -> None:
    """Import a price list that needs no questions asked: what `init --sample` does."""
    now = app.clock.now()
    parsed = read_deck(file, ImportOptions(currency=app.settings.currency, effective_from=now))
    asyncio.run(_store(app, _Request(file, deck, now, "sample"), parsed))


async def _store(app: App, request: _Request, parsed: ParsedDeck) -> Imported:
    with request.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    delivery = Delivery(
        deck=request.deck,
        currency=parsed.layout.currency or app.settings.currency,
        source=request.file.name,
        sha256=sha256,
        author=app.author,
        effective_from=request.effective_from,
        note=request.note,
    )
    async with await open_writer(app.settings.database) as writer:
        with _bar("storing") as progress:
            return await import_deck(
                writer,
                delivery,
                parsed.rows,
                currency=app.settings.currency,
                now=app.clock.now(),
                progress=lambda done: progress(done, len(parsed.rows)),
            )


def _compare(app: App, request: _Request, parsed: ParsedDeck) -> tuple[Micros, DeckDiff]:
    """Compare with the version that the list would replace, by the global limit."""

    def read(connection: sqlite3.Connection) -> tuple[Micros, PrefixTable]:
        limits = [limit.per_minute for limit in policies.list_limits(connection) if limit.scope == EVERYBODY]
        before = load_deck(connection, request.deck, request.effective_from)
        return (limits or [DEFAULT_LIMIT])[0], PrefixTable(()) if before is None else before.rates

    limit, before = app.read(read)
    after = (_carried_over(rate, before, request) for rate in in_force(parsed.rows, request.effective_from))
    return limit, compare(before, PrefixTable(after), limit)


def _carried_over(rate: Rate, before: PrefixTable, request: _Request) -> Rate:
    """Return the price that the import would keep until that of the new list begins (see store.rates.import_deck)."""
    earlier = before.longest(rate.prefix) if rate.effective_from > request.effective_from else None
    return earlier if earlier is not None and earlier.prefix == rate.prefix else rate


def _columns(texts: tuple[str, ...]) -> dict[Role, str]:
    columns = {}
    for text in texts:
        name, equals, column = text.partition("=")
        if name not in list(Role) or not equals or not column:
            roles = ", ".join(Role)
            raise InputError(
                f"{text!r} does not map a column", where="--column", fix=f"ROLE=COLUMN, ROLE one of {roles}"
            )
        columns[Role(name)] = column
    return columns


def _unit(text: str | None) -> Decimal | None:
    if text is None:
        return None
    unit = parse_decimal(text, where="--unit")
    if not 0 < unit <= 1:
        raise InputError(f"{text!r} is no unit of a price", where="--unit", fix="above 0, at most 1: 0.01 for cents")
    return unit


def _deck_name(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(
            f"{name[:60]!r} is no name for a deck", where="--deck", fix="letters, digits, - and _, at most 40"
        )
    return name


def _print_reading(parsed: ParsedDeck) -> None:
    for line in parsed.layout.describe():
        click.echo(f"  {printable(line)}")
    _print_some("warning", parsed.warnings, parsed.warning_count)
    _print_some("left out", parsed.bad, parsed.skipped)
    click.echo(f"{parsed.lines} rows read, {len(parsed.rows)} rates")


def _print_some(label: str, entries: Sequence[object], total: int) -> None:
    for entry in itertools.islice(entries, SHOWN):
        click.echo(f"{label}: {printable(str(entry))}", err=True)
    if total > SHOWN:
        click.echo(f"{label}: ... and {total - SHOWN} more", err=True)


def _print_diff(diff: DeckDiff, limit: str) -> None:
    for kind in (Change.ADDED, Change.REMOVED, Change.DEARER, Change.CHEAPER):
        click.echo(f"{kind}: {diff.counts[kind]}")
    click.echo(f"changed otherwise: {diff.counts[Change.OTHER]}\nunchanged: {diff.unchanged}")
    crossings = ((Change.SHUT, f"rise above the limit of {limit}"), (Change.OPENED, f"come under the limit of {limit}"))
    for kind, what in crossings:
        if diff.counts[kind]:
            click.echo(f"{diff.counts[kind]} prefixes {what}:")
            for change in diff.changes[kind][:SHOWN]:
                click.echo(f"  {printable(str(change))}")
    click.echo("dry run: nothing was stored")


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error, when that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
