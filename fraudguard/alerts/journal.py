"""Alerts as lines of the service's own log: what there is when nothing else is configured."""

from __future__ import annotations

import structlog

from fraudguard.alerts.channel import Message

_LEVELS = {"notice": "info", "warning": "warning", "critical": "critical"}

log = structlog.get_logger()


class JournalChannel:
    """One line per message, with everything that is known as fields."""

    async def send(self, message: Message) -> str:
        known = {key: value for key, value in message.document.items() if value not in (None, "", [], {})}
        known.pop("subject", None)
        getattr(log, _LEVELS[message.severity])(message.subject, **known)
        return ""

    async def close(self) -> None:
        """Nothing to close."""
