"""`fraudguard run`: the service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import rich_click as click

from fraudguard import logs
from fraudguard.cli.app import App, examples
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
        config = f" --config {app.config_path}" if str(app.config_path) != "fraudguard.toml" else ""
        click.echo(f"  1. fraudguard{config} dialplan install /etc/asterisk/fraudguard.conf")
        click.echo("  2. in extensions.conf:            #include fraudguard.conf")
        for trunk in sorted(settings.trunks):
            click.echo(f"  3. in your phones' context:       include => fraudguard-out-{trunk}")
        click.echo("  4. asterisk -rx 'dialplan reload'")

    _run(serve(settings, app.clock, greet))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, twice as fast, or on asyncio's own loop where uvloop has no wheel."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
