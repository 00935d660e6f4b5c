"""Secrets in files, and nothing that shows them."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

import structlog
from pydantic import SecretStr

from fraudguard.errors import ConfigError, UnreachableError

SECRET_LIMIT = 65_536
"""Bytes of a secret's file: a list of a thousand URLs fits, the wrong file does not."""

SECRET_BYTES: Final = 24
"""192 bits of randomness, 32 characters."""

SECRET_MODE: Final = 0o600

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


def make_secret(path: Path, owner: Path, *, text: str | None = None) -> bool:
    """Put a random secret into a new file that only the owner of `owner` can read; False when there is one already.

    `text` is the secret where it has a form of its own. The file gets its name when it is whole and on disk: of two who
    make it at once one wins, and nobody reads half of it. Raises UnreachableError when it cannot be written.
    """
    if path.exists():
        return False
    fix = "check the folder and its rights"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with new_private_file(draft, fix=fix) as file:
            file.write((text or secrets.token_urlsafe(SECRET_BYTES)) + "\n")
            with suppress(OSError):  # only root may give a file away, and only then it is needed
                service = owner.stat()
                os.fchown(file.fileno(), service.st_uid, service.st_gid)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        _sync_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise UnreachableError(f"cannot be written: {error.strerror}", where=str(path), fix=fix) from None
    finally:
        draft.unlink(missing_ok=True)
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def new_private_file(path: Path, *, fix: str = "") -> TextIO:
    """Open a new file that nobody else can read, for text as it is.

    Raises FileExistsError, and UnreachableError when it cannot be made; `fix` is what to do then.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_MODE)
    except FileExistsError:
        raise
    except OSError as error:
        raise UnreachableError(f"cannot be written: {error.strerror}", where=str(path), fix=fix) from None
    return os.fdopen(handle, "w", encoding="utf-8", newline="")
