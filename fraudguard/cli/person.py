"""A person's name, as PINs and attempts go by it."""

from __future__ import annotations

import unicodedata
from typing import Final

from fraudguard.cli.app import printable
from fraudguard.errors import InputError

MAX_NAME: Final = 80
"""Characters of a person's name: what the database keeps."""


def parse_name(text: str, *, where: str) -> str:
    """Return a person's name in the one way of writing it. Raises InputError."""
    name = unicodedata.normalize("NFC", text)
    if not (name.isprintable() and 0 < len(name) <= MAX_NAME and name == name.strip()):
        raise InputError(
            f"{printable(text[:MAX_NAME])!r} is no name for a PIN",
            where=where,
            fix=f"1 to {MAX_NAME} printable characters without blanks around them",
        )
    return name
