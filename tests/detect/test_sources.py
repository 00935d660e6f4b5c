"""Who connects, from where: what is told, what is not, and that memory ends whatever is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.config import Security
from fraudguard.detect.sources import (
    NAME_LENGTH,
    NAMES,
    STRANGERS,
    TOLD_EVERY,
    TOLD_TOGETHER,
    Room,
    Sighting,
    SightingKind,
    SourceWatch,
    network,
)

MINUTE = 60_000
START = 1_800_000_000_000
BAD = SightingKind.FAILED_CHALLENGE
NOBODY = SightingKind.INVALID_ACCOUNT


@pytest.fixture
def watch():
    return SourceWatch(Security())  # 5 failures in 10 minutes


def failure(at=START, account="alice", address="198.51.100.7", kind=BAD):
    return Sighting(at, "pbx", account, address, kind, "PJSIP")


def success(address, account="alice", kind=SightingKind.SUCCEEDED, at=START):
    return Sighting(at, "pbx", account, address, kind, "PJSIP")


def told(watch, *sightings):
    return [alert for sighting in sightings for alert in watch.see(sighting)]


def test_the_fifth_failure_of_an_address_is_told_with_what_it_tried(watch):
    assert told(watch, *[failure(START + i) for i in range(4)]) == []
    (alert,) = watch.see(failure(START + 4))
    assert (alert.kind, alert.source, alert.account, alert.tries) == ("login_failures", "198.51.100.7", "alice", 5)
    assert alert.fold == "login_failures/pbx/198.51.100.7"
    assert alert.details == {"asterisk": "pbx", "service": "PJSIP", "accounts": "alice"}


def test_failures_are_counted_within_the_window_alone(watch):
    slow = [failure(START + i * 150_000) for i in range(5)]  # the first and the fifth: ten minutes
    assert len(told(watch, *slow)) == 1
    slower = [failure(START + i * 156_000, "bob", "198.51.100.8") for i in range(50)]
    assert told(watch, *slower) == []


def test_a_failure_long_ago_is_not_among_those_told(watch):
    told(watch, failure(account="long-ago"), failure(START + 1, account="long-ago"))
    (alert,) = told(watch, *[failure(START + 60 * MINUTE + i) for i in range(5)])
    assert alert.tries == 5
    assert alert.details["accounts"] == "alice"


def test_an_attack_that_goes_on_is_told_once_a_minute_with_its_count(watch):
    alerts = told(watch, *[failure(START + i * 100) for i in range(2 * TOLD_EVERY // 100)])
    assert [alert.tries for alert in alerts] == [5, 600]
    assert alerts[1].at - alerts[0].at == TOLD_EVERY


def test_accounts_that_do_not_exist_are_named_but_not_taken_for_one(watch):
    names = ["100", "100", "101", "\u00e9" * 99, "102", "103", "104"]
    (alert,) = told(watch, *[failure(START + i, account=name, kind=NOBODY) for i, name in enumerate(names[:5])])
    assert alert.account == ""
    assert alert.details["accounts"] == f"100, 101, {'é' * NAME_LENGTH}, 102"
    (alert,) = told(watch, *[failure(START + i, account="100", kind=NOBODY, address="192.0.2.1") for i in range(5)])
    assert alert.account == ""


def test_no_more_than_a_few_names_are_kept(watch):
    many = [failure(START + i, account=f"a{i}") for i in range(NAMES + 3)]
    told(watch, *many[:5])
    (alert,) = told(watch, *[failure(START + TOLD_EVERY + 10 + i, account=f"b{i}") for i in range(1)])
    assert alert.details["accounts"] == "b0"
    several = SourceWatch(Security(failures=NAMES + 3))
    (alert,) = told(several, *many)
    assert alert.details["accounts"] == ", ".join(f"a{i}" for i in range(3, NAMES + 3))


def test_the_challenge_of_somebody_unknown_is_not_counted_twice(watch):
    assert told(watch, *[failure(START + i, account="") for i in range(50)]) == []


def test_an_account_tried_from_many_addresses_is_told(watch):
    alerts = told(watch, *[failure(START + i, address=f"198.51.100.{i}") for i in range(5)])
    assert [(alert.account, alert.source, alert.tries) for alert in alerts] == [("alice", "", 5)]
    assert alerts[0].details["addresses"] == "5"


def test_one_address_at_one_account_is_one_alert(watch):
    assert len(told(watch, *[failure(START + i) for i in range(5)])) == 1


def test_scanners_of_different_addresses_are_told_together_when_they_are_many(watch):
    count = 5 * STRANGERS
    nobody = [failure(START + i, account=f"{i}", address=f"203.0.{i // 4}.1", kind=NOBODY) for i in range(count)]
    assert told(watch, *nobody[:-1]) == []
    (alert,) = watch.see(nobody[-1])
    assert (alert.account, alert.details["accounts"]) == ("", "that do not exist")


def test_an_address_of_ipv6_stands_for_its_64(watch):
    (alert,) = told(watch, *[failure(START + i, address=f"2001:db8:0:1::{i}") for i in range(5)])
    assert alert.source == "2001:db8:0:1::/64"


@pytest.mark.parametrize(
    ("address", "stands"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::ffff", "2001:db8::/64"),
        ("rubbish" * 20, ("rubbish" * 20)[:NAME_LENGTH]),
    ],
)
def test_what_stands_for_an_address(address, stands):
    assert network(address) == stands


def test_invented_addresses_do_not_make_an_alert_each(watch):
    flood = [failure(START + i, account="", address=f"203.0.{i // 250}.{i % 250}") for i in range(2_000)]
    flood = [failure(s.at, "x", s.address, NOBODY) for s in flood for _ in range(5)]
    alerts = told(watch, *flood)
    by_address = [alert for alert in alerts if alert.source]
    assert len(by_address) == TOLD_TOGETHER
    others = [alert for alert in alerts if alert.fold.endswith("/others")]
    assert len(others) == 1
    later = told(watch, *[failure(START + 9 * MINUTE, "x", "192.0.2.250", NOBODY) for _ in range(5)])
    assert sum(alert.tries for alert in later) > 5 * 1_900


def test_after_the_window_addresses_are_told_by_name_again(watch):
    for i in range(TOLD_TOGETHER + 1):
        told(watch, *[failure(START + i, "", f"203.0.113.{i}", NOBODY) for _ in range(5)])
    (alert,) = told(watch, *[failure(START + 11 * MINUTE, "", "192.0.2.9", NOBODY) for _ in range(5)])
    assert alert.source == "192.0.2.9"


def test_the_first_address_is_learned_and_the_second_told(watch):
    assert told(watch, success("192.0.2.1"), success("192.0.2.1")) == []
    (alert,) = watch.see(success("192.0.2.2", kind=SightingKind.CALLED))
    assert (alert.kind, alert.account, alert.source) == ("new_source", "alice", "192.0.2.2")
    assert alert.details == {"asterisk": "pbx", "service": "PJSIP", "how": "called"}
    assert told(watch, success("192.0.2.2"), success("192.0.2.1")) == []


def test_what_was_used_before_the_start_is_known(watch):
    watch.learn([("alice", "192.0.2.1"), ("alice", "2001:db8::1")])
    assert told(watch, success("192.0.2.1"), success("2001:db8::2")) == []
    assert len(watch.see(success("192.0.2.3"))) == 1


def test_a_failure_makes_no_address_known(watch):
    told(watch, success("192.0.2.1"), failure(address="192.0.2.2"))
    assert len(watch.see(success("192.0.2.2"))) == 1


def test_nothing_is_told_of_nobody_from_nowhere_or_when_not_wanted(watch):
    assert told(watch, success("192.0.2.1", account=""), success("192.0.2.2", account="")) == []
    assert told(watch, *[failure(address="")] * 20) == []
    quiet = SourceWatch(Security(report_new_sources=False))
    assert told(quiet, success("192.0.2.1"), success("192.0.2.2")) == []


SMALL = Room(counted=8, times=24, accounts=4, addresses=3)
SIGHTINGS = st.builds(
    Sighting,
    at=st.integers(START, START + 30 * MINUTE),
    asterisk=st.just("pbx"),
    account=st.text(max_size=3),
    address=st.one_of(st.ip_addresses().map(str), st.text(max_size=3)),
    kind=st.sampled_from(SightingKind),
)


@given(st.lists(SIGHTINGS, max_size=200), st.integers(1, 40))
def test_memory_ends_whatever_is_sent(sightings, failures):
    watch = SourceWatch(Security(failures=failures), SMALL)
    for sighting in sightings:
        watch.see(sighting)
    remembered = watch.remembered
    assert remembered["counted"] <= 2 * SMALL.counted
    assert remembered["times"] <= 2 * max(SMALL.times, failures)
    assert remembered["accounts"] <= SMALL.accounts
    assert remembered["addresses"] <= SMALL.addresses


@given(st.lists(SIGHTINGS, max_size=200))
def test_no_failure_is_told_twice_and_none_invented(sightings):
    sightings.sort(key=lambda sighting: sighting.at)
    watch = SourceWatch(Security(failures=2))
    alerts = [alert for sighting in sightings for alert in watch.see(sighting)]
    by_address = [alert for alert in alerts if alert.kind == "login_failures" and alert.source]
    failed = [s for s in sightings if s.kind not in (SightingKind.SUCCEEDED, SightingKind.CALLED)]
    for where in {alert.source for alert in by_address}:
        count = sum(network(sighting.address) == where for sighting in failed)
        assert sum(alert.tries for alert in by_address if alert.source == where) <= count
