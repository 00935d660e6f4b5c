"""Alerts that no verdict raised: stored and folded as those of verdicts are, also while the database is locked."""

import asyncio
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudguard.errors import InputError
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.store import open_writer
from fraudguard.store.alerts import FOLD_MILLIS, AlertKeeper, ack_alert, find_alert, list_alerts, raise_alerts
from fraudguard.store.rows import TEXT_LIMIT

NOW = 1_800_000_000_000


def lost(at=NOW, fold="pbx", **changes):
    return NewAlert(AlertKind.AMI_LOST, at, fold=fold, **changes)


async def raised(writer, *alerts):
    await writer.transaction(lambda c: raise_alerts(c, alerts))


async def stored(reader):
    return [(alert.kind, alert.tries, alert.first_at, alert.last_at) for alert in await reader.read(list_alerts)]


async def test_an_alert_is_stored_with_its_details(writer, reader):
    details = {"channel": "PJSIP/x-1", "context": "from-internal\x1b[2J", "odd": "\udcff"}
    await raised(
        writer, NewAlert("unguarded_call", NOW, "f", trunk="carrier", per_minute=7, reason="gone", details=details)
    )
    (alert,) = await reader.read(list_alerts)
    assert (alert.kind, alert.severity, alert.reason, alert.trunk) == ("unguarded_call", "critical", "gone", "carrier")
    assert (alert.per_minute, alert.leader) == (7, None)
    assert alert.details == {"channel": "PJSIP/x-1", "context": "from-internal\ufffd[2J", "odd": "\ufffd"}
    assert await reader.read(lambda c: find_alert(c, alert.id)) == alert


async def test_alike_ones_are_counted_within_ten_minutes(writer, reader):
    await raised(writer, lost(), lost(NOW + 5, tries=3), lost(NOW + 7, fold="other"))
    await raised(writer, lost(NOW + FOLD_MILLIS + 4))
    assert sorted(await stored(reader)) == [
        ("ami_lost", 1, NOW + 7, NOW + 7),
        ("ami_lost", 5, NOW, NOW + FOLD_MILLIS + 4),
    ]
    await raised(writer, lost(NOW + 3 * FOLD_MILLIS))
    assert len(await stored(reader)) == 3


async def test_another_kind_with_the_same_fold_is_another_alert(writer, reader):
    await raised(writer, lost(), NewAlert(AlertKind.AMI_OVERFLOW, NOW, fold="pbx"))
    assert len(await stored(reader)) == 2


async def test_after_an_acknowledgement_it_is_a_new_one(writer, reader):
    await raised(writer, lost())
    await ack_alert(writer, 1, author="eve", now=NOW)
    await raised(writer, lost(NOW + 1))
    assert await stored(reader) == [("ami_lost", 1, NOW + 1, NOW + 1)]
    with pytest.raises(InputError, match="there is no alert 9"):
        await reader.read(lambda c: find_alert(c, 9))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text(max_size=300), st.integers(1, 5), st.integers(0, FOLD_MILLIS - 1)), min_size=1, max_size=30
    )
)
async def test_whatever_is_raised_nothing_is_lost(writer, reader, alerts):
    before = sum(tries for _, tries, *_ in await stored_all(reader))
    await raised(writer, *(lost(NOW + at, text, tries=n, account=text, details={text: text}) for text, n, at in alerts))
    after = await stored_all(reader)
    assert sum(tries for _, tries, *_ in after) - before == sum(n for _, n, _ in alerts)
    assert all(len(account) <= TEXT_LIMIT for *_, account in after)


async def stored_all(reader):
    found = await reader.read(lambda c: list_alerts(c, acked=True, limit=100_000))
    return [(alert.id, alert.tries, alert.account) for alert in found]


# The keeper


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for is another task's doing
            await asyncio.sleep(0.005)


async def test_the_keeper_waits_for_a_locked_database_and_counts_meanwhile(database, reader, monkeypatch):
    monkeypatch.setattr("fraudguard.store.keepers.RETRY_SECONDS", (0.01, 0.01))
    told, failures = [], []
    async with await open_writer(database, busy_seconds=0.01) as writer:
        keeper = AlertKeeper(writer, stored=lambda _: told.append(1), failed=lambda error: failures.append(str(error)))
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        keeper.keep(lost(NOW + 1))
        await until(lambda: failures)
        keeper.keep(lost(NOW + 2))
        keeper.keep(lost(NOW, fold="other"))
        assert keeper.pending in {2, 3}  # the first may be on its way, and counted apart
        assert told == []
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: told)
        await keeper.close()
    assert "is locked by another process" in failures[0]
    assert sorted(await stored(reader)) == [("ami_lost", 1, NOW, NOW), ("ami_lost", 2, NOW + 1, NOW + 2)]
    assert (keeper.pending, keeper.lost) == (0, 0)


async def test_the_keeper_takes_only_so_many_different_ones(writer, reader):
    failures = []
    keeper = AlertKeeper(writer, failed=failures.append, pending_limit=3)
    for n in range(10):
        keeper.keep(lost(NOW + n, fold=str(n % 3) if n < 6 else str(n)))
    assert (keeper.pending, keeper.lost) == (3, 4)
    assert len(failures) == 1
    await keeper.close()
    assert sorted(at for _, _, at, _ in await stored(reader)) == [NOW + 7, NOW + 8, NOW + 9]


async def test_an_alert_that_cannot_be_stored_holds_up_no_other(writer, reader):
    failures = []
    keeper = AlertKeeper(writer, failed=failures.append)
    keeper.keep(lost(per_minute=2**70))  # more than SQLite's integers hold
    keeper.keep(lost(NOW + 1, fold="other"))
    await keeper.close()
    assert await stored(reader) == [("ami_lost", 1, NOW + 1, NOW + 1)]
    assert (keeper.lost, len(failures)) == (1, 1)


async def test_the_keeper_gives_up_at_the_end(database):
    async with await open_writer(database, busy_seconds=0.01) as writer:
        keeper = AlertKeeper(writer)
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        keeper.keep(lost())
        async with asyncio.timeout(5):
            await keeper.close()
        other.close()
    assert keeper.lost == 1
