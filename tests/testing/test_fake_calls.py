"""The calls of FakeAsterisk: the manager's events, its answers and the model must tell the same story."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from fraudguard.testing import FakeAsterisk


class Watch:
    """Hears every event, as one that may read all."""

    def __init__(self, asterisk):
        self.events = []
        asterisk.manager.emit = self.emit

    def emit(self, event, privilege, headers):
        self.events.append((event, dict(headers)))

    def names(self, *without):
        quiet = {"VarSet", "Newexten", "NewCallerid", "NewConnectedLine", "NewAccountCode", *without}
        return [event for event, _ in self.events if event not in quiet]

    def all(self, name):
        return [headers for event, headers in self.events if event == name]


class Clock:
    def __init__(self):
        self.millis = 1_792_356_478_000

    def now(self):
        return self.millis

    def monotonic(self):
        return self.millis / 1000


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def asterisk(clock):
    return FakeAsterisk(clock=clock, channel_variables=["FRAUDGUARD_REASON"])


@pytest.fixture
def watch(asterisk):
    return Watch(asterisk)


UP = ["Newchannel", "Newchannel", "DialBegin", "Newstate", "DialState", "Newstate", "DialEnd", "Newstate"]
JOINED = ["BridgeCreate", "BridgeEnter", "BridgeEnter"]


async def test_an_answered_call(asterisk, watch, clock):
    call = await asterisk.dial("+442079460000", account="204")
    call.ring()
    call.answer()
    assert call.up
    clock.millis += 61_999
    call.hang_up()
    parted = ["HangupRequest", "BridgeLeave", "BridgeLeave", "BridgeDestroy", "SoftHangupRequest"]
    assert watch.names() == [*UP, *JOINED, *parted, "Hangup", "Hangup", "Cdr"]
    begin = watch.all("DialBegin")[0]
    assert begin["DialString"] == "+442079460000@carrier"
    assert begin["Linkedid"] == begin["DestLinkedid"] == begin["Uniqueid"] != begin["DestUniqueid"]
    assert [hangup["Channel"] for hangup in watch.all("Hangup")] == [call.trunk.name, call.caller.name]
    cdr = watch.all("Cdr")[0]
    assert (cdr["BillableSeconds"], cdr["Disposition"], cdr["AccountCode"]) == ("61", "ANSWERED", "204")
    assert asterisk.exchange.channels == {}
    assert asterisk.exchange.calls == []


@pytest.mark.parametrize(
    ("end", "status", "cause", "disposition"),
    [
        (lambda call: call.fail("BUSY"), "BUSY", "17", "BUSY"),
        (lambda call: call.fail("NOANSWER"), "NOANSWER", "19", "NO ANSWER"),
        (lambda call: call.fail("CONGESTION"), "CONGESTION", "34", "CONGESTION"),
        (lambda call: call.hang_up(), "CANCEL", "16", "NO ANSWER"),
    ],
)
async def test_a_call_that_is_not_answered(asterisk, watch, end, status, cause, disposition):
    call = await asterisk.dial("+442079460000")
    end(call)
    assert watch.all("DialEnd")[0]["DialStatus"] == status
    assert {hangup["Cause"] for hangup in watch.all("Hangup")} == {cause}
    cdr = watch.all("Cdr")[0]
    assert (cdr["Disposition"], cdr["BillableSeconds"], cdr["AnswerTime"]) == (disposition, "0", "")
    assert not watch.all("BridgeEnter")


async def test_what_does_not_fit_is_an_error(asterisk):
    call = await asterisk.dial("+442079460000")
    with pytest.raises(ValueError, match="not answered"):
        call.hang_up(by="callee")
    with pytest.raises(ValueError, match="not up"):
        call.blind_transfer("1", "PJSIP/1")
    call.answer()
    with pytest.raises(ValueError, match="is answered"):
        call.answer()
    call.hang_up(by="callee")
    with pytest.raises(ValueError, match="has ended"):
        call.hang_up()


async def test_an_originated_call_has_no_caller(asterisk, watch):
    call = await asterisk.dial("+442079460000", originated=True)
    call.answer()
    call.hang_up(by="callee")
    begin = watch.all("DialBegin")[0]
    assert "Channel" not in begin
    assert begin["DestCallerIDNum"] == "<unknown>"
    assert begin["DestUniqueid"] == begin["DestLinkedid"]
    cdr = watch.all("Cdr")[0]
    assert (cdr["Channel"], cdr["DestinationChannel"]) == (call.trunk.name, "")


async def test_a_blind_transfer_leaves_the_trunk_dialling(asterisk, watch, clock):
    call = await asterisk.dial("+442079460000")
    call.answer()
    clock.millis += 5_000
    after = call.blind_transfer("+442079460001", "PJSIP/+442079460001@carrier", context="phones")
    assert (after.caller, after.linkedid) == (call.trunk, call.linkedid)
    assert call.ended_at == clock.millis
    moved = watch.all("BlindTransfer")[0]
    assert (moved["TransfereeChannel"], moved["Extension"]) == (call.trunk.name, "+442079460001")
    assert watch.all("Hangup")[0]["Channel"] == call.caller.name
    assert watch.all("Cdr")[0]["BillableSeconds"] == "5"
    assert watch.all("DialBegin")[-1]["Channel"] == call.trunk.name
    after.answer()
    after.hang_up()
    assert asterisk.exchange.channels == {}


async def test_an_attended_transfer_joins_two_chains(asterisk, watch):
    first, second = await asterisk.dial("+442079460000"), await asterisk.dial("+442079460001")
    first.answer()
    second.answer()
    first.attended_transfer(second)
    assert second.trunk.linkedid == first.trunk.linkedid == first.linkedid
    assert second.trunk.bridge is first.trunk.bridge
    told = watch.all("AttendedTransfer")[0]
    assert (told["TransfereeChannel"], told["TransferTargetChannel"]) == (first.trunk.name, second.trunk.name)
    assert set(asterisk.exchange.channels) == {first.trunk.name, second.trunk.name}
    entered = watch.all("BridgeEnter")[-1]
    assert (entered["Uniqueid"], entered["Linkedid"]) == (second.trunk.uniqueid, first.linkedid)
    first.hang_up(by="callee")
    assert asterisk.exchange.channels == {}


async def test_a_rename_keeps_the_uniqueid(asterisk, watch):
    call = await asterisk.dial("+442079460000")
    before = call.trunk.name
    asterisk.exchange.rename(call.trunk, "PJSIP/other-1")
    assert watch.all("Rename") == [{"Channel": before, "Newname": "PJSIP/other-1", "Uniqueid": call.trunk.uniqueid}]
    call.hang_up()
    assert watch.all("Hangup")[0]["Channel"] == "PJSIP/other-1"


async def test_a_cdr_can_be_made_to_disagree(asterisk, watch):
    call = await asterisk.dial("+442079460000")
    call.answer()
    call.hang_up(cdr_seconds=90)
    assert watch.all("Cdr")[0]["BillableSeconds"] == "90"


async def test_a_lease_ends_the_call(asterisk, watch):
    call = await asterisk.dial("+442079460000", lease=0.01)
    assert call.trunk.ends is None, "it begins with the answer"
    call.answer()
    await asyncio.wait_for(call.over(), 10)
    assert watch.names()[-1] == "Cdr"


async def test_variables_are_shown_in_every_event(asterisk, watch):
    phone = asterisk.phone("204")
    asterisk.exchange.set_variable(phone, "FRAUDGUARD_REASON", "ok")
    assert watch.all("Newchannel")[0]["ChanVariable"] == "FRAUDGUARD_REASON="
    assert watch.all("VarSet")[0]["ChanVariable"] == "FRAUDGUARD_REASON=ok"


def answering(text):
    """A guard that says `text` to everybody, and keeps what it was asked."""

    async def serve(reader, writer):
        serve.asked.append(await reader.readuntil(b"\n\n"))
        writer.write(text)
        if text:
            await reader.readline()
        writer.close()

    serve.asked = []
    return serve


@asynccontextmanager
async def guarded(text, **options):
    script = answering(text)
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    async with asyncio.timeout(10), server:
        yield FakeAsterisk(*server.sockets[0].getsockname(), **options), script


NAMES = "ARRAY(FRAUDGUARD_VERDICT,FRAUDGUARD_REASON,FRAUDGUARD_NUMBER,FRAUDGUARD_LEASE,FRAUDGUARD_CALL)"


async def test_an_allowed_call_is_dialled_in_the_chain_it_was_asked_for():
    answer = f'SET VARIABLE {NAMES} "allow,ok,+442079460000,600,abc"\n'.encode()
    async with guarded(answer) as (asterisk, script):
        placed = await asterisk.place("02079460000", account="204", tenant="acme", source="192.0.2.7:5060")
        assert placed.reason == "ok"
        call = placed.call
        for argument in ("number=02079460000", "tenant=acme", f"linkedid={call.linkedid}", "asterisk=asterisk"):
            assert argument.encode() in script.asked[0]
        assert f"agi_uniqueid: {call.caller.uniqueid}".encode() in script.asked[0]
        assert (call.string, call.lease) == ("PJSIP/+442079460000@carrier", 600)
        assert call.caller.variables["FRAUDGUARD_CALL"] == "abc"
        call.answer()
        call.hang_up()


async def test_a_refused_call_dials_nothing():
    answer = f'SET VARIABLE {NAMES} "nowhere,over_limit,+882134,,abc"\n'.encode()
    async with guarded(answer, fence=lambda _: True) as (asterisk, _):
        watch = Watch(asterisk)
        placed = await asterisk.place("00882134")
        assert (placed.call, placed.reason) == (None, "over_limit")
        assert not watch.all("DialBegin")
        assert watch.all("Hangup")[0]["Cause"] == "21"
        assert asterisk.exchange.channels == {}


@pytest.mark.parametrize("answer", [b"", b"failure broken\n", f'SET VARIABLE {NAMES} "allow,ok,+1202,,abc"\n'.encode()])
async def test_without_a_verdict_the_fence_decides(answer):
    async with guarded(answer, fence=lambda number: number.startswith("1")) as (asterisk, _):
        placed = await asterisk.place("12025550100")
        assert placed.reason == "fence"
        assert placed.call.caller.variables["FRAUDGUARD_REASON"] == "fence"
        placed.call.hang_up()
        assert (await asterisk.place("01144207946")).call is None


# --- as a manager client sees and ends them ---


async def ask(asterisk, **headers):
    """Log in, ask once, and return all messages of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", asterisk.manager.port)
    for each in ({"Action": "Login", "Username": "fraudguard", "Secret": "secret", "Events": "off"}, headers):
        writer.write(("".join(f"{name}: {value}\r\n" for name, value in each.items()) + "\r\n").encode())
    writer.write(b"Action: Logoff\r\n\r\n")
    blocks = (await reader.read()).decode().split("\r\n\r\n")[1:-2]
    writer.close()
    return [dict(line.split(": ", 1) for line in block.split("\r\n")) for block in blocks]


