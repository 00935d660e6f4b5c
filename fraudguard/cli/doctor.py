"""`fraudguard doctor`: is everything in place?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rich_click as click
import structlog

from fraudguard.cli import findings
from fraudguard.cli.app import App, examples, json_option, print_json, print_table
from fraudguard.cli.examination import examine
from fraudguard.cli.findings import Finding, Grade
from fraudguard.cli.pin import findings as pin_findings
from fraudguard.dialplan import manager
from fraudguard.dialplan.install import DEFAULT_PATH
from fraudguard.errors import FraudguardError
from fraudguard.house import build_house


@click.command(epilog=examples("doctor", "doctor --json", "doctor --dialplan /srv/pbx/etc/fraudguard.conf"))
@click.option(
    "--dialplan",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="Where the generated dialplan is.",
)
@click.option(
    "--sounds",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where Asterisk's sounds are. [default: where Debian and Asterisk put them]",
)
@json_option
@click.pass_context
def doctor(context: click.Context, dialplan: Path, sounds: Path | None, as_json: bool) -> None:
    """Look whether everything is in place, and say what to do where it is not.

    It reads the configuration, the database, the price lists, the PINs, the dialplan and the sounds, asks the running
    service, and logs in to each configured Asterisk as the service does. It changes nothing. Exit status 1 when a
    fault was found; a warning is none.
    """
    app: App = context.obj
    found = list(_all(app, dialplan, pin_findings.SOUNDS if sounds is None else (sounds,)))
    if as_json:
        print_json([{"check": f.check, "grade": f.grade.value, "what": f.what, "fix": f.fix} for f in found])
    else:
        print_table(("", "check", "found", "to do"), [(f.grade, f.check, f.what, f.fix) for f in found], empty="")
    context.exit(1 if any(f.grade is Grade.FAULT for f in found) else 0)


def _all(app: App, dialplan: Path, sounds: Sequence[Path]) -> Iterator[Finding]:
    try:
        settings = app.settings
        build_house(settings)
    except FraudguardError as error:
        yield findings.of_error("configuration", error)
        return
    yield findings.ok("configuration", f"{app.config_path} can be used")
    yield from findings.database(app)
    yield from findings.price_lists(app)
    yield from findings.budgets(settings)
    with _without_log():
        keyed = list(pin_findings.pins(app))
    yield from keyed
    yield from pin_findings.prompts(settings, sounds)
    yield from findings.dialplan(settings, dialplan)
    yield from findings.service(settings)
    if manager.own(settings) is None:
        fix = f"add an [ami.{settings.dialplan.asterisk}] section, then 'fraudguard dialplan install'"
        yield findings.warning("ami", "no Asterisk is followed: calls are guarded at their beginning only", fix)
    for name in sorted(settings.ami):
        yield from asyncio.run(_examined(app, name, dialplan))
    yield from findings.secret_files(settings)
    with _without_log():
        told = list(findings.alert_channels(settings, app.clock))
    yield from told


async def _examined(app: App, name: str, dialplan: Path) -> list[Finding]:
    with _without_log():
        return [finding async for finding in examine(app.settings, name, app.clock, dialplan)]


@contextmanager
def _without_log() -> Iterator[None]:
    """What the link would log is said as a finding, and standard output is the document's."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
