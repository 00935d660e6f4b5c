"""Dialled digits to Number, for one tenant's way of dialling."""

from __future__ import annotations

import re
from dataclasses import dataclass

from phonenumbers import SUPPORTED_REGIONS

from fraudguard.errors import ConfigError
from fraudguard.numbering.digitsets import boxes_of, strings
from fraudguard.numbering.number import BadNumber, Kind, Number
from fraudguard.numbering.table import CallingCode, Region, Tariff, calling_codes, home_region, short_codes

MAX_DIALLED = 40  # characters: E.164 needs 15, the longest prefixes before it 10; the rest is somebody probing
MAX_DIGITS = 15  # ITU-T E.164
MIN_DIGITS = 6  # with the calling code; the shortest numbers in use are Austria's, such as +43 1xxx
LONGEST_CALLING_CODE = 3
NANP = "1"  # the calling code of the North American Numbering Plan
PREMIUM_EXCHANGE = "976"  # premium services, in every area code of +1

# Shared cost (808), personal (878) and premium (979) numbers of the ITU, and +1 900.
PREMIUM_PREFIXES = ("808", "878", "979", "1900")
# Inmarsat (870) and the global mobile satellite system (881). 882 and 883 are "international networks":
# some are satellites, some are fixed numbers with a satellite's price, and nobody calls them by chance.
SATELLITE_PREFIXES = ("870", "881", "882", "883")
UNIVERSAL_FREEPHONE = "800"

_DIALLABLE = re.compile(r"\+?[0-9]+").fullmatch


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
    """Turns dialled strings into numbers. Raises ConfigError for a plan that makes no sense; afterwards nothing.

    `emergency_numbers` are the bare codes: the home region's and the configured ones.
    """

    def __init__(self, plan: HomePlan) -> None:
        self.plan = plan
        self.home = _checked_home(plan)
        self.domestic = plan.domestic_regions | {plan.home}
        own = calling_codes()[self.home.calling_code].seen_from(self.home)
        self.codes = {**calling_codes(), own.digits: own}
        self.premium = PREMIUM_PREFIXES + plan.premium_prefixes
        self.satellite = SATELLITE_PREFIXES + plan.satellite_prefixes
        short = short_codes(plan.home)
        self.emergency_numbers = plan.emergency_numbers | {
            code for box in boxes_of(short.emergency) for code in strings(box)
        }
        _refuse_hidden_emergency(plan.outside_line, self.emergency_numbers)
        self._emergency = {plan.outside_line + code: code for code in self.emergency_numbers}
        self._emergency |= {code: code for code in self.emergency_numbers}
        # Codes that only take text messages cannot be called, and some look like local numbers.
        known = rf"(?!(?:{short.messages})\Z)(?:{short.codes})"
        self._service_match = re.compile("|".join((known, *sorted(plan.service_codes)))).fullmatch
        self._longest_short = len(plan.outside_line) + max((0, *short.lengths, *map(len, plan.service_codes)))
        self._home_code = own
        self._international_match = re.compile(self.home.international_prefix).match

    def normalise(self, dialled: str) -> Number | BadNumber:
        """Return what `dialled` means for this plan. Never raises, whatever the string."""
        code = self._emergency.get(dialled)
        if code is not None:
            return Number(dialled, code, self.plan.home, Kind.EMERGENCY)
        if len(dialled) > MAX_DIALLED or not _DIALLABLE(dialled):
            return BadNumber(dialled, _undiallable(dialled))
        if dialled[0] == "+":
            return self._international(dialled, dialled[1:])
        outside = self.plan.outside_line
        digits = dialled[len(outside) :] if outside and dialled.startswith(outside) else dialled
        if len(dialled) <= self._longest_short:
            for short in (digits, dialled):  # behind 9 for outside, 9411 is 411
                if self._service_match(short):
                    return Number(dialled, short, self.plan.home, Kind.SERVICE)
        prefix = self._international_match(digits)
        if prefix is not None and digits[prefix.end() : prefix.end() + 1] not in ("", "0"):
            return self._international(dialled, digits[prefix.end() :])
        return self._national(dialled, digits)

    def _international(self, dialled: str, digits: str) -> Number | BadNumber:
        if digits[0] == "0":
            return BadNumber(dialled, "no calling code begins with 0")
        codes = self.codes
        code = codes.get(digits[:1]) or codes.get(digits[:2]) or codes.get(digits[:3])
        if code is None:
            return _numbered(dialled, digits, None, Kind.UNKNOWN, LONGEST_CALLING_CODE)
        national = digits[len(code.digits) :]
        found = code.classify(national)
        if found is None:
            # +44 (0)20 ...: a trunk prefix that does not belong there; kept where dropping it does not help.
            bare = code.main.without_trunk_prefix(national)
            found = code.classify(bare) if bare != national else None
            national = national if found is None else bare
        return self._number(dialled, code, national, found)

    def _national(self, dialled: str, digits: str) -> Number | BadNumber:
        home, code = self.home, self._home_code
        if code.digits == NANP and digits.startswith("101"):
            return BadNumber(dialled, "a carrier selection code (101XXXX) would leave the trunk's price behind")
        area = self.plan.area_code
        if area and not (home.national_prefix and digits.startswith(home.national_prefix)):
            found = code.classify(area + digits)
            if found is not None:
                return self._number(dialled, code, area + digits, found)
        national = home.without_trunk_prefix(digits)
        found = code.classify(national)
        if found is None and len(national) < home.shortest:
            return BadNumber(dialled, f"too short: numbers of {home.code} have at least {home.shortest} digits")
        return self._number(dialled, code, national, found)

    def _number(
        self, dialled: str, code: CallingCode, national: str, found: tuple[Region, Tariff] | None
    ) -> Number | BadNumber:
        digits = code.digits + national
        region, tariff = (code.only_region, None) if found is None else (found[0].code, found[1])
        kind = self._kind(digits, code, region, tariff)
        return _numbered(dialled, digits, region, kind, _least_prefix(digits, code, region, kind))

    def _kind(self, digits: str, code: CallingCode, region: str | None, tariff: Tariff | None) -> Kind:
        if digits.startswith(self.premium):
            return Kind.PREMIUM
        if digits.startswith(self.satellite):
            return Kind.SATELLITE
        # The metadata calls the numbers of the premium exchange fixed lines.
        if tariff is Tariff.PREMIUM or (code.digits == NANP and digits[4:7] == PREMIUM_EXCHANGE):
            return Kind.PREMIUM
        if tariff is None:
            return Kind.UNKNOWN if code is self._home_code else Kind.INTERNATIONAL
        if tariff is Tariff.TOLL_FREE and (region in self.domestic or code.digits == UNIVERSAL_FREEPHONE):
            return Kind.TOLL_FREE
        return Kind.DOMESTIC if region in self.domestic else Kind.INTERNATIONAL


