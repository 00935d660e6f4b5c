"""A plan that makes no sense is refused when it is loaded, by the name of its key."""

from __future__ import annotations

import phonenumbers
import pytest

from fraudguard.errors import ConfigError
from fraudguard.numbering import HomePlan, Normaliser


@pytest.mark.parametrize(
    ("plan", "key"),
    [
        (HomePlan(home="XX"), "home"),
        (HomePlan(home="us"), "home"),
        (HomePlan(home="001"), "home"),
        (HomePlan(domestic_regions=frozenset({"CA", "ZZ"})), "domestic_regions"),
        (HomePlan(outside_line="*9"), "outside_line"),
        (HomePlan(outside_line="911"), "outside_line"),
        (HomePlan(outside_line="9110"), "outside_line"),
        (HomePlan(home="GB", outside_line="7", emergency_numbers=frozenset({"7"})), "outside_line"),
        (HomePlan(area_code="21a"), "area_code"),
        (HomePlan(area_code="٢"), "area_code"),
        (HomePlan(emergency_numbers=frozenset({""})), "emergency_numbers"),
        (HomePlan(service_codes=frozenset({"4+1"})), "service_codes"),
        (HomePlan(premium_prefixes=("1900", "")), "premium_prefixes"),
        (HomePlan(satellite_prefixes=("8" * 16,)), "satellite_prefixes"),
    ],
)
def test_the_wrong_key_is_named(plan, key) -> None:
    with pytest.raises(ConfigError) as caught:
        Normaliser(plan)
    assert caught.value.where == f"numbering.{key}"
    assert caught.value.fix


def test_every_region_can_be_home() -> None:
    for region in phonenumbers.SUPPORTED_REGIONS:
        for outside in ("", "0", "9"):
            Normaliser(HomePlan(region, outside_line=outside))
