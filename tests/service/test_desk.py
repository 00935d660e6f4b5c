"""Where verdicts and events arrive: what is handed on, and in which order."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from ledger_cases import admission, leg
from pin_cases import StillClock
from policy_cases import NOW, attempt, facts, number

from fraudguard.ledger import Call, Changes, State
from fraudguard.metrics.meter import Meter
from fraudguard.numbering import Kind
from fraudguard.policy import decide
from fraudguard.policy.alert import AlertKind
from fraudguard.policy.lease import LeaseTerms
from fraudguard.service.desk import Desk


class Place:
    """Remembers what it was handed, by whatever method."""

    def __init__(self):
        self.taken = []

    def __getattr__(self, _name):
        return self.taken.append


class Follower:
    """Remembers its orders (desk.Orders)."""

    def __init__(self):
        self.orders = []

    def hang_up(self, leg):
        self.orders.append(("hang up", leg.uniqueid))

    def tell_end(self, leg):
        self.orders.append(("tell end", leg.uniqueid))

    def warn(self, channel):
        self.orders.append(("warn", channel))


@pytest.fixture
def parts():
    ledger = Place()
    ledger.settle = lambda _now: Changes()
    watch = SimpleNamespace(see=lambda _sighting: [])
    return SimpleNamespace(
        ledger=ledger,
        watch=watch,
        calls=Place(),
        sources=Place(),
        alerts=Place(),
        meter=Meter(),
        woken=[],
        follower=Follower(),
    )


@pytest.fixture
def desk(parts):
    return Desk(
        parts.ledger,
        parts.watch,
        parts.calls,
        parts.sources,
        parts.alerts,
        meter=parts.meter,
        clock=StillClock(),
        orders={"pbx": parts.follower},
        wake_outbox=lambda: parts.woken.append(True),
    )


def allowed():
    return decide(facts(dialled=number("12125550100", Kind.DOMESTIC, "US")), "call", LeaseTerms(longest=600))


def test_an_allowed_call_is_admitted_and_who_calls_is_noted(desk, parts):
    verdict = allowed()
    desk.committed(verdict)
    assert parts.ledger.taken == [verdict]
    assert [sighting.address for sighting in parts.sources.taken] == [attempt().source.partition(":")[0]]
    assert not parts.woken


def test_an_allowed_call_is_admitted_even_when_it_cannot_be_counted(desk, parts):
    parts.meter.committed = lambda _verdict: 1 / 0
    with pytest.raises(ZeroDivisionError):
        desk.committed(allowed())
    assert len(parts.ledger.taken) == 1


def test_a_refused_call_wakes_the_outbox(desk, parts):
    desk.committed(decide(facts(), "call", LeaseTerms(longest=600)))
    assert (parts.ledger.taken, parts.woken) == ([], [True])


def test_a_database_that_cannot_be_written_is_told_of_once_each_time(desk, parts):
    for _ in range(2):
        parts.meter.store.failed("disk full")
        desk.settle(NOW)
        desk.settle(NOW + 1000)
        parts.meter.store.wrote()
        desk.settle(NOW + 2000)
    assert [alert.kind for alert in parts.alerts.taken] == [AlertKind.STORE_FAILED] * 2
    assert parts.alerts.taken[0].details == {"error": "disk full"}


# --- the ledger's wishes ---


def changes(name, **parts):
    """What a ledger answers to one method, and what it was asked."""
    asked = []
    return SimpleNamespace(**{name: lambda *args: asked.append(args) or Changes(**parts)}), asked


def call_up(uniqueid="1.2", asterisk="pbx", **fields):
    made = Call.admitted(admission(), leg(uniqueid, asterisk=asterisk), began_at=NOW)
    return replace(made, state=State.UP, answered_at=NOW, **fields)


def test_a_verdict_that_is_not_given_is_taken_back(desk, parts):
    desk.dropped(allowed())
    assert parts.ledger.taken == ["call"]


def test_what_is_stored_is_told_to_the_ledger_and_longer_leases_to_their_asterisk(desk, parts):
    legs = (leg("1.2"), leg("1.3", asterisk="unknown"))
    asked = []
    desk._ledger = SimpleNamespace(stored=lambda calls, now: asked.append((calls, now)) or legs)
    desk.stored([call_up()])
    assert asked == [([call_up()], NOW)]
    assert parts.follower.orders == [("tell end", "1.2")]


def test_a_renewed_lease_is_stored_and_nobody_is_told_of_it_yet(desk, parts):
    warn = (("pbx", "PJSIP/204-1"), ("pbx", ""), ("unknown", "PJSIP/204-2"))
    desk._ledger, asked = changes("renew", calls=(call_up(),), warn=warn)
    desk.renew()
    assert (asked, parts.calls.taken) == ([(NOW,)], [(call_up(),)])
    assert parts.follower.orders == [("warn", "PJSIP/204-1")]
    assert parts.meter.renewed == 1


def test_what_operators_object_to_is_ended_shortened_and_stored(desk, parts):
    legs = {"hang_up": (leg("1.2"), leg("1.4", asterisk="unknown")), "tell_end": (leg("1.3"),)}
    desk._ledger, asked = changes("reconsider", calls=(call_up(cut="blocked"),), **legs)
    desk.reconsider("policy")
    assert asked == [("policy", NOW)]
    assert parts.follower.orders == [("hang up", "1.2"), ("tell end", "1.3")]
    assert parts.calls.taken == [(call_up(cut="blocked"),)]


@pytest.mark.parametrize(("delta", "told"), [(-3_600_000, ["-3600.0"]), (2_000, ["+2.0"]), (1_999, []), (-300, [])])
def test_a_clock_that_was_set_is_told_of_and_calls_end_when_they_would_have(desk, parts, delta, told):
    desk._ledger, asked = changes("shift", calls=(call_up(),), tell_end=(leg("1.2"),))
    desk.clock_set(delta)
    assert asked == [(delta,)]
    assert (parts.calls.taken, parts.follower.orders) == ([(call_up(),)], [("tell end", "1.2")])
    assert [alert.details["seconds"] for alert in parts.alerts.taken] == told
    assert {alert.kind for alert in parts.alerts.taken} <= {AlertKind.CLOCK_STEPPED}
