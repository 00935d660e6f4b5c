"""What the FastAGI server counts, and the one log that a scanner cannot fill the disk with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog

BURST: Final = 10
"""Log lines per kind and period: enough to see who does it and how, few enough for any disk."""

PERIOD: Final = 60.0
"""Seconds until the next burst may be written."""

MAX_LOGGED: Final = 200
"""Characters of one text in the log."""


class Failure(StrEnum):
    """Why a session ended without the answer it came for. Sent in the failure line, counted, logged."""

    BAD_REQUEST = "bad_request"  # the environment, the arguments or a reply broke the protocol
    UNKNOWN_PATH = "unknown_path"
    NOT_ALLOWED = "not_allowed"  # the peer's address is outside agi.allow
    TOO_MANY = "too_many"  # agi.sessions are open
    DEADLINE = "deadline"
    REFUSED = "refused"  # Asterisk did not carry out the command that gives the answer
    GONE = "gone"  # the peer closed before the answer was acknowledged
    STOPPING = "stopping"
    NOT_STORED = "not_stored"  # the verdict could not be committed
    INNER_ERROR = "inner_error"  # ours


@dataclass(slots=True)
class Counters:
    """Totals since the server started; read by whoever shows them, written by the server only."""

    connections: int = 0
    probes: int = 0  # closed without a request
    requests: Counter[str] = field(default_factory=Counter)  # by path, known ones only
    failures: Counter[Failure] = field(default_factory=Counter)
    hangups: int = 0  # callers who hung up while they were served
    refused_commands: int = 0  # replies 5xx
    unknown_keys: int = 0  # arguments that nobody asked for
    duplicate_headers: int = 0


class QuietLog:
    """Writes at most BURST lines per kind and PERIOD, with texts made harmless; says how many it left out."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._logger = structlog.get_logger("fraudguard.agi")
        self._written: Counter[Failure] = Counter()
        self._period_ends = 0.0

    def failure(self, kind: Failure, peer: str, detail: str, error: BaseException | None = None) -> None:
        """Note one failed session; with a traceback when `error` is ours."""
        if self._now() >= self._period_ends:
            self.flush()
            self._period_ends = self._now() + PERIOD
        self._written[kind] += 1
        if self._written[kind] <= BURST:
            log = self._logger.error if kind is Failure.INNER_ERROR else self._logger.warning
            log("agi session failed", kind=kind.value, peer=peer, detail=harmless(detail), exc_info=error)

    def flush(self) -> None:
        """Say how many lines were left out since the period began."""
        for kind, count in self._written.items():
            if count > BURST:
                self._logger.warning("agi sessions failed, not logged", kind=kind.value, count=count - BURST)
        self._written.clear()


def harmless(text: str) -> str:
    """Return `text` as short printable ASCII: no terminal sequences, no line ends, no half characters."""
    return text[:MAX_LOGGED].encode("unicode_escape", "backslashreplace").decode("ascii")[:MAX_LOGGED]
