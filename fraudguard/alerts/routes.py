"""Which channels hear of which alert, and when: the [alerts] section made ready. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from fraudguard.clock import Millis
from fraudguard.config import QuietHours, Route, Settings
from fraudguard.errors import ConfigError
from fraudguard.policy.alert import SEVERITY, Severity
from fraudguard.policy.reasons import QUIET, Reason
from fraudguard.policy.records import DEFAULT_TENANT

DEFAULT_CHANNEL: Final = "log"
"""The channel there is when none is configured."""

KINDS: Final = frozenset({*map(str, SEVERITY), *map(str, Reason)} - {Reason.OK, Reason.EMERGENCY} - QUIET)
"""Every kind that an alert can have."""

_RANKS: Final = {severity.value: rank for rank, severity in enumerate(Severity)}


class Routes:
    """Answers the two questions of store.outbox.Routing."""

    def __init__(self, channels: Iterable[str], routes: Iterable[Route], quiet: QuietHours | None) -> None:
        self._channels = tuple(channels)
        self._routes = tuple(routes) or (Route(channels=self._channels),)
        self._quiet = quiet

    def channels(self, kind: str, tenant: str, severity: str) -> tuple[str, ...]:
        """Return the channels of every route that an alert fits, each once. What is of no tenant fits no tenant's."""
        found = {
            channel: None
            for route in self._routes
            if (not route.tenants or tenant in route.tenants)
            and (not route.kinds or kind in route.kinds)
            and _RANKS[severity] >= _RANKS[route.severity]
            for channel in route.channels
        }
        return tuple(found)

    def not_before(self, severity: str, instant: Millis) -> Millis:
        """Return `instant`, or the end of the quiet hours that it falls into. The more urgent never waits."""
        quiet = self._quiet
        if quiet is None or _RANKS[severity] > _RANKS[quiet.severity]:
            return instant
        zone = ZoneInfo(quiet.zone)
        local = datetime.fromtimestamp(instant / 1000, tz=zone)
        if not _within(local.strftime("%H:%M"), quiet.begin, quiet.end):
            return instant
        hour, minute = map(int, quiet.end.split(":"))
        end = local.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
        if end.replace(tzinfo=None) <= local.replace(tzinfo=None):
            end += timedelta(days=1)  # wall clock: the same time of the next day, however many hours that are
        ends = int(end.timestamp() * 1000)
        # When the clocks go back the end comes twice, and the first may be over.
        return ends if ends > instant else int(end.replace(fold=1).timestamp() * 1000)


def build_routes(settings: Settings) -> Routes:
    """Check the routes and make them ready. Raises ConfigError naming the key and the nearest right name."""
    alerts = settings.alerts
    channels = tuple(alerts.channels) or (DEFAULT_CHANNEL,)
    tenants = {DEFAULT_TENANT, *settings.tenants}
    for place, route in enumerate(alerts.routes):
        where = f"{settings.path}: alerts.routes.{place}"
        _known(route.channels, channels, f"{where}.channels", "channel")
        _known(route.kinds, KINDS, f"{where}.kinds", "kind of alert")
        _known(route.tenants, tenants, f"{where}.tenants", "tenant")
    return Routes(channels, alerts.routes, alerts.quiet)


def _known(names: Iterable[str], known: Collection[str], where: str, what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown {what} {name!r}", where=where, fix=fix)


def _within(now: str, begin: str, end: str) -> bool:
    return begin <= now < end if begin < end else now >= begin or now < end
