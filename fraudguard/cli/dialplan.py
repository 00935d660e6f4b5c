"""`fraudguard dialplan`: what Asterisk includes."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import rich_click as click

from fraudguard.ami.events import EVENTS
from fraudguard.cli.app import App, examples, json_option, print_json
from fraudguard.config import Ami, Settings
from fraudguard.dialplan import manager
from fraudguard.dialplan.check import check
from fraudguard.dialplan.install import DEFAULT_PATH, MANAGER, Installed, advice, install
from fraudguard.dialplan.render import render
from fraudguard.errors import ConfigError, InputError, UnreachableError
from fraudguard.secretfile import make_secret

_PATH = click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_PATH)
_PERMIT = click.option(
    "--permit", multiple=True, metavar="NETWORK", help="Where the guard's link comes from. [default: from the settings]"
)


@click.group()
def dialplan() -> None:
    """The generated dialplan: what Asterisk includes, so that every call meets the guard."""


@dialplan.command(
    "render",
    epilog=examples(
        "dialplan render", "dialplan render --output /etc/asterisk/fraudguard.conf", "dialplan render --manager"
    ),
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it there as install does.")
@click.option("--manager", "as_manager", is_flag=True, help="The guard's part of manager.conf, without its secret.")
@_PERMIT
@click.pass_obj
def render_(app: App, output: Path | None, as_manager: bool, permit: tuple[str, ...]) -> None:
    """Print the dialplan of the configuration. The same configuration always gives the same text."""
    if as_manager:
        _print_manager(app, output, permit)
        return
    text = render(app.settings)
    if output is None:
        click.echo(text, nl=False)
        return
    _say_installed(install(text, output))


@dialplan.command(
    "install",
    epilog=examples(
        "dialplan install",
        "dialplan install /srv/pbx/etc/fraudguard.conf --manager /srv/pbx/etc/manager.d/fraudguard.conf",
    ),
)
@_PATH
@click.option(
    "--manager", "snippet", type=click.Path(path_type=Path, dir_okay=False), help="Where the part of manager.conf goes."
)
@_PERMIT
@click.pass_obj
def install_(app: App, path: Path, snippet: Path | None, permit: tuple[str, ...]) -> None:
    """Write the dialplan to PATH in one step and say what to include where.

    With an [ami] section for this Asterisk also the guard's user of its manager interface: into manager.d beside PATH
    if there is such a folder, as Debian has it, else beside PATH. Its secret is made if there is none. The files
    before are kept beside as .previous. A file that fraudguard did not write is never overwritten.
    """
    settings = app.settings
    text = render(settings)
    ami = manager.own(settings)
    _say_installed(install(text, path))
    for line in advice(settings, path):
        click.echo(line)
    if ami is None:
        click.echo(f"No [ami.{settings.dialplan.asterisk}] section: calls are guarded, but not followed")
        return
    _make_secret(settings, ami)
    target = snippet or manager.default_path(path)
    _say_installed(install(_manager_text(settings, ami, permit), target, MANAGER))
    for line in manager.advice(target):
        click.echo(line)


def _print_manager(app: App, output: Path | None, permit: tuple[str, ...]) -> None:
    settings = app.settings
    ami = manager.own(settings)
    if output is not None:
        raise InputError("is not for --manager", where="--output", fix="'dialplan install' writes it, with the secret")
    if ami is None:
        raise ConfigError(
            f"no [ami.{settings.dialplan.asterisk}] section", where=str(app.config_path), fix="add it, with secret_file"
        )
    click.echo(_manager_text(settings, ami, permit, manager.HIDDEN), nl=False)


def _manager_text(settings: Settings, ami: Ami, permit: tuple[str, ...], secret: str | None = None) -> str:
    networks = [_network(text) for text in permit] or manager.guard_addresses(settings, ami)
    known = secret or manager.read_secret(settings, settings.dialplan.asterisk)
    return manager.render(ami, known, permit=networks, events=EVENTS)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise InputError(str(error), where="--permit", fix="give an address or a network: 10.1.0.0/24") from None


def _make_secret(settings: Settings, ami: Ami) -> None:
    path = manager.secret_path(settings, ami)
    if path is not None and make_secret(path, owner=settings.database):
        click.echo(f"made the secret {path}")


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
