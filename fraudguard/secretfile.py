"""Secrets from files, and nothing that shows them."""

from __future__ import annotations

import stat
from pathlib import Path

import structlog
from pydantic import SecretStr

from fraudguard.errors import ConfigError

SECRET_LIMIT = 65_536
"""Bytes of a secret's file: a list of a thousand URLs fits, the wrong file does not."""

log = structlog.get_logger()


def read_secret_file(path: Path, *, where: str, fix: str = "check its path, owner and mode") -> SecretStr:
    """Return the text of a file without the white space around it.

    Raises ConfigError naming the key `where`; `fix` says what to do about a file that is not there.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = file.read(SECRET_LIMIT + 1)
        text = content.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        # The text of a decoding error shows what is in the file.
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        fix = fix if isinstance(error, FileNotFoundError) else "check its path, owner and mode"
        raise ConfigError(f"{path} cannot be read: {why}", where=where, fix=fix) from None
    if not text or len(content) > SECRET_LIMIT:
        what = "is empty" if not text else f"is larger than {SECRET_LIMIT} bytes"
        raise ConfigError(f"{path} {what}", where=where, fix="write the secret into it")
    if mode & stat.S_IROTH:
        log.warning("secret is readable by everybody", file=str(path), mode=f"{mode:04o}", fix=f"chmod 0640 {path}")
    return SecretStr(text)
