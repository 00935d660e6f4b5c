"""When, in a week, something holds: 'mon-fri 08:00-18:00'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from fraudguard.errors import InputError

ALWAYS: Final = "always"
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOURS: Final = re.compile(
    r"(?P<days>[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*)?\s*"
    r"(?:(?P<begin>([01][0-9]|2[0-3]):[0-5][0-9])-(?P<end>([01][0-9]|2[0-3]):[0-5][0-9]|24:00))?"
).fullmatch


@dataclass(frozen=True, slots=True)
class Hours:
    """When, in a week: `days` counts from Monday, 0; `begin` and `end` are minutes of the day.

    An end at or before the begin is on the next day: a night shift belongs to the day on which it begins.
    """

    days: frozenset[int] = frozenset(range(7))
    begin: int = 0
    end: int = 1440

    def __post_init__(self) -> None:
        if not self.days:
            raise ValueError("hours are on some day")

    def hold(self, local: datetime) -> bool:
        """Say whether a moment, in the tenant's own time, lies within."""
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.begin < self.end:
            return today in self.days and self.begin <= minute < self.end
        return (today in self.days and minute >= self.begin) or (yesterday in self.days and minute < self.end)

    def __str__(self) -> str:
        days = _show_days(self.days)
        if (self.begin, self.end) == (0, 1440):
            return days or ALWAYS
        span = f"{self.begin // 60:02}:{self.begin % 60:02}-{self.end // 60:02}:{self.end % 60:02}"
        return f"{days} {span}".lstrip()

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> Self:
        """Read 'mon-fri 08:00-18:00', 'sat,sun' or '22:00-06:00'. Raises InputError."""
        written = text.strip().lower()
        if written == ALWAYS:
            return cls()
        match = _HOURS(written)
        if not written or match is None:
            raise InputError(f"{text[:40]!r} are no hours", where=where, fix="write them as 'mon-fri 08:00-18:00'")
        days = frozenset(range(7)) if match["days"] is None else _parse_days(match["days"], where)
        if match["begin"] is None:
            return cls(days)
        begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in (match["begin"], match["end"]))
        if begin == end:
            raise InputError(f"{text!r} begins and ends at once", where=where, fix="leave the time out for whole days")
        return cls(days, begin, end)


def _parse_days(text: str, where: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
            raise InputError(f"{part!r} are no weekdays", where=where, fix=f"days are {', '.join(WEEKDAYS)}")
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(days)


def _show_days(days: frozenset[int]) -> str:
    if len(days) == 7:
        return ""
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    shown = (WEEKDAYS[run[0]] if len(run) == 1 else f"{WEEKDAYS[run[0]]}-{WEEKDAYS[run[-1]]}" for run in runs)
    return ",".join(shown)
