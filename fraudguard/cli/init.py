"""`fraudguard init`: the configuration file and the database."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from string import Template

import rich_click as click

from fraudguard.cli.app import App, examples, run_async
from fraudguard.cli.rates_import import import_sample
from fraudguard.config import NAME_PATTERN, Settings, load
from fraudguard.errors import InputError, UnreachableError
from fraudguard.house import build_house
from fraudguard.store import create_database

SAMPLE_DECK = "sample"


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
    """Write fraudguard.toml (where --config says) and the database beside it. Overwrites nothing."""
    path = app.config_path
    if path.exists():
        raise InputError("exists already", where=str(path), fix="edit it, or name another with --config")
    for option, value in (("--home", home), ("--currency", currency), ("--trunk", trunk)):
        if not re.fullmatch(NAME_PATTERN, value):
            raise InputError(f"{value[:60]!r} will not do", where=option, fix="letters, digits, - and _, at most 40")
    deck = SAMPLE_DECK if sample else trunk
    template = Template((resources.files("fraudguard.data") / "fraudguard.toml").read_text(encoding="utf-8"))
    text = template.substitute(home=home, currency=currency, trunk=trunk, deck=deck)
    settings = _written(path, text)
    try:
        build_house(settings)
        run_async(create_database(settings.database, app.clock.now()))
    except BaseException:
        path.unlink()  # nothing half done: the next try starts from nothing
        raise
    if sample:
        with resources.as_file(resources.files("fraudguard.data") / "sample-rates.csv") as file:
            import_sample(app, file, SAMPLE_DECK)
    click.echo(f"wrote {path} and {settings.database}")


def _written(path: Path, text: str) -> Settings:
    """Write the file and read it back. Raises InputError for an option that the configuration refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except OSError as error:
        raise UnreachableError(f"cannot be written: {error.strerror}", where=str(path)) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        return load(path)
    except BaseException:
        path.unlink()
        raise
