"""PINs as operators set them, and what came of asking for one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.money import Micros

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOURS: Final = re.compile(
    r"(?P<days>[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*)?\s*"
    r"(?:(?P<begin>([01][0-9]|2[0-3]):[0-5][0-9])-(?P<end>([01][0-9]|2[0-3]):[0-5][0-9]|24:00))?"
).fullmatch


class PinKind(StrEnum):
    """What the digits are: the same for good, or a code of an authenticator app, good for one call."""

    DIGITS = "digits"
    TOTP = "totp"


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
            return days or "always"
        span = f"{self.begin // 60:02}:{self.begin % 60:02}-{self.end // 60:02}:{self.end % 60:02}"
        return f"{days} {span}".lstrip()

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> Self:
        """Read 'mon-fri 08:00-18:00', 'sat,sun' or '22:00-06:00'. Raises InputError."""
        match = _HOURS(text.strip().lower())
        if not text.strip() or match is None:
            raise InputError(f"{text[:40]!r} are no hours", where=where, fix="write them as 'mon-fri 08:00-18:00'")
        days = frozenset(range(7)) if match["days"] is None else _parse_days(match["days"], where)
        if match["begin"] is None:
            return cls(days)
        begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in (match["begin"], match["end"]))
        if begin == end:
            raise InputError(f"{text!r} begins and ends at once", where=where, fix="leave the time out for whole days")
        return cls(days, begin, end)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a PIN is good for. Empty or None: no restriction.

    A number must be in one of `regions` (ISO 3166-1) or begin with one of `prefixes` (E.164 digits). `highest` is the
    dearest per-minute price and connect fee, `per_day` the most money in a day of the tenant's. It holds from
    `begins` until before `until`, within `hours`, keyed at one of `accounts`.
    """

    regions: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    highest: Micros | None = None
    per_day: Micros | None = None
    begins: Millis | None = None
    until: Millis | None = None
    hours: Hours | None = None
    accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seal:
    """A PIN as it is stored: argon2id of its digits keyed with the pepper, or for an authenticator what its key is
    made of. `index` finds it among the tenant's, `proof` is compared.
    """

    index: bytes = field(repr=False)
    proof: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pin:
    """One person's PIN. `name` is the person's, unique in the tenant but for a duress PIN, which goes by the same."""

    id: int
    tenant: str
    name: str
    kind: PinKind
    duress: bool
    terms: Terms
    seal: Seal
    author: str
    created: Millis

    def usable_from(self, account: str) -> bool:
        """Say whether it may be keyed at an account."""
        return not self.terms.accounts or account in self.terms.accounts


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a tenant's PINs are sealed: the salt and cost of argon2id (passes, KiB, lanes), fixed when its first PIN is
    made. `mark` is what the pepper of then makes of a fixed text, so that another pepper is noticed.
    """

    salt: bytes = field(repr=False)
    passes: int
    kib: int
    lanes: int
    mark: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unlock:
    """An operator took back what wrong PINs had locked, up to `at`: of an account, of a source address, or of a tenant
    with all its accounts. What is not named is ''.
    """

    at: Millis
    tenant: str = ""
    account: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Keyed:
    """What came of asking a caller for a PIN.

    `refusal` is the reason why nothing good was keyed ('' where a PIN was), `pin` the PIN it was, also one that may
    not be used here. `at` is when it was over, `tries` how often something was keyed. `spent` is what calls by this PIN
    have cost today, or may yet. With `assumed` nobody was asked: `check` supposes that a good one would be keyed.
    """

    at: Millis
    pin: Pin | None = None
    refusal: str = ""
    tries: int = 0
    spent: Micros = 0
    assumed: bool = False


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
