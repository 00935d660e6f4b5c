import asyncio
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_cases import EMPTY

from fraudguard.errors import StoreError
from fraudguard.numbering import BadNumber, Kind, Number
from fraudguard.policy.pin import Keyed, Pin, PinKind, Seal, Terms
from fraudguard.policy.reasons import QUIET, Outcome, Reason
from fraudguard.policy.records import UNBOUNDED, Attempt, Block, Facts, Grant, Limit, Scope, Standing, Verdict
from fraudguard.rating import Rate
from fraudguard.store import VerdictLog, open_writer
from fraudguard.store.alerts import FOLD_MILLIS, ack_alert, list_alerts
from fraudguard.store.attempts import list_attempts
from fraudguard.store.verdicts import (
    CROWD,
    GATHER_SECONDS,
    TEXT_LIMIT,
    attempt_row,
    store_batch,
)

NOW = 1_800_000_000_000
PRICE = Rate("882", "Satellite", 9_000_000, 10_000, 0, 60, 0)
NUMBER = Number("01188216000", "88216000", None, Kind.SATELLITE)


def verdict(
    call="c1",
    *,
    reason=Reason.OK,
    number=NUMBER,
    rate=PRICE,
    simulated=(),
    grant=None,
    block=None,
    keyed=None,
    strict=False,
    standing=UNBOUNDED,
    **attempt,
):
    fields = {
        "number": number.dialled,
        "trunk": "carrier",
        "account": "204",
        "tenant": "acme",
        "source": "198.51.100.7:5060",
        "at": NOW,
        "asterisk": "pbx1",
        "linkedid": "1800000000.7",
    }
    facts = Facts(
        Attempt(**(fields | attempt)),
        number,
        "main",
        rate,
        Limit(Scope("acme"), 250_000),
        grant=grant,
        block=block,
        keyed=keyed,
        strict=strict,
        standing=standing,
    )
    allowed = reason in {Reason.OK, Reason.EMERGENCY}
    outcome = Outcome.ALLOW if allowed else Outcome.NOWHERE
    return Verdict(call, outcome, reason, facts, 600 if allowed else None, simulated)


def refusal(call="c1", **changes):
    return verdict(call, **({"reason": Reason.OVER_LIMIT} | changes))


@pytest.fixture
async def log(writer):
    log = VerdictLog(writer)
    yield log
    await log.close()


