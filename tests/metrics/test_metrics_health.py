"""What /healthz makes of a reading."""

import json
from dataclasses import replace

import pytest
from metrics_cases import sources

from fraudguard.metrics.health import FROZEN_SECONDS, judge
from fraudguard.metrics.sources import Channel, Deliveries, Link, LinkState, Pulse


@pytest.fixture
def reading():
    return Pulse(sources()).read()


def told(reading, age=0.1):
    document = json.loads(judge(reading, age).document())
    return document["status"], {name: check["status"] for name, check in document["checks"].items()}


def test_all_is_well(reading):
    assert told(reading) == ("ok", {"loop": "ok", "store": "ok", "ami.office": "ok", "alerts": "ok"})


@pytest.mark.parametrize(
    ("changes", "check", "status", "words"),
    [
        ({"store_error": "the disk is full"}, "store", "failed", "the disk is full"),
        ({"reload_error": "is damaged"}, "store", "degraded", "edits cannot be read: is damaged"),
        ({"links": {"b": Link(LinkState.DOWN, "connection reset")}}, "ami.b", "degraded", "is lost: connection reset"),
        ({"links": {"b": Link(LinkState.REFUSED)}}, "ami.b", "degraded", "the login was refused"),
        ({"failing": frozenset({"mail"})}, "alerts", "degraded", "3 wait, not taken by mail"),
    ],
)
def test_what_is_wrong_is_named(reading, changes, check, status, words):
    health = judge(replace(reading, **changes), 0.1)
    assert health.status.value == status
    assert health.checks[check].status.value == status
    assert words in health.checks[check].detail
    others = {name for name, other in health.checks.items() if other.status.value != "ok"}
    assert others == {check}


def test_the_worst_is_the_status_of_all(reading):
    worst = replace(reading, store_error="locked", links={"b": Link(LinkState.DOWN)})
    assert told(worst) == ("failed", {"loop": "ok", "store": "failed", "ami.b": "degraded", "alerts": "ok"})


def test_a_loop_that_stands_still_is_failed_and_the_rest_unknown():
    assert told(None, 1.7) == ("failed", {"loop": "failed", "store": "unknown", "alerts": "unknown"})
    assert "1.7 s" in judge(None, 1.7).checks["loop"].detail


def test_an_old_tick_is_failed_although_the_latest_reading_was_well(reading):
    assert told(reading, FROZEN_SECONDS + 0.1)[1]["loop"] == "failed"


def test_a_long_detail_is_cut(reading):
    document = json.loads(judge(replace(reading, store_error="x" * 5000), 0).document())
    assert len(document["checks"]["store"]["detail"]) == 300


def test_a_channel_fails_until_it_has_delivered():
    counts = [Channel()]
    pulse = Pulse(sources(deliveries=lambda: Deliveries(1, {"mail": counts[-1]})))

    def failing(**now):
        counts.append(replace(counts[-1], **now))
        pulse.watch_channels()
        return pulse.read().failing

    assert not failing()
    assert failing(failed=1) == {"mail"}
    assert failing() == {"mail"}, "no news"
    assert not failing(failed=2, delivered=1)
