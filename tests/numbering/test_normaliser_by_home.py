"""What people dial at home, region by region, and what it means."""

from __future__ import annotations

import pytest

from fraudguard.numbering import BadNumber, HomePlan, Kind, Normaliser, Number

US = HomePlan("US")
US_OFFICE = HomePlan("US", outside_line="9", area_code="212", service_codes=frozenset({"555"}))
US_WITH_CANADA = HomePlan("US", domestic_regions=frozenset({"CA"}))
CANADA = HomePlan("CA")
GB = HomePlan("GB", area_code="20")
DE = HomePlan("DE", outside_line="0", area_code="30")
IT = HomePlan("IT")
FR = HomePlan("FR")
AU = HomePlan("AU", area_code="2")
BR = HomePlan("BR", area_code="11")
RU = HomePlan("RU", area_code="495")
KZ = HomePlan("KZ")

CASES = [
    # home, dialled, digits, region, kind
    (US, "911", "911", "US", Kind.EMERGENCY),
    (US, "112", "112", "US", Kind.EMERGENCY),
    (US_OFFICE, "911", "911", "US", Kind.EMERGENCY),
    (US_OFFICE, "9911", "911", "US", Kind.EMERGENCY),
    (US_OFFICE, "9112", "112", "US", Kind.EMERGENCY),  # 9 for outside, then 112
    (US, "411", "411", "US", Kind.SERVICE),
    (US_OFFICE, "9411", "411", "US", Kind.SERVICE),
    (US_OFFICE, "555", "555", "US", Kind.SERVICE),
    (US, "12015550123", "12015550123", "US", Kind.DOMESTIC),
    (US, "2015550123", "12015550123", "US", Kind.DOMESTIC),
    (US, "+12015550123", "12015550123", "US", Kind.DOMESTIC),
    (US, "01112015550123", "12015550123", "US", Kind.DOMESTIC),
    (US_OFFICE, "5550123", "12125550123", "US", Kind.DOMESTIC),
    (US_OFFICE, "95550123", "12125550123", "US", Kind.DOMESTIC),
    (US_OFFICE, "912015550123", "12015550123", "US", Kind.DOMESTIC),
    (US_OFFICE, "9011442079460000", "442079460000", "GB", Kind.INTERNATIONAL),
    (US_OFFICE, "+912212345678", "912212345678", "IN", Kind.INTERNATIONAL),  # no outside line before a plus
    (US, "18005551212", "18005551212", "US", Kind.TOLL_FREE),
    (US, "19005551212", "19005551212", "US", Kind.PREMIUM),
    (US, "12129761234", "12129761234", "US", Kind.PREMIUM),
    (US, "+18769761234", "18769761234", "JM", Kind.PREMIUM),
    (US, "15005550100", "15005550100", "US", Kind.PREMIUM),  # a personal number
    (US, "14165550123", "14165550123", "CA", Kind.INTERNATIONAL),
    (US, "18765230123", "18765230123", "JM", Kind.INTERNATIONAL),
    (US, "16713000123", "16713000123", "GU", Kind.INTERNATIONAL),
    (US_WITH_CANADA, "14165550123", "14165550123", "CA", Kind.DOMESTIC),
    (US_WITH_CANADA, "18765230123", "18765230123", "JM", Kind.INTERNATIONAL),
    (US, "12425550123", "12425550123", None, Kind.UNKNOWN),  # no such exchange in the Bahamas
    (US, "+442079460000", "442079460000", "GB", Kind.INTERNATIONAL),
    (US, "+44999999999", "44999999999", None, Kind.INTERNATIONAL),  # nobody's, of four regions
    (US, "+4930", None, None, None),
    (US, "+491234", "491234", "DE", Kind.INTERNATIONAL),  # nobody's, of one region
    (US, "+448081570192", "448081570192", "GB", Kind.INTERNATIONAL),  # free only at home
    (US, "+999123456789", "999123456789", None, Kind.UNKNOWN),
    (US, "+80012345678", "80012345678", None, Kind.TOLL_FREE),
    (US, "+8001", None, None, None),
    (US, "+80812345678", "80812345678", None, Kind.PREMIUM),
    (US, "+979123456789", "979123456789", None, Kind.PREMIUM),
    (US, "+8781012345678", "8781012345678", None, Kind.PREMIUM),
    (US, "+870772001234", "870772001234", None, Kind.SATELLITE),
    (US, "+881612345678", "881612345678", None, Kind.SATELLITE),
    (US, "+8821312345", "8821312345", None, Kind.SATELLITE),
    (US, "+883510000000", "883510000000", None, Kind.SATELLITE),
    (CANADA, "18005551212", "18005551212", "CA", Kind.TOLL_FREE),  # shared by all of +1
    (CANADA, "4165550123", "14165550123", "CA", Kind.DOMESTIC),
    (CANADA, "2015550123", "12015550123", "US", Kind.INTERNATIONAL),
    (GB, "999", "999", "GB", Kind.EMERGENCY),
    (GB, "02079460000", "442079460000", "GB", Kind.DOMESTIC),
    (GB, "79460000", "442079460000", "GB", Kind.DOMESTIC),
    (GB, "00442079460000", "442079460000", "GB", Kind.DOMESTIC),
    (GB, "+4402079460000", "442079460000", "GB", Kind.DOMESTIC),  # +44 (0)20
    (GB, "07781123456", "447781123456", "GG", Kind.INTERNATIONAL),  # Guernsey, at its own price
    (GB, "08081570192", "448081570192", "GB", Kind.TOLL_FREE),
    (GB, "09012345678", "449012345678", "GB", Kind.PREMIUM),
    (GB, "08431234567", "448431234567", "GB", Kind.PREMIUM),  # shared cost
    (GB, "07012345678", "447012345678", "GB", Kind.PREMIUM),  # a personal number
    (DE, "110", "110", "DE", Kind.EMERGENCY),
    (DE, "0112", "112", "DE", Kind.EMERGENCY),
    (DE, "0030123456", "4930123456", "DE", Kind.DOMESTIC),
    (DE, "0123456", "4930123456", "DE", Kind.DOMESTIC),
    (DE, "000442079460000", "442079460000", "GB", Kind.INTERNATIONAL),
    (DE, "009001234567", "499001234567", "DE", Kind.PREMIUM),
    (DE, "0015123456789", "4915123456789", "DE", Kind.DOMESTIC),
    (IT, "0612345678", "390612345678", "IT", Kind.DOMESTIC),  # Italy's 0 is part of the number
    (IT, "+390612345678", "390612345678", "IT", Kind.DOMESTIC),
    (IT, "0669812345", "390669812345", "VA", Kind.INTERNATIONAL),
    (IT, "3123456789", "393123456789", "IT", Kind.DOMESTIC),
    (IT, "899123456", "39899123456", "IT", Kind.PREMIUM),
    (IT, "112", "112", "IT", Kind.EMERGENCY),
    (FR, "0123456789", "33123456789", "FR", Kind.DOMESTIC),
    (FR, "0033123456789", "33123456789", "FR", Kind.DOMESTIC),
    (FR, "0800123456", "33800123456", "FR", Kind.TOLL_FREE),
    (FR, "0891123456", "33891123456", "FR", Kind.PREMIUM),
    (FR, "0001", None, None, None),
    (FR, "15", "15", "FR", Kind.EMERGENCY),
    (AU, "000", "000", "AU", Kind.EMERGENCY),
    (AU, "0212345678", "61212345678", "AU", Kind.DOMESTIC),
    (AU, "61234567", "61261234567", "AU", Kind.DOMESTIC),
    (AU, "0011442079460000", "442079460000", "GB", Kind.INTERNATIONAL),
    (AU, "1300123456", "611300123456", "AU", Kind.PREMIUM),  # shared cost
    (AU, "1900123456", "611900123456", "AU", Kind.PREMIUM),
    (BR, "190", "190", "BR", Kind.EMERGENCY),
    (BR, "01123456789", "551123456789", "BR", Kind.DOMESTIC),
    (BR, "0151123456789", "551123456789", "BR", Kind.DOMESTIC),  # by carrier 15
    (BR, "23456789", "551123456789", "BR", Kind.DOMESTIC),
    (BR, "0015442079460000", "442079460000", "GB", Kind.INTERNATIONAL),
    (RU, "112", "112", "RU", Kind.EMERGENCY),
    (RU, "88002000600", "78002000600", "RU", Kind.TOLL_FREE),
    (RU, "84951234567", "74951234567", "RU", Kind.DOMESTIC),
    (RU, "1234567", "74951234567", "RU", Kind.DOMESTIC),
    (RU, "810442079460000", "442079460000", "GB", Kind.INTERNATIONAL),
    (RU, "87172123456", "77172123456", "KZ", Kind.INTERNATIONAL),
    (KZ, "87172123456", "77172123456", "KZ", Kind.DOMESTIC),
]


