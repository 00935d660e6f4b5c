"""Planning of messages: what is told at once, what is counted, with whom, and what became of it."""

import asyncio
from dataclasses import dataclass

import pytest

from fraudguard.policy.alert import NewAlert
from fraudguard.store import open_writer
from fraudguard.store.alerts import FOLD_MILLIS, list_alerts, raise_alerts
from fraudguard.store.outbox import (
    FLOOD_LIMIT,
    GROWTH_LIMIT,
    PLAN_LIMIT,
    OutboxStore,
    Terms,
    delivered,
    due,
    failed,
    pending,
    plan,
    retire,
    stands,
)

NOW = 1_800_000_000_000
MINUTE = 60_000
TERMS = Terms(repeat=3 * MINUTE, expire=24 * 60 * MINUTE)


@dataclass
class Routing:
    names: tuple[str, ...] = ("mail",)
    wait: int = 0

    def channels(self, kind, tenant, severity):
        return self.names

    def not_before(self, severity, instant):
        return max(instant, self.wait)


class Desk:
    """A database with the planner's functions, each in a transaction of its own."""

    def __init__(self, writer, routing):
        self.writer = writer
        self.routing = routing

    async def raised(self, *alerts):
        await self.writer.transaction(lambda c: raise_alerts(c, alerts))

    async def planned(self, at=NOW):
        return await self.writer.transaction(lambda c: plan(c, at, self.routing, TERMS))

    async def due(self, at=NOW, channel="mail", limit=100):
        return await self.writer.transaction(lambda c: due(c, channel, at, limit))

    async def told(self, at=NOW, channel="mail"):
        """Deliver what is due and say what it told: (alert, part, tries, alerts, target, origin)."""
        found = await self.due(at, channel)
        for delivery in found:
            await self.writer.transaction(lambda c, id_=delivery.id: delivered(c, id_, at))
        return [(d.alert.id, d.part, d.tries, d.alerts, d.target, d.origin) for d in found]


@pytest.fixture
async def desk(writer):
    return Desk(writer, Routing())


def refusal(number="+88216000", at=NOW, **changes):
    fields = {"account": "204", "tenant": "acme", "source": "198.51.100.7:5060", "per_minute": 3_000_000}
    fields |= {"kind": "over_limit", "at": at, "number": number, "dialled": number} | changes
    return NewAlert(fold=f"{number}{fields['account']}{fields['source']}", **fields)


async def test_the_first_goes_at_once_and_repeats_are_counted_into_the_next(desk):
    await desk.raised(refusal())
    assert await desk.planned() == 1
    assert await desk.told() == [(1, 0, 1, 1, "+88216000", "198.51.100.7")]
    for step in range(1, 48):
        await desk.raised(refusal(at=NOW + step * 1000))
        await desk.planned(NOW + step * 1000)
    assert await desk.told(NOW + 3 * MINUTE - 1) == []
    assert await desk.writer.run(lambda c: pending(c, NOW + 3 * MINUTE - 1)) == {}  # its time is to come
    assert await desk.writer.run(lambda c: pending(c, NOW + 3 * MINUTE)) == {"mail": 1}
    assert await desk.told(NOW + 3 * MINUTE) == [(1, 1, 47, 0, "+88216000", "198.51.100.7")]
    assert await desk.planned(NOW + 3 * MINUTE) == 0


async def test_a_range_dialled_through_is_told_together(desk):
    await desk.raised(*(refusal(f"+8821600{n:02}") for n in range(20)))
    await desk.planned()
    assert await desk.told() == [(1, 0, 20, 20, "+8821600…", "198.51.100.7")]
    await desk.raised(refusal("+882999"), refusal("+882160001", at=NOW + 5000))
    await desk.planned(NOW + 6000)
    assert await desk.told(NOW + 3 * MINUTE) == [(1, 1, 2, 1, "+882…", "198.51.100.7")]


