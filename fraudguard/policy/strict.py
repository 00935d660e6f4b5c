"""The stricter profile: at night, at the weekend and on holidays, when nobody is there and toll fraud is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.numbering.number import Kind
from fraudguard.policy.hours import Hours

_MINUTE: Millis = 60_000


@dataclass(frozen=True, slots=True)
class Strict:
    """When a tenant's stricter profile holds, and what it adds meanwhile.

    It holds within any of `hours`, and all day where `holiday` says so of a local date (None: there are none). `limit`
    is the highest per-minute price without a grant (None: no other than always), `ask` are kinds of number that want
    a PIN beside those that always do.
    """

    hours: tuple[Hours, ...] = ()
    holiday: Callable[[date], bool] | None = None
    limit: Micros | None = None
    ask: frozenset[Kind] = frozenset()
    # What was answered last, by zone: calls come many in a minute, and hours, days and clock changes begin with one.
    _answered: dict[tzinfo, tuple[int, bool]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def holds(self, at: Millis, zone: tzinfo) -> bool:
        """Say whether it holds at an instant, by the clock on the wall of a zone."""
        minute = at // _MINUTE
        last = self._answered.get(zone)
        if last is not None and last[0] == minute:
            return last[1]
        local = datetime.fromtimestamp(minute * _MINUTE // 1000, tz=zone)
        answer = any(hours.hold(local) for hours in self.hours) or self._is_holiday(local.date())
        self._answered[zone] = minute, answer
        return answer

    def _is_holiday(self, day: date) -> bool:
        return self.holiday is not None and self.holiday(day)


NEVER = Strict()
"""Holds at no time."""
