"""`fraudguard rates`: the carriers' price lists."""

from __future__ import annotations

import asyncio
import csv
import sqlite3
from functools import partial
from typing import TextIO

import rich_click as click

from fraudguard.cli.app import IDENTIFIER, App, examples, json_option, print_json, print_table, printable, show_instant
from fraudguard.cli.rates_import import import_
from fraudguard.clock import format_instant, parse_instant
from fraudguard.errors import InputError
from fraudguard.house import build_house
from fraudguard.money import format_amount
from fraudguard.numbering import BadNumber
from fraudguard.policy import DEFAULT_TENANT
from fraudguard.rating import Deck, Rate, cost
from fraudguard.store import Reader, open_reader
from fraudguard.store.rates import Version, activate_version, export_rates, list_versions, load_deck


@click.group()
def rates() -> None:
    """The carriers' price lists (decks): import, look up, switch versions, export."""


rates.add_command(import_)


@rates.command(
    epilog=examples("rates lookup +442079460000", "rates lookup 011882160000 --deck carrier --seconds 61 --json")
)
@click.argument("number")
@click.option("--deck", "deck_name", metavar="DECK", help="[default: the only deck that a trunk uses]")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, metavar="TENANT", help="Whose way of dialling.")
@click.option("--at", metavar="TIME", help="The instant whose price counts. [default: now]")
@click.option("--seconds", type=click.IntRange(0, 10_000_000), help="Also say what a call of so many seconds costs.")
@json_option
@click.pass_context
def lookup(
    context: click.Context,
    number: str,
    deck_name: str | None,
    tenant: str,
    at: str | None,
    seconds: int | None,
    as_json: bool,
) -> None:
    """Show the price of NUMBER, as dialled: that of the longest prefix.

    Ends with status 1 if there is none, or none that applies: a row that is not offered, or one for the calling
    code alone when the number is premium, satellite, unknown, or in another country of +1.
    """
    app: App = context.obj
    instant = app.clock.now() if at is None else parse_instant(at, where="--at")
    dialled = build_house(app.settings).tenancy_of(app.tenant(tenant)).normaliser.normalise(number)
    if isinstance(dialled, BadNumber):
        raise InputError(f"{number[:80]!r} is no number: {dialled.why}", where="NUMBER")
    if dialled.short:
        raise InputError(
            f"{dialled.digits} is a short code ({dialled.kind}), which no deck prices",
            where="NUMBER",
            fix="service codes are priced by numbering.service_codes in the configuration",
        )
    name = _chosen_deck(app, deck_name)
    deck = app.read(partial(load_deck, name=name, at=instant, digits=dialled.digits))
    rate = None if deck is None else deck.lookup(dialled.digits)
    if deck is None and name not in {trunk.deck for trunk in app.settings.trunks.values()}:
        raise InputError(
            f"there is no deck {name!r}", where="--deck", fix="'fraudguard rates decks' shows those imported"
        )
    if deck is None or rate is None:
        click.echo("null" if as_json else f"deck {name} has no price for {dialled.dialable}")
        context.exit(1)
    applies = rate.offered and dialled.is_priced_by(rate.prefix)
    document = _rate_document(rate, deck) | {"applies": applies}
    if seconds is not None:
        document["cost"] = format_amount(cost(rate, seconds))
    if as_json:
        print_json(document)
    else:
        for key, value in document.items():
            click.echo(f"{key + ':':18} {printable(str(value))}")
        if not applies:
            click.echo(f"it is not the price of {dialled.dialable}: not offered, or its prefix is too short", err=True)
    context.exit(0 if applies else 1)


@rates.command(epilog=examples("rates decks", "rates decks --json"))
@json_option
@click.pass_obj
def decks(app: App, as_json: bool) -> None:
    """Show the decks and their versions; the version in force is marked."""
    versions = app.read(partial(list_versions, at=app.clock.now()))
    if as_json:
        print_json([_version_document(version) for version in versions])
        return
    rows = [
        (
            version.deck,
            version.id,
            "in force" if version.in_force else "",
            show_instant(version.effective_from),
            version.rows,
            version.currency,
            version.source,
            show_instant(version.imported_at),
            version.author,
        )
        for version in versions
    ]
    columns = ("deck", "version", "", "effective", "rows", "currency", "file", "imported", "by")
    print_table(columns, rows, empty="no decks: import one with 'fraudguard rates import FILE --deck NAME'")


