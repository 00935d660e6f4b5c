"""Alerts to a program: JSON on its standard input, no shell. When it takes too long its process group is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Sequence

from fraudguard.alerts.channel import Message, NotDeliveredError
from fraudguard.alerts.text import shown
from fraudguard.config import ENV_PREFIX

ERROR_LIMIT = 4_096
"""Bytes kept of what the program writes to standard error; the rest is read and thrown away."""

SHOWN_LIMIT = 200
"""Characters of its last line that are told."""

DRAIN_SECONDS = 0.5
"""How long to wait for the end of standard error once the program has ended: a child of its own may hold it open."""


class CommandChannel:
    """Runs a program per message. Exit status 0 says that it was taken."""

    def __init__(self, argv: Sequence[str], timeout_seconds: float) -> None:
        self._argv = tuple(argv)
        self._timeout = timeout_seconds

    async def send(self, message: Message) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # a group of its own, so that all of it can be ended
                env=_environment(),
            )
        except OSError as error:
            raise NotDeliveredError(f"cannot be run: {error.strerror}", where=self._argv[0]) from None
        body = json.dumps(message.document, ensure_ascii=False).encode() + b"\n"
        errors = asyncio.ensure_future(_last_of(process.stderr))
        try:
            async with asyncio.timeout(self._timeout):
                await _feed(process, body)
                status = await process.wait()
            await asyncio.wait([errors], timeout=DRAIN_SECONDS)
        except TimeoutError:
            raise NotDeliveredError(f"not done within {self._timeout:g} s, and killed", where=self._argv[0]) from None
        finally:
            if process.returncode is None:  # too slow, or we are to stop
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.shield(process.wait())
            said = errors.result() if errors.done() and not errors.cancelled() else b""
            errors.cancel()
        if status:
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise NotDeliveredError(
                f"ended with status {status}" + (f": {shown(last, SHOWN_LIMIT)}" if last else ""), where=self._argv[0]
            )
        return ""

    async def close(self) -> None:
        """Nothing to close."""


async def _feed(process: asyncio.subprocess.Process, body: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it does not want to know
        process.stdin.write(body)
        await process.stdin.drain()
        process.stdin.close()


async def _last_of(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None
    kept = b""
    while chunk := await stream.read(ERROR_LIMIT):
        kept = (kept + chunk)[-ERROR_LIMIT:]
    return kept


def _environment() -> dict[str, str]:
    # Settings may stand there, secrets among them: they are none of the program's business.
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
