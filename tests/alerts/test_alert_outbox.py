"""The outbox at work, on a real database: what leaves, and what survives a channel that does not work, or kill -9."""

import asyncio
import contextlib
import sys
import time
from functools import partial

import pytest
from policy_cases import attempt, number, rate
from structlog.testing import capture_logs

from fraudguard.alerts import outbox
from fraudguard.alerts.channel import NotDeliveredError
from fraudguard.alerts.outbox import Outbox, backoff
from fraudguard.alerts.routes import Routes
from fraudguard.alerts.text import render
from fraudguard.clock import SystemClock
from fraudguard.errors import StoreError
from fraudguard.policy import Facts, Limit, Outcome, Reason, Scope, Verdict
from fraudguard.policy.alert import NewAlert
from fraudguard.store import VerdictLog, create_database, open_reader, open_writer
from fraudguard.store.alerts import AlertKeeper, raise_alerts
from fraudguard.store.outbox import OutboxStore, Terms

TERMS = Terms(repeat=180_000, expire=86_400_000)


class Inbox:
    """A channel that keeps what it gets; `fail` is how often it refuses first, `hang` makes it never answer."""

    def __init__(self, fail=0, *, hang=False):
        self.fail = fail
        self.hang = hang
        self.got = []
        self.tried = asyncio.Event()
        self.closed = False

    async def send(self, message):
        self.tried.set()
        if self.hang:
            await asyncio.get_running_loop().create_future()
        if self.fail:
            self.fail -= 1
            raise NotDeliveredError("out of order")
        self.got.append(message)
        return ""

    async def close(self):
        self.closed = True


@pytest.fixture
async def database(tmp_path):
    path = tmp_path / "fraudguard.db"
    await create_database(path, 0)
    return path


