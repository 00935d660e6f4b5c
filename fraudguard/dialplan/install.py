"""Putting the rendered dialplan where Asterisk reads it: whole or not at all, with the previous one beside it."""

from __future__ import annotations

import grp
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fraudguard.config import Settings
from fraudguard.dialplan import manager, names
from fraudguard.dialplan.render import split_header
from fraudguard.errors import InputError, UnreachableError

DEFAULT_PATH = Path("/etc/asterisk/fraudguard.conf")


@dataclass(frozen=True, slots=True)
class Kind:
    """How a file of ours is told from another's, and who may read a new one."""

    is_ours: Callable[[str], bool]
    mode: int
    group: str | None = None


DIALPLAN = Kind(lambda text: split_header(text) is not None, 0o644)
"""Asterisk runs as another user, and the file holds no secret."""

MANAGER = Kind(manager.is_ours, manager.FILE_MODE, manager.GROUP)
"""The file holds a secret."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What became of the file. `previous` is where the one before is kept, None when there was none."""

    path: Path
    changed: bool
    previous: Path | None


def install(text: str, path: Path, kind: Kind = DIALPLAN) -> Installed:
    """Write `text` to `path` atomically; the mode and owner of an earlier file stay.

    Raises InputError when a file that fraudguard did not write is there, UnreachableError when it cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    try:
        earlier = _earlier(target, kind)
        if earlier == text:
            return Installed(path, changed=False, previous=None)
        previous = None if earlier is None else target.with_name(target.name + ".previous")
        if previous is not None:
            _keep(target, previous)
        _write(text, target, kind)
    except OSError as error:
        raise UnreachableError(
            f"cannot be written: {error.strerror}", where=str(path), fix="check the folder and its rights"
        ) from None
    return Installed(path, changed=True, previous=previous)


def advice(settings: Settings, path: Path) -> list[str]:
    """Return what the operator has to add to Asterisk's own files, line by line."""
    lines = [f"In extensions.conf:  #include {path.absolute()}", "In each context that phones dial from, one of:"]
    lines += [f"    include => {names.CONTEXT_OUT.format(trunk=trunk)}" for trunk in sorted(settings.trunks)]
    lines += [
        "or, where your dialplan dials by itself, before its Dial:",
        f"    same => n,Gosub({names.CONTEXT_GUARD},${{EXTEN}},1(TRUNK))",
        f"    same => n,Dial(PJSIP/${{{names.NUMBER}}}@TRUNK,60,S(${{{names.LEASE}}}))",
    ]
    if settings.tenants:
        lines.append("In pjsip.conf, in the endpoints of each tenant's phones:")
        lines += [f"    set_var=__{names.TENANT}={tenant}" for tenant in sorted(settings.tenants)]
    return [*lines, "Then:  asterisk -rx 'dialplan reload'"]


def _earlier(target: Path, kind: Kind) -> str | None:
    """Return the file that is there, None when there is none. Raises InputError when it is somebody else's."""
    if target.exists() and not target.is_file():  # a device, a pipe, a folder: renaming over it would destroy it
        raise InputError("is not a regular file", where=str(target), fix="name a file")
    try:
        text = target.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    if text and not kind.is_ours(text):
        raise InputError(
            "was not written by fraudguard and is left alone",
            where=str(target),
            fix="name another file, or move it away",
        )
    return text


def _keep(target: Path, previous: Path) -> None:
    """Give the file a second name, without a moment in which the first is missing."""
    spare = previous.with_name(f".{previous.name}.{os.getpid()}")
    os.link(target, spare)
    spare.replace(previous)


def _write(text: str, target: Path, kind: Kind) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            _take_over_rights(file.fileno(), target, kind)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _take_over_rights(handle: int, target: Path, kind: Kind) -> None:
    try:
        earlier = target.stat()
    except FileNotFoundError:
        with suppress(KeyError, PermissionError):  # no such group here, or not ours to give: the mode matters more
            if kind.group is not None:
                os.fchown(handle, -1, grp.getgrnam(kind.group).gr_gid)
        os.fchmod(handle, kind.mode)
        return
    with suppress(PermissionError):  # only root may give a file away; the mode matters more
        os.fchown(handle, earlier.st_uid, earlier.st_gid)
    os.fchmod(handle, earlier.st_mode & 0o7777)
