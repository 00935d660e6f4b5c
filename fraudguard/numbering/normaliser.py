"""Dialled digits to Number, for one tenant's way of dialling."""

from __future__ import annotations

from dataclasses import dataclass

from fraudguard.numbering.number import BadNumber, Number


@dataclass(frozen=True, slots=True)
class HomePlan:
    """How a tenant dials. `domestic_regions` are counted as domestic beside `home`; prefixes are E.164 digits."""

    home: str = "US"
    outside_line: str = ""
    area_code: str = ""
    domestic_regions: frozenset[str] = frozenset()
    emergency_numbers: frozenset[str] = frozenset()
    service_codes: frozenset[str] = frozenset()
    premium_prefixes: tuple[str, ...] = ()
    satellite_prefixes: tuple[str, ...] = ()


class Normaliser:
    """Turns dialled strings into numbers. Raises ConfigError for a plan that makes no sense; afterwards nothing."""

    def __init__(self, plan: HomePlan) -> None:
        self.plan = plan

    def normalise(self, dialled: str) -> Number | BadNumber:
        """Return what `dialled` means for this plan. Never raises, whatever the string."""
        return BadNumber(dialled, "not written yet")