@pytest.fixture
async def start(database):
    """Return what starts an outbox for channels given by name, with its writer and store as attributes."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(poll_seconds=60.0, shelf=None, **channels):
            writer = await stack.enter_async_context(await open_writer(database))
            reader = await stack.enter_async_context(await open_reader(database))
            store = OutboxStore(writer, reader, SystemClock(), Routes(channels, (), None), TERMS)
            made = Outbox(
                (shelf or (lambda inner: inner))(store),
                channels,
                partial(render, currency="USD"),
                jitter=lambda: 0.0,
                poll_seconds=poll_seconds,
            )
            made.start()
            stack.push_async_callback(made.close)
            made.writer, made.store = writer, store
            return made

        yield begin


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for is another task's doing
            await asyncio.sleep(0.005)


async def raised(made, *folds, kind="unguarded_call"):
    now = SystemClock().now()
    await made.writer.transaction(lambda c: raise_alerts(c, [NewAlert(kind, now, fold) for fold in folds]))
    made.wake()


def refusal(at):
    facts = Facts(attempt(at=at), number(), "a", rate(9_000_000), Limit(Scope(), 250_000), None, None)
    return Verdict("c1", Outcome.NOWHERE, Reason.OVER_LIMIT, facts, None)


async def test_a_refusal_is_told_within_a_second_of_its_verdict(start):
    inbox = Inbox()
    made = await start(mail=inbox)
    log = VerdictLog(made.writer, committed=lambda _: made.wake())
    began = time.monotonic()
    await log.record(refusal(SystemClock().now()))
    await until(lambda: inbox.got)
    spent = time.monotonic() - began
    await log.close()
    assert spent < 1.0
    assert inbox.got[0].document["number"] == "+88216000"


async def test_without_a_word_it_looks_by_itself(start):
    inbox = Inbox()
    made = await start(poll_seconds=0.02, mail=inbox)
    now = SystemClock().now()
    await made.writer.transaction(lambda c: raise_alerts(c, [NewAlert("ami_lost", now, "pbx")]))
    await until(lambda: inbox.got)


async def test_a_dead_channel_holds_up_nobody_else(start):
    dead, alive = Inbox(hang=True), Inbox()
    made = await start(mail=dead, hook=alive)
    await raised(made, *(str(n) for n in range(12)))
    await until(lambda: len(alive.got) == 12)
    assert dead.tried.is_set()
    assert not dead.got


async def test_what_fails_comes_again_with_the_same_id_until_it_is_taken(start, monkeypatch):
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.01)
    inbox = Inbox(fail=3)
    made = await start(poll_seconds=0.01, mail=inbox)
    with capture_logs() as lines:
        await raised(made, "one")
        await until(lambda: made.counters["mail"].delivered)
    counters = made.counters["mail"]
    assert (counters.delivered, counters.failed, counters.expired) == (1, 3, 0)
    assert [(line["event"], line["error"]) for line in lines] == [("alert not delivered", "out of order")] * 3
    assert len(inbox.got) == 1
    await until(lambda: counters.pending == 0)


def test_the_wait_doubles_up_to_a_quarter_of_an_hour():
    waits = [backoff(attempts, 0.0) for attempts in (1, 2, 3, 8, 9, 1000)]
    assert waits == [5, 10, 20, 640, 900, 900]
    assert (backoff(1, -1.0), backoff(1, 1.0)) == (4, 6)


async def test_what_a_channel_took_is_not_sent_again_when_the_database_is_locked(start, monkeypatch):
    class Locked:
        """A store that cannot be written for a while, in the moment after the message was taken."""

        def __init__(self, inner):
            self._inner = inner
            self.refusals = 3

        def __getattr__(self, name):
            return getattr(self._inner, name)

        async def delivered(self, delivery, note):
            if self.refusals:
                self.refusals -= 1
                raise StoreError("is locked")
            await self._inner.delivered(delivery, note)

    inbox = Inbox()
    made = await start(poll_seconds=0.01, shelf=Locked, mail=inbox)
    await raised(made, "one")
    await until(lambda: inbox.got)
    await raised(made, "two")
    await until(lambda: len(inbox.got) == 2)
    assert len({message.id for message in inbox.got}) == 2


async def test_whatever_a_channel_or_the_text_raises_is_a_failure_and_says_no_more(start):
    class Broken(Inbox):
        async def send(self, message):
            raise KeyError("https://token@example.com")

    made = await start(mail=Broken())
    with capture_logs() as lines:
        await raised(made, "one")
        await until(lambda: lines)  # told once it is written down
    assert [line["error"] for line in lines] == ["inner error: KeyError"]


async def test_a_message_on_its_way_arrives_before_the_end(start):
    class Slow(Inbox):
        async def send(self, message):
            self.tried.set()
            await asyncio.sleep(0.2)
            return await super().send(message)

    slow = Slow()
    made = await start(mail=slow)
    await raised(made, "one")
    await slow.tried.wait()
    await made.close()
    assert len(slow.got) == 1
    assert slow.closed
    assert await made.store.pending() == {}


async def test_one_that_hangs_does_not_keep_the_service_from_ending(start, monkeypatch):
    monkeypatch.setattr(outbox, "STOP_SECONDS", 0.05)
    hanging = Inbox(hang=True)
    made = await start(mail=hanging)
    await raised(made, "one")
    await hanging.tried.wait()
    async with asyncio.timeout(5):
        await made.close()
    assert await made.store.pending() == {"mail": 1}  # and goes after the next start
    inbox = Inbox()
    await start(mail=inbox)
    await until(lambda: inbox.got)


async def test_the_keeper_stores_and_wakes(start):
    inbox = Inbox()
    made = await start(mail=inbox)
    keeper = AlertKeeper(made.writer, stored=lambda _: made.wake())
    keeper.keep(NewAlert("ami_lost", SystemClock().now(), "pbx", details={"asterisk": "pbx"}))
    await until(lambda: inbox.got)
    await keeper.close()
    assert inbox.got[0].document["details"] == {"asterisk": "pbx"}


# kill -9

WORK = """
import asyncio, os, sys, random
from functools import partial
from pathlib import Path
from fraudguard.alerts.outbox import Outbox
from fraudguard.alerts.routes import Routes
from fraudguard.alerts.text import render
from fraudguard.clock import SystemClock
from fraudguard.policy.alert import NewAlert
from fraudguard.store import open_reader, open_writer
from fraudguard.store.alerts import raise_alerts
from fraudguard.store.outbox import OutboxStore, Terms

