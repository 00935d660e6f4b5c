"""The world's numbering plans, compiled from phonenumbers' metadata into what a call needs.

phonenumbers answers "whose number is this, and what sort" in hundreds of microseconds, because it
interprets its metadata for every number. Here the same metadata becomes one regular expression per
region and length, compiled when a number of that shape is first seen. Tests hold the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from phonenumbers.phonemetadata import REGION_CODE_FOR_NON_GEO_ENTITY, PhoneMetadata, PhoneNumberDesc


class Tariff(Enum):
    """What a plan says about the price of a number."""

    ORDINARY = "ordinary"
    TOLL_FREE = "toll free"
    PREMIUM = "premium"  # premium rate, shared cost or personal: somebody earns by being called


# In the order in which phonenumbers asks: the first that matches decides.
TYPES: tuple[tuple[str, Tariff], ...] = (
    ("premium_rate", Tariff.PREMIUM),
    ("toll_free", Tariff.TOLL_FREE),
    ("shared_cost", Tariff.PREMIUM),
    ("voip", Tariff.ORDINARY),
    ("personal_number", Tariff.PREMIUM),
    ("pager", Tariff.ORDINARY),
    ("uan", Tariff.ORDINARY),
    ("voicemail", Tariff.ORDINARY),
    ("fixed_line", Tariff.ORDINARY),
    ("mobile", Tariff.ORDINARY),
)

_NOTHING = re.compile(r"(?!)")


class Region:
    """One region's numbering plan. `code` is ISO 3166-1 alpha-2, or None for an international network."""

    def __init__(self, metadata: PhoneMetadata) -> None:
        assert metadata.general_desc is not None
        assert metadata.general_desc.national_number_pattern is not None
        self.code = None if metadata.id == REGION_CODE_FOR_NON_GEO_ENTITY else metadata.id
        self.calling_code = str(metadata.country_code)
        self.general = metadata.general_desc.national_number_pattern
        self.lengths = frozenset(metadata.general_desc.possible_length)
        self.shortest = min(self.lengths)
        self.leading_digits = metadata.leading_digits
        self.international_prefix = metadata.international_prefix or "(?!)"
        self.national_prefix = metadata.national_prefix or ""
        self.trunk_prefix = metadata.national_prefix_for_parsing or ""
        self.trunk_transform = metadata.national_prefix_transform_rule or ""
        self.types = tuple(_types(metadata))
        self._tariffs = [tariff for _pattern, _lengths, tariff in self.types]
        self._by_length: dict[int, re.Pattern[str]] = {}
        self._general_match = re.compile(self.general).fullmatch
        self._trunk_match = re.compile(self.trunk_prefix).match
        self._leading_match = re.compile(self.leading_digits or "").match

    def claims(self, national: str) -> bool:
        """Say whether the number begins with the region's leading digits; without any, every number does."""
        return self._leading_match(national) is not None

    def tariff(self, national: str) -> Tariff | None:
        """Return the tariff of a national number, or None where it is not valid in this region."""
        length = len(national)
        pattern = self._by_length.get(length)
        if pattern is None:
            pattern = self._by_length[length] = self._compile(length)
        match = pattern.fullmatch(national)
        # A group per type, so the index of the group is the index of the type.
        return None if match is None else self._tariffs[(match.lastindex or 0) - 1]

    def _compile(self, length: int) -> re.Pattern[str]:
        if length not in self.lengths:
            return _NOTHING
        # Types that cannot have this length keep their group, so that group numbers stay type numbers.
        groups = [f"({pattern})" if length in lengths else "((?!))" for pattern, lengths, _tariff in self.types]
        return re.compile(rf"(?=(?:{self.general})\Z)(?:{'|'.join(groups)})") if groups else _NOTHING

    def without_trunk_prefix(self, dialled: str) -> str:
        """Return the national number in `dialled`, by the same rules as phonenumbers.parse."""
        match = self._trunk_match(dialled)
        if match is None or match.end() == 0:
            return dialled
        if self.trunk_transform and match.groups()[-1] is not None:
            stripped = match.expand(self.trunk_transform) + dialled[match.end() :]
        else:
            stripped = dialled[match.end() :]
        if not self._general_match(stripped) and self._general_match(dialled):
            return dialled  # a digit of the number itself, not a prefix before it
        return stripped if self.possible(len(stripped)) else dialled

    def possible(self, length: int) -> bool:
        """Say whether phonenumbers would strip a trunk prefix to leave a national number of this length."""
        return length in self.lengths or length > max(self.lengths)

    def trunk_rewrite(self, dialled: str) -> tuple[int, str] | None:
        """Return what the trunk prefix of `dialled` comes to: digits to strip, then digits to prepend.

        None where the rule does more, as Argentina's, which moves a 15 from the middle to the front as 9.
        """
        match = self._trunk_match(dialled)
        if match is None:
            return 0, ""
        if not self.trunk_transform or match.groups()[-1] is None:
            return match.end(), ""
        last = match.re.groups
        prepend, _, kept = self.trunk_transform.partition("\\")
        if kept != str(last) or match.end(last) != match.end():
            return None
        return match.start(last), prepend


