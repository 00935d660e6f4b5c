"""What may be sent to Asterisk's manager, and what of its words may be shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from fraudguard.ami.framing import SURROGATES
from fraudguard.ami.reconnect import ActionRefusedError

MAX_LINE: Final = 1024
"""Bytes of one line of an action, its line end included: manager.c reads into 1,024 and drops what does not fit."""

MAX_TOLD: Final = 200
"""Characters of a text from Asterisk that go into a log or an error."""


def checked(name: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of an action as they are. Raises ActionRefusedError when Asterisk would not read them so."""
    for key, value in (("Action", name), *headers.items()):
        if not _KEY(key) or _ENDS_LINE(value):
            raise ActionRefusedError(f"{name}: header {short(key)} holds a line end or a NUL, or is no name")
        if len(f"{key}: {value}\r\n".encode("utf-8", SURROGATES)) > MAX_LINE:
            raise ActionRefusedError(f"{name}: header {short(key)} makes a line of more than {MAX_LINE} bytes")
    return headers


def short(text: str) -> str:
    """Return a text of Asterisk's as one short printable line."""
    return ascii(text[:MAX_TOLD])


_KEY: Final = re.compile(r"[A-Za-z0-9-]{1,80}").fullmatch
_ENDS_LINE: Final = re.compile(r"[\r\n\0]").search