path, rounds = Path(sys.argv[1]), int(sys.argv[2])

class Tell:
    async def send(self, message):
        await asyncio.sleep(random.uniform(0, 0.004))
        os.write(1, f"told {message.id} {message.document['tries']}\\n".encode())
        return ""
    async def close(self): ...

class Store(OutboxStore):
    async def delivered(self, delivery, note):
        await super().delivered(delivery, note)
        os.write(1, f"noted {render(delivery, 'USD').id}\\n".encode())

async def main():
    writer, reader = await open_writer(path), await open_reader(path)
    channels = {"a": Tell(), "b": Tell()}
    store = Store(writer, reader, SystemClock(), Routes(channels, (), None), Terms(repeat=1, expire=10**9))
    outbox = Outbox(store, channels, partial(render, currency="USD"), poll_seconds=0.01)
    outbox.start()
    for n in range(rounds):
        alert = NewAlert("unguarded_call", SystemClock().now(), str(n % 40))
        await writer.transaction(lambda c: raise_alerts(c, [alert]))
        os.write(1, b"raised\\n")
        outbox.wake()
    while True:
        await asyncio.sleep(0.02)
        (left,) = await reader.read(lambda c: c.execute(
            "SELECT (SELECT count(*) FROM alerts WHERE announced < tries)"
            " + (SELECT count(*) FROM deliveries WHERE state = 'pending')").fetchone())
        if not left:
            os.write(1, b"done\\n")
            return

asyncio.run(main())
"""


async def run(database, rounds, lines=None):
    """Run the program, and kill it after so many lines of output; return the whole lines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORK, str(database), str(rounds)), stdout=asyncio.subprocess.PIPE
    )
    out = []
    async with asyncio.timeout(60):
        while (line := await process.stdout.readline()) and len(out) != lines:
            out.append(line)
        if lines is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            rest, _ = await process.communicate()
            out += [line, *rest.splitlines(keepends=True)]
        else:
            assert await process.wait() == 0
    return [line.decode().split() for line in out if line.endswith(b"\n")]


async def test_killed_at_any_point_nothing_is_lost_and_what_was_noted_is_not_sent_again(database):
    told, noted = [], {}
    runs = [await run(database, 1000, lines) for lines in (3, 40, 41, 97, 150, 5, 233)]
    runs.append(await run(database, 0))
    raised = sum(line == ["raised"] for lines in runs for line in lines)
    async with await open_reader(database) as reader:
        rows = await reader.read(
            lambda c: c.execute("SELECT id, channel, state, tries, attempts, alert, part FROM deliveries").fetchall()
        )
        (tries,) = await reader.read(lambda c: c.execute("SELECT sum(tries) FROM alerts").fetchone())
    assert {state for _, _, state, *_ in rows} == {"delivered"}
    for channel in ("a", "b"):  # every try is told exactly once by what was delivered
        assert sum(row[3] for row in rows if row[1] == channel) == tries >= raised
    for number_, lines in enumerate(runs):
        told.extend((number_, line[1]) for line in lines if line[0] == "told")
        noted.update({line[1]: number_ for line in lines if line[0] == "noted"})
    assert len({id_ for _, id_ in told}) == len(rows)
    again = [id_ for _, id_ in told]
    twice = {id_ for id_ in again if again.count(id_) > 1}
    for id_ in twice:  # only across a kill, never within one life
        assert len({life for life, one in told if one == id_}) == again.count(id_)
    for life, id_ in told:  # and never after it was noted
        assert life <= noted.get(id_, life)
    assert len(twice) <= 8 * 7  # at most what was on its way at each kill: 4 per channel
