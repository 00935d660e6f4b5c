"""`fraudguard run`: the service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import rich_click as click

from fraudguard import logs
from fraudguard.cli.app import App, examples
from fraudguard.dialplan.install import DEFAULT_PATH, advice
from fraudguard.service import Service, serve


@click.command(epilog=examples("run", "--config /etc/fraudguard/fraudguard.toml run"))
@click.pass_obj
def run(app: App) -> None:
    """Run the service until it is told to stop (SIGTERM or Ctrl-C).

    It serves FastAGI to the Asterisk that includes the generated dialplan. Edits made with the other commands
    are obeyed within a second, without a restart; changes of the configuration file need one.
    """
    settings = app.settings
    logs.configure(settings.log)

    def greet(service: Service) -> None:
        host, port = service.address
        click.echo(f"fraudguard listens on {host}:{port}. To connect an Asterisk:")
        config = "" if app.config_path.name == str(app.config_path) else f" --config {app.config_path}"
        click.echo(f"  fraudguard{config} dialplan install")
        for line in advice(settings, DEFAULT_PATH):
            click.echo(f"  {line}")

    _run(serve(settings, app.clock, greet))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, twice as fast, or on asyncio's own loop where uvloop has no wheel."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
