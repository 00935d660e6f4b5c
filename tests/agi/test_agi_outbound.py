"""From the dialplan's question to the verdict's variables."""

from __future__ import annotations

import pytest

from fraudguard import __version__
from fraudguard.agi.counters import Failure
from fraudguard.agi.outbound import MAX_NUMBER, answer, read_attempt, routes
from fraudguard.agi.protocol import MAX_TEXT, ProtocolError, Request
from fraudguard.dialplan import names
from fraudguard.errors import FraudguardError, StoreError
from fraudguard.house import Asking, UnknownTrunkError
from fraudguard.numbering import BadNumber, Kind, Number
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import DEFAULT_LIMIT, DEFAULT_TENANT, EVERYBODY, Attempt, Facts, Limit, Verdict
from fraudguard.testing import Channel, Faults

NOON = 1_767_268_800_000
NUMBER = Number("00442079460000", "442079460000", "GB", Kind.INTERNATIONAL)


class FixedClock:
    def now(self):
        return NOON

    def monotonic(self):
        return 0.0


class Decider:
    """Answers every attempt with `verdict`, or raises it."""

    def __init__(self, verdict):
        self.verdict = verdict
        self.attempts = []

    async def decide(self, attempt, keypad):
        self.attempts.append(attempt)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


def verdict(reason=Reason.OK, outcome=Outcome.ALLOW, number=NUMBER, lease=600):
    attempt = Attempt("00442079460000", "carrier", "", DEFAULT_TENANT, "", NOON)
    facts = Facts(attempt, number, "deck", None, Limit(EVERYBODY, DEFAULT_LIMIT), None, None)
    return Verdict("c0ffee", outcome, reason, facts, lease)


def request(*arguments, headers=()):
    return Request("\n".join([*headers, *(f"agi_arg_{n}: {text}" for n, text in enumerate(arguments, 1))]))


@pytest.fixture
async def ask(serve):
    async def start(result):
        decider = Decider(result)
        server, asterisk = await serve(routes(decider, FixedClock(), lambda tenant: Asking()))
        return server, asterisk, decider

    return start


async def test_the_verdict_is_one_command(ask):
    server, asterisk, decider = await ask(verdict())
    result = await asterisk.outbound(number="00442079460000", trunk="carrier", extra="x")
    array = "FRAUDGUARD_VERDICT,FRAUDGUARD_REASON,FRAUDGUARD_NUMBER,FRAUDGUARD_LEASE,FRAUDGUARD_CALL"
    assert result.commands == [f'SET VARIABLE ARRAY({array}) "allow,ok,+442079460000,600,c0ffee"']
    assert (result.status, result.variables[names.VERDICT]) == ("SUCCESS", "allow")
    channel = {"uniqueid": Channel().uniqueid}
    assert decider.attempts == [Attempt("00442079460000", "carrier", "", DEFAULT_TENANT, "", NOON, **channel)]
    assert server.counters.unknown_keys == 1


async def test_every_argument_reaches_the_attempt(ask):
    _, asterisk, decider = await ask(verdict())
    await asterisk.agi(
        "outbound?trunk=carrier&number=+1900",
        "linkedid=1767225600.1",
        "source=192.0.2.7:5060",
        "asterisk=pbx1",
        "tenant=acme",
        "account=204",
        channel=Channel(account="not this one", uniqueid="1767225600.7"),
    )
    assert decider.attempts == [
        Attempt(
            *("+1900", "carrier", "204", "acme", "192.0.2.7:5060", NOON, "pbx1", "1767225600.1"),
            uniqueid="1767225600.7",
        )
    ]


