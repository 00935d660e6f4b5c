"""Following one Asterisk: what its link says reaches the ledger, and what the ledger asks for is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress

import pytest
from ami_links import QUICK, link_to
from ledger_cases import HOUSE, admission, price

from fraudguard.ami import follower as module
from fraudguard.ami.connection import Timing
from fraudguard.ami.events import EVENTS
from fraudguard.ami.follower import Follower
from fraudguard.clock import SystemClock
from fraudguard.ledger import Ledger, State
from fraudguard.ledger.records import Why

DOMESTIC = "+12025550123"
DEAR = "+88216000123"
HASTY = Timing(backoff=0.01, backoff_most=0.02, steady=60.0, action=0.1, collect=0.1)
PATIENCE = 10.0


class Desk:
    """What a follower tells, and whoever waits for it."""

    def __init__(self):
        self.calls, self.alerts, self.sightings = [], [], []
        self.broken = False
        self.heard = asyncio.Event()

    def changed(self, changes):
        self.calls += changes.calls
        self.alerts += changes.alerts
        self.heard.set()
        if self.broken:
            raise RuntimeError("the desk is broken")

    def alert(self, alert):
        self.alerts.append(alert)
        self.heard.set()
        if self.broken:
            raise RuntimeError("the desk is broken")

    def sighted(self, sighting):
        self.sightings.append(sighting)
        self.heard.set()
        if self.broken:
            raise RuntimeError("the desk is broken")

    @property
    def kinds(self):
        return [alert.kind for alert in self.alerts]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                self.heard.clear()
                await self.heard.wait()


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)


@pytest.fixture
def impatient(monkeypatch):
    """For those who wait for it alone: a busy machine may keep a link away for that long."""
    monkeypatch.setattr(module, "LOST_SECONDS", 0.2)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def ledger():
    return Ledger(HOUSE, "pbx", price)


@asynccontextmanager
async def following(asterisk, ledger, desk, *, until=None, listed=True, clock=None, **settings):
    link = link_to(asterisk.manager.port, events=EVENTS, **settings)
    follower = Follower(link, ledger, desk, clock or SystemClock(), until)
    running = asyncio.create_task(follower.run())
    try:
        if listed:
            await becomes(lambda: follower.following)
        yield follower
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def becomes(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110  (what the follower keeps to itself has no event)
            await asyncio.sleep(0.001)


def asked(asterisk, name):
    return [action for action in asterisk.manager.received if action.name == name]


def allow(ledger, caller, number=DOMESTIC, **changes):
    fields = {"linkedid": caller.linkedid, "number": number, "at": SystemClock().now()}
    ledger.restore([admission(**(fields | changes))], [])


async def test_when_the_link_comes_up_the_channels_are_listed(asterisk, ledger, desk):
    caller = asterisk.phone()
    allow(ledger, caller)
    call = await asterisk.dial(DOMESTIC, caller=caller)
    call.answer()
    async with following(asterisk, ledger, desk):
        (found,) = ledger.live()
    assert (found.why, found.state, found.reconstructed) == ("ok", State.UP, True)
    assert desk.calls == [found]
    assert asked(asterisk, "Hangup") == []
    assert desk.alerts == []


async def test_an_allowed_call_is_followed_to_its_end_without_a_question(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk):
        caller = asterisk.phone()
        allow(ledger, caller)
        call = await asterisk.dial(DOMESTIC, caller=caller)
        call.answer()
        call.hang_up()
        await desk.until(lambda: State.ENDED in [call.state for call in desk.calls])
    assert [call.state for call in desk.calls][:2] == [State.RINGING, State.UP]
    assert asked(asterisk, "Getvar") == asked(asterisk, "Hangup") == []


async def test_an_unguarded_call_is_hung_up_in_time_once_and_its_hole_named(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk):
        began = asyncio.get_running_loop().time()
        call = await asterisk.dial(DEAR, context="leak")
        await asyncio.wait_for(call.over(), PATIENCE)
        assert asyncio.get_running_loop().time() - began < 0.25
        await desk.until(lambda: State.ENDED in [call.state for call in desk.calls])
    (order,) = asked(asterisk, "Hangup")
    assert (order.get("Channel"), order.get("Cause")) == (call.trunk.name, "21")
    (alert,) = desk.alerts
    told = alert.details
    assert alert.kind == "unguarded_call"
    assert (told["channel"], told["context"], told["extension"], told["application"], told["hung_up"]) == (
        call.trunk.name,
        "leak",
        DEAR,
        "Dial",
        "yes",
    )


async def test_a_call_that_asterisk_itself_dials_is_hung_up_without_a_question(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk):
        call = await asterisk.dial(DEAR, originated=True)
        await asyncio.wait_for(call.over(), PATIENCE)
    assert asked(asterisk, "Getvar") == []
    assert desk.alerts[0].details["application"] == "Originate"


@pytest.mark.parametrize(("number", "why"), [(DOMESTIC, Why.FENCE), (DEAR, Why.UNGUARDED)])
async def test_the_fence_is_asked_for_and_believed_for_domestic_numbers(asterisk, ledger, desk, number, why):
    async with following(asterisk, ledger, desk):
        caller = asterisk.phone()
        asterisk.exchange.set_variable(caller, "FRAUDGUARD_REASON", "fence")
        call = await asterisk.dial(number, caller=caller)
        await desk.until(lambda: bool(desk.calls))
        assert desk.calls[0].why == why
        if why is Why.UNGUARDED:
            await asyncio.wait_for(call.over(), PATIENCE)
    assert bool(asked(asterisk, "Hangup")) is (why is Why.UNGUARDED)


async def test_an_inbound_call_and_an_emergency_call_are_let_be(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk):
        inbound = asterisk.exchange.new_channel("PJSIP/carrier", fields={"context": "from-trunk", "extension": "204"})
        rings = asterisk.exchange.dial(inbound, "PJSIP/204")
        rings.answer()
        emergency = await asterisk.dial("911")
        await desk.until(lambda: bool(desk.calls))
        asterisk.manager.cut()  # and seen again in the list
        await asterisk.manager.flushed()
        await becomes(lambda: len(asked(asterisk, "Status")) == 2)
        await becomes(lambda: asterisk.manager.sessions != [])
        asterisk.security("SuccessfulAuth", account="204", source="198.51.100.7:5060")
        await desk.until(lambda: desk.sightings[-1:] != [] and desk.sightings[-1].account == "204")
        assert rings.up
        assert emergency.ended_at is None
    assert {call.why for call in desk.calls} == {Why.EMERGENCY}
    assert asked(asterisk, "Hangup") == []


async def test_a_call_of_the_fence_survives_an_asterisk_that_does_not_say_so(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk, timing=HASTY) as follower:
        caller = asterisk.phone()
        asterisk.exchange.set_variable(caller, "FRAUDGUARD_REASON", "fence")
        with asterisk.manager.faults.during(mute=True):
            call = await asterisk.dial(DOMESTIC, caller=caller)
            await desk.until(lambda: bool(desk.calls))
        await desk.until(lambda: desk.calls[-1].why == Why.FENCE)
        assert follower.following
        assert call.ended_at is None
    assert asked(asterisk, "Hangup") == []


async def test_an_unguarded_call_is_hung_up_although_asterisk_did_not_answer_at_first(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk, timing=HASTY):
        with asterisk.manager.faults.during(mute=True):
            call = await asterisk.dial(DEAR)
            await desk.until(lambda: bool(desk.calls))
        await asyncio.wait_for(call.over(), PATIENCE)


async def test_a_hangup_that_is_not_answered_is_asked_for_again(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk, timing=HASTY):
        with asterisk.manager.faults.during(mute=True):
            call = await asterisk.dial(DEAR, originated=True)
            await asyncio.wait_for(asterisk.manager.asked("Hangup"), PATIENCE)
        await asyncio.wait_for(call.over(), PATIENCE)
        await desk.until(lambda: desk.calls[-1].state is State.ENDED)
    assert len(asked(asterisk, "Hangup")) == 2


async def test_events_that_were_dropped_are_told_of_and_looked_up(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk, queue=100) as follower:
        caller = asterisk.phone()
        allow(ledger, caller)
        call = await asterisk.dial(DOMESTIC, caller=caller)
        await desk.until(lambda: bool(desk.calls))
        call.hang_up()
        asterisk.manager.flood(5000, "Hangup", "call")
        await becomes(lambda: follower.connection.status.overflows > 0)
        await desk.until(lambda: desk.calls[-1].state is State.ENDED)
        await desk.until(lambda: "ami_overflow" in desk.kinds)
        await becomes(lambda: len(asked(asterisk, "Status")) >= 2)


async def test_a_call_whose_every_event_was_dropped_is_paid_for(asterisk, ledger, desk, monkeypatch):
    monkeypatch.setattr(module, "UNNOTICED_MILLIS", 0)
    async with following(asterisk, ledger, desk, timing=HASTY, queue=100) as follower:
        with asterisk.manager.faults.during(mute=True):
            stuck = await asterisk.dial(DEAR)  # asks, is not answered, and asks for the list again and again
            await desk.until(lambda: bool(desk.calls))
            caller = asterisk.phone()
            allow(ledger, caller)
            (await asterisk.dial(DOMESTIC, caller=caller)).hang_up()
            asterisk.manager.flood(5000, "Hangup", "call")
            await becomes(lambda: follower.connection.status.overflows > 0)
        await desk.until(lambda: "ami_overflow" in desk.kinds)
        await asyncio.wait_for(stuck.over(), PATIENCE)
        await becomes(lambda: follower._followed_until is None)
    later = SystemClock().now() + 60_000
    assert [call.number for call in ledger.settle(later).calls if call.reconstructed and call.number == DOMESTIC]


async def test_a_lost_link_is_told_of_when_it_stays_away(asterisk, ledger, desk, request):
    async with following(asterisk, ledger, desk):
        request.getfixturevalue("impatient")
        loop = asyncio.get_running_loop()
        async with asterisk.manager.booting():
            gone = loop.time()
            await desk.until(lambda: bool(desk.alerts))
            assert loop.time() - gone >= 0.2
    assert desk.kinds == ["ami_lost"]


async def test_a_link_that_is_soon_back_is_not_told_of(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk) as follower:
        asterisk.manager.cut()
        await becomes(lambda: len(asked(asterisk, "Status")) == 2 and follower.following)
        assert follower._lost is None
    assert desk.alerts == []


async def test_a_list_that_is_never_given_is_told_of_once(asterisk, ledger, desk, impatient):
    with asterisk.manager.faults.during(list_stops_after=0):
        async with following(asterisk, ledger, desk, listed=False, timing=HASTY):
            await desk.until(lambda: bool(desk.alerts))
            asterisk.manager.cut()
            await becomes(lambda: len(asked(asterisk, "Status")) >= 5)
    assert desk.kinds == ["ami_absent"]
    assert "Status" in desk.alerts[0].details["error"]


async def test_an_asterisk_that_never_was_there_is_absent_and_not_lost(asterisk, ledger, desk, impatient):
    async with asterisk.manager.booting(), following(asterisk, ledger, desk, listed=False):
        await desk.until(lambda: bool(desk.alerts))
    assert desk.kinds == ["ami_absent"]


async def test_a_refused_login_is_told_of_once_and_ends_it(asterisk, ledger, desk):
    asterisk.manager.faults.refusal = "Authentication failed"
    follower = Follower(link_to(asterisk.manager.port, events=EVENTS, timing=QUICK), ledger, desk, SystemClock())
    await asyncio.wait_for(follower.run(), PATIENCE)
    assert follower.refused
    assert desk.kinds == ["ami_refused"]
    assert "secret" not in str(desk.alerts[0].details["link"])


async def test_a_broken_listener_does_not_end_the_following(asterisk, ledger, desk):
    desk.broken = True
    caller = asterisk.phone()
    allow(ledger, caller)
    await asterisk.dial(DOMESTIC, caller=caller)
    async with following(asterisk, ledger, desk):  # broken while the channels are listed, too
        asterisk.security("SuccessfulAuth", account="204", source="198.51.100.7:5060")
        call = await asterisk.dial(DEAR)
        await asyncio.wait_for(call.over(), PATIENCE)
        await becomes(lambda: len(ledger.live()) == 1)
    assert [sighting.account for sighting in desk.sightings][-1:] == ["204"]


async def test_an_event_that_makes_no_sense_does_not_end_the_following(asterisk, ledger, desk):
    async with following(asterisk, ledger, desk):
        asterisk.manager.send_raw(b"Event: Hangup\r\nUniqueid: 1\xff\r\nCause: " + b"9" * 6000 + b"\r\n\r\n")
        asterisk.manager.send_raw(b"Event: DialBegin\r\n\r\nEvent: DialEnd\r\nDialStatus: ANSWER\r\n\r\n")
        asterisk.manager.send_raw(b"Event: Cdr\r\nBillableSeconds: " + b"9" * 6000 + b"\r\n\r\n")
        call = await asterisk.dial(DEAR)
        await asyncio.wait_for(call.over(), PATIENCE)


# When calls have to end


class LateClock(SystemClock):
    """Is set on by whoever lets time pass."""

    def __init__(self):
        self.late = 0

    def now(self):
        return super().now() + self.late


@asynccontextmanager
async def up_call(asterisk, ledger, desk, *, lease=600, clock=None, **settings):
    """An allowed call that is up, on a link; of its end Asterisk was told nothing but by Dial itself."""
    async with following(asterisk, ledger, desk, clock=clock, **settings) as follower:
        caller = asterisk.phone()
        allow(ledger, caller, lease_seconds=lease)
        call = await asterisk.dial(DOMESTIC, caller=caller)
        call.answer()
        await desk.until(lambda: State.UP in [call.state for call in desk.calls])
        (live,) = ledger.live()
        yield follower, call, live


def timeouts(asterisk):
    return [float(action.get("Timeout")) for action in asked(asterisk, "AbsoluteTimeout")]


async def told(asterisk, times):
    await becomes(lambda: len(timeouts(asterisk)) >= times)


async def test_asterisk_is_told_what_is_left_of_a_lease(asterisk, ledger, desk):
    clock = LateClock()
    async with up_call(asterisk, ledger, desk, clock=clock) as (follower, call, live):
        assert timeouts(asterisk) == [], "Dial itself knows the first lease"
        clock.late = 250_000
        follower.tell_end(live.leg)
        await becomes(lambda: not follower._orders)
        (timeout,) = timeouts(asterisk)
        assert 340 < timeout <= 350
        assert asked(asterisk, "AbsoluteTimeout")[0].get("Channel") == call.trunk.name
        assert asterisk.exchange.ends_at(call.trunk) is not None


async def test_after_an_interruption_it_is_told_again(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk) as (follower, _, _live):
        asterisk.manager.cut()
        await told(asterisk, 1)
        await becomes(lambda: follower.following and not follower._orders)
        assert 590 < timeouts(asterisk)[0] <= 600


async def test_what_is_told_is_the_lease_that_is_stored(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk, lease=60) as (follower, _, live):
        ledger.treasury.load((), ())
        renewed = ledger.renew(SystemClock().now() + 55_000).calls
        assert [call.lease_seconds for call in renewed] == [60 + HOUSE.lease.longest]
        follower.tell_end(live.leg)
        await told(asterisk, 1)
        assert timeouts(asterisk)[0] <= 60
        for leg in ledger.stored(renewed, SystemClock().now()):
            follower.tell_end(leg)
        await told(asterisk, 2)
        await becomes(lambda: not follower._orders)
        assert 7200 < timeouts(asterisk)[1] <= 7260
        assert ledger.stored(renewed, SystemClock().now()) == (), "it was told"


async def test_what_is_answered_late_is_told_again(asterisk, ledger, desk):
    clock = LateClock()
    async with up_call(asterisk, ledger, desk, clock=clock) as (follower, _, live):
        act = follower.connection.action

        async def slow(name, **fields):
            reply = await act(name, **fields)
            if name == "AbsoluteTimeout" and clock.late < 2 * (module.PROMPT_MILLIS + 1):
                clock.late += module.PROMPT_MILLIS + 1
            return reply

        follower.connection.action = slow
        follower.tell_end(live.leg)
        await becomes(lambda: not follower._orders)
        first, second, third = timeouts(asterisk)
        assert first > second > third


async def test_what_is_always_answered_late_is_told_no_more_than_a_few_times(asterisk, ledger, desk, monkeypatch):
    monkeypatch.setattr(module, "PROMPT_MILLIS", -1)
    async with up_call(asterisk, ledger, desk) as (follower, _, live):
        follower.tell_end(live.leg)
        await becomes(lambda: not follower._orders)
        assert len(timeouts(asterisk)) == module.TELL_TRIES


async def test_what_is_refused_is_told_again_until_the_call_is_gone(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk) as (follower, call, live):
        act = follower.connection.action
        tries = []

        async def refused(name, **fields):
            tries.append(name)
            if len(tries) == 2:
                call.hang_up()
                await becomes(lambda: ledger.live() == ())
            return await act(name, **fields | {"Channel": "PJSIP/carrier-nobody"})

        follower.connection.action = refused
        follower.tell_end(live.leg)
        await becomes(lambda: not follower._orders)
        assert tries == ["AbsoluteTimeout"] * 2


async def test_where_nothing_is_left_the_call_is_hung_up(asterisk, ledger, desk):
    clock = LateClock()
    async with up_call(asterisk, ledger, desk, clock=clock) as (follower, call, live):
        clock.late = 600_000
        follower.tell_end(live.leg)
        await asyncio.wait_for(call.over(), PATIENCE)
    assert timeouts(asterisk) == []
    assert len(asked(asterisk, "Hangup")) == 1


async def test_an_order_that_is_lost_with_the_link_is_given_again_when_it_is_back(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk) as (follower, _, live):
        with asterisk.manager.faults.during(mute=True):
            follower.tell_end(live.leg)
            await told(asterisk, 1)
            asterisk.manager.cut()
            await becomes(lambda: not follower._orders)
        await told(asterisk, 2)
        await becomes(lambda: follower.following and not follower._orders)
        assert len(timeouts(asterisk)) == 2


async def test_a_call_that_is_gone_is_told_nothing(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk) as (follower, call, live):
        call.hang_up()
        await becomes(lambda: ledger.live() == ())
        follower.tell_end(live.leg)
        await becomes(lambda: not follower._orders)
    assert timeouts(asterisk) == []


async def test_a_shorter_end_is_told_and_then_stored(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk) as (follower, call, live):
        ledger._leases.shorten((live.leg.asterisk, live.leg.uniqueid), 300)
        follower.tell_end(live.leg)
        await desk.until(lambda: desk.calls[-1].lease_seconds == 300)
        assert 290 < timeouts(asterisk)[0] <= 300
        assert call.up


async def test_whoever_is_told_to_hang_up_a_call_does(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk) as (follower, call, live):
        follower.hang_up(live.leg)
        await asyncio.wait_for(call.over(), PATIENCE)


async def test_who_is_about_to_be_cut_hears_a_tone(asterisk, ledger, desk):
    async with up_call(asterisk, ledger, desk) as (follower, call, _):
        follower.warn(call.caller.name)
        await becomes(lambda: not follower._orders)
        (tone,) = asked(asterisk, "PlayDTMF")
        assert (tone.get("Channel"), tone.get("Digit")) == (call.caller.name, module.WARNING_DIGIT)


async def test_when_asterisks_clock_is_set_its_timers_are_set_anew(asterisk, ledger, desk, monkeypatch):
    monkeypatch.setattr(module, "CLOCK_SECONDS", 0.02)
    asterisk.exchange._clock = clock = LateClock()
    async with up_call(asterisk, ledger, desk):

        async def pinged():
            before = len(asked(asterisk, "Ping"))
            await becomes(lambda: len(asked(asterisk, "Ping")) > before + 3)

        await pinged()
        assert timeouts(asterisk) == []
        clock.late = 3_600_000
        await told(asterisk, 1)
        assert 590 < timeouts(asterisk)[0] <= 600
        await pinged()
        assert len(timeouts(asterisk)) == 1
