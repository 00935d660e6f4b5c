"""How fast, and how many at once: the limits that hold whatever the money."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class SpeedLimits:
    """The most attempts to numbers that are not domestic within a time, and the most calls at once. 0: no limit.

    Within `window_seconds`: attempts of an account, of its tenant, of a source address, of a tenant to one region.
    `same_number` are attempts of an account to one number within `same_number_seconds`; `new_regions` those that an
    account never called before, within 24 hours. At once: calls of an account and of its tenant that are not domestic,
    and in `_total` all of them.
    """

    window_seconds: int = 60
    account_attempts: int = 0
    tenant_attempts: int = 0
    source_attempts: int = 0
    region_attempts: int = 0
    same_number: int = 0
    same_number_seconds: int = 600
    new_regions: int = 0
    account_calls: int = 0
    tenant_calls: int = 0
    account_calls_total: int = 0
    tenant_calls_total: int = 0

    def tightened(self, percent: int) -> SpeedLimits:
        """Return the limits with each number so many percent of what it is, rounded up. The times stay."""
        numbers = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _TIMES}
        return replace(self, **{name: -(-number * percent // 100) for name, number in numbers.items()})


_TIMES = frozenset({"window_seconds", "same_number_seconds"})

NO_LIMITS = SpeedLimits()
