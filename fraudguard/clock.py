"""Time as an argument: UTC milliseconds since 1970 for what is stored, a monotonic clock for what is waited for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from typing import Final, Protocol, TypeAlias

from fraudguard.errors import InputError

Millis: TypeAlias = int
"""An instant: milliseconds since 1970-01-01T00:00:00Z."""

HOUR_MILLIS: Final = 3_600_000

DAY_MILLIS: Final = 86_400_000
"""A day of 24 hours; for days of a calendar see day_began."""


class Clock(Protocol):
    """What tells the time. Live code gets SystemClock; replay and tests hand in their own."""

    def now(self) -> Millis:
        """Return the present instant, UTC milliseconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Millis:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyClock:
    """A clock that never jumps: it begins with another's time and goes on by its monotonic one.

    So what lasts a minute is a minute long also when somebody sets the machine's clock meanwhile. How far off it is
    then `step` says, and takes over.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._ahead = machine.now() - _millis(machine.monotonic())

    def now(self) -> Millis:
        return _millis(self._machine.monotonic()) + self._ahead

    def monotonic(self) -> float:
        return self._machine.monotonic()

    def step(self, least: Millis) -> Millis:
        """Return by how much the machine's clock was set since, and go by it from now on; 0 for less than `least`."""
        delta = self._machine.now() - self.now()
        if abs(delta) < least:
            return 0
        self._ahead += delta
        return delta


def _millis(seconds: float) -> Millis:
    return int(seconds * 1000)


def parse_instant(text: str, *, zone: tzinfo = UTC, where: str = "") -> Millis:
    """Read ISO 8601 ('2026-12-31', '2026-12-31T18:00', with or without offset) into UTC milliseconds.

    A text without an offset is taken in `zone`. Raises InputError.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{text[:64]!r} is not a time",
            where=where,
            fix="write it as 2026-12-31 or 2026-12-31T18:00+01:00",
        ) from None
    if not 1970 < moment.year < 9999:  # a day's room at both ends, whatever the offset
        raise InputError(f"{text!r} is out of range", where=where, fix="give a year from 1971 to 9998")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return int(moment.timestamp() * 1000)


def format_instant(instant: Millis, *, zone: tzinfo = UTC) -> str:
    """Write an instant as ISO 8601 with seconds and offset: '2026-12-31T18:00:00+00:00'."""
    return datetime.fromtimestamp(instant / 1000, tz=zone).isoformat(timespec="seconds")


def day_began(at: Millis, zone: tzinfo) -> Millis:
    """Return when the day of a zone began in which an instant lies."""
    # Where the clock goes back at midnight there are two of them: the first.
    day = datetime.fromtimestamp(at / 1000, tz=zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return int(day.timestamp() * 1000)
