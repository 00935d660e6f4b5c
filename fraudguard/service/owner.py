"""One service per database: two would each know half of the calls."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraudguard.errors import StoreError


@contextmanager
def sole_owner(database: Path) -> Iterator[None]:
    """Hold the lock that says: this process serves this database. The kernel lets go of it however we end.

    Raises StoreError when another process holds it.
    """
    path = database.with_name(database.name + ".lock")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreError(f"cannot be created: {error.strerror}", where=str(path), fix="check its folder") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreError(
            "another fraudguard serves this database",
            where=str(database),
            fix="stop it, or give store.path another file",
        ) from None
    try:
        yield
    finally:
        os.close(handle)