@dataclass(frozen=True, slots=True)
class CallingCode:
    """A calling code and the regions that share it, in the order in which they are asked.

    `main` is the region whose rules hold for the code as a whole, `only_region` the region of every number of
    the code, None where several share it. `own`, where given, is asked before all
    others and by its patterns alone: a freephone number shared by all of +1 is at home in every part of it.
    """

    digits: str
    main: Region
    only_region: str | None
    regions: tuple[Region, ...]
    own: Region | None = None

    def classify(self, national: str) -> tuple[Region, Tariff] | None:
        """Return whose number it is and its tariff, or None when it is valid nowhere."""
        if self.own is not None:
            tariff = self.own.tariff(national)
            if tariff is not None:
                return self.own, tariff
        for region in self.regions:
            if region.leading_digits is None:
                tariff = region.tariff(national)
                if tariff is not None:
                    return region, tariff
            elif region.claims(national):
                tariff = region.tariff(national)
                return None if tariff is None else (region, tariff)
        return None

    def seen_from(self, home: Region) -> CallingCode:
        """Return the same code with `home`, one of its regions, as its own."""
        others = (region for region in self.regions if region is not home or region.leading_digits is not None)
        return CallingCode(self.digits, self.main, self.only_region, tuple(others), home)


@lru_cache(maxsize=1)
def calling_codes() -> Mapping[str, CallingCode]:
    """Return every assigned calling code. About 60 ms on first use, most of it reading metadata."""
    codes = {}
    for code, names in COUNTRY_CODE_TO_REGION_CODE.items():
        regions = tuple(_regions(code, names))
        only = regions[0].code if len(regions) == 1 else None
        codes[str(code)] = CallingCode(str(code), regions[0], only, regions)
    return codes


def home_region(name: str) -> Region | None:
    """Return the plan of an ISO 3166-1 alpha-2 region, or None where there is none."""
    regions = (region for code in calling_codes().values() for region in code.regions)
    return next((region for region in regions if region.code == name), None)


@dataclass(frozen=True, slots=True)
class ShortCodes:
    """Patterns of a region's short numbers: emergency, all that can be dialled, and those only for text messages."""

    emergency: str
    codes: str
    messages: str
    lengths: tuple[int, ...]


def short_codes(name: str) -> ShortCodes:
    """Return the short-number patterns of a region; patterns that match nothing where none are known."""
    metadata = PhoneMetadata.short_metadata_for_region(name)
    if metadata is None:
        return ShortCodes("(?!)", "(?!)", "(?!)", ())
    assert metadata.short_code is not None
    return ShortCodes(
        _pattern(metadata.emergency),
        _pattern(metadata.short_code),
        _pattern(metadata.sms_services),
        metadata.short_code.possible_length,
    )


def _pattern(desc: PhoneNumberDesc | None) -> str:
    return (desc and desc.national_number_pattern) or "(?!)"


def _regions(code: int, names: tuple[str, ...]) -> Iterator[Region]:
    for name in names:
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, name)
        assert metadata is not None  # phonenumbers ships a plan for every code it lists
        yield Region(metadata)


def _types(metadata: PhoneMetadata) -> Iterator[tuple[str, frozenset[int], Tariff]]:
    assert metadata.general_desc is not None
    seen: set[tuple[str, Tariff]] = set()
    for name, tariff in TYPES:
        desc: PhoneNumberDesc | None = getattr(metadata, name)
        if desc is None or desc.national_number_pattern is None:
            continue
        lengths = desc.possible_length or metadata.general_desc.possible_length
        key = (desc.national_number_pattern, tariff)
        if key not in seen:  # fixed and mobile are the same in all of +1
            seen.add(key)
            yield desc.national_number_pattern, frozenset(lengths), tariff
