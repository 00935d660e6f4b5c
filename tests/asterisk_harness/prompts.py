"""What callers are played, and whom Asterisk calls for them, as its own log tells it: when to press keys, what a
refusal sounds like, and that a call went.
"""

from __future__ import annotations

import re
import threading
from types import TracebackType
from typing import Self

from asterisk_harness.pbx import Asterisk
from asterisk_harness.waiting import wait_until

# A channel dials; later it plays. A number dialled again means its latest channel.
_LINE = re.compile(
    r"Executing \[(?P<dialled>[^@\]]+)@[^\]]*\] \w+\(\"(?P<dials>[^\"]+)\""
    r"|<(?P<plays>[^>]+)> Playing '(?P<sound>[^']+)\.\w+'"
    r"|Called PJSIP/(?P<called>[^@]+)@"
)


class Prompts:
    """From now on, while the `with` block runs. May be asked by several threads: each line of the log is read once."""

    def __init__(self, asterisk: Asterisk) -> None:
        self._log = asterisk.log.open("rb")
        self._log.seek(0, 2)
        self._rest = b""
        self._lock = threading.Lock()
        self._channels: dict[str, str] = {}
        self._sounds: dict[str, list[str]] = {}
        self._called: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def played(self, dialled: str) -> list[str]:
        """Return the sounds that the latest caller of a number was played until now."""
        with self._lock:
            self._read()
            return list(self._sounds.get(self._channels.get(dialled, ""), []))

    def called(self, number: str) -> bool:
        """Say whether a trunk was called with a number."""
        with self._lock:
            self._read()
            return number in self._called

    def wait(self, dialled: str, count: int = 1) -> list[str]:
        """Return when so many sounds have begun: keys pressed before that would be lost."""
        wait_until(lambda: len(self.played(dialled)) >= count, f"{dialled} was played {count} sounds", 20)
        return self.played(dialled)

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
        for line in lines:
            match = _LINE.search(line.decode(errors="replace"))
            if match and match["dials"]:
                self._channels[match["dialled"]] = match["dials"]
            elif match and match["called"]:
                self._called.add(match["called"])
            elif match:
                self._sounds.setdefault(match["plays"], []).append(match["sound"])
