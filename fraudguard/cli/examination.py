"""How doctor looks at one Asterisk: by logging in as the service does, and asking it."""

from __future__ import annotations

import configparser
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from fraudguard.ami.connection import AmiError, Connection, LoginRefusedError, log_in_once
from fraudguard.cli.findings import Finding, fault, of_error, ok, warning
from fraudguard.clock import Clock
from fraudguard.config import Settings, Trunk
from fraudguard.dialplan import manager, names
from fraudguard.errors import FraudguardError

APART_SECONDS: Final = 2.0
"""Clocks further apart than this make the times of alerts and calls misleading. What is billed is counted here."""

OLDEST: Final = 20
"""The first version that knows the generated filters; older ones send every event."""

INSTALL: Final = "fraudguard dialplan install; asterisk -rx 'manager reload'"

_PJSIP = re.compile(r"PJSIP/(?:[^@/]*@)?([^@/:]+)(?::[0-9]+)?")


async def examine(settings: Settings, name: str, clock: Clock, dialplan: Path) -> AsyncIterator[Finding]:
    """Look at the Asterisk of [ami.NAME]: can it be reached, does it let us in, may we what we must, and no more?"""
    where = f"ami {name}"
    try:
        secret = manager.read_secret(settings, name)
        connection = await log_in_once(name, settings.ami_of(name), secret, clock=clock)
    except LoginRefusedError as error:
        yield fault(where, error.what, f"write the user into Asterisk's manager.conf: {INSTALL}")
        return
    except FraudguardError as error:
        finding = of_error(where, error)
        yield finding if finding.fix else fault(where, finding.what, "is Asterisk running, and manager.conf enabled?")
        return
    try:
        async for finding in _asked(settings, name, connection, clock, dialplan):
            yield finding
    except AmiError as error:
        yield fault(where, error.what, "look into Asterisk's log")
    finally:
        connection.close()


async def _asked(
    settings: Settings, name: str, connection: Connection, clock: Clock, dialplan: Path
) -> AsyncIterator[Finding]:
    where = f"ami {name}"
    listed = (await connection.action("ListCommands")).headers
    yield _rights(where, listed)
    if "CoreSettings" in listed:
        core = (await connection.action("CoreSettings")).headers
        yield _version(where, core.get("AsteriskVersion", ""))
        yield _records(where, core, dialplan.parent / "cdr_manager.conf")
    yield await _clock(where, connection, clock)
    if "Getvar" in listed:
        for trunk, section in sorted(settings.trunks.items()):
            if (endpoint := _endpoint(trunk, section)) is not None:
                yield await _trunk(where, connection, trunk, endpoint)
    if "ShowDialPlan" in listed and name == settings.dialplan.asterisk:
        yield await _loaded(where, connection)


def _rights(where: str, listed: Mapping[str, str]) -> Finding:
    check = f"{where}: rights"
    missing = [action for action in manager.ACTIONS if action not in listed]
    if missing:
        return fault(check, f"may not do {', '.join(missing)}", f"write its rights anew: {INSTALL}")
    dangerous = [action for action in manager.DANGEROUS if action in listed]
    if dangerous:
        what = f"may do more than it needs: {', '.join(dangerous)}"
        return warning(check, what, f"take the rights away: {INSTALL}")
    return ok(check, "may do what it must, and neither originate calls nor run commands")


def _version(where: str, version: str) -> Finding:
    check = f"{where}: version"
    found = re.match(r"(?:certified/)?(\d+)", version)
    if found is None or int(found[1]) < OLDEST:
        fix = f"expect more load, or take Asterisk {OLDEST} or later"
        return warning(check, f"Asterisk {version or 'of unknown version'} may not know the event filters", fix)
    return ok(check, f"Asterisk {version}")


def _records(where: str, core: Mapping[str, str], path: Path) -> Finding:
    """Whether Cdr events will come cannot be asked with these rights; the file says it where it can be read."""
    check = f"{where}: call records"
    fix = f"in {path}: enabled = yes below [general]; asterisk -rx 'module reload cdr_manager.so'"
    if core.get("CoreCDRenabled") != "Yes":
        return warning(check, "are off: what a call cost is not compared with Asterisk", "enable = yes in cdr.conf")
    parser = configparser.ConfigParser(strict=False, allow_no_value=True, interpolation=None, comment_prefixes=(";",))
    try:
        parser.read_string(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, configparser.Error):
        return ok(check, "are on; whether cdr_manager.conf enables their events cannot be seen from here")
    enabled = parser.get("general", "enabled", fallback="no") or "no"
    if enabled.partition(";")[0].strip("> ").lower() in ("yes", "true", "on", "1", "y", "t"):
        return ok(check, "are sent as events")
    return warning(check, "are not sent: what a call cost is not compared with Asterisk", fix)


async def _clock(where: str, connection: Connection, clock: Clock) -> Finding:
    check = f"{where}: clock"
    before = clock.now()
    answer = (await connection.action("Ping")).headers.get("Timestamp", "")
    here = (before + clock.now()) / 2000
    try:
        apart = float(answer) - here
    except ValueError:
        return warning(check, "Asterisk does not say its time", "compare the clocks by hand")
    if abs(apart) > APART_SECONDS:
        way = "ahead of" if apart > 0 else "behind"
        return warning(check, f"{abs(apart):.1f} s {way} this machine's", "let both machines follow one time server")
    return ok(check, f"within {APART_SECONDS:g} s of this machine's")


def _endpoint(name: str, trunk: Trunk) -> str | None:
    """Return the PJSIP endpoint that a trunk dials, None for another technology or an unusual form."""
    found = _PJSIP.fullmatch(trunk.dial.replace("{trunk}", name).replace("{number}", "1"))
    return None if found is None else found[1]


async def _trunk(where: str, connection: Connection, trunk: str, endpoint: str) -> Finding:
    check = f"{where}: trunk {trunk}"
    answer = await connection.action("Getvar", Variable=f"PJSIP_DIAL_CONTACTS({endpoint})")
    if answer.headers.get("Value"):
        return ok(check, f"PJSIP endpoint {endpoint} can be dialled")
    fix = f"look at it: asterisk -rx 'pjsip show endpoint {endpoint}'"
    return warning(check, f"PJSIP endpoint {endpoint} is not there, or has no contact", fix)


async def _loaded(where: str, connection: Connection) -> Finding:
    check = f"{where}: dialplan"
    try:
        found = await connection.collect("ShowDialPlan", Context=names.CONTEXT_DECIDE)
    except AmiError:
        found = []
    if any(message.headers.get("Event") == "ListDialplan" for message in found):
        return ok(check, "the generated dialplan is loaded")
    fix = "include it in extensions.conf, then: asterisk -rx 'dialplan reload'"
    return fault(check, "the generated dialplan is not loaded: no call is guarded", fix)
