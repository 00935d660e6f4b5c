"""Alerts to the services that apprise knows (an extra). It is a blocking library, so it works in a thread.

The thread is a daemon: apprise has deadlines of its own, but none of them may hold up the end of the process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pydantic import SecretStr

from fraudguard.alerts.channel import Message, NotDeliveredError
from fraudguard.errors import ConfigError

TAKEN_LIMIT = 1_000
"""Messages remembered of which only a part of the services has taken notice."""


class AppriseChannel:
    """Notifies every service of the list. One that has taken a message is not told again when another has not."""

    def __init__(self, services: Sequence[Callable[..., Any]]) -> None:
        self._services = tuple(services)
        self._taken: dict[str, set[int]] = {}

    async def send(self, message: Message) -> str:
        taken = self._taken.pop(message.id, set())
        refused = 0
        for place, service in enumerate(self._services):
            if place in taken:
                continue
            try:
                done = await _in_thread(partial(service, title=message.subject, body=message.text))
            except Exception:  # noqa: BLE001  a plugin's defect; its text may hold a token
                done = False
            if done:
                taken.add(place)
            else:
                refused += 1
        if refused:
            if len(self._taken) >= TAKEN_LIMIT:
                self._taken.pop(next(iter(self._taken)))
            self._taken[message.id] = taken
            raise NotDeliveredError(f"{refused} of {len(self._services)} services did not take it")
        return ""

    async def close(self) -> None:
        """Nothing to close."""


def open_services(urls: SecretStr, *, where: str) -> list[Callable[..., Any]]:
    """Return what notifies each service: a URL a line, '#' begins a comment. Raises ConfigError naming the key."""
    try:
        import apprise  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        raise ConfigError(
            "apprise is not installed", where=where, fix="pip install 'fraudguard[apprise]', or remove the channel"
        ) from None
    # What it logs may hold tokens, and would go past our redaction.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    services: list[Callable[..., Any]] = []
    for place, line in enumerate(urls.get_secret_value().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        service = apprise.Apprise()
        if not service.add(text):
            raise ConfigError(f"line {place} is no URL that apprise knows", where=where, fix="see apprise's list")
        # Plain text: what was dialled must not become markup of a service that takes HTML.
        services.append(partial(service.notify, body_format=apprise.NotifyFormat.TEXT))
    if not services:
        raise ConfigError("names no service", where=where, fix="write one apprise URL a line")
    return services


async def _in_thread(work: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_result(result) if error is None else done.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  told to whoever waits
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop has ended meanwhile
            return

    threading.Thread(target=run, name="apprise", daemon=True).start()
    return await done
