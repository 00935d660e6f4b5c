"""Where it is not known why a call is there, or its number is odd, nobody innocent is hung up."""

import pytest
from ledger_cases import HOUSE, NOW, SATELLITE, answered, billed, dialled, hung_up, leg, price, seen

from fraudguard.ledger import Ledger
from fraudguard.ledger.records import Why

AT_HOME = "+12025550123@carrier"


@pytest.fixture
def ledger():
    return Ledger(HOUSE, "pbx", price)


def test_a_leg_that_asterisk_did_not_explain_is_told_of_and_not_hung_up(ledger):
    changes = ledger.apply(dialled(string=AT_HOME, asked=False))
    assert changes.hang_up == ()
    assert [alert.details["hung_up"] for alert in changes.alerts] == ["no"]


def test_a_call_of_the_fence_is_known_as_such_when_asterisk_tells_so_later(ledger):
    ledger.apply(dialled(string=AT_HOME, asked=False))
    changes = ledger.resync("pbx", [seen(string=AT_HOME, said="fence")], NOW + 5000)
    assert changes.hang_up == ()
    assert [call.why for call in changes.calls] == [Why.FENCE]


@pytest.mark.parametrize(("number", "said"), [(SATELLITE, ""), (SATELLITE, "fence"), ("+12025550123", "")])
def test_what_the_fence_did_not_let_go_is_hung_up_when_that_is_known(ledger, number, said):
    ledger.apply(dialled(string=f"{number}@carrier", asked=False))
    changes = ledger.resync("pbx", [seen(string=f"{number}@carrier", said=said)], NOW + 5000)
    assert changes.hang_up == (leg(),)


@pytest.mark.parametrize("number", ["+1911", "+44999", "+44112", "1911"])
def test_an_emergency_number_behind_the_calling_code_is_one(ledger, number):
    changes = ledger.apply(dialled(string=f"{number}@carrier"))
    assert [call.why for call in changes.calls] == [Why.EMERGENCY]
    assert not changes.hang_up


def test_a_channel_of_the_same_name_keeps_its_record_when_the_older_one_is_settled(ledger):
    ledger.apply(dialled())
    ledger.apply(answered(NOW))
    ledger.apply(hung_up(NOW + 1000))
    later = leg("2.2", "2.1")  # after a restart Asterisk counts its channels from 0 again
    ledger.apply(dialled(NOW + 2000, which=later))
    ledger.apply(answered(NOW + 2000, "2.2"))
    ledger.settle(NOW + 7000)
    ledger.apply(billed(NOW + 9000, 99))
    ledger.apply(hung_up(NOW + 9000, "2.2"))
    changes = ledger.settle(NOW + 20_000)
    assert [(call.leg, call.cdr_seconds) for call in changes.calls] == [(later, 99)]


def test_a_leg_is_known_by_its_present_name_while_it_lives(ledger):
    ledger.apply(dialled())
    assert ledger.live_leg(leg()) == leg()
    ledger.apply(hung_up(NOW + 1))
    assert ledger.live_leg(leg()) is None
    assert ledger.live_leg(leg("9.9")) is None
