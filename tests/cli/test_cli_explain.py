import asyncio
from dataclasses import replace

import pytest
from policy_cases import attempt, facts, rate

from fraudguard.ledger.records import Call, Leg, State
from fraudguard.policy import Outcome, Reason, Verdict
from fraudguard.store import open_writer
from fraudguard.store.calls import save_calls
from fraudguard.store.verdicts import attempt_row, store_batch

NOW = 1_800_000_000_000
DAY = "2027-01-15T08"
ASKED = f"asked: {DAY}:00:00Z by account 204 of tenant acme from 198.51.100.7:5060, for trunk carrier"


@pytest.fixture
def stored(fraudguard):
    def store(*calls, outcome=Outcome.ALLOW, reason=Reason.OK, **attempted):
        known = replace(facts(price=rate(6_000_000, increment_seconds=1)), attempt=attempt(**attempted))
        verdict = Verdict("c0ffee", outcome, reason, known, 118 if outcome is Outcome.ALLOW else None)

        async def save():
            async with await open_writer(fraudguard.config.with_name("fraudguard.db")) as writer:
                await writer.transaction(lambda connection: store_batch([attempt_row(verdict)], connection))
                await writer.transaction(lambda connection: save_calls(connection, calls))

        asyncio.run(save())
        return fraudguard

    return store


def call(uniqueid="1", **changes):
    made = Call(
        leg=Leg("pbx1", uniqueid, "1", f"PJSIP/carrier-{uniqueid}"),
        caller="PJSIP/204-1",
        call="c0ffee",
        why="ok",
        tenant="acme",
        account="204",
        source="198.51.100.7",
        trunk="carrier",
        number="+88216000",
        rate=rate(6_000_000, increment_seconds=1),
        lease_seconds=118,
        state=State.ENDED,
        began_at=NOW,
        answered_at=NOW + 1000,
        ended_at=NOW + 119_000,
        seconds=118,
        cost=11_800_000,
        cause=16,
    )
    return replace(made, **changes)


def told(fraudguard):
    return fraudguard("explain", "c0ffee").out.splitlines()


def test_a_verdict_is_explained_with_the_calls_by_it(stored):
    lines = told(stored(call(), call("2", began_at=NOW + 1, answered_at=None, seconds=0, cost=0, cut="second leg")))
    assert lines[0] == ASKED
    assert lines[1].startswith("number: '01188216000' is")
    assert lines[-7:] == [
        "verdict: allow (ok), with a lease of 118 s",
        f"call: PJSIP/carrier-1 on pbx1, began {DAY}:00:00Z, answered {DAY}:00:01Z, ended {DAY}:01:59Z",
        "  118 s, 11.80 USD, a lease of 118 s",
        "  ended, not by the guard, hangup cause 16",
        f"call: PJSIP/carrier-2 on pbx1, began {DAY}:00:00Z, ended {DAY}:01:59Z",
        "  0 s, 0.00 USD, a lease of 118 s",
        "  ended by the guard: a verdict pays for one leg at a time, and a budget had no money for this one beside",
    ]


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        ("blocked", "a block refuses such calls since then ('block list' shows it)"),
        ("pin revoked", "the PIN that it went by was revoked ('pin history' says by whom)"),
        ("link", "its lease was not renewed, because Asterisk could not be told"),
        ("call_seconds", "it lived for as long as a call may (policy.call_seconds)"),
        ("pin", "its PIN's money of the day was spent ('pin show' says how much it has)"),
        ("account 204 of tenant acme, per day", "budget account 204 of tenant acme, per day had no more money"),
    ],
)
def test_why_the_guard_ended_a_call_is_said(stored, cut, why):
    assert told(stored(call(cut=cut)))[-1] == f"  ended by the guard: {why}"


def test_what_lives_and_what_is_not_known_is_said(stored):
    alive = {"state": State.UP, "ended_at": None, "seconds": None, "cost": None, "cause": None}
    lines = told(
        stored(
            call("1", **alive, rate=None, lease_seconds=None),
            call("2", **alive | {"state": State.RINGING, "answered_at": None}),
            call("3", **alive, cut="blocked"),
            call("4", leg=Leg("", "c0ffee", "", ""), cause=None, reconstructed=True),
        )
    )
    assert [line for line in lines if line.startswith("  ") and "USD" not in line and "price" not in line] == [
        "  is up",
        "  rings",
        "  ends by the guard: a block refuses such calls since then ('block list' shows it)",
        "  ended, not by the guard",
    ]
    assert any(line.endswith(" s, without a price, no lease") for line in lines)
    assert "a lease of 118 s (its answer or end was not seen as it happened)" in lines[-2]
    assert lines[-3].startswith("call: seen by nobody on an unknown Asterisk, began ")


def test_a_verdict_without_calls_is_explained_too(stored):
    assert told(stored())[-1] == "calls: none by it is known: nothing was dialled, or no Asterisk is followed"
    fraudguard = stored(outcome=Outcome.NOWHERE, reason=Reason.OVER_LIMIT, account="", source="")
    lines = told(fraudguard)
    assert lines[0] == f"asked: {DAY}:00:00Z by tenant acme, for trunk carrier"
    assert lines[-1] == "verdict: nowhere (over_limit)"


def test_the_json_has_the_attempt_and_the_calls(stored):
    fraudguard = stored(call(cut="blocked"))
    document = fraudguard("explain", "c0ffee", "--json").json
    assert list(document) == ["call", "attempt", "calls"]
    assert [document["attempt"]] == fraudguard("attempts", "--json").json
    assert document["calls"] == fraudguard("calls", "--json").json
    assert document["calls"][0]["cut"] == "blocked"


@pytest.mark.parametrize("unknown", ["", "beef", "\x1b[2J" * 20])
def test_an_unknown_verdict_is_named_with_a_way_out(stored, unknown):
    result = stored(call(call=""))("explain", unknown, status=2)
    assert "CALL: there is no verdict" in result.err
    assert "('fraudguard attempts --json' has them in 'call'" in result.err
    assert "\x1b" not in result.err


def test_what_callers_chose_cannot_command_the_terminal(stored):
    assert "\x1b" not in stored(call(), account="\x1b[2J")("explain", "c0ffee").out
