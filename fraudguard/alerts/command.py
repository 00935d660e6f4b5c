"""Alerts to a program: JSON on its standard input, no shell. When it takes too long its process group is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Sequence
from typing import IO

from fraudguard.alerts.channel import Message, NotDeliveredError
from fraudguard.alerts.text import shown
from fraudguard.config import ENV_PREFIX

ERROR_LIMIT = 4_096
"""Bytes looked at from the end of what the program wrote to standard error."""

SHOWN_LIMIT = 200
"""Characters of its last line that are told."""


class CommandChannel:
    """Runs a program per message. Exit status 0 says that it was taken."""

    def __init__(self, argv: Sequence[str], timeout_seconds: float) -> None:
        self._argv = tuple(argv)
        self._timeout = timeout_seconds

    async def send(self, message: Message) -> str:
        # Files, no pipes: a program that ends without reading would break one (uvloop raises RuntimeError then), and
        # a child that it leaves behind would hold the other open.
        with tempfile.TemporaryFile() as document, tempfile.TemporaryFile() as errors:
            document.write(json.dumps(message.document, ensure_ascii=False).encode() + b"\n")
            document.seek(0)
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=document,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,  # a group of its own, so that all of it can be ended
                    env=_environment(),
                )
            except OSError as error:
                raise NotDeliveredError(f"cannot be run: {error.strerror}", where=self._argv[0]) from None
            status = await self._finish(process)
            last = _last_line(errors) if status else ""
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


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - ERROR_LIMIT))
    said = errors.read(ERROR_LIMIT).decode("utf-8", "replace").strip()
    return shown(said.rpartition("\n")[2], SHOWN_LIMIT)


def _environment() -> dict[str, str]:
    # Settings may stand there, secrets among them: they are none of the program's business.
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