@rates.command(epilog=examples("rates activate 3", "rates activate 4 --effective 2027-01-01"))
@click.argument("version", type=IDENTIFIER)
@click.option("--effective", metavar="TIME", help="From when on. [default: now]")
@click.pass_obj
def activate(app: App, version: int, effective: str | None) -> None:
    """Let VERSION (see 'rates decks') answer for its deck: a new list early, or an old one again."""
    now = app.clock.now()
    instant = now if effective is None else parse_instant(effective, where="--effective")
    app.write(partial(activate_version, version=version, effective_from=instant, author=app.author, now=now))
    click.echo(f"version {version} is effective from {show_instant(instant)}")


@rates.command(epilog=examples("rates export --deck carrier > carrier.csv", "rates export --version 3"))
@click.option("--deck", "deck_name", metavar="DECK", help="[default: the only deck that a trunk uses]")
@click.option("--version", type=IDENTIFIER, help="[default: the version in force]")
@click.option("--output", type=click.File("w", encoding="utf-8", atomic=True), default="-", help="[default: stdout]")
@click.pass_obj
def export(app: App, deck_name: str | None, version: int | None, output: TextIO) -> None:
    """Write a deck as CSV that 'rates import' reads back."""
    name = None if version is not None else _chosen_deck(app, deck_name)
    asyncio.run(_export(app, name, version, output))


async def _export(app: App, deck: str | None, version: int | None, output: TextIO) -> None:
    async with await open_reader(app.settings.database) as reader:
        chosen = await _chosen_version(app, reader, deck, version)
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow(
            ("prefix", "destination", "per_minute", "connect_fee", "minimum", "increment", "effective", "offered")
        )
        async for page in export_rates(reader, chosen):
            writer.writerows(map(_export_row, page))


async def _chosen_version(app: App, reader: Reader, deck: str | None, version: int | None) -> int:
    def choose(connection: sqlite3.Connection) -> int:
        for entry in list_versions(connection, app.clock.now(), deck):
            if entry.id == version or (version is None and entry.in_force):
                return entry.id
        wanted = f"version {version}" if deck is None else f"version of deck {deck} in force"
        raise InputError(f"there is no {wanted}", fix="'fraudguard rates decks' shows those imported")

    return await reader.read(choose)


def _chosen_deck(app: App, name: str | None) -> str:
    known = sorted({trunk.deck for trunk in app.settings.trunks.values()})
    if name is not None:
        return name
    if len(known) != 1:
        raise InputError("which deck?", where="--deck", fix=f"trunks use: {', '.join(known) or 'none'}")
    return known[0]


def _export_row(rate: Rate) -> tuple[object, ...]:
    return (
        rate.prefix,
        rate.destination,
        format_amount(rate.per_minute),
        format_amount(rate.connect_fee),
        rate.minimum_seconds,
        rate.increment_seconds,
        format_instant(rate.effective_from),
        "yes" if rate.offered else "no",
    )


def _rate_document(rate: Rate, deck: Deck) -> dict[str, object]:
    return {
        "prefix": rate.prefix,
        "destination": rate.destination,
        "per_minute": format_amount(rate.per_minute),
        "connect_fee": format_amount(rate.connect_fee),
        "minimum_seconds": rate.minimum_seconds,
        "increment_seconds": rate.increment_seconds,
        "currency": deck.currency,
        "deck": deck.name,
        "effective_from": format_instant(rate.effective_from),
        "offered": rate.offered,
    }


def _version_document(version: Version) -> dict[str, object]:
    return {
        "deck": version.deck,
        "version": version.id,
        "in_force": version.in_force,
        "effective_from": None if version.effective_from is None else format_instant(version.effective_from),
        "rows": version.rows,
        "currency": version.currency,
        "source": version.source,
        "sha256": version.sha256,
        "imported_at": format_instant(version.imported_at),
        "author": version.author,
        "note": version.note,
    }