@pytest.mark.parametrize(("plan", "dialled", "digits", "region", "kind"), CASES)
def test_what_is_dialled_becomes_a_number(plan, dialled, digits, region, kind) -> None:
    number = Normaliser(plan).normalise(dialled)
    if digits is None:
        assert isinstance(number, BadNumber)
    else:
        assert isinstance(number, Number)
        assert (number.dialled, number.digits, number.region, number.kind) == (dialled, digits, region, kind)


@pytest.mark.parametrize(
    ("dialled", "why"),
    [
        ("", "nothing was dialled"),
        ("5" * 41, "longer than 40 characters"),
        ("*67", "only digits"),
        ("*6712015550123", "only digits"),
        ("1201555O123", "only digits"),
        ("sip:12015550123@192.0.2.1", "only digits"),
        ("12015550123&PJSIP/19005551212", "only digits"),
        ("12015550123/1", "only digits"),
        ("1@2", "only digits"),
        ("1+2015550123", "only digits"),
        ("++12015550123", "only digits"),
        ("12015550123\n", "only digits"),
        ("١٢٠١٥٥٥٠١٢٣", "only digits"),
        ("²²²²²²²", "only digits"),
        ("+", "only digits"),
        ("+0442079460000", "no calling code begins with 0"),
        ("+12", "2 digits"),
        ("+4930123456789012", "16 digits"),
        ("0114930123456789012", "16 digits"),
        ("+99", "2 digits"),
        ("10102881234", "carrier selection"),
        ("101012345550123", "carrier selection"),
        ("5550123", "at least 10 digits"),
        ("011", "at least 10 digits"),
        ("9112", None),
        ("91101", "at least 10 digits"),
    ],
)
def test_bad_numbers_say_why(dialled, why) -> None:
    number = Normaliser(US).normalise(dialled)
    if why is None:
        assert isinstance(number, Number)
        assert number.kind is Kind.SERVICE  # a four-digit code, not an emergency
    else:
        assert isinstance(number, BadNumber)
        assert why in number.why


