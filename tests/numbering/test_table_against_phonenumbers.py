"""The fast table gives phonenumbers' own answers: E.164, region, and a kind that follows from the type."""

from __future__ import annotations

from random import Random

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from fraudguard.numbering import BadNumber, HomePlan, Kind, Normaliser, Number
from fraudguard.numbering.table import calling_codes

HOMES = sorted(phonenumbers.SUPPORTED_REGIONS)
SHORT = (Kind.EMERGENCY, Kind.SERVICE)
EARNING = (PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST, PhoneNumberType.PERSONAL_NUMBER)


def expected_kind(number: PhoneNumber, digits: str, region: str | None, home: str) -> Kind:
    """Say the same as the Normaliser in the slow words of phonenumbers."""
    if digits.startswith(("808", "878", "979", "1900")):
        return Kind.PREMIUM
    if digits.startswith(("870", "881", "882", "883")):
        return Kind.SATELLITE
    kind = phonenumbers.number_type(number)
    if region == home:  # numbers shared by several regions are judged by the home's own list
        metadata = phonenumbers.PhoneMetadata.metadata_for_region(home)
        national = phonenumbers.national_significant_number(number)
        kind = phonenumbers.phonenumberutil._number_type_helper(national, metadata)
    if kind in EARNING or (digits[0] == "1" and digits[4:7] == "976"):
        return Kind.PREMIUM
    if kind == PhoneNumberType.TOLL_FREE and (region == home or digits.startswith("800")):
        return Kind.TOLL_FREE
    return Kind.DOMESTIC if region == home else Kind.INTERNATIONAL


def hold_together(normaliser: Normaliser, dialled: str) -> None:
    home = normaliser.plan.home
    ours = normaliser.normalise(dialled)
    if isinstance(ours, Number) and ours.kind in SHORT:
        return  # phonenumbers keeps short numbers apart; so do the tables of homes
    try:
        theirs = phonenumbers.parse(dialled, home)
    except phonenumbers.NumberParseException:
        assert isinstance(ours, BadNumber) or ours.kind in (Kind.UNKNOWN, Kind.INTERNATIONAL)
        return
    digits = phonenumbers.format_number(theirs, PhoneNumberFormat.E164)[1:]
    if len(digits) > 15:
        assert isinstance(ours, BadNumber)
    elif phonenumbers.is_valid_number(theirs):
        at_home = phonenumbers.is_valid_number_for_region(theirs, home)
        region = home if at_home else phonenumbers.region_code_for_number(theirs)
        region = None if region == "001" else region
        kind = expected_kind(theirs, digits, region, home)
        assert isinstance(ours, Number)
        assert (ours.dialled, ours.digits, ours.region, ours.kind) == (dialled, digits, region, kind)
    else:
        refused = (Kind.UNKNOWN, Kind.INTERNATIONAL, Kind.PREMIUM, Kind.SATELLITE)
        assert isinstance(ours, BadNumber) or ours.kind in refused


@settings(max_examples=400)
@given(
    random=st.randoms(use_true_random=False), home=st.sampled_from(HOMES), code=st.sampled_from(sorted(calling_codes()))
)
def test_international_numbers(make_national, random: Random, home: str, code: str) -> None:
    normaliser = Normaliser(HomePlan(home))
    for region in calling_codes()[code].regions:
        hold_together(normaliser, f"+{code}{make_national(random, region)}")


@settings(max_examples=400)
@given(random=st.randoms(use_true_random=False), home=st.sampled_from(HOMES))
def test_national_numbers(make_national, random: Random, home: str) -> None:
    normaliser = Normaliser(HomePlan(home))
    national = make_national(random, normaliser.home)
    hold_together(normaliser, normaliser.home.national_prefix + national)
    hold_together(normaliser, "+" + normaliser.home.calling_code + national)


# International prefixes that are a plain string in the metadata; the rest are in the tables of homes.
PLAIN = [
    home for home in HOMES if phonenumbers.PhoneMetadata.metadata_for_region(home).international_prefix.isdecimal()
]


@settings(max_examples=200)
@given(
    random=st.randoms(use_true_random=False), home=st.sampled_from(PLAIN), code=st.sampled_from(sorted(calling_codes()))
)
def test_numbers_behind_the_international_prefix(make_national, random: Random, home: str, code: str) -> None:
    normaliser = Normaliser(HomePlan(home))
    national = make_national(random, calling_codes()[code].main)
    hold_together(normaliser, normaliser.home.international_prefix + code + national)


@pytest.mark.parametrize("home", ["US", "DE", "IT", "BR"])
def test_the_example_of_every_region(home: str) -> None:
    normaliser = Normaliser(HomePlan(home))
    for region in HOMES:
        for number_type in PhoneNumberType.values():
            example = phonenumbers.example_number_for_type(region, number_type)
            if example is not None:
                hold_together(normaliser, phonenumbers.format_number(example, PhoneNumberFormat.E164))
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        example = phonenumbers.example_number_for_non_geo_entity(code)
        hold_together(normaliser, phonenumbers.format_number(example, PhoneNumberFormat.E164))


DIALLERS = [Normaliser(HomePlan(home, outside_line="0", area_code="2")) for home in ("US", "GB", "IT", "AR", "JP")]


@settings(max_examples=500)
@given(
    dialled=st.text(max_size=60) | st.text("0123456789", max_size=60) | st.from_regex(r"\+[0-9]{0,30}", fullmatch=True)
)
def test_no_string_raises(dialled: str) -> None:
    for normaliser in DIALLERS:
        number = normaliser.normalise(dialled)
        assert number.dialled == dialled
        if isinstance(number, Number):
            assert number.digits.isascii()
            assert number.digits.isdecimal()
            assert number.short or 6 <= len(number.digits) <= 15
        else:
            assert number.why


@pytest.mark.parametrize("dialled", ["1" * 10**6, "+" * 100, "\ud800", "\0", "９１１", "9️⃣1️⃣1️⃣"])  # noqa: RUF001 full-width digits are the point
def test_odd_strings_are_bad(dialled: str) -> None:
    assert all(isinstance(normaliser.normalise(dialled), BadNumber) for normaliser in DIALLERS)
