"""What a new price list changes, told before it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from operator import gt

from fraudguard.money import Micros, format_amount
from fraudguard.rating import PrefixTable, Rate

MAX_KEPT = 1000
"""Changes kept in full, of each sort; all are counted."""


class Change(StrEnum):
    """What happens to one prefix. A prefix has one of the first five, and may cross the limit besides."""

    ADDED = "added"
    REMOVED = "removed"
    DEARER = "dearer"  # price or connect fee up, or no longer offered
    CHEAPER = "cheaper"
    OTHER = "other"  # increments, minimum, name
    SHUT = "shut"  # what went through under the limit will be refused
    OPENED = "opened"  # what was refused will go through


@dataclass(frozen=True, slots=True)
class PrefixChange:
    """One prefix, before and after; None where no rate matched it at all.

    For added and removed prefixes the other side is what a call to it pays without it: the next shorter prefix.
    """

    prefix: str
    before: Rate | None
    after: Rate | None

    def __str__(self) -> str:
        name = next(rate.destination for rate in (self.after, self.before) if rate is not None)
        return f"{self.prefix or 'catch-all'} {name}: {_price(self.before)} -> {_price(self.after)}"


@dataclass(slots=True)
class DeckDiff:
    """Counts of every change, and the first MAX_KEPT of each sort."""

    counts: dict[Change, int] = field(default_factory=lambda: dict.fromkeys(Change, 0))
    changes: dict[Change, list[PrefixChange]] = field(default_factory=lambda: {change: [] for change in Change})
    unchanged: int = 0

    def note(self, kind: Change, change: PrefixChange) -> None:
        """Count one change."""
        self.counts[kind] += 1
        if len(self.changes[kind]) < MAX_KEPT:
            self.changes[kind].append(change)

    def describe(self) -> list[str]:
        """Return lines such as 'dearer: 12', all kinds, then the unchanged."""
        return [f"{kind}: {count}" for kind, count in self.counts.items()] + [f"unchanged: {self.unchanged}"]


def compare(old: PrefixTable, new: PrefixTable, limit: Micros) -> DeckDiff:
    """Compare two tables prefix by prefix; `limit` is the per-minute price that goes through without a grant."""
    diff = DeckDiff()
    for before, after in _pairs(old, new):
        kind = _kind(before, after)
        if kind is None:
            diff.unchanged += 1
            continue
        effective = _with_fallbacks(before, after, old, new)
        diff.note(kind, effective)
        passed, passes = _passes(effective.before, limit), _passes(effective.after, limit)
        if passed != passes:
            diff.note(Change.OPENED if passes else Change.SHUT, effective)
    return diff


def _with_fallbacks(before: Rate | None, after: Rate | None, old: PrefixTable, new: PrefixTable) -> PrefixChange:
    """Fill the empty side: without a row of its own a prefix pays what the next shorter one costs."""
    if before is None:
        assert after is not None
        return PrefixChange(after.prefix, old.longest(after.prefix), after)
    return PrefixChange(before.prefix, before, after or new.longest(before.prefix))


def _pairs(old: Iterable[Rate], new: Iterable[Rate]) -> Iterator[tuple[Rate | None, Rate | None]]:
    """Walk two tables sorted by prefix side by side."""
    olds, news = iter(old), iter(new)
    before, after = next(olds, None), next(news, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before.prefix < after.prefix):
            yield before, None
            before = next(olds, None)
        elif before is None or after.prefix < before.prefix:
            yield None, after
            after = next(news, None)
        else:
            yield before, after
            before, after = next(olds, None), next(news, None)


def _kind(before: Rate | None, after: Rate | None) -> Change | None:
    if before is None:
        return Change.ADDED
    if after is None:
        return Change.REMOVED
    was, will_be = _costs(before), _costs(after)
    if any(map(gt, will_be, was)):  # a lower price does not make up for a higher connect fee
        return Change.DEARER
    if was != will_be:
        return Change.CHEAPER
    same = before._replace(effective_from=0) == after._replace(effective_from=0)
    return None if same else Change.OTHER


def _costs(rate: Rate) -> tuple[bool, Micros, Micros]:
    return (not rate.offered, rate.per_minute, rate.connect_fee)


def _passes(rate: Rate | None, limit: Micros) -> bool:
    return rate is not None and rate.offered and rate.dearest <= limit


def _price(rate: Rate | None) -> str:
    if rate is None:
        return "no rate"
    if not rate.offered:
        return "not offered"
    fee = f" + {format_amount(rate.connect_fee)} a call" if rate.connect_fee else ""
    return format_amount(rate.per_minute) + fee
