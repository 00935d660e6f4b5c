"""`fraudguard dialplan`: what Asterisk includes."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json
from fraudguard.dialplan.check import check
from fraudguard.dialplan.install import DEFAULT_PATH, Installed, advice, install
from fraudguard.dialplan.render import render
from fraudguard.errors import InputError, UnreachableError

_PATH = click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_PATH)


@click.group()
def dialplan() -> None:
    """The generated dialplan: what Asterisk includes, so that every call meets the guard."""


@dialplan.command(
    "render", epilog=examples("dialplan render", "dialplan render --output /etc/asterisk/fraudguard.conf")
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it there as install does.")
@click.pass_obj
def render_(app: App, output: Path | None) -> None:
    """Print the dialplan of the configuration. The same configuration always gives the same text."""
    text = render(app.settings)
    if output is None:
        click.echo(text, nl=False)
        return
    _say_installed(install(text, output))


@dialplan.command("install", epilog=examples("dialplan install", "dialplan install /srv/pbx/etc/fraudguard.conf"))
@_PATH
@click.pass_obj
def install_(app: App, path: Path) -> None:
    """Write the dialplan to PATH in one step and say what to include where.

    The file before is kept beside it as PATH.previous. A file that fraudguard did not write is never overwritten.
    """
    _say_installed(install(render(app.settings), path))
    for line in advice(app.settings, path):
        click.echo(line)


@dialplan.command("check", epilog=examples("dialplan check", "dialplan check /etc/asterisk/fraudguard.conf --json"))
@_PATH
@json_option
@click.pass_context
def check_(context: click.Context, path: Path, as_json: bool) -> None:
    """Read the dialplan at PATH back: is it whole, safe, and today's? Exit status 1 when it is not."""
    app: App = context.obj
    findings = check(_read(path), app.settings)
    if as_json:
        print_json([{"line": finding.line, "what": finding.what, "fix": finding.fix} for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{path}:{finding}")
        if not findings:
            click.echo(f"{path}: in order")
    context.exit(1 if findings else 0)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), fix="write it with 'fraudguard dialplan install'") from None
    except OSError as error:
        raise UnreachableError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _say_installed(installed: Installed) -> None:
    if not installed.changed:
        click.echo(f"{installed.path} is unchanged")
        return
    kept = f"; the one before is kept as {installed.previous}" if installed.previous else ""
    click.echo(f"wrote {installed.path}{kept}")
