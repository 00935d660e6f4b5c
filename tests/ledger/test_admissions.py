import pytest
from ledger_cases import DEAR, LONDON, NOW, admission

from fraudguard.ledger.admissions import ENDLESS_SECONDS, MARGIN_MILLIS, Admissions

CHAIN = ("pbx", "1.1")


@pytest.fixture
def admissions():
    return Admissions("")


def found(admissions, chain=CHAIN, number=LONDON, trunk="carrier"):
    hit = admissions.find([chain], [trunk], number)
    return hit and hit.call


def test_the_latest_of_a_chain_counts(admissions):
    admissions.add(admission(call="first"))
    admissions.add(admission(call="second", number="+33123456789"))
    admissions.add(admission(call="third"))
    assert found(admissions) == "third"
    assert found(admissions, number="+33123456789") == "second"
    assert found(admissions, trunk="other") is None
    assert found(admissions, ("other", "1.1")) is None


def test_where_one_number_was_asked_for_twice_each_verdict_is_for_one_leg(admissions):
    admissions.add(admission(call="first"))
    admissions.add(admission(call="second"))
    admissions.note_dialled("pbx", found(admissions))
    assert found(admissions) == "first"
    admissions.note_dialled("pbx", "first")
    assert found(admissions) == "second", "which is dialled again"
    admissions.note_returned("pbx", "first")
    assert found(admissions) == "first"
    admissions.note_returned("pbx", "unknown")


def test_the_same_verdict_again_changes_nothing(admissions):
    admissions.add(admission())
    admissions.add(admission(number="+1"))
    assert len(admissions) == 1
    assert found(admissions) == "verdict"


def test_with_one_asterisk_every_verdict_is_about_it():
    only = Admissions("pbx")
    only.add(admission(asterisk="", call="a"))
    only.add(admission(asterisk="misnamed", call="b", number="+33123456789"))
    assert found(only) == "a"
    assert found(only, number="+33123456789") == "b"


def test_a_verdict_without_linkedid_counts_for_its_trunk_and_number(admissions):
    admissions.add(admission(linkedid=""))
    assert admissions.find_without_chain("pbx", ["carrier"], "02079460000").call == "verdict"
    for trunk, number in (("other", LONDON), ("carrier", "+33123456789"), ("carrier", "")):
        assert admissions.find_without_chain("pbx", [trunk], number) is None
    assert admissions.find_without_chain("other", ["carrier"], LONDON) is None


def test_one_for_the_same_number_can_be_found_in_any_chain(admissions):
    admissions.add(admission())
    assert admissions.find_in_any_chain("pbx", ["carrier"], "02079460000").call == "verdict"
    for trunk, number in (("other", LONDON), ("carrier", "+33123456789"), ("carrier", "")):
        assert admissions.find_in_any_chain("pbx", [trunk], number) is None


def test_without_a_number_the_dearest_counts(admissions):
    admissions.add(admission(call="dear", rate=DEAR))
    admissions.add(admission(call="cheap"))
    admissions.add(admission(call="unpriced", rate=None))
    admissions.add(admission(call="elsewhere", rate=DEAR._replace(connect_fee=9), trunk="other"))
    assert found(admissions, number="") == "dear"
    assert found(admissions, ("pbx", "9.9"), number="") is None


def test_an_admission_lasts_for_its_lease_and_a_margin(admissions):
    admissions.add(admission())
    admissions.add(admission(call="911", lease_seconds=None, linkedid="2.1"))
    admissions.forget(NOW + 600_000 + MARGIN_MILLIS - 1)
    assert len(admissions) == 2
    admissions.forget(NOW + 600_000 + MARGIN_MILLIS)
    assert found(admissions) is None
    admissions.forget(NOW + ENDLESS_SECONDS * 1000 + MARGIN_MILLIS)
    assert len(admissions) == 0
    assert not admissions._by_chain
    assert not admissions._ends