def _undiallable(dialled: str) -> str:
    if not dialled:
        return "nothing was dialled"
    if len(dialled) > MAX_DIALLED:
        return f"longer than {MAX_DIALLED} characters"
    return "only digits 0-9 and one leading + can be dialled"


def _least_prefix(digits: str, code: CallingCode, region: str | None, kind: Kind) -> int:
    """Return how long a rate's prefix must be to speak for the number.

    A row for the calling code alone is the price of the ordinary numbers of its main region.
    """
    if kind is Kind.DOMESTIC or (kind is Kind.TOLL_FREE and region is not None):
        return 0
    if kind is Kind.INTERNATIONAL and (code.digits != NANP or region == code.main.code):
        return 0
    if code.digits == NANP and digits[4:7] == PREMIUM_EXCHANGE:
        return 7
    whole = code.digits in PREMIUM_PREFIXES or code.digits in SATELLITE_PREFIXES or kind is Kind.TOLL_FREE
    return len(code.digits) if whole else len(code.digits) + 1


def _numbered(dialled: str, digits: str, region: str | None, kind: Kind, least_prefix: int) -> Number | BadNumber:
    if MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        return Number(dialled, digits, region, kind, least_prefix)
    return BadNumber(dialled, f"{len(digits)} digits with the calling code, not {MIN_DIGITS} to {MAX_DIGITS}")


def _checked_home(plan: HomePlan) -> Region:
    """Return the home's plan. Raises ConfigError for every value that the rest could not work with."""
    home = home_region(plan.home)
    if home is None:
        raise _wrong(
            "home", f"{plan.home!r} is not a region with a numbering plan", "give ISO 3166-1 alpha-2, such as US"
        )
    for region in sorted(plan.domestic_regions - SUPPORTED_REGIONS):
        raise _wrong("domestic_regions", f"{region!r} is not a region with a numbering plan", "give ISO 3166-1 alpha-2")
    single = {"outside_line": plan.outside_line, "area_code": plan.area_code}
    for key, text in single.items():
        if text and not _is_digits(text):
            raise _wrong(key, f"{text!r} is not a string of digits", "use the digits 0-9, or leave it empty")
    lists = {
        "emergency_numbers": plan.emergency_numbers,
        "service_codes": plan.service_codes,
        "premium_prefixes": plan.premium_prefixes,
        "satellite_prefixes": plan.satellite_prefixes,
    }
    for key, texts in lists.items():
        for text in sorted(texts):
            if not _is_digits(text):
                raise _wrong(key, f"{text!r} is not a string of digits", "use the digits 0-9, at most 15")
    return home


def _refuse_hidden_emergency(outside_line: str, emergency_numbers: frozenset[str]) -> None:
    for code in sorted(emergency_numbers):
        if outside_line.startswith(code):
            raise _wrong(
                "outside_line",
                f"{outside_line!r} begins with the emergency number {code}",
                "choose another digit for an outside line",
            )


def _is_digits(text: str) -> bool:
    return len(text) <= MAX_DIGITS and text.isascii() and text.isdecimal()


def _wrong(key: str, what: str, fix: str) -> ConfigError:
    return ConfigError(what, where=f"numbering.{key}", fix=fix)
