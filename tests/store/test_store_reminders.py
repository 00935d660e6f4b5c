"""Grants that end soon: told of once, in the transaction that notes it."""

import asyncio
import contextlib

import pytest

from fraudguard.clock import DAY_MILLIS
from fraudguard.errors import StoreError
from fraudguard.policy.records import EVERYBODY, Scope
from fraudguard.store import policies, reminders
from fraudguard.store.alerts import list_alerts
from fraudguard.store.edits import revisions
from fraudguard.store.hourly import EVERY_SECONDS, LOCKED_SECONDS
from fraudguard.store.reminders import STEP_ROWS, remind, remind_hourly

NOW = 1_800_000_000_000
FAX = Scope("acme", "fax1")
WEEK = 7


def days(count):
    return NOW + int(count * DAY_MILLIS)


async def granted(writer, until, *, added=-30, scope=FAX, prefix="44207946", **terms):
    terms = {"highest": 100_000, "reason": "fax to London", **terms}
    return await policies.add_grant(writer, scope, prefix, until=until, author="eve", now=days(added), **terms)


async def test_a_grant_that_ends_soon_is_told_of_once_with_what_is_needed_to_renew_it(writer, reader):
    grant = await granted(writer, days(5))
    assert await remind(writer, WEEK, NOW) == 1
    (alert,) = await reader.read(list_alerts)
    assert (alert.kind, alert.severity, alert.tenant, alert.account, alert.number) == (
        *("grant_expiring", "notice", "acme", "fax1", "+44207946"),
    )
    assert (alert.first_at, alert.last_at, alert.tries) == (NOW, NOW, 1)
    assert alert.details == {
        "grant": str(grant.id),
        "until": "2027-01-20T08:00:00+00:00",
        "added": "2026-12-16T08:00:00+00:00",
        "max_price": "0.10",
        "asks_pin": "no",
        "reason": "fax to London",
        "author": "eve",
    }
    assert [await remind(writer, WEEK, NOW + hour * 3_600_000) for hour in range(3)] == [0, 0, 0]
    assert await reader.read(lambda c: c.execute("SELECT reminded_at FROM grants").fetchall()) == [(NOW,)]
    assert await reader.read(revisions) == {"grant": 1}, "no edit: nobody has to load the grants again"


async def test_a_grant_for_everybody_and_any_price_is_told_of_too(writer, reader):
    await granted(writer, days(5), scope=EVERYBODY, highest=None, reason="", asks_pin=True)
    await granted(writer, days(5), prefix="")
    assert await remind(writer, WEEK, NOW) == 2
    second, first = await reader.read(list_alerts)
    assert (first.tenant, first.account, first.number) == ("", "", "+44207946")
    assert (first.details["max_price"], first.details["asks_pin"], first.details["reason"]) == ("any", "yes", "")
    assert (second.number, second.details["grant"]) == (None, "2")


@pytest.mark.parametrize(
    ("until", "added", "told"),
    [
        (7, -30, 1),
        (7.01, -30, 0),  # later
        (0.01, -30, 1),
        (0, -30, 0),  # ended
        (5, -0.9, 0),  # added not a day ago
        (5, -1, 1),
        (0.05, -0.9, 0),  # all its life is shorter than a day
        (None, -30, 0),  # for good
    ],
)
async def test_when(writer, until, added, told):
    await granted(writer, None if until is None else days(until), added=added)
    assert await remind(writer, WEEK, NOW) == told


async def test_a_grant_for_two_days_is_told_of_when_a_day_is_left(writer):
    await granted(writer, days(2), added=0)
    assert [await remind(writer, WEEK, days(day)) for day in (0, 0.5, 1, 1.5)] == [0, 0, 1, 0]


async def test_what_was_removed_is_not_told_of(writer):
    grant = await granted(writer, days(5))
    await policies.remove_grant(writer, grant.id, author="eve", now=NOW)
    assert await remind(writer, WEEK, NOW) == 0


async def test_many_are_told_of_in_small_transactions(writer, reader):
    for _ in range(STEP_ROWS + 1):
        await granted(writer, days(5))
    assert await remind(writer, WEEK, NOW) == STEP_ROWS + 1
    assert await reader.read(lambda c: c.execute("SELECT count(*) FROM alerts").fetchone()) == (STEP_ROWS + 1,)


async def test_what_breaks_off_in_between_leaves_neither_alert_nor_note(writer, reader, monkeypatch):
    await granted(writer, days(5))
    raise_alerts = reminders.raise_alerts

    def broken(connection, alerts):
        raise_alerts(connection, alerts)
        raise RuntimeError("killed")

    monkeypatch.setattr(reminders, "raise_alerts", broken)
    with pytest.raises(RuntimeError):
        await remind(writer, WEEK, NOW)
    monkeypatch.undo()
    assert await reader.read(list_alerts) == ()
    assert await remind(writer, WEEK, NOW) == 1


class Clock:
    def now(self):
        return NOW


@pytest.fixture
def slept(monkeypatch):
    """How long was slept for, without sleeping."""
    lengths = []
    sleep = asyncio.sleep

    async def noted(seconds):
        lengths.append(seconds)
        await sleep(0)

    monkeypatch.setattr("fraudguard.store.hourly.asyncio.sleep", noted)
    monkeypatch.setattr("fraudguard.store.hourly.LOCKED_TRIES", 1_000_000)  # they take no time here
    return lengths


async def ended(task):
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_the_service_looks_every_hour_and_soon_again_after_a_lock(locked, writer, slept):
    await granted(writer, days(5))
    told = asyncio.Queue()
    with locked():
        work = remind_hourly(writer, WEEK, Clock(), reminded=told.put_nowait, failed=told.put_nowait)
        task = asyncio.create_task(work)
        while not slept:
            await asyncio.wait([task], timeout=0.01)
    assert await told.get() == 1
    while EVERY_SECONDS not in slept:
        await asyncio.wait([task], timeout=0.01)
    await ended(task)
    assert set(slept) == {EVERY_SECONDS, LOCKED_SECONDS}
    assert told.empty()


async def test_trouble_is_told_and_survived(writer, slept):
    told = asyncio.Queue()
    await writer.run(lambda c: c.execute("ALTER TABLE grants RENAME TO other").fetchall())
    work = remind_hourly(writer, WEEK, Clock(), reminded=told.put_nowait, failed=told.put_nowait)
    task = asyncio.create_task(work)
    assert isinstance(await told.get(), StoreError)
    await writer.run(lambda c: c.execute("ALTER TABLE other RENAME TO grants").fetchall())
    await granted(writer, days(5))
    while isinstance(found := await told.get(), StoreError):
        pass
    await ended(task)
    assert found == 1


async def test_none_are_wanted(writer, slept):
    await granted(writer, days(5))
    await remind_hourly(writer, 0, Clock())
    assert slept == []