def test_a_chain_whose_first_channel_is_gone_is_soon_forgotten(admissions):
    admissions.add(admission(lease_seconds=7200))
    admissions.first_gone(CHAIN, NOW + 1000)
    admissions.first_gone(CHAIN, NOW + 2000)
    admissions.forget(NOW + 1000 + MARGIN_MILLIS - 1)
    assert found(admissions) == "verdict"
    admissions.forget(NOW + 1000 + MARGIN_MILLIS)
    assert found(admissions) is None
    admissions.forget(NOW + 100_000_000)
    assert not admissions._ends


def test_a_merged_chain_has_what_both_had(admissions):
    admissions.add(admission())
    admissions.add(admission(call="other", linkedid="2.1", number="+33123456789"))
    for _ in range(2):
        admissions.join(CHAIN, ("pbx", "2.1"))
    admissions.join(CHAIN, CHAIN)
    assert found(admissions, ("pbx", "2.1")) == "verdict"
    assert found(admissions) == "verdict"
    assert found(admissions, ("pbx", "2.1"), "+33123456789") == "other"
    assert found(admissions, CHAIN, "+33123456789") is None
    admissions.forget(NOW + 100_000_000)
    assert not admissions._by_chain


def test_beyond_the_limit_the_oldest_are_forgotten():
    few = Admissions("", limit=2)
    for place in range(3):
        few.add(admission(call=str(place), linkedid=f"{place}.1", number=LONDON))
    assert len(few) == 2
    assert found(few, ("pbx", "0.1")) is None
    assert found(few, ("pbx", "2.1")) == "2"


def test_the_latest_of_several_chains_says_whose_they_are(admissions):
    admissions.add(admission(linkedid="2.1", account="205"))
    assert admissions.latest([CHAIN, ("pbx", "2.1")]).account == "205"
    assert admissions.latest([CHAIN]) is None


def test_the_channel_that_asked_is_known_by_all_its_verdicts_until_they_are_forgotten():
    admissions = Admissions("pbx")
    admissions.add(admission(call="first", uniqueid="1.1"))
    admissions.add(admission(call="second", uniqueid="1.1", lease_seconds=900))
    admissions.add(admission(call="third", uniqueid="2.1", at=NOW + 5))
    assert [one.call for one in admissions.forget(NOW + 600_000 + MARGIN_MILLIS)] == ["first"]
    assert admissions.may_be_dialled("pbx", "second")
    assert not admissions.may_be_dialled("pbx", "first")
    assert admissions.askers_missing("pbx", {("pbx", "2.1")}, NOW) == ()
    assert admissions.askers_missing("other", (), NOW + 9) == ()
    assert admissions.askers_missing("pbx", {("pbx", "2.1")}, NOW + 1) == ("second",)
    assert not admissions.may_be_dialled("pbx", "second")
    assert admissions.asker_gone(("pbx", "2.1")) == ("third",)
    assert admissions.asker_gone(("pbx", "9.9")) == ()
    admissions.forget(NOW + 10**9)
    assert not admissions._by_asker


def test_what_is_pushed_out_is_told_of_when_the_others_are_forgotten():
    admissions = Admissions("pbx", limit=1)
    admissions.add(admission(call="first"))
    admissions.add(admission(call="second"))
    assert [one.call for one in admissions.forget(NOW)] == ["first"]
    assert admissions.forget(NOW) == ()


def test_when_the_clock_is_set_a_verdict_lasts_as_long_as_before():
    admissions = Admissions("pbx")
    admissions.add(admission())
    admissions.shift(-3_600_000)
    end = NOW - 3_600_000 + 600_000 + MARGIN_MILLIS
    assert admissions.forget(end - 1) == ()
    assert [one.at for one in admissions.undialled("pbx", 0, NOW)] == [NOW - 3_600_000]
    assert [one.call for one in admissions.forget(end)] == ["verdict"]


def test_the_asterisk_of_a_verdict_is_the_only_one_or_the_one_it_names():
    assert Admissions("pbx").asterisk_of(admission(asterisk="misnamed")) == "pbx"
    assert Admissions("").asterisk_of(admission(asterisk="other")) == "other"