@pytest.mark.parametrize(
    ("changes", "together"),
    [
        ({"account": "205"}, True),  # one thief, several passwords
        ({"source": "203.0.113.9:5060"}, True),  # one password, several machines
        ({"source": "198.51.100.7:6000"}, True),  # the same machine from another port
        ({"account": "205", "source": "203.0.113.9"}, False),
        ({"tenant": "globex"}, False),
        ({"kind": "no_rate"}, False),
        ({"account": "", "source": ""}, False),
        ({"kind": "unguarded_call"}, False),
    ],
)
async def test_what_looks_like_the_same_attack_is_told_together(desk, changes, together):
    await desk.raised(refusal())
    await desk.planned()
    await desk.told()
    await desk.raised(refusal("+442079460000", **changes))
    await desk.planned()
    assert (await desk.told() == []) is together


async def test_holes_are_told_one_by_one(desk):
    await desk.raised(*(refusal(number, kind="unguarded_call") for number in ("+4420", "+4930")))
    await desk.planned()
    assert [told[:3] for told in await desk.told()] == [(1, 0, 1), (2, 0, 1)]


async def test_nobody_gets_a_flood(desk):
    count = FLOOD_LIMIT + 100
    await desk.raised(*(refusal(f"+4420{n}", account=f"a{n}", source=f"2001:db8::{n}") for n in range(count)))
    await desk.planned()
    told = await desk.told()
    assert len(told) == FLOOD_LIMIT
    assert sum(tries for _, _, tries, *_ in told) == count
    assert told[-1][3:] == (101, "+4420…", "…")


