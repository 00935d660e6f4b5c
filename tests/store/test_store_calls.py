import dataclasses
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.ledger.records import Admission, Call, Leg, State, admission_of
from fraudguard.numbering import Kind, Number
from fraudguard.policy.pin import Keyed, Pin, PinKind, Seal, Terms
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import Attempt, Facts, Limit, Scope, Verdict
from fraudguard.rating import Rate
from fraudguard.store import migrate
from fraudguard.store.calls import (
    DAY_MILLIS,
    DIALLING_MILLIS,
    REDIAL_MILLIS,
    Filter,
    admissions,
    list_calls,
    save_calls,
    unfinished_calls,
)
from fraudguard.store.verdicts import attempt_row, store_batch

NOW = 1_800_000_000_000
SCHEMA = "".join(step.sql for step in migrate.packaged())
PRICE = Rate("53", "Cuba", 800_000, 10_000, 60, 6, 0)


def call(uniqueid="1", **changes):
    leg = Leg("pbx1", uniqueid, f"{uniqueid}.l", f"PJSIP/carrier-{uniqueid}")
    made = Call(
        *(leg, "PJSIP/204-1", "c1", "ok", "acme", "204", "198.51.100.7", "carrier", "+5355512345", PRICE, 600),
        *(State.RINGING, NOW),
    )
    return dataclasses.replace(made, **changes)


UP = {"state": State.UP, "answered_at": NOW + 5_000}
ENDED = UP | {"state": State.ENDED, "ended_at": NOW + 66_001, "seconds": 62, "cost": 890_000, "cause": 16}


@pytest.fixture
def save(writer):
    async def save(*calls):
        await writer.transaction(lambda connection: save_calls(connection, calls))

    return save


async def test_a_call_comes_back_as_it_was(save, reader):
    made = [
        call("1"),
        call("2", **UP),
        call("3", **ENDED, cdr_seconds=61, reconstructed=True),
        call("4", rate=None, lease_seconds=None, call="", why="unguarded", caller=""),
        call("5", **ENDED, region="CU", pin="anna", domestic=True, cut="its budget is spent"),
    ]
    await save(*made)
    assert sorted(await reader.read(list_calls), key=lambda each: each.leg.uniqueid) == made
    assert await reader.read(unfinished_calls) == (made[0], made[1], made[3])


async def test_an_ended_call_is_never_reopened_but_may_be_completed(save, reader):
    await save(call(), call(**UP), call(**ENDED))
    await save(call(**UP))
    assert await reader.read(list_calls) == (call(**ENDED),)
    await save(call(**ENDED, cdr_seconds=61))
    await save(call(**ENDED, cdr_seconds=61))
    assert await reader.read(list_calls) == (call(**ENDED, cdr_seconds=61),)


async def test_a_call_is_stored_with_the_lease_that_it_has_now(save, reader):
    for lease in (600, 1200, 900):
        await save(call(**UP, lease_seconds=lease))
        (stored,) = await reader.read(unfinished_calls)
        assert stored.lease_seconds == lease


async def test_unfinished_calls_of_a_person(save, reader):
    await save(call("1", pin="anna"), call("2", pin="anna", tenant="other"), call("3"), call("4", **ENDED, pin="anna"))
    found = await reader.read(lambda c: unfinished_calls(c, tenant="acme", pin="anna"))
    assert [one.leg.uniqueid for one in found] == ["1"]


async def test_the_same_identifier_on_another_asterisk_is_another_call(save, reader):
    other = dataclasses.replace(call(), leg=dataclasses.replace(call().leg, asterisk="pbx2"))
    await save(call(), other)
    assert len(await reader.read(list_calls)) == 2


@pytest.mark.parametrize("count", [1, 255, 256, 700])
async def test_any_number_of_calls_at_once(save, reader, count):
    made = [call(str(n)) for n in range(count)]
    await save(*made)
    assert set(await reader.read(lambda c: list_calls(c, limit=10_000))) == set(made)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), "4321"),
        (Filter(live=True), "42"),
        (Filter(live=False), "31"),
        (Filter(tenant="acme"), "421"),
        (Filter(tenant="acme", account="204"), "21"),
        (Filter(account="205"), "43"),
        (Filter(since=NOW + 3), "43"),
        (Filter(live=True, account="204", since=NOW + 2), "2"),
    ],
)
async def test_calls_newest_first(save, reader, wanted, found):
    await save(
        call("1", began_at=NOW + 1, **ENDED),
        call("2", began_at=NOW + 2, **UP),
        call("3", began_at=NOW + 3, account="205", tenant="other", **ENDED),
        call("4", began_at=NOW + 4, account="205"),
    )
    listed = await reader.read(lambda c: list_calls(c, wanted))
    assert "".join(each.leg.uniqueid for each in listed) == found
    assert len(await reader.read(lambda c: list_calls(c, wanted, limit=1))) == 1


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("began_at >= 0", "calls_began"),
        ("began_at >= 0 AND tenant = 'a' AND account = 'b'", "calls_account"),
        ("began_at >= 0 AND state <> 'ended'", "calls_live"),
    ],
)
async def test_listings_of_calls_use_their_index(reader, where, index):
    sql = f"EXPLAIN QUERY PLAN SELECT * FROM calls WHERE {where} ORDER BY began_at DESC, uniqueid DESC LIMIT 5"
    plan = [detail for *_, detail in await reader.read(lambda c: c.execute(sql).fetchall())]
    assert f"USING INDEX {index}" in plan[0]


