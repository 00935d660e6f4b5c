"""Asking for a PIN on the connection that asks for a verdict: every way it can go, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import traceback
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from pin_cases import ASKING, RIGHT, WRONG, Desk, Memory, pin
from structlog.testing import capture_logs

from fraudguard.agi import dialogue
from fraudguard.agi.counters import Failure
from fraudguard.agi.dialogue import MOST_KEYED
from fraudguard.agi.outbound import routes
from fraudguard.agi.protocol import Reply
from fraudguard.errors import StoreError
from fraudguard.guard import Guard
from fraudguard.pins.digits import MOST_DIGITS
from fraudguard.testing import Channel, Faults
from fraudguard.testing.agi import AgiCall

ABROAD = "011442079460000"
EARLY = "EXEC Progress"
ASK = "GET DATA agent-pass 6000 13"
AGAIN = "GET DATA auth-incorrect 6000 13"
SILENT = 'GET DATA "" 6000 13'
STATUS = "CHANNEL STATUS"
REFUSE = 'STREAM FILE cannot-complete ""'
THRICE = (WRONG + "#",) * 3


class Stage:
    """A guard that asks, its server, and an Asterisk whose callers key."""

    def __init__(self, desk, memory, server, asterisk):
        self.desk = desk
        self.memory = memory
        self.server = server
        self.asterisk = asterisk

    async def call(self, *keyed, number=ABROAD, faults=None, **channel):
        return await self.asterisk.outbound(
            number=number,
            trunk="carrier",
            tenant="acme",
            account="204",
            source="192.0.2.7:5060",
            channel=replace(self.asterisk.channel(), keyed=keyed, **channel),
            faults=faults,
        )

    @property
    def failures(self):
        return dict(self.server.counters.failures)

    async def all_gone(self):
        await until(lambda: self.server.open_sessions == 0)


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is waited for is the far side of a socket
            await asyncio.sleep(0.001)


@pytest.fixture
async def stage(serve):
    async def start(*pins, desk=None, asking=ASKING, **options):
        desk = desk or Desk(*(pins or (pin(),)), asking=asking)
        memory = Memory()
        guard = Guard(desk.house, lambda: desk.policy, memory, desk.asker, new_call=lambda: "c0ffee")
        return Stage(desk, memory, *await serve(routes(guard, desk.clock, lambda _: asking), **options))

    return start


async def never():
    await asyncio.Event().wait()


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(dialogue, "PROMPT_SECONDS", 0.1)
    monkeypatch.setattr(dialogue, "THINK_SECONDS", 0.1)


def verdict_of(result):
    return result.variables.get("FRAUDGUARD_VERDICT"), result.variables.get("FRAUDGUARD_REASON")


# --- what is said, in which order ---


@pytest.mark.parametrize(
    ("keyed", "commands", "reason", "tries"),
    [
        ((RIGHT + "#",), [ASK], "ok", 1),
        ((RIGHT,), [ASK], "ok", 1),  # and the time was over
        ((WRONG + "#", RIGHT + "#"), [ASK, AGAIN], "ok", 2),
        ((WRONG + "#", WRONG + "#", RIGHT + "#"), [ASK, AGAIN, AGAIN], "ok", 3),
        (THRICE, [ASK, AGAIN, AGAIN, REFUSE], "pin_wrong", 3),
        ((*THRICE, RIGHT + "#"), [ASK, AGAIN, AGAIN, REFUSE], "pin_wrong", 3),
        ((), [ASK, ASK, ASK, REFUSE], "pin_timeout", 0),
        (("#", "#", "#"), [ASK, ASK, ASK, REFUSE], "pin_timeout", 0),
        (("#", RIGHT + "#"), [ASK, ASK], "ok", 1),
        ((RIGHT[:3] + "#" + RIGHT[3:],), [ASK, AGAIN, AGAIN, REFUSE], "pin_wrong", 1),
        ((WRONG, "", RIGHT), [ASK, AGAIN, AGAIN], "ok", 2),
        ((WRONG,), [ASK, AGAIN, AGAIN, REFUSE], "pin_wrong", 1),
        (("1" * (MOST_DIGITS + 5),), [ASK, AGAIN, AGAIN, REFUSE], "pin_wrong", 1),
        (("*" + RIGHT + "#",), [ASK, AGAIN, AGAIN, REFUSE], "pin_wrong", 1),
    ],
)
async def test_what_is_played_and_what_comes_of_it(stage, keyed, commands, reason, tries):
    there = await stage()
    result = await there.call(*keyed)
    assert result.commands[:-1] == [EARLY, *commands]
    assert verdict_of(result) == ("allow" if reason == "ok" else "nowhere", reason)
    assert (result.status, result.variables["FRAUDGUARD_CALL"]) == ("SUCCESS", "c0ffee")
    (verdict,) = there.memory.verdicts
    assert (verdict.reason, verdict.facts.keyed.tries) == (reason, tries)
    assert there.failures == {}
    await there.all_gone()


@pytest.mark.parametrize(
    ("changes", "opening"),
    [
        ({}, [EARLY]),
        ({"answered": True}, ["ANSWER"]),
        ({"language": "de"}, ["SET VARIABLE CHANNEL(language) de", EARLY]),
        ({"language": "pt_BR", "answered": True}, ["SET VARIABLE CHANNEL(language) pt_BR", "ANSWER"]),
    ],
)
async def test_how_a_dialogue_is_opened(stage, changes, opening):
    there = await stage(asking=replace(ASKING, **changes))
    result = await there.call(WRONG + "#", RIGHT + "#")
    assert result.commands[:-1] == [*opening, ASK, AGAIN]
    assert verdict_of(result) == ("allow", "ok")
    assert result.commands[-1].startswith("SET VARIABLE ARRAY(")


async def test_tries_time_and_prompts_are_as_configured(stage):
    asking = replace(ASKING, tries=1, timeout_millis=2500, ask="acme/say pin", refused="acme/no")
    result = await (await stage(asking=asking)).call(WRONG)
    assert result.commands[:-1] == [EARLY, f'GET DATA "acme/say pin" 2500 {MOST_KEYED}', 'STREAM FILE acme/no ""']


@pytest.mark.parametrize(
    ("number", "reason"), [("911", "emergency"), ("12125550100", "ok"), ("01153555", "bad_number")]
)
async def test_who_is_not_asked_hears_nothing(stage, number, reason):
    there = await stage()
    result = await there.call(RIGHT + "#", number=number)
    assert len(result.commands) == 1
    assert verdict_of(result)[1] == reason


async def test_at_an_account_without_a_pin_nobody_is_asked(stage):
    result = await (await stage(pin(accounts=frozenset({"205"})))).call(RIGHT + "#")
    assert (len(result.commands), verdict_of(result)) == (1, ("nowhere", "pin_required"))


async def test_a_call_refused_by_the_pins_terms_hears_the_same_refusal(stage):
    there = await stage(pin(regions=frozenset({"FR"})))
    result = await there.call(RIGHT + "#")
    assert (result.commands[:-1], verdict_of(result)) == ([EARLY, ASK, REFUSE], ("nowhere", "pin_region"))


async def test_a_locked_caller_hears_what_a_wrong_one_hears(stage):
    there = await stage()
    for _ in range(2):
        wrong = await there.call(*THRICE)
    locked = await there.call(*(RIGHT + "#",) * 3)
    assert locked.commands[:-1] == wrong.commands[:-1]
    assert verdict_of(locked) == ("nowhere", "pin_locked")


async def test_a_thousand_callers_at_the_prompt_take_no_thread(stage):
    there = await stage()
    before = threading.active_count()
    waits = Faults(replies=(b"200 result=0\n", b""))  # as long as nothing is keyed, Asterisk says nothing
    callers = [asyncio.create_task(there.call(faults=waits)) for _ in range(100)]
    await until(lambda: there.server.open_sessions == 100)
    result = await there.call(number="12125550100")
    assert (verdict_of(result), threading.active_count()) == (("allow", "ok"), before)
    await there.server.stop(grace=0)
    assert {(await caller).failure for caller in callers} == {"failure stopping"}
    assert there.memory.reasons == ["ok"]


# --- hangup ---


@pytest.mark.parametrize("kind", ["hangs_up_after", "hangs_up_during"])
@pytest.mark.parametrize("keyed", [THRICE, (), (WRONG + "#", RIGHT + "#")])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_hangup_at_any_moment_ends_it(stage, kind, keyed, answered):
    asking = replace(ASKING, answered=answered, language="de" if answered else "")
    whole = len((await (await stage(asking=asking)).call(*keyed)).commands)
    for moment in range(whole):
        there = await stage(asking=asking)
        result = await there.call(*keyed, **{kind: moment})
        told = verdict_of(result)
        assert told[0] == "nowhere" or result.status == "HANGUP" or moment == 0, (kind, moment)
        if kind == "hangs_up_after" or moment:
            assert result.status == "HANGUP"
            assert told[1] in {"pin_hangup", "pin_wrong", "pin_timeout", "ok"}, (
                "there is a verdict, and who asks sees why"
            )
        assert len(there.memory.verdicts) == 1
        assert there.failures == {}
        await there.all_gone()


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
async def test_who_hangs_up_at_the_prompt_is_asked_nothing_more(stage, moment):
    there = await stage()
    result = await there.call(*THRICE, hangs_up_during=moment)
    commands = [EARLY, ASK, AGAIN, AGAIN][:moment]
    noticed = ASK if moment == 1 else STATUS  # the first command that Asterisk can tell it with
    assert result.commands[:-1] == [*commands, noticed]
    assert (result.status, verdict_of(result)) == ("HANGUP", ("nowhere", "pin_hangup" if moment < 3 else "pin_wrong"))
    assert there.memory.verdicts[0].facts.keyed.tries == max(0, moment - 2)


async def test_who_hangs_up_during_the_refusal_has_a_verdict(stage):
    result = await (await stage()).call(*THRICE, hangs_up_during=5)
    assert (result.status, verdict_of(result)) == ("HANGUP", ("nowhere", "pin_wrong"))


async def test_who_hangs_up_while_the_pin_is_looked_at_costs_one_guess_and_hears_nothing(stage):
    there = await stage()
    hung_up = asyncio.Event()
    there.desk.verifier.meanwhile = hung_up.wait
    call = asyncio.create_task(there.call(WRONG + "#", hangs_up_after=2))
    await until(lambda: there.server.counters.hangups)
    hung_up.set()
    result = await call
    assert result.status == "HANGUP"
    assert verdict_of(result)[0] == "nowhere"
    assert REFUSE not in result.commands


# --- the connection ends ---


REPLIES = ("200 result=0\n", f"200 result={WRONG}\n", f"200 result={RIGHT}\n", "200 result=1\n")


@pytest.mark.parametrize("byte_by_byte", [False, True])
async def test_a_connection_cut_at_any_byte_never_ends_in_allow(stage, byte_by_byte):
    there = await stage()
    whole = sum(map(len, REPLIES))
    begin = environment_bytes(there)
    for left in range(whole + 1):
        there.desk.guesses.restore((), ())
        there.memory.verdicts.clear()
        there.server.counters.failures.clear()
        faults = Faults(cut_after=begin + left, byte_by_byte=byte_by_byte)
        result = await there.call(WRONG + "#", RIGHT + "#", faults=faults, name="PJSIP/p", uniqueid="1.1")
        await until(lambda left=left: there.failures or left == whole)
        keyed = left >= sum(map(len, REPLIES[:3]))
        assert ("allow" in result.variables.values()) <= keyed, left
        assert any(verdict.allowed for verdict in there.memory.verdicts) <= keyed, left
        assert there.failures.keys() <= {Failure.GONE, Failure.BAD_REQUEST}


def environment_bytes(there):
    """Return how much Asterisk sends first in a call of the stage."""
    words = ["number=" + ABROAD, "trunk=carrier", "tenant=acme", "account=204", "source=192.0.2.7:5060"]
    call = AgiCall(Channel(name="PJSIP/p", uniqueid="1.1"), "outbound", words, Faults())
    return len(call.environment("agi://{}:{}/outbound".format(*there.server.address)))


@asynccontextmanager
async def at_the_prompt(there):
    """Somebody who was asked, whose connection can be reset."""
    reader, writer = await asyncio.open_connection(*there.server.address)
    writer.write(b"agi_network: yes\nagi_network_script: outbound\nagi_arg_1: number=011442079460000\n")
    writer.write(b"agi_arg_2: trunk=carrier\nagi_arg_3: account=204\nagi_arg_4: tenant=acme\n\n")
    assert await reader.readline() == b"EXEC Progress\n"
    writer.write(b"200 result=0\n")
    assert (await reader.readline()).startswith(b"GET DATA")
    # What is closed without lingering is reset.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    yield writer
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_reset_at_the_prompt_is_a_hangup(stage):
    there = await stage()
    async with at_the_prompt(there) as writer:
        writer.transport.abort()
        await until(lambda: there.failures)
    assert there.memory.reasons == ["pin_hangup"]
    assert there.failures == {Failure.GONE: 1}


async def test_a_reset_while_the_pin_is_looked_at_is_no_verdict_and_stays_a_guess(stage):
    there = await stage()
    there.desk.verifier.meanwhile = never
    async with at_the_prompt(there) as writer:
        writer.write(f"200 result={RIGHT}\n".encode())
        await until(lambda: there.desk.verifier.looked)
        writer.transport.abort()
        await until(lambda: there.failures)
    assert there.memory.verdicts == []
    assert list(there.desk.records.failures) == [1], "nobody saw that it was right: it stays a guess"


@pytest.mark.parametrize("reply", [None, b"rubbish\n", f"200 result={RIGHT}\n".encode()])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_dialogue_that_ends_in_the_middle_leaves_no_session(stage, hurried, reply, reset):
    there = await stage(asking=replace(ASKING, timeout_millis=1))
    there.desk.verifier.meanwhile = never
    async with at_the_prompt(there) as writer:
        if reply:
            writer.write(reply)
            await until(lambda: there.desk.verifier.looked or there.failures)
        if reset:
            writer.transport.abort()
        await until(lambda: there.failures)
    async with asyncio.timeout(1):
        await there.all_gone()


# --- prompts that are not there ---


@pytest.mark.parametrize(
    ("missing", "keyed", "commands", "reason", "logged"),
    [
        ({"agent-pass"}, (RIGHT + "#",), [ASK, STATUS, SILENT], "ok", 1),
        ({"auth-incorrect"}, (WRONG, RIGHT), [ASK, AGAIN, STATUS, SILENT], "ok", 1),
        ({"agent-pass", "auth-incorrect"}, THRICE, [ASK, *[STATUS, SILENT, AGAIN] * 2, STATUS, SILENT, REFUSE], "", 3),
        ({"agent-pass"}, (), [*[ASK, STATUS, SILENT] * 3, REFUSE], "pin_timeout", 3),
        ({"cannot-complete"}, THRICE, [ASK, AGAIN, AGAIN, REFUSE], "pin_wrong", 0),
        ({"agent-pass", ""}, (RIGHT,), [ASK, STATUS, SILENT, REFUSE], "pin_hangup", 1),
    ],
)
async def test_a_prompt_that_is_not_there_is_asked_without_words(stage, missing, keyed, commands, reason, logged):
    there = await stage()
    with capture_logs() as logs:
        result = await there.call(*keyed, missing=frozenset(missing))
    assert result.commands[:-1] == [EARLY, *commands]
    assert verdict_of(result)[1] == (reason or "pin_wrong")
    assert [line["log_level"] for line in logs] == ["error"] * logged
    assert all(line["sound"] in missing for line in logs)


# --- what Asterisk refuses ---

TRUE = {EARLY: b"200 result=0\n", ASK: b"200 result=730264\n", AGAIN: b"200 result=730264\n", REFUSE: b"200 result=0\n"}


@pytest.mark.parametrize(
    ("refusal", "dead"),
    [
        (b"510 Invalid or unknown command\n", False),
        (b"511 Command Not Permitted on a dead channel or intercept routine\n", True),
        (b"520-Invalid command syntax.\nUsage: X\n520 End of proper usage.\n", False),
    ],
)
@pytest.mark.parametrize("place", range(5))
async def test_a_command_that_asterisk_refuses(stage, refusal, dead, place):
    commands = [EARLY, ASK, AGAIN, AGAIN, REFUSE]
    there = await stage()
    replies = tuple(TRUE[command] for command in commands[:place])
    result = await there.call(faults=Faults(replies=(*replies, refusal)))
    assert result.commands[: place + 1] == commands[: place + 1]
    if place == 4:  # the verdict was there before
        assert verdict_of(result) == ("nowhere", "pin_wrong")
    elif dead:
        assert verdict_of(result) == ("nowhere", "pin_hangup" if place < 2 else "pin_wrong")
    else:
        assert (result.status, verdict_of(result), there.memory.verdicts) == ("FAILURE", (None, None), [])
        assert there.failures == {Failure.REFUSED: 1}
        assert result.failure.startswith(f"failure refused Asterisk refused {commands[place].split()[0]}")
    await there.all_gone()


async def test_a_status_that_is_refused_is_no_verdict(stage):
    there = await stage()
    replies = (b"200 result=0\n", b"200 result=-1\n", b"510 Invalid or unknown command\n")
    result = await there.call(faults=Faults(replies=replies))
    assert (result.status, result.variables, there.memory.verdicts) == ("FAILURE", {}, [])


# --- deadlines, and the end of the service ---


async def test_a_prompt_that_never_ends_is_given_up(stage, hurried):
    there = await stage(asking=replace(ASKING, timeout_millis=1))
    result = await there.call(faults=Faults(replies=(b"200 result=0\n", b"")))
    assert (result.status, result.failure, result.variables) == ("FAILURE", "failure deadline", {})
    assert (there.memory.verdicts, there.failures) == ([], {Failure.DEADLINE: 1})


async def test_a_caller_may_take_longer_than_an_answer_may(stage):
    there = await stage(deadline=0.15)
    call = asyncio.create_task(there.call(faults=Faults(replies=(b"200 result=0\n", b""))))
    done, _ = await asyncio.wait({call}, timeout=0.5)
    assert not done
    await there.server.stop(grace=0)
    assert (await call).failure == "failure stopping"


async def test_a_pin_that_is_never_looked_at_is_no_verdict_and_stays_a_guess(stage, hurried):
    there = await stage()
    there.desk.verifier.meanwhile = never
    results = [await there.call(RIGHT + "#") for _ in range(3)]
    assert {(result.status, result.failure) for result in results} == {("FAILURE", "failure deadline")}
    assert there.memory.verdicts == []
    assert len(there.desk.records.failures) == 3
    assert there.desk.told == ["pin_failures"]


@pytest.mark.parametrize("looking", [False, True])
async def test_the_end_of_the_service_is_no_verdict(stage, looking):
    there = await stage()
    there.desk.verifier.meanwhile = never
    replies = (b"200 result=0\n", f"200 result={RIGHT}\n".encode() if looking else b"")
    call = asyncio.create_task(there.call(faults=Faults(replies=replies)))
    await until(lambda: there.desk.verifier.looked if looking else there.server.open_sessions)
    await there.server.stop(grace=0)
    result = await call
    assert (result.status, result.failure, result.variables) == ("FAILURE", "failure stopping", {})
    assert there.memory.verdicts == []


@pytest.mark.parametrize("what", ["note", "forget"])
async def test_what_cannot_be_recorded_is_no_verdict(stage, what):
    there = await stage(pin())

    async def broken(now):
        if now == what:
            raise StoreError("disk full")

    there.desk.records.before = broken
    result = await there.call(RIGHT + "#")
    assert (result.status, result.failure) == ("FAILURE", "failure not_stored disk full")
    assert (there.memory.verdicts, result.variables) == ([], {})


# --- digits stand nowhere ---


LINE = f"200 result={RIGHT}"
BROKEN = (
    f"{LINE} (timeout\n",
    f"{LINE} (tim) eout) x\n",
    f"{LINE}\n{LINE}\n",
    f"{LINE}\nrubbish\n",
    f"100 {LINE[4:]}\n" * 20,
    f"999 {LINE[4:]}\n",
    f" {LINE}\n",
    f"{LINE}{RIGHT * 2000}\n",
    f"520-{LINE}\n520 End of proper usage.\n",
    f"HANGUP {LINE}\n",
    f"250 {LINE[4:]}\n",
    f"510 {LINE}\n",
    f"{LINE} {RIGHT}\n",
)


@pytest.mark.parametrize("reply", BROKEN)
async def test_digits_in_what_breaks_the_protocol_are_not_told(stage, reply):
    there = await stage()
    with capture_logs() as logs:
        result = await there.call(faults=Faults(replies=(b"200 result=0\n", reply.encode())))
    assert RIGHT not in repr(
        (result.failure, logs, there.memory.verdicts, there.desk.alerts, there.desk.guesses._tries)
    )
    assert RIGHT not in texts_of(logs)


@pytest.mark.parametrize("error", [RuntimeError, StoreError, KeyError, asyncio.CancelledError])
@pytest.mark.parametrize("where", ["verify", "note", "forget", "record", "look"])
async def test_digits_are_in_no_traceback(stage, error, where):
    there = await stage()

    async def broken(*_):
        raise error("no")

    def not_recorded(_):
        raise error("no")

    async def broken_before(what):
        if what == where:
            raise error("no")

    there.desk.records.before = broken_before
    if where == "verify":
        there.desk.verifier.meanwhile = broken
    if where == "record":
        there.memory.record = not_recorded
    with capture_logs() as logs:
        result = await there.call(RIGHT + "#", faults=None)
    assert (result.status == "SUCCESS") == (where == "look")
    assert RIGHT not in repr((result.failure, logs, there.memory.verdicts, there.desk.alerts))
    assert RIGHT not in texts_of(logs)


def texts_of(logs):
    """Return every exception of the logs as the most talkative formatter would show it: with all local variables."""
    texts = []
    for line in logs:
        error = line.get("exc_info")
        if isinstance(error, BaseException):
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            texts.append("".join(shown.format()))
    return "".join(texts)


def test_what_holds_digits_does_not_show_them():
    assert RIGHT not in repr(Reply(200, RIGHT)) + str(Reply(200, RIGHT, "timeout"))
