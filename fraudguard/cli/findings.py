"""What doctor finds, and how it looks at everything but PINs and Asterisk's manager interface."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from fraudguard.alerts.build import build_channels
from fraudguard.alerts.routes import build_routes
from fraudguard.cli.app import App
from fraudguard.clock import DAY_MILLIS, Clock
from fraudguard.config import Settings
from fraudguard.dialplan import names
from fraudguard.dialplan.check import check
from fraudguard.errors import FraudguardError
from fraudguard.store import Writer
from fraudguard.store.rates import Version, list_versions

ANSWER_SECONDS: Final = 3.0
"""How long the service has to answer: it has 2 s for a verdict."""

SCARCE_BYTES: Final = 1_000_000_000
LAST_BYTES: Final = 100_000_000
"""Disk room for the database that is worth a warning, and that is a fault: an imported price list of a million rates
needs 200 MB, with the journal."""

OLD_DAYS: Final = 180
"""After so long without an import a price list is worth a look: carriers change prices monthly to quarterly."""


class Grade(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    check: str
    grade: Grade
    what: str
    fix: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(check, Grade.OK, what)


def warning(check: str, what: str, fix: str) -> Finding:
    return Finding(check, Grade.WARNING, what, fix)


def fault(check: str, what: str, fix: str) -> Finding:
    return Finding(check, Grade.FAULT, what, fix)


def of_error(check: str, error: FraudguardError) -> Finding:
    """Return the fault that an error is."""
    return fault(check, f"{error.where}: {error.what}" if error.where else error.what, error.fix)


def database(app: App) -> Iterator[Finding]:
    """Is it there, of this program's schema, writable, and is there room?"""
    path = app.settings.database

    async def nothing(_: Writer) -> None:
        """Opening it takes the lock for writing, which is what we want to know."""

    try:
        app.write(nothing)
    except FraudguardError as error:
        yield of_error("database", error)
        return
    yield ok("database", f"{path} can be written")
    free = shutil.disk_usage(path.parent).free
    room = f"{free / 1e9:.1f} GB free for {path.parent}"
    if free < LAST_BYTES:
        yield fault("disk", room, "make room: a full disk refuses all but domestic and emergency calls")
    elif free < SCARCE_BYTES:
        yield warning("disk", room, "make room before it is full")
    else:
        yield ok("disk", room)


def price_lists(app: App) -> Iterator[Finding]:
    """Does each trunk have prices, and are they of this year?"""
    now = app.clock.now()
    try:
        versions = app.read(partial(list_versions, at=now))
    except FraudguardError as error:
        yield of_error("prices", error)
        return
    in_force = {version.deck: version for version in versions if version.in_force}
    for name, trunk in sorted(app.settings.trunks.items()):
        yield _prices(name, trunk.deck, in_force.get(trunk.deck), now)
    if not app.settings.trunks:
        yield fault("prices", "no trunk is configured", f"add a [trunks.NAME] section to {app.config_path}")


def _prices(trunk: str, deck: str, version: Version | None, now: int) -> Finding:
    check = f"prices of {trunk}"
    if version is None or not version.rows:
        fix = f"fraudguard rates import FILE --deck {deck}"
        return fault(check, f"deck {deck!r} holds no rates: only domestic calls can go", fix)
    days = (now - version.imported_at) // DAY_MILLIS
    told = f"deck {deck!r} has {version.rows} rates, imported {days} days ago"
    if days > OLD_DAYS:
        return warning(check, told, "import the carrier's present price list")
    return ok(check, told)


def budgets(settings: Settings) -> Iterator[Finding]:
    """Is it known what calls cost, for budgets to return what was not spent?"""
    if settings.trunks and not settings.ami:
        what = "no Asterisk is followed: budgets count every call as its whole lease, and no lease is renewed"
        yield warning("budgets", what, "add an [ami.NAME] section, then 'fraudguard dialplan install'")


def dialplan(settings: Settings, path: Path) -> Iterator[Finding]:
    """Is the generated dialplan there, whole, and that of the configuration?"""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        fix = "fraudguard dialplan install; or say where it is with --dialplan"
        yield warning("dialplan", f"{path}: no such file on this machine", fix)
        return
    except OSError as error:
        yield warning("dialplan", f"{path} cannot be read: {error.strerror}", "run doctor as root")
        return
    found = check(text, settings)
    for finding in found:
        yield fault("dialplan", f"{path}:{finding.line}: {finding.what}", finding.fix)
    if not found:
        yield ok("dialplan", f"{path} is that of the configuration")