async def test_the_manager_agrees_with_the_model():
    async with asyncio.timeout(10), FakeAsterisk() as asterisk:
        call = await asterisk.dial("+442079460000", lease=600)
        call.answer()
        _, caller, trunk, complete = await ask(asterisk, Action="CoreShowChannels")
        assert [caller["Channel"], trunk["Channel"]] == [call.caller.name, call.trunk.name]
        assert (trunk["ChannelStateDesc"], trunk["BridgeId"]) == ("Up", call.trunk.bridge.uniqueid)
        assert (caller["Application"], trunk["Application"]) == ("Dial", "AppDial")
        assert complete["ListItems"] == "2"
        peer = await ask(asterisk, Action="Getvar", Channel=call.trunk.name, Variable="DIALEDPEERNUMBER")
        assert peer[0]["Value"] == "+442079460000@carrier"
        _, status, _ = await ask(asterisk, Action="Status", Channel=call.trunk.name, Variables="NONE")
        assert status["Variable"] == "NONE=(null)"
        left = int(status["TimeToHangup"]) - asterisk.exchange.now() // 1000
        assert 590 <= left <= 600
        count = await ask(asterisk, Action="CoreStatus")
        assert count[0]["CoreCurrentCalls"] == "2"
        await ask(asterisk, Action="Setvar", Channel=call.caller.name, Variable="A", Value="b")
        assert call.caller.variables["A"] == "b"
        call.hang_up()


@pytest.mark.parametrize("which", ["trunk", "caller"])
@pytest.mark.parametrize("answered", [True, False])
async def test_a_manager_ends_a_call(which, answered):
    async with asyncio.timeout(10), FakeAsterisk() as asterisk:
        call = await asterisk.dial("+442079460000")
        if answered:
            call.answer()
        told = await ask(asterisk, Action="Hangup", Channel=getattr(call, which).name, Cause="21")
        assert told[0]["Message"] == "Channel Hungup"
        assert call.ended_at is not None
        assert asterisk.exchange.channels == {}


async def test_an_absolute_timeout_moves_the_end():
    async with asyncio.timeout(10), FakeAsterisk() as asterisk:
        call = await asterisk.dial("+442079460000", lease=600)
        call.answer()
        told = await ask(asterisk, Action="AbsoluteTimeout", Channel=call.trunk.name, Timeout="0.01")
        assert told[0]["Message"] == "Timeout Set"
        await call.over()
        assert (await asterisk.manager.asked("AbsoluteTimeout")).get("timeout") == "0.01"