async def test_the_time_between_repeats_grows_to_its_limit(desk):
    at, gaps, last = NOW, [], NOW
    while len(gaps) < 6:
        await desk.raised(refusal(at=at))
        await desk.planned(at)
        if await desk.told(at):
            gaps.append((at - last) // MINUTE)
            last = at
        at += MINUTE
    assert gaps == [0, 3, 6, 12, 3 * GROWTH_LIMIT, 3 * GROWTH_LIMIT]


async def test_after_ten_quiet_minutes_it_is_a_new_story(desk):
    await desk.raised(refusal())
    await desk.planned()
    await desk.told()
    later = NOW + FOLD_MILLIS
    await desk.raised(refusal("+4420", at=later))
    await desk.planned(later)
    assert [told[:2] for told in await desk.told(later)] == [(2, 0)]


async def test_what_waits_for_the_morning_is_one_message(desk):
    desk.routing.wait = NOW + 600 * MINUTE
    for step in range(3):
        await desk.raised(refusal(at=NOW + step * MINUTE))
        await desk.planned(NOW + step * MINUTE)
    assert await desk.due(NOW + 599 * MINUTE) == ()
    (delivery,) = await desk.due(NOW + 600 * MINUTE)
    assert (delivery.part, delivery.tries, delivery.since, delivery.until) == (0, 3, NOW, NOW + 2 * MINUTE)
    # it does not expire before it had its chance
    late = NOW + 600 * MINUTE + TERMS.expire - 1
    assert not await desk.writer.transaction(lambda c: failed(c, delivery.id, late, "no", late + 1))


async def test_a_message_that_may_be_on_its_way_is_not_changed(desk):
    await desk.raised(refusal())
    await desk.planned()
    (on_its_way,) = await desk.due()
    await desk.raised(refusal(at=NOW + 1))
    await desk.planned(NOW + 1)
    (same,) = await desk.due()
    assert (same.id, same.tries, same.until) == (on_its_way.id, 1, NOW)
    assert len(await desk.due(NOW + 10 * MINUTE)) == 1  # the next part waits for this one, and grows meanwhile
    await desk.raised(refusal(at=NOW + 9 * MINUTE))
    await desk.planned(NOW + 9 * MINUTE)
    assert [told[1:3] for told in await desk.told(NOW + 10 * MINUTE)] == [(0, 1)]
    assert [told[1:3] for told in await desk.told(NOW + 10 * MINUTE)] == [(1, 2)]


async def test_each_channel_has_its_own_messages(desk):
    desk.routing.names = ("mail", "hook")
    await desk.raised(refusal())
    await desk.planned()
    assert len(await desk.told(channel="hook")) == 1
    assert len(await desk.due(channel="mail")) == 1
    assert await desk.told(channel="hook") == []


async def test_what_nobody_wants_to_hear_is_done_with(desk):
    desk.routing.names = ()
    await desk.raised(refusal())
    assert (await desk.planned(), await desk.planned()) == (1, 0)


async def test_the_urgent_goes_first(desk):
    await desk.raised(refusal(kind="bad_number"), refusal(), refusal(kind="unguarded_call"))
    await desk.planned()
    assert [d.alert.severity for d in await desk.due(limit=2)] == ["critical", "warning"]


async def test_a_failure_is_tried_again_and_given_up_when_it_expires(desk):
    await desk.raised(refusal())
    await desk.planned()
    (delivery,) = await desk.due()
    end = NOW + TERMS.expire
    assert not await desk.writer.transaction(lambda c: failed(c, delivery.id, NOW, "refused", NOW + 5000))
    assert await desk.due(NOW + 4999) == ()
    ((again,),) = (await desk.due(NOW + 5000),)
    assert (again.id, again.attempts) == (delivery.id, 1)
    assert not await desk.writer.transaction(lambda c: failed(c, delivery.id, end - 1, "refused", end + 90_000))
    assert len(await desk.due(end)) == 1  # the last attempt is not left out
    assert await desk.writer.transaction(lambda c: failed(c, delivery.id, end, "refused\n\x1b[2J", end + 90_000))
    assert await desk.due(end + TERMS.expire) == ()
    alerts = await desk.writer.run(list_alerts)
    ((stand,),) = (await desk.writer.run(lambda c: stands(c, alerts))).values()
    assert (stand.state, stand.attempts, stand.error) == ("expired", 3, "refused\ufffd\ufffd[2J")


async def test_what_was_delivered_stays_so(desk):
    await desk.raised(refusal())
    await desk.planned()
    (delivery,) = await desk.due()
    await desk.told()
    assert not await desk.writer.transaction(lambda c: failed(c, delivery.id, NOW, "late", NOW))
    assert await desk.due(NOW + TERMS.expire) == ()
    assert await desk.writer.run(lambda c: pending(c, NOW)) == {}


async def test_a_removed_channel_keeps_nothing_waiting(desk):
    desk.routing.names = ("mail", "old")
    await desk.raised(refusal())
    await desk.planned()
    assert await desk.writer.transaction(lambda c: retire(c, ["mail"])) == 1
    assert await desk.writer.run(lambda c: pending(c, NOW)) == {"mail": 1}
    alerts = await desk.writer.run(list_alerts)
    told = (await desk.writer.run(lambda c: stands(c, alerts)))[1]
    assert [(stand.channel, stand.state) for stand in told] == [("mail", "pending"), ("old", "expired")]
    assert told[1].error == "the channel is not configured any more"


async def test_followers_are_listed_with_their_leaders_messages(desk):
    await desk.raised(refusal(), refusal("+8829"))
    await desk.planned()
    alerts = await desk.writer.run(list_alerts)
    told = await desk.writer.run(lambda c: stands(c, alerts))
    assert told[1] == told[2] != []


async def test_a_backlog_is_planned_in_pieces(desk, database):
    class Clock:
        def now(self):
            return NOW

    await desk.raised(*(refusal(f"+44{n}") for n in range(PLAN_LIMIT + 1)))
    from fraudguard.store import open_reader  # noqa: PLC0415

    async with await open_reader(database) as reader:
        store = OutboxStore(desk.writer, reader, Clock(), desk.routing, TERMS)
        assert [await store.plan(), await store.plan(), await store.plan()] == [True, False, False]
        (first,) = await store.due("mail", 9)
        assert first.tries == PLAN_LIMIT


async def test_planning_is_quick_even_when_the_loop_is_busy(desk):
    """Few statements: each step of SQLite may wait 5 ms for the interpreter's lock."""
    await desk.raised(*(refusal(f"+44{n}", account=f"{n % 7}") for n in range(PLAN_LIMIT)))
    steps = []
    await desk.writer.run(lambda c: c.set_trace_callback(steps.append))
    await desk.planned()
    await desk.writer.run(lambda c: c.set_trace_callback(None))
    assert len(steps) <= 8


async def test_two_connections_see_one_outbox(desk, database):
    await desk.raised(refusal())
    async with await open_writer(database) as other:
        done = await asyncio.gather(desk.planned(), other.transaction(lambda c: plan(c, NOW, desk.routing, TERMS)))
    assert sorted(done) == [0, 1]
    assert len(await desk.due()) == 1
