from dataclasses import asdict

import pytest

from fraudguard.config import Settings
from fraudguard.config.sections import Speed, TenantSpeed
from fraudguard.house import build_house
from fraudguard.policy.speed import NO_LIMITS, SpeedLimits


@pytest.mark.parametrize(("number", "percent", "left"), [(20, 50, 10), (5, 50, 3), (1, 1, 1), (0, 50, 0), (7, 100, 7)])
def test_strict_times_leave_so_many_percent_rounded_up(number, percent, left):
    limits = SpeedLimits(account_attempts=number, tenant_calls_total=number)
    assert limits.tightened(percent) == SpeedLimits(account_attempts=left, tenant_calls_total=left)


def test_a_house_knows_how_fast_each_tenant_may_be():
    tenants = {
        "acme": {"speed": {"account_attempts": 3, "strict_percent": 10}},
        "slow": {"speed": {"window_seconds": 7}},
    }
    house = build_house(Settings(speed={"same_number_seconds": 900, "tenant_calls": 9}, tenants=tenants))
    assert house.speed_of("acme", strict=False).account_attempts == 3
    assert house.speed_of("acme", strict=True).account_attempts == 1
    assert house.speed_of("acme", strict=True).tenant_calls == 1
    assert house.speed_of("slow", strict=True).tenant_calls == 5
    assert house.speed_of("slow", strict=True).window_seconds == 7
    assert house.speed_of("default", strict=False).tenant_calls == 9
    assert house.longest_window == 900_000


def test_settings_and_limits_have_the_same_keys():
    keys = [*asdict(NO_LIMITS), "strict_percent"]
    assert list(Speed.model_fields) == list(TenantSpeed.model_fields) == keys


def test_by_default_what_is_wider_has_room_for_what_is_narrower():
    speed = Speed()
    assert 2 * speed.account_attempts < speed.source_attempts <= speed.region_attempts < speed.tenant_attempts
    assert 2 * speed.account_calls < speed.tenant_calls