def test_an_outside_line_with_nothing_behind_it_is_bad() -> None:
    assert isinstance(Normaliser(US_OFFICE).normalise("9"), BadNumber)


def test_configured_numbers_are_kept_apart_from_known_ones() -> None:
    plan = HomePlan(
        "US",
        emergency_numbers=frozenset({"933"}),
        premium_prefixes=("1212555", "4470"),
        satellite_prefixes=("2139619",),
    )
    normaliser = Normaliser(plan)
    assert normaliser.emergency_numbers == {"911", "112", "933"}
    assert [
        normaliser.normalise(dialled).kind for dialled in ("933", "12125550123", "+447012345678", "+21396190123456")
    ] == [
        Kind.EMERGENCY,
        Kind.PREMIUM,
        Kind.PREMIUM,
        Kind.SATELLITE,
    ]


@pytest.mark.parametrize("longer", ["9111", "91155", "09111", "1911", "+911", "91191"])
def test_emergency_is_never_a_prefix(longer) -> None:
    assert getattr(Normaliser(US).normalise(longer), "kind", None) is not Kind.EMERGENCY


def test_codes_for_text_messages_cannot_be_called() -> None:
    assert isinstance(Normaliser(US).normalise("40404"), BadNumber)


def test_a_trunk_is_given_e164_or_the_bare_short_code() -> None:
    normaliser = Normaliser(US_OFFICE)
    dialled = ("9911", "9411", "912015550123")
    assert [normaliser.normalise(text).dialable for text in dialled] == ["911", "411", "+12015550123"]
