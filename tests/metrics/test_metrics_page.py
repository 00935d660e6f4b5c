"""The page of /metrics, read back by prometheus_client's own parser."""

import pytest
from metrics_cases import Agi, sources, verdict
from prometheus_client.parser import text_string_to_metric_families

from fraudguard import __version__
from fraudguard.agi.counters import Counters, Failure
from fraudguard.ledger.records import Call, Leg, State, Why
from fraudguard.metrics import names
from fraudguard.metrics.page import render
from fraudguard.metrics.sources import Pulse
from fraudguard.policy import Reason


def families(given):
    return list(text_string_to_metric_families(render(Pulse(given).read()).decode()))


def samples(given):
    """Return {'name{label="value"}': value}."""
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sample.labels.items()): sample.value
        for family in families(given)
        for sample in family.samples
    }


def ended(why, *, cost=None, reconstructed=False):
    leg = Leg("office", "1.1", "1.1", "PJSIP/carrier-1")
    return Call(
        *(leg, "", "c0ffee", why, "default", "204", "", "carrier", "+44", None, 600, State.ENDED, 0),
        cost=cost,
        reconstructed=reconstructed,
    )


@pytest.fixture
def full():
    given = sources()
    meter = given.meter
    meter.committed(verdict(Reason.OVER_LIMIT, simulated=(Reason.BLOCKED,)))
    meter.call_ended(ended("ok", cost=125_000))
    meter.call_ended(ended(Why.UNGUARDED, reconstructed=True))
    return given


def test_every_metric_has_its_name_kind_and_labels_and_there_is_no_other(full):
    shown = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in families(full)
    }
    process = {name: shown.pop(name) for name in list(shown) if name.startswith("process_")}
    assert set(process) == set(names.PROCESS)
    assert shown == {name.name: (name.kind, set(name.labels)) for name in names.ALL}


def test_values_are_those_that_were_read(full):
    shown = samples(full)
    build = [key for key in shown if key.startswith("fraudguard_build_info")]
    assert f" version={__version__} " in build[0] + " "
    expected = {
        "fraudguard_verdicts_total outcome=nowhere reason=over_limit": 1,
        "fraudguard_simulated_refusals_total reason=blocked": 1,
        "fraudguard_agi_sessions": 3,
        "fraudguard_agi_requests_total path=outbound": 9,
        "fraudguard_agi_failures_total failure=deadline": 1,
        "fraudguard_ami_up asterisk=office": 1,
        "fraudguard_ami_lag_seconds asterisk=office": 0.25,
        "fraudguard_ami_events_read_total asterisk=office": 100,
        "fraudguard_ami_events_skipped_total asterisk=office": 900,
        "fraudguard_ami_events_dropped_total asterisk=office": 2,
        "fraudguard_ami_reconnects_total asterisk=office": 1,
        "fraudguard_ami_queued_events asterisk=office": 7,
        "fraudguard_live_calls state=ringing": 2,
        "fraudguard_live_calls state=up": 5,
        "fraudguard_live_cost currency=EUR": 1.25,
        "fraudguard_calls_ended_total reconstructed=false why=ok": 1,
        "fraudguard_calls_ended_total reconstructed=true why=unguarded": 1,
        "fraudguard_calls_cost_total currency=EUR": 0.125,
        "fraudguard_alerts_pending": 3,
        "fraudguard_alerts_delivered_total channel=mail": 40,
        "fraudguard_alerts_failed_total channel=mail": 2,
        "fraudguard_alerts_expired_total channel=mail": 1,
    }
    assert {key: shown[key] for key in expected} == expected


def test_the_histogram_adds_up(full):
    meter = full.meter
    meter.buckets[:3] = [5, 2, 1]
    meter.buckets[-1] = 1
    meter.seconds = 7.5
    shown = samples(full)
    assert shown["fraudguard_verdict_seconds_bucket le=0.001"] == 5
    assert shown["fraudguard_verdict_seconds_bucket le=0.005"] == 8
    assert shown["fraudguard_verdict_seconds_bucket le=2.0"] == 8
    assert shown["fraudguard_verdict_seconds_bucket le=+Inf"] == 9
    assert shown["fraudguard_verdict_seconds_count"] == 9
    assert shown["fraudguard_verdict_seconds_sum"] == 7.5


def test_reasons_and_failures_are_there_before_they_happen():
    shown = samples(sources(agi=Agi(Counters())))
    told = {key.rpartition("=")[2] for key in shown if key.startswith("fraudguard_verdicts_total")}
    assert told == set(Reason)
    assert {key.rpartition("=")[2] for key in shown if key.startswith("fraudguard_agi_failures")} == set(Failure)


def test_names_with_odd_characters_do_not_break_the_page():
    counters = Counters()
    counters.requests['out"\n\\bound'] = 1
    assert 'fraudguard_agi_requests_total path=out"\n\\bound' in samples(sources(agi=Agi(counters)))
