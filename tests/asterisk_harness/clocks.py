"""Clocks that a test sets: what a process goes by instead of the machine's own (libfaketime). Time that is waited for,
CLOCK_MONOTONIC, goes on as it does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from asterisk_harness.root import RootUnavailableError, install

PACKAGE = "libfaketime"
_LIBRARY = "libfaketimeMT.so.1"
_OFFSET = "faketime"
_OWN_MEMORY = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'


class Clock:
    """The machine's clock, put forward or back by so many seconds; kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copy(_library(), folder / _LIBRARY)
        self.put(0)

    def put(self, seconds: int) -> None:
        """Put the clock so far before the machine's (less than 0: behind it), at once."""
        draft = self._folder / f"{_OFFSET}.new"
        draft.write_text(f"{seconds:+d}\n")
        draft.rename(self._folder / _OFFSET)

    def environment(self, *, seen_at: Path | None = None) -> dict[str, str]:
        """Return the environment of a process that goes by it, and has the folder there."""
        folder = seen_at or self._folder
        return {
            "LD_PRELOAD": str(folder / _LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(folder / _OFFSET),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return what to put before a command that is to go by it. What libfaketime shares stays the process's own:
        it would outlive one that is killed.
        """
        unshared = ("unshare", "-m", "--propagation", "private", "sh", "-c", _OWN_MEMORY, "sh")
        return (*unshared, "env", *(f"{name}={value}" for name, value in self.environment().items()))


def _library() -> Path:
    """Return libfaketime of this machine's Debian. What is built there runs in a root that is as new or newer.

    Where it cannot be had the test fails: without it nothing is tried.
    """
    if not _installed():
        try:
            install(PACKAGE)
        except RootUnavailableError as error:
            pytest.fail(f"no clock can be set without {PACKAGE}: {error}")
    found = _installed()
    assert found, f"{PACKAGE} has no {_LIBRARY}"
    return found[0]


def _installed() -> list[Path]:
    return sorted(Path("/usr/lib").glob(f"*/faketime/{_LIBRARY}"))