async def test_the_account_falls_back_to_the_channels_accountcode(ask):
    _, asterisk, decider = await ask(verdict())
    await asterisk.outbound(number="", trunk="carrier", account="", tenant="", channel=Channel(account="204"))
    assert [(a.account, a.tenant, a.number) for a in decider.attempts] == [("204", DEFAULT_TENANT, "")]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("trunk=a",), "argument number= is missing"),
        (("number=1",), "argument trunk= is missing or empty"),
        (("number=1", "trunk="), "argument trunk= is missing or empty"),
        (("number=1", "trunk=a", "account=x", "number=2"), "argument 'number' comes twice"),
        (("number=1", "trunk=" + "a" * (MAX_TEXT + 1)), "trunk has more than 160 characters"),
    ],
)
async def test_a_question_that_is_none_gets_no_verdict(ask, arguments, what):
    server, asterisk, decider = await ask(verdict())
    result = await asterisk.agi("outbound", *arguments, channel=Channel(extension="900"))
    assert (result.status, result.variables, decider.attempts) == ("FAILURE", {}, [])
    assert what in str(result.failure)
    assert server.counters.failures == {Failure.BAD_REQUEST: 1}


async def test_a_comma_in_a_value_cannot_speak_for_another_key(ask):
    _, asterisk, _ = await ask(verdict())
    result = await asterisk.outbound(number="+1900", trunk="carrier", account="204,number=911")
    assert (result.status, result.variables) == ("FAILURE", {})


def test_an_accountcode_that_comes_twice_is_an_error_if_it_is_needed():
    twice = ["agi_accountcode: forged", "agi_accountcode: 204"]
    with pytest.raises(ProtocolError, match="header 'agi_accountcode' comes twice"):
        read_attempt(request("number=1", "trunk=a", headers=twice), NOON)
    attempt, _ = read_attempt(request("number=1", "trunk=a", "account=205", headers=twice), NOON)
    assert attempt.account == "205"


def test_a_number_of_any_length_is_judged_but_never_as_a_shorter_one():
    attempt, _ = read_attempt(request("number=" + "1".ljust(MAX_NUMBER, " ") + "9", "trunk=a"), NOON)
    assert attempt.number == "1".ljust(MAX_NUMBER) + "…"


def test_half_characters_become_replacement_characters():
    attempt, _ = read_attempt(request("number=1\udcc3", "trunk=a", "account=é"), NOON)
    assert (attempt.number, attempt.account) == ("1\ufffd", "é")


@pytest.mark.parametrize(
    "error",
    [StoreError("disk full"), UnknownTrunkError("unknown trunk 'x'"), RuntimeError("bug")],
    ids=lambda error: type(error).__name__,
)
async def test_no_verdict_no_answer(ask, error):
    _, asterisk, _ = await ask(error)
    result = await asterisk.outbound(number="1", trunk="x")
    assert (result.status, result.variables, result.commands) == ("FAILURE", {}, [])
    assert ("unknown trunk 'x'" in str(result.failure)) == isinstance(error, UnknownTrunkError)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (verdict(), ("allow", "ok", "+442079460000", "600", "c0ffee")),
        (
            verdict(Reason.EMERGENCY, number=Number("911", "911", "US", Kind.EMERGENCY), lease=None),
            ("allow", "emergency", "911", "", "c0ffee"),
        ),
        (
            verdict(Reason.OVER_LIMIT, Outcome.NOWHERE, lease=None),
            ("nowhere", "over_limit", "+442079460000", "0", "c0ffee"),
        ),
        (
            verdict(Reason.BAD_NUMBER, Outcome.NOWHERE, BadNumber("a,b", "letters"), None),
            ("nowhere", "bad_number", "", "0", "c0ffee"),
        ),
    ],
)
def test_the_values_of_the_answer(given, expected):
    assert answer(given) == expected


@pytest.mark.parametrize(
    "wrong", [verdict(lease=None), verdict(lease=0), verdict(lease=-1), verdict(number=BadNumber("x", "y"))]
)
def test_nothing_is_allowed_without_a_lease_and_a_number(wrong):
    with pytest.raises(FraudguardError, match="a verdict allows"):
        answer(wrong)


async def test_ping(ask):
    server, asterisk, _ = await ask(verdict())
    result = await asterisk.agi("ping")
    assert (result.commands, result.variables) == (
        [f"SET VARIABLE FRAUDGUARD_PING {__version__}"],
        {names.PING: __version__},
    )
    assert (await asterisk.agi("ping", faults=Faults(replies=(b"511 no\n",)))).status == "FAILURE"
    assert server.counters.failures == {Failure.REFUSED: 1}