def service(settings: Settings) -> Iterator[Finding]:
    """Does the service answer, to Asterisk and to whoever watches it?"""
    where = f"{settings.agi.host}:{settings.agi.port}"
    request = f"agi_network: yes\nagi_network_script: {names.PATH_PING}\nagi_request: agi://{where}/ping\n\n"
    try:
        with socket.create_connection((reachable(settings.agi.host), settings.agi.port), ANSWER_SECONDS) as link:
            link.settimeout(ANSWER_SECONDS)
            link.sendall(request.encode())
            answer = link.recv(4096).decode(errors="replace")
            with suppress(OSError):
                link.sendall(b"200 result=1\n")  # as Asterisk does: else the service logs a session broken off
    except OSError as error:
        yield fault("service", f"FastAGI at {where} does not answer: {error}", "start it: fraudguard run")
        return
    if names.PING in answer:
        yield ok("service", f"answers FastAGI at {where}")
    else:
        yield fault("service", f"what listens at {where} is no fraudguard", "give agi.port another number, or stop it")
    if settings.http.enabled and settings.http.port:  # 0: the system chose one, and who knows which
        yield health(settings)


def health(settings: Settings) -> Finding:
    """Does the service find itself in order?"""
    where = f"http://{settings.http.host}:{settings.http.port}/healthz"
    link = http.client.HTTPConnection(reachable(settings.http.host), settings.http.port, timeout=ANSWER_SECONDS)
    try:
        link.request("GET", "/healthz")
        status = link.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return warning("health", f"{where} does not answer: {error}", "look into the service's log")
    finally:
        link.close()
    if status == http.client.OK:
        return ok("health", f"{where} says that all is well")
    return fault("health", f"{where} answers {status}", f"read what it says: curl {where}")


def reachable(host: str) -> str:
    """Return where to connect to what listens at `host`: 'everywhere' is nowhere to connect to."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (no binding)


def alert_channels(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Can the service start with what is configured, and does an alert reach anybody?"""
    paths = [path for key, path in _secret_paths(settings) if key.startswith("alerts.")]
    if all(os.access(path, os.R_OK) for path in paths):  # what cannot be read is told of by itself
        try:
            build_channels(settings, clock)
            build_routes(settings)
        except FraudguardError as error:
            yield of_error("alerts", error)
            return
    told = {name: channel.type for name, channel in settings.alerts.channels.items() if channel.type != "log"}
    if told:
        listed = ", ".join(f"{name} ({type_})" for name, type_ in sorted(told.items()))
        yield ok("alerts", f"delivered to {listed}; try them with 'fraudguard alerts test'")
    else:
        fix = "add an [alerts.channels.NAME] section: smtp, webhook, command or apprise"
        yield warning("alerts", "only the log is told of alerts", fix)


def secret_files(settings: Settings) -> Iterator[Finding]:
    """Can somebody else read what should be secret?"""
    for key, path in _secret_paths(settings):
        yield _secret_file(key, path)


def _secret_paths(settings: Settings) -> Iterator[tuple[str, Path]]:
    if (
        settings.pepper.exists()
    ):  # until there is a PIN there need not be one; whether it has to be is a finding of pins
        yield "pin.pepper_file", settings.pepper
    sections: dict[str, BaseModel] = {f"ami.{name}": ami for name, ami in settings.ami.items()}
    sections |= {f"alerts.channels.{name}": channel for name, channel in settings.alerts.channels.items()}
    for section, values in sorted(sections.items()):
        for key in type(values).model_fields:
            path = getattr(values, key)
            if isinstance(path, Path) and key != "ca_file":
                yield f"{section}.{key}", settings.path.parent / path


def _secret_file(key: str, path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return fault(key, f"{path}: {error.strerror}", "make it, or correct the path")
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return fault(key, f"{path} has mode {mode:04o}: others can read it", f"chmod 0640 {path}")
    if not os.access(path, os.R_OK):
        return warning(key, f"{path} cannot be read by this user", "run doctor as the user of the service, or as root")
    return ok(key, f"{path} has mode {mode:04o}")
