"""`fraudguard init`: the configuration file and the database."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from string import Template

import rich_click as click

from fraudguard.cli.app import App, examples
from fraudguard.cli.rates_import import import_sample
from fraudguard.config import NAME_PATTERN, Settings, load
from fraudguard.dialplan import manager
from fraudguard.errors import InputError, UnreachableError
from fraudguard.house import build_house
from fraudguard.pins.vault import make_pepper
from fraudguard.secretfile import make_secret
from fraudguard.store import create_database

SAMPLE_DECK = "sample"
SAMPLE_CURRENCY = "USD"


@click.command(
    epilog=examples(
        "init", "init --home GB --currency GBP --trunk acme-carrier", "--config var/fraudguard.toml init --sample"
    )
)
@click.option("--home", default="US", show_default=True, metavar="REGION", help="The country the phones dial from.")
@click.option("--currency", default="USD", show_default=True, metavar="CODE", help="The currency of all prices.")
@click.option("--trunk", default="carrier", show_default=True, metavar="NAME", help="The trunk's PJSIP endpoint.")
@click.option("--sample", is_flag=True, help="Import the sample price list, to try things out.")
@click.pass_obj
def init(app: App, home: str, currency: str, trunk: str, sample: bool) -> None:
    """Write fraudguard.toml (where --config says) and the database beside it. Overwrites nothing.

    Where the configuration is there and only the database is missing, that alone is made.
    """
    path = app.config_path
    if path.exists():
        _only_database(app)
        return
    for option, value in (("--home", home), ("--currency", currency), ("--trunk", trunk)):
        if not re.fullmatch(NAME_PATTERN, value):
            raise InputError(f"{value[:60]!r} will not do", where=option, fix="letters, digits, - and _, at most 40")
    if sample and currency != SAMPLE_CURRENCY:
        raise InputError(f"the sample prices are in {SAMPLE_CURRENCY}", where="--sample", fix="leave --currency out")
    template = Template((resources.files("fraudguard.data") / "fraudguard.toml").read_text(encoding="utf-8"))
    text = template.substitute(home=home, currency=currency, trunk=trunk, deck=SAMPLE_DECK if sample else trunk)
    with _undone_on_error() as made:
        _write(path, text)
        made.append(path)
        settings = load(path)
        build_house(settings)
        asyncio.run(create_database(settings.database, app.clock.now()))
        made.append(settings.database)
        for secret in _new_secrets(settings):
            made.append(secret)
        if sample:
            with resources.as_file(resources.files("fraudguard.data") / "sample-rates.csv") as file:
                import_sample(app, file, SAMPLE_DECK)
    click.echo(f"wrote {path} and {settings.database}")


def _only_database(app: App) -> None:
    """Make the database that an existing configuration names: after a move, or where only the file was copied."""
    database = app.settings.database
    if database.exists():
        raise InputError("exists already", where=str(app.config_path), fix="edit it, or name another with --config")
    asyncio.run(create_database(database, app.clock.now()))
    click.echo(f"kept {app.config_path}, wrote {database}")


def _new_secrets(settings: Settings) -> Iterator[Path]:
    """Make the secrets that are not there yet: of the manager interfaces, and what PINs are keyed with."""
    if make_secret(settings.pepper, owner=settings.database, text=make_pepper()):
        yield settings.pepper
    for ami in settings.ami.values():
        path = manager.secret_path(settings, ami)
        if path is not None and make_secret(path, owner=settings.database):
            yield path


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except OSError as error:
        raise UnreachableError(f"cannot be written: {error.strerror}", where=str(path)) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def _undone_on_error() -> Iterator[list[Path]]:
    """Remove what was made if anything fails: the next try starts from nothing."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
