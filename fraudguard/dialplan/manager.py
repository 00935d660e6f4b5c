"""The guard's user of Asterisk's manager interface: a snippet of manager.conf with the least rights, and its secret."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from fraudguard import __version__
from fraudguard.config import Ami, Settings
from fraudguard.dialplan.render import digest, environment
from fraudguard.errors import ConfigError, InputError
from fraudguard.secretfile import read_secret_file

TEMPLATE = "manager.conf.j2"

FOLDER: Final = "manager.d"
"""Debian's manager.conf includes every file of this folder beside it."""

READ: Final = ("call", "cdr", "security")
"""Classes of the events that are used: channels and dialling, Asterisk's own records, logins."""

WRITE: Final = ("call", "reporting")
"""Classes of the actions that are used (main/manager.c of Asterisk 22). Hangup, AbsoluteTimeout and PlayDTMF
need `system` or `call`, of which `system` could also reload and stop Asterisk; CoreSettings needs `system` or
`reporting`."""

ACTIONS: Final = ("Ping", "AbsoluteTimeout", "Hangup", "Getvar", "Status", "CoreSettings")
"""Actions that the guard uses. Without one of them doctor finds a fault."""

DANGEROUS: Final = ("Command", "Originate", "UpdateConfig", "GetConfig", "Reload", "ModuleLoad", "DialplanExtensionAdd")
"""Actions with which a stolen secret would be worth more than the calls that are up: `system`, `command`,
`originate` and `config` give them."""

WRITE_MILLISECONDS: Final = 5000
"""How long Asterisk lets a reader be slow before it throws it out. The events wait in its memory meanwhile."""

FILE_MODE: Final = 0o640
GROUP: Final = "asterisk"
"""Whom Debian's Asterisk runs as: it has to read the snippet, and nobody else."""

HIDDEN: Final = "********"

# What Asterisk reads back as it was written: no blank, no ';' (a comment), nothing that ends the line.
_SECRET = re.compile(r"[!-:<-~]{1,200}")
_SAFE = re.compile(r"[!-:<-~]([ -:<-~]*[!-:<-~])?", re.ASCII)
_HEADER = re.compile(r"; fraudguard manager [0-9A-Za-z.+-]+ sha256=[0-9a-f]{64}\n")


def render(ami: Ami, secret: str, *, permit: Sequence[str], events: Iterable[str]) -> str:
    """Write the snippet: who may log in from where, and `events`, the only ones that are sent.

    Raises ConfigError for what Asterisk would read otherwise than it was meant.
    """
    body = (
        environment(_held)
        .get_template(TEMPLATE)
        .render(
            username=ami.username,
            secret=_usable(secret),
            permit=permit,
            read=READ,
            write=WRITE,
            write_milliseconds=WRITE_MILLISECONDS,
            events=sorted(events),
        )
    )
    return f"; fraudguard manager {__version__} sha256={digest(body)}\n{body}"


def is_ours(text: str) -> bool:
    """Say whether fraudguard wrote this file."""
    return _HEADER.match(text) is not None


def default_path(dialplan: Path) -> Path:
    """Return where the snippet goes: into Debian's folder if it is there, else beside the dialplan."""
    folder = dialplan.parent / FOLDER
    return folder / "fraudguard.conf" if folder.is_dir() else dialplan.with_name("fraudguard-manager.conf")


def advice(path: Path) -> list[str]:
    """Return what the operator has to do so that Asterisk reads the snippet, line by line."""
    lines = [] if path.parent.name == FOLDER else [f"In manager.conf:  #include {path.absolute()}"]
    return [*lines, "Then:  asterisk -rx 'manager reload'"]


def own(settings: Settings) -> Ami | None:
    """Return the section of the Asterisk whose dialplan is generated here: that of [dialplan] asterisk."""
    return settings.ami.get(settings.dialplan.asterisk)


def guard_addresses(settings: Settings, ami: Ami) -> list[str]:
    """Return the networks from which this Asterisk sees the guard come.

    That is this machine for an Asterisk on it, else the address at which Asterisk reaches the guard. Raises
    InputError when that is a name: Asterisk's rules want addresses.
    """
    if _address(ami.host) is None and ami.host != "localhost":
        local = False
    else:
        local = ami.host == "localhost" or ipaddress.ip_address(ami.host).is_loopback
    if local:
        return ["127.0.0.1/32", "::1/128"]
    host = settings.dialplan.guard.rpartition(":")[0]
    address = _address(host)
    if address is None or address.is_loopback:
        raise InputError(
            f"which address the guard comes from cannot be told from dialplan.guard = {settings.dialplan.guard!r}",
            where=str(settings.path),
            fix="say it with --permit, as Asterisk sees it",
        )
    return [f"{address}/{address.max_prefixlen}"]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


# -- the secret


def secret_path(settings: Settings, ami: Ami) -> Path | None:
    """Return the file that holds the secret, None when it comes from the environment."""
    return None if ami.secret_file is None else (settings.path.parent / ami.secret_file).absolute()


def read_secret(settings: Settings, name: str) -> str:
    """Return the secret of [ami.NAME]. Raises ConfigError when it is not there or not usable; never shows it."""
    ami = settings.ami[name]
    path = secret_path(settings, ami)
    if path is None:
        assert ami.secret is not None  # the settings were checked: one of the two
        return _usable(ami.secret.get_secret_value(), f"ami.{name}.secret")
    where, fix = f"ami.{name}.secret_file", "make it with 'fraudguard dialplan install'"
    return _usable(read_secret_file(path, where=where, fix=fix).get_secret_value(), str(path))


def _usable(secret: str, where: str = "secret") -> str:
    if not _SECRET.fullmatch(secret):
        raise ConfigError(
            "the secret has characters that Asterisk would misread, or none",
            where=where,
            fix="1 to 200 printable ASCII characters without blanks and ';'",
        )
    return secret


def _held(value: Any) -> Any:
    if not _SAFE.fullmatch(str(value)):
        raise ConfigError(f"{str(value)[:80]!r} cannot stand in a manager.conf", fix="use letters, digits, '_' and '-'")
    return value
