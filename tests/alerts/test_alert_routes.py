"""Which channels hear of what, quiet hours across midnight and clock changes, and misspelt names."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from fraudguard.alerts.routes import Routes, build_routes
from fraudguard.config import QuietHours, Route, load
from fraudguard.errors import ConfigError

CONFIG = """
[trunks.carrier]
deck = "carrier"
[tenants.acme]
[alerts.channels.mail]
type = "log"
[alerts.channels.pager]
type = "log"
"""


def configured(tmp_path, text):
    path = tmp_path / "fraudguard.toml"
    path.write_text(CONFIG + text)
    return load(path)


def test_without_routes_everything_goes_everywhere(tmp_path):
    assert build_routes(configured(tmp_path, "")).channels("over_limit", "x", "notice") == ("mail", "pager")


def test_without_channels_it_goes_to_the_log(tmp_path):
    path = tmp_path / "fraudguard.toml"
    path.write_text("")
    assert build_routes(load(path)).channels("over_limit", "x", "notice") == ("log",)


@pytest.mark.parametrize(
    ("kind", "tenant", "severity", "channels"),
    [
        ("over_limit", "acme", "warning", ("mail", "pager")),
        ("over_limit", "globex", "warning", ("mail",)),
        ("blocked", "acme", "warning", ("mail",)),
        ("bad_number", "acme", "notice", ()),
        ("ami_lost", "", "critical", ("mail", "desk")),
    ],
)
def test_routes_choose_by_tenant_kind_and_severity(kind, tenant, severity, channels):
    routes = (
        Route(channels=("mail",), severity="warning"),
        Route(channels=("pager", "mail"), tenants=("acme",), kinds=("over_limit",)),
        Route(channels=("desk",), severity="critical"),
    )
    assert Routes(("mail", "pager", "desk"), routes, None).channels(kind, tenant, severity) == channels


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ('[[alerts.routes]]\nchannels=["mial"]', "alerts.routes.0.channels", "did you mean mail?"),
        (
            '[[alerts.routes]]\nchannels=["mail"]\nkinds=["overlimit"]',
            "alerts.routes.0.kinds",
            "did you mean over_limit?",
        ),
        ('[[alerts.routes]]\nchannels=["mail"]\ntenants=["acne"]', "alerts.routes.0.tenants", "did you mean acme?"),
        (
            '[[alerts.routes]]\nchannels=["mail"]\nseverty="notice"',
            "alerts.routes.0",
            "did you mean alerts.routes.0.severity?",
        ),
        (
            '[alerts.quiet]\nbegin="22:00"\nend="07:00"\nzone="Europe/Berlni"',
            "alerts.quiet.zone",
            "did you mean Europe/Berlin?",
        ),
        ('[alerts.quiet]\nbegin="22:00"\nend="22:00"', "alerts.quiet", "are the same"),
        (
            '[alerts.channels.x]\ntype="smtp"\nhots="a"',
            "alerts.channels.x.smtp.hots",
            "did you mean alerts.channels.x.smtp.host?",
        ),
        ('[alerts.channels.x]\ntype="webhook"', "alerts.channels.x", "either url, or url_file"),
    ],
)
def test_misspelt_names_are_named_with_the_nearest_right_one(tmp_path, text, where, hint):
    with pytest.raises(ConfigError) as caught:
        build_routes(configured(tmp_path, text))
    assert where in str(caught.value)
    assert hint in str(caught.value)


def millis(text, zone="Europe/Berlin", fold=0):
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


NIGHT = QuietHours(begin="22:00", end="07:00", zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-06-01T21:59:59.999", None),
        ("2026-06-01T22:00", "2026-06-02T07:00"),
        ("2026-06-02T06:59:59.999", "2026-06-02T07:00"),
        ("2026-06-02T07:00", None),
        ("2026-12-31T23:30", "2027-01-01T07:00"),
        ("2026-03-28T23:00", "2026-03-29T07:00"),  # the clocks go forward that night
        ("2026-10-24T23:00", "2026-10-25T07:00"),  # and back
    ],
)
def test_quiet_hours_end_by_the_wall_clock(at, until):
    routes = Routes(("mail",), (), NIGHT)
    assert routes.not_before("notice", millis(at)) == millis(until or at)
    assert routes.not_before("warning", millis(at)) == routes.not_before("critical", millis(at)) == millis(at)


def test_quiet_hours_within_a_day_and_for_warnings():
    routes = Routes(("mail",), (), QuietHours(begin="12:00", end="13:30", severity="warning"))
    noon = millis("2026-06-01T12:15", "UTC")
    assert routes.not_before("warning", noon) == routes.not_before("notice", noon) == millis("2026-06-01T13:30", "UTC")
    assert routes.not_before("critical", noon) == noon


def test_an_end_that_comes_twice_is_the_one_to_come():
    routes = Routes(("mail",), (), QuietHours(begin="01:00", end="02:30", zone="Europe/Berlin"))
    assert routes.not_before("notice", millis("2026-10-25T02:10")) == millis("2026-10-25T02:30")
    assert routes.not_before("notice", millis("2026-10-25T02:10", fold=1)) == millis("2026-10-25T02:30", fold=1)


def test_an_end_that_does_not_exist_is_the_next_moment_that_does():
    routes = Routes(("mail",), (), QuietHours(begin="01:00", end="02:30", zone="Europe/Berlin"))
    assert routes.not_before("notice", millis("2026-03-29T01:30")) == millis("2026-03-29T03:30")