async def turns(count=3):
    """Let other tasks run: callers reach the queue, the log hands over what it took."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_verdict_is_stored_whole(log, reader):
    grant = Grant(7, Scope(), "882", None, None, "ships", "eve", NOW)
    await log.record(verdict(grant=grant, simulated=(Reason.BLOCKED, Reason.OVER_LIMIT)))
    (stored,) = await reader.read(list_attempts)
    assert (stored.call, stored.at, stored.outcome, stored.reason) == ("c1", NOW, "allow", "ok")
    assert (stored.tenant, stored.account, stored.source) == ("acme", "204", "198.51.100.7:5060")
    assert (stored.asterisk, stored.linkedid, stored.trunk) == ("pbx1", "1800000000.7", "carrier")
    assert (stored.dialled, stored.number, stored.region, stored.kind) == (
        "01188216000",
        "+88216000",
        None,
        "satellite",
    )
    assert (stored.deck, stored.prefix, stored.destination) == ("main", "882", "Satellite")
    assert (stored.per_minute, stored.connect_fee) == (9_000_000, 10_000)
    assert (stored.limit, stored.limit_scope) == (250_000, "tenant")
    assert (stored.lease_seconds, stored.grant_id, stored.block_id) == (600, 7, None)
    assert stored.simulated == ("blocked", "over_limit")
    assert stored.bad_number is None
    assert await reader.read(list_alerts) == ()


async def test_how_things_stood_is_stored(log, reader):
    low = Standing(5_000_000, "account 204 of tenant acme, per day", None, "", "3 calls at once")
    await log.record(verdict("c1", uniqueid="1800000000.7", strict=True, standing=low))
    await log.record(verdict("c2", standing=Standing(0, too_fast="5 attempts in 60 s", too_many="3 calls at once")))
    await log.record(verdict("c3"))
    stored = {one.call: one for one in await reader.read(list_attempts)}
    assert {name: (one.budget, one.room, one.pressed, one.strict) for name, one in stored.items()} == {
        "c1": ("account 204 of tenant acme, per day", 5_000_000, "3 calls at once", True),
        "c2": ("", 0, "5 attempts in 60 s; 3 calls at once", False),
        "c3": ("", None, "", False),
    }
    assert {type(one.strict) for one in stored.values()} == {bool}
    ids = await reader.read(lambda c: c.execute("SELECT uniqueid FROM attempts ORDER BY id").fetchall())
    assert ids == [("1800000000.7",), ("",), ("",)]


@pytest.mark.parametrize(
    ("reason", "standing", "details"),
    [
        (Reason.TOO_FAST, Standing(too_fast="5 attempts in 60 s"), {"pressed": "5 attempts in 60 s"}),
        (Reason.TOO_MANY, Standing(too_many="3 calls at once"), {"pressed": "3 calls at once"}),
        (Reason.OVER_BUDGET, Standing(7, "tenant acme, per day"), {"budget": "tenant acme, per day"}),
        (Reason.OVER_LIMIT, Standing(7, "tenant acme, per day", None, "5 attempts in 60 s"), {}),
    ],
)
async def test_an_alert_tells_what_was_too_much(log, reader, reason, standing, details):
    await log.record(refusal("c1", reason=reason, standing=standing))
    later = replace(standing, room=3, too_fast=standing.too_fast and "6 attempts in 60 s")
    await log.record(refusal("c2", reason=reason, standing=later, at=NOW + 1))
    (alert,) = await reader.read(list_alerts)
    assert (alert.kind, alert.tries, alert.details) == (reason, 2, details)


async def test_of_a_duress_pin_no_budget_is_told(log, reader):
    keyed = Keyed(NOW, pin(duress=True), tries=1)
    await log.record(refusal(reason=Reason.OVER_BUDGET, standing=Standing(7, "tenant acme, per day"), keyed=keyed))
    assert {alert.kind: alert.details for alert in await reader.read(list_alerts)} == {
        "over_budget": {"pin": "anna", "budget": "tenant acme, per day"},
        "pin_duress": {"pin": "anna"},
    }


async def test_a_listener_that_raises_keeps_no_caller_waiting(writer, reader):
    told, complaints = [], []

    def committed(one):
        told.append(one.call)
        raise RuntimeError("a defect")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    log = VerdictLog(writer, committed=committed)
    for calls in (("c1", "c2"), ("c3",)):  # in one batch, and after it
        answers = await asyncio.wait_for(asyncio.gather(*(log.record(verdict(call)) for call in calls)), 10)
        assert [answer.call for answer in answers] == list(calls)
    await log.close()
    assert told == ["c1", "c2", "c3"]
    assert [str(error) for error in complaints] == ["a defect"] * 3
    assert len(await reader.read(list_attempts)) == 3


async def test_a_bad_number_keeps_its_reason(log, reader):
    bad = BadNumber("*67", "it holds characters other than digits")
    await log.record(verdict(reason=Reason.BAD_NUMBER, number=bad, rate=None))
    (stored,) = await reader.read(list_attempts)
    assert (stored.dialled, stored.number, stored.bad_number) == ("*67", None, bad.why)
    (alert,) = await reader.read(list_alerts)
    assert (alert.kind, alert.severity, alert.number, alert.dialled) == ("bad_number", "notice", None, "*67")


async def test_a_block_is_named(log, reader):
    await log.record(refusal(reason=Reason.BLOCKED, block=Block(9, Scope(), "", "", None, "", "", NOW)))
    (stored,) = await reader.read(list_attempts)
    assert (stored.block_id, stored.lease_seconds) == (9, None)


async def test_a_refusal_raises_an_alert_that_says_all(log, reader):
    await log.record(refusal())
    (alert,) = await reader.read(list_alerts)
    assert (alert.kind, alert.reason, alert.severity) == ("over_limit", "over_limit", "warning")
    assert (alert.first_at, alert.last_at, alert.tries) == (NOW, NOW, 1)
    assert (alert.tenant, alert.account, alert.source, alert.trunk) == ("acme", "204", "198.51.100.7:5060", "carrier")
    assert (alert.dialled, alert.number, alert.destination) == ("01188216000", "+88216000", "Satellite")
    assert (alert.per_minute, alert.highest, alert.limit_scope) == (9_000_000, 250_000, "tenant")
    assert (alert.call, alert.acked_at) == ("c1", None)


def pin(name="anna", id_=7, *, duress=False):
    return Pin(id_, "acme", name, PinKind.DIGITS, duress, Terms(), Seal(b"index-of-seal", b"proof-of-seal"), "eve", NOW)


def pin_columns(connection):
    return connection.execute("SELECT pin_id, pin, pin_tries, duress FROM attempts ORDER BY id").fetchall()


async def test_whose_pin_was_keyed_is_stored(log, reader):
    made = [
        None,
        Keyed(NOW, pin(), tries=2),
        Keyed(NOW, pin(duress=True), tries=1),
        Keyed(NOW, refusal=Reason.PIN_WRONG, tries=3),
    ]
    for n, keyed in enumerate(made):
        await log.record(verdict(f"c{n}", keyed=keyed))
    assert await reader.read(pin_columns) == [
        (None, None, None, 0),
        (7, "anna", 2, 0),
        (7, "anna", 1, 1),
        (None, None, 3, 0),
    ]
    stored = await reader.read(list_attempts)
    assert [(each.pin_id, each.pin, each.pin_tries) for each in stored] == [
        (None, None, 3),
        (7, "anna", 1),
        (7, "anna", 2),
        (None, None, None),
    ]


@pytest.mark.parametrize("reason", sorted(QUIET))
async def test_who_mistypes_is_no_alert(log, reader, reason):
    await log.record(verdict(reason=reason, keyed=Keyed(NOW, refusal=reason, tries=3)))
    (stored,) = await reader.read(list_attempts)
    assert (stored.outcome, stored.reason) == ("nowhere", reason)
    assert await reader.read(list_alerts) == ()


async def test_whose_pin_was_not_good_there_is_told(log, reader):
    reasons = [reason for reason in Reason if reason.startswith("pin_") and reason not in QUIET]
    for reason in reasons:
        await log.record(verdict(reason=reason, keyed=Keyed(NOW, pin(), tries=1)))
    alerts = await reader.read(list_alerts)
    assert {alert.kind for alert in alerts} == set(reasons)
    assert {tuple(alert.details.items()) for alert in alerts} == {(("pin", "anna"),)}


async def test_a_duress_pin_is_heard_and_the_call_goes(log, reader):
    await log.record(verdict(keyed=Keyed(NOW, pin(duress=True), tries=1)))
    (stored,) = await reader.read(list_attempts)
    assert (stored.outcome, stored.reason) == ("allow", "ok")
    (alert,) = await reader.read(list_alerts)
    assert (alert.kind, alert.reason, alert.severity) == ("pin_duress", "pin_duress", "critical")
    assert (alert.tenant, alert.account, alert.source, alert.call) == ("acme", "204", "198.51.100.7:5060", "c1")
    assert (alert.number, alert.destination, alert.per_minute) == ("+88216000", "Satellite", 9_000_000)
    assert alert.details == {"pin": "anna"}


@pytest.mark.parametrize(("reason", "others"), [(Reason.PIN_PRICE, {"pin_price"}), (Reason.PIN_ACCOUNT, set())])
async def test_a_duress_pin_is_heard_also_where_the_call_does_not_go(log, reader, reason, others):
    await log.record(verdict(reason=reason, keyed=Keyed(NOW, pin(duress=True), str(reason), 1)))
    assert {alert.kind for alert in await reader.read(list_alerts)} == {"pin_duress"} | others


async def test_alerts_about_two_people_are_two(log, reader):
    made = [Keyed(NOW, pin(name, id_, duress=True), tries=1) for name, id_ in (("anna", 7), ("bob", 8), ("anna", 7))]
    await asyncio.gather(*(log.record(verdict(f"c{n}", keyed=keyed)) for n, keyed in enumerate(made)))
    assert sorted((alert.details["pin"], alert.tries) for alert in await reader.read(list_alerts)) == [
        ("anna", 2),
        ("bob", 1),
    ]


async def test_a_duress_alert_is_stored_with_its_verdict_or_neither_is(writer, reader):
    def broken(connection):
        store_batch([attempt_row(verdict(keyed=Keyed(NOW, pin(duress=True), tries=1)))], connection)
        raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        await writer.transaction(broken)
    assert await reader.read(list_attempts) == ()
    assert await reader.read(list_alerts) == ()


async def test_no_seal_reaches_the_attempts(log, writer, database):
    await log.record(verdict(reason=Reason.PIN_PRICE, keyed=Keyed(NOW, pin(duress=True), tries=1)))
    held = b"".join(path.read_bytes() for path in database.parent.iterdir())
    assert b"anna" in held
    assert b"of-seal" not in held


async def test_repeats_are_folded_whatever_the_port(log, reader):
    await log.record(refusal("c1"))
    await log.record(refusal("c2", at=NOW + 1000, source="198.51.100.7:9"))
    await asyncio.gather(*(log.record(refusal(f"d{n}", at=NOW + 2000 + n)) for n in range(5)))
    (alert,) = await reader.read(list_alerts)
    assert (alert.tries, alert.first_at, alert.last_at, alert.call) == (7, NOW, NOW + 2004, "c1")


@pytest.mark.parametrize(
    "other",
    [
        {"account": "205"},
        {"tenant": "other"},
        {"source": "198.51.100.8:5060"},
        {"reason": Reason.NO_RATE},
        {"number": Number("01188217000", "88217000", None, Kind.SATELLITE)},
        {"at": NOW + FOLD_MILLIS},
    ],
)
async def test_other_refusals_are_other_alerts(log, reader, other):
    await log.record(refusal("c1"))
    await log.record(refusal("c2", **other))
    assert [alert.tries for alert in await reader.read(list_alerts)] == [1, 1]


async def test_ten_minutes_count_from_the_last_try(log, reader):
    for step in range(4):
        await log.record(refusal(at=NOW + step * (FOLD_MILLIS - 1)))
    assert [alert.tries for alert in await reader.read(list_alerts)] == [4]


async def test_after_an_acknowledgement_a_new_alert_is_raised(log, reader, writer):
    await log.record(refusal())
    await ack_alert(writer, 1, author="eve", now=NOW + 5)
    await log.record(refusal(at=NOW + 10))
    (alert,) = await reader.read(list_alerts)
    assert (alert.id, alert.tries) == (2, 1)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 700])
async def test_any_number_at_once(log, reader, count):
    await asyncio.gather(*(log.record(refusal(f"c{n}", account=str(n))) for n in range(count)))
    stored = await reader.read(lambda c: list_attempts(c, limit=10_000))
    assert {row.call for row in stored} == {f"c{n}" for n in range(count)}
    assert len(await reader.read(lambda c: list_alerts(c, limit=10_000))) == count


async def test_waiting_verdicts_share_a_transaction(log, writer, held):
    await turns()
    tasks = [asyncio.ensure_future(log.record(verdict(f"c{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    version = asyncio.create_task(writer.run(lambda c: c.total_changes))
    held.set()
    await asyncio.gather(*tasks)
    assert await writer.run(lambda c: c.total_changes) - await version <= 50
    assert not any(task.exception() for task in tasks)


async def test_a_busy_log_lets_the_next_batch_grow_and_a_quiet_one_does_not(writer, monkeypatch):
    pauses = []
    commits = []
    transaction, sleep = writer.transaction, asyncio.sleep

    async def counted(function):
        commits.append(len(function.args[0]))
        await transaction(function)

    async def noted(seconds):
        pauses.append((seconds, len(commits)))
        await sleep(0)

    monkeypatch.setattr(writer, "transaction", counted)
    monkeypatch.setattr("fraudguard.store.verdicts.asyncio.sleep", noted)
    log = VerdictLog(writer)
    for count in (1, CROWD, CROWD + 1, 1):
        await asyncio.gather(*(log.record(verdict()) for _ in range(count)))
    await log.close()
    assert commits == [1, CROWD, CROWD + 1, 1]
    assert pauses == [(GATHER_SECONDS, 3)]


async def test_a_failed_commit_fails_all_its_waiters_and_no_others(log, writer, reader):
    pages = await writer.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await writer.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    texts = {"linkedid": "x" * 250}
    results = await asyncio.gather(*(log.record(verdict(f"c{n}", **texts)) for n in range(300)), return_exceptions=True)
    assert {type(result) for result in results} == {StoreError}
    assert len({id(result) for result in results}) == 300
    assert "the verdict is not stored" in str(results[0])
    assert "the disk is full" in str(results[0])
    assert await reader.read(list_attempts) == ()
    await writer.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 1000}").fetchone())
    await log.record(verdict("after"))
    assert [row.call for row in await reader.read(list_attempts)] == ["after"]


async def test_a_full_queue_says_so_at_once(writer, reader, held):
    log = VerdictLog(writer, queue_limit=3, batch_limit=2)
    first = asyncio.ensure_future(log.record(verdict("first")))
    await turns()  # the first is being written, behind what holds the thread
    tasks = [asyncio.ensure_future(log.record(verdict(f"c{n}"))) for n in range(3)]
    await turns()
    with pytest.raises(StoreError, match="3 verdicts are waiting to be stored"):
        await log.record(verdict("too many"))
    held.set()
    await asyncio.gather(first, *tasks)
    await log.close()
    assert {row.call for row in await reader.read(list_attempts)} == {"first", "c0", "c1", "c2"}


async def test_a_cancelled_waiter_harms_nobody(log, reader, held):
    tasks = [asyncio.ensure_future(log.record(verdict(f"c{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    held.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert tasks[1].cancelled()
    assert {row.call for row in await reader.read(list_attempts)} == {"c0", "c1", "c2"}


async def test_close_drains_and_then_refuses(writer, reader, held):
    log = VerdictLog(writer, batch_limit=2)
    tasks = [asyncio.ensure_future(log.record(verdict(f"c{n}"))) for n in range(7)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(log.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="the verdict log is closed"):
        await log.record(verdict("late"))
    held.set()
    await closing
    await log.close()
    await asyncio.gather(*tasks)
    assert len(await reader.read(list_attempts)) == 7


async def test_nobody_hangs_when_the_worker_is_cancelled(writer, held):
    log = VerdictLog(writer, batch_limit=1)
    tasks = [asyncio.ensure_future(log.record(verdict(f"c{n}"))) for n in range(2)]
    await turns()
    log._worker.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreError]
    with pytest.raises(StoreError, match="closed"):
        await log.record(verdict("late"))


async def test_a_closed_writer_is_a_store_error(database):
    writer = await open_writer(database)
    log = VerdictLog(writer)
    await writer.close()
    with pytest.raises(StoreError, match="is closed"):
        await log.record(verdict())
    await log.close()


@given(st.lists(st.text(st.characters(codec=None)) | st.text().map(lambda text: text * 100), min_size=8, max_size=8))
def test_no_text_a_caller_sends_keeps_a_verdict_from_being_stored(texts):
    number, account, source, asterisk, linkedid, trunk, uniqueid, budget = texts
    bad = BadNumber(number, "no")
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(EMPTY)
        odd = {"account": account, "source": source, "asterisk": asterisk, "linkedid": linkedid, "trunk": trunk}
        odd |= {"uniqueid": uniqueid, "standing": Standing(1, budget, too_fast=budget)}
        store_batch([attempt_row(verdict(reason=Reason.BAD_NUMBER, number=bad, rate=None, **odd))] * 3, connection)
        dialled, tries = connection.execute("SELECT dialled, tries FROM alerts").fetchone()
        assert len(dialled) <= TEXT_LIMIT
        assert tries == 3
    finally:
        connection.close()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2 * FOLD_MILLIS), st.booleans()), max_size=40), st.data())
def test_tries_add_up_however_verdicts_are_batched(made, data):
    rows = [
        attempt_row((refusal if refused else verdict)(f"c{n}", account=str(account), at=NOW + offset))
        for n, (account, offset, refused) in enumerate(sorted(made, key=lambda each: each[1]))
    ]
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(EMPTY)
        while rows:
            size = data.draw(st.integers(1, len(rows)))
            store_batch(rows[:size], connection)
            rows = rows[size:]
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (len(made),)
        (tries,) = connection.execute("SELECT ifnull(sum(tries), 0) FROM alerts").fetchone()
        assert tries == sum(refused for _, _, refused in made)
    finally:
        connection.close()
