"""`fraudguard store`: how large the database is, and making it smaller."""

from __future__ import annotations

import asyncio
from functools import partial

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, print_table, show_instant
from fraudguard.clock import format_instant
from fraudguard.store.figures import figures
from fraudguard.store.retention import compact as compact_store


@click.group()
def store() -> None:
    """The database: its size, and giving room back."""


@store.command(epilog=examples("store info", "store info --json"))
@json_option
@click.pass_obj
def info(app: App, as_json: bool) -> None:
    """Show how large the database is, and what it holds since when."""
    found = app.read(partial(figures, path=app.settings.database))
    if as_json:
        tables = [
            {
                "name": table.name,
                "rows": table.rows,
                "oldest_at": None if table.oldest_at is None else format_instant(table.oldest_at),
            }
            for table in found.tables
        ]
        print_json(
            {
                "path": str(found.path),
                "schema": found.schema,
                "bytes": found.size,
                "free_bytes": found.free,
                "tables": tables,
            }
        )
        return
    click.echo(f"{found.path}: {_megabytes(found.size)}, {_megabytes(found.free)} of it free, schema {found.schema}")
    rows = [(table.name, table.rows, show_instant(table.oldest_at)) for table in found.tables]
    print_table(("table", "rows", "oldest"), rows, empty="")


@store.command(epilog=examples("store compact"))
@click.pass_obj
def compact(app: App) -> None:
    """Drop what is older than [retention] keeps, and give the room back to the file system.

    The service drops such records every hour by itself and uses their room again, so this is needed only to make the
    file smaller. It may run beside the service, and takes its time so that no verdict waits.
    """
    settings = app.settings
    done = asyncio.run(compact_store(settings.database, settings.retention, app.clock.now()))
    for table, rows in done.dropped.items():
        if rows:
            click.echo(f"{table}: {rows} rows dropped")
    click.echo(f"{_megabytes(done.before)} before, {_megabytes(done.after)} now")


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
