"""Alerts to a program: JSON on its standard input, no shell. When it takes too long its process group is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Sequence
from typing import Self

from fraudguard.alerts.channel import Message, NotDeliveredError
from fraudguard.alerts.text import shown
from fraudguard.config import ENV_PREFIX

ERROR_LIMIT = 4_096
"""Bytes looked at from the end of what the program wrote to standard error."""

FLOOD_LIMIT = 1_048_576
"""Bytes of standard error that are read. Who writes more is held up until its time is over: on a disk, an endless
complaint took 2 GB a second, from the database's file system."""

CHUNK = 65_536
"""Bytes read at once: what a pipe holds."""

SHOWN_LIMIT = 200
"""Characters of its last line that are told."""


class CommandChannel:
    """Runs a program per message. Exit status 0 says that it was taken."""

    def __init__(self, argv: Sequence[str], timeout_seconds: float) -> None:
        self._argv = tuple(argv)
        self._timeout = timeout_seconds

    async def send(self, message: Message) -> str:
        # A file, no pipe: a program that ends without reading would break one (uvloop raises RuntimeError then).
        with tempfile.TemporaryFile() as document, _Complaints() as errors:
            document.write(json.dumps(message.document, ensure_ascii=False).encode() + b"\n")
            document.seek(0)
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=document,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=errors.end,
                    start_new_session=True,  # a group of its own, so that all of it can be ended
                    env=_environment(),
                )
            except OSError as error:
                raise NotDeliveredError(f"cannot be run: {error.strerror}", where=self._argv[0]) from None
            status = await self._finish(process)
            last = errors.last_line() if status else ""
        if status:
            raise NotDeliveredError(f"ended with status {status}{f': {last}' if last else ''}", where=self._argv[0])
        return ""

    async def _finish(self, process: asyncio.subprocess.Process) -> int:
        try:
            async with asyncio.timeout(self._timeout):
                return await process.wait()
        except TimeoutError:
            raise NotDeliveredError(f"not done within {self._timeout:g} s, and killed", where=self._argv[0]) from None
        finally:
            if process.returncode is None:  # too slow, or we are to stop
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.shield(process.wait())

    async def close(self) -> None:
        """Nothing to close."""


class _Complaints:
    """A pipe for standard error, of which the last bytes are kept. Its end of file is not waited for: a child that the
    program leaves behind holds `end` open.
    """

    def __enter__(self) -> Self:
        self._source, self.end = os.pipe()
        os.set_blocking(self._source, False)
        self._kept = b""
        self._read = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._source, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._source)
        os.close(self._source)
        os.close(self.end)

    def last_line(self) -> str:
        """Return the last line written so far."""
        while self._read < FLOOD_LIMIT and self._take():
            pass
        said = self._kept.decode("utf-8", "replace").strip()
        return shown(said.rpartition("\n")[2], SHOWN_LIMIT)

    def _take(self) -> bool:
        try:
            chunk = os.read(self._source, CHUNK)
        except BlockingIOError:  # we hold the other end too, so it never ends
            return False
        self._kept = (self._kept + chunk)[-ERROR_LIMIT:]
        self._read += len(chunk)
        if self._read >= FLOOD_LIMIT:
            self._loop.remove_reader(self._source)
        return True


def _environment() -> dict[str, str]:
    # Settings may stand there, secrets among them: they are none of the program's business.
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
