"""Where verdicts and events arrive: what is handed on, and in which order."""

from types import SimpleNamespace

import pytest
from policy_cases import NOW, attempt, facts, number

from fraudguard.ledger import Changes
from fraudguard.metrics.meter import Meter
from fraudguard.numbering import Kind
from fraudguard.policy import decide
from fraudguard.policy.alert import AlertKind
from fraudguard.service.desk import Desk


class Place:
    """Remembers what it was handed, by whatever method."""

    def __init__(self):
        self.taken = []

    def __getattr__(self, _name):
        return self.taken.append


@pytest.fixture
def parts():
    ledger = Place()
    ledger.settle = lambda _now: Changes()
    watch = SimpleNamespace(see=lambda _sighting: [])
    return SimpleNamespace(
        ledger=ledger, watch=watch, calls=Place(), sources=Place(), alerts=Place(), meter=Meter(), woken=[]
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
        follows=True,
        wake_outbox=lambda: parts.woken.append(True),
    )


def allowed():
    return decide(facts(dialled=number("12125550100", Kind.DOMESTIC, "US")), "call", 600, frozenset())


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
    desk.committed(decide(facts(), "call", 600, frozenset()))
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