@given(st.lists(st.text(st.characters(codec=None)), min_size=11, max_size=11))
def test_no_text_keeps_a_call_from_being_stored(texts):
    fields = ("caller", "call", "why", "tenant", "account", "source", "trunk", "number")
    made = call(leg=Leg("pbx1", *texts[8:]), **dict(zip(fields, texts, strict=False)))
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(SCHEMA)
        save_calls(connection, [made, made])
        assert len(list_calls(connection)) == 1
    finally:
        connection.close()


# Verdicts whose calls may still be there


def verdict(name, *, at=NOW, lease=600, reason=Reason.OK, rate=PRICE):
    facts = Facts(
        Attempt("01153", "carrier", "204", "acme", "198.51.100.7:5060", at, "pbx1", f"{name}.l"),
        Number("01153", "5355512345", "CU", Kind.INTERNATIONAL),
        "main",
        rate,
        Limit(Scope(), 1_000_000),
        None,
        None,
    )
    outcome = Outcome.NOWHERE if reason is Reason.OVER_LIMIT else Outcome.ALLOW
    return Verdict(name, outcome, reason, facts, lease)


@pytest.fixture
def judged(writer):
    async def judged(*verdicts):
        await writer.transaction(lambda connection: store_batch([attempt_row(each) for each in verdicts], connection))

    return judged


async def found(reader, now=NOW):
    return "".join(each.call for each in await reader.read(lambda c: admissions(c, now)))


async def test_an_admission_is_what_the_verdict_was(judged, reader):
    made = [verdict("a"), verdict("b", rate=None), verdict("c", lease=None, reason=Reason.EMERGENCY, rate=None)]
    await judged(*made, verdict("x", reason=Reason.OVER_LIMIT))
    stored = await reader.read(lambda c: admissions(c, NOW))
    assert stored == tuple(map(admission_of, made))
    assert isinstance(stored[0], Admission)
    assert stored[0].rate == PRICE


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("region", ["US", None])
@pytest.mark.parametrize("pin", [None, Pin(7, "acme", "anna", PinKind.DIGITS, False, Terms(), Seal(b"", b""), "", 0)])
async def test_who_pays_is_as_the_verdict_has_it(judged, reader, kind, region, pin):
    made = verdict("a")
    number = dataclasses.replace(made.facts.number, kind=kind, region=region)
    attempt = dataclasses.replace(made.facts.attempt, uniqueid="1800000000.7")
    facts = dataclasses.replace(made.facts, number=number, attempt=attempt, keyed=pin and Keyed(NOW, pin))
    made = dataclasses.replace(made, facts=facts)
    await judged(made)
    (stored,) = await reader.read(lambda c: admissions(c, NOW))
    assert stored == admission_of(made)
    assert (stored.payer, stored.uniqueid) == (facts.payer, "1800000000.7")
    assert type(stored.domestic) is bool


async def test_a_verdict_admits_for_as_long_as_its_call_may_live(judged, reader):
    await judged(verdict("a"), verdict("b", lease=1200), verdict("e", lease=None, reason=Reason.EMERGENCY))
    assert await found(reader, NOW + 600_000 + DIALLING_MILLIS - 1) == "abe"
    assert await found(reader, NOW + 600_000 + DIALLING_MILLIS) == "be"
    assert await found(reader, NOW + DAY_MILLIS + DIALLING_MILLIS - 1) == "e"
    assert await found(reader, NOW + DAY_MILLIS + DIALLING_MILLIS) == ""


async def test_a_verdict_whose_legs_are_long_over_admits_nothing(judged, save, reader):
    await judged(verdict("n"), verdict("l"), verdict("r"), verdict("m"))
    later = NOW + REDIAL_MILLIS + 10
    await save(
        call("1", call="l", **UP),
        call("2", call="r", **(ENDED | {"ended_at": NOW + 10})),
        call("3", call="m", **(ENDED | {"ended_at": NOW})),
        call("4", call="m", **UP),
    )
    assert await found(reader, later - 1) == "nlrm"
    assert await found(reader, later) == "nlm"


async def test_a_verdict_from_before_increments_were_stored_is_billed_by_the_minute(judged, writer, reader):
    await judged(verdict("a"))
    await writer.transaction(
        lambda c: c.execute("UPDATE attempts SET minimum_seconds = NULL, increment_seconds = NULL").rowcount
    )
    (stored,) = await reader.read(lambda c: admissions(c, NOW))
    assert stored.rate == PRICE._replace(minimum_seconds=0, increment_seconds=60)
