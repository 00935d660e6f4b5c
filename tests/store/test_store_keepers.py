import asyncio
import sys
from pathlib import Path

import pytest

from fraudguard.detect.sources import Sighting, SightingKind
from fraudguard.errors import StoreError
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.store import open_writer
from fraudguard.store.calls import list_calls
from fraudguard.store.keepers import BATCH_LIMIT, RETRY_SECONDS, CallKeeper, SourceKeeper
from fraudguard.store.sources import list_sources

NOW = 1_800_000_000_000


def call(uniqueid="1", state=State.RINGING, **changes):
    fields = {
        "account": "204",
        "began_at": NOW,
        "ended_at": NOW + 9 if state is State.ENDED else None,
    } | changes
    return Call(
        leg=Leg("pbx1", uniqueid, f"{uniqueid}.l", f"PJSIP/carrier-{uniqueid}"),
        caller="PJSIP/204-1",
        call="c1",
        why="ok",
        tenant="acme",
        source="",
        trunk="carrier",
        number="+53",
        rate=None,
        lease_seconds=600,
        state=state,
        **fields,
    )


@pytest.fixture
def troubles():
    return []


@pytest.fixture
async def keeper(writer, troubles):
    keeper = CallKeeper(writer, failed=troubles.append, pause_seconds=0)
    yield keeper
    await keeper.close()


@pytest.fixture
def tries(writer, monkeypatch):
    """Counts what is handed to the writer; `await tries.get()` waits for the next one to end."""
    ended = asyncio.Queue()
    transaction = writer.transaction

    async def counted(function, *, patient):
        try:
            return await transaction(function, patient=patient)
        finally:
            if function is not identifiers:
                ended.put_nowait((len(function.args[0]), patient))

    monkeypatch.setattr(writer, "transaction", counted)
    return ended


def states(calls):
    return {each.leg.uniqueid: each.state for each in calls}


async def test_the_last_state_of_each_leg_is_stored(keeper, reader):
    keeper.keep([call("1"), call("2")])
    keeper.keep([call("1", State.UP), call("3", State.ENDED), call("3", State.UP)])
    await keeper.close()
    assert states(await reader.read(list_calls)) == {"1": State.UP, "2": State.RINGING, "3": State.ENDED}
    assert (keeper.pending, keeper.stored, keeper.highest, keeper.lost) == (0, 3, 3, 0)


async def test_what_changes_meanwhile_shares_the_next_transaction(keeper, tries, held, reader):
    keeper.keep([call("0")])
    await asyncio.sleep(0)  # handed over, and waits behind what holds the thread
    for step in range(50):
        keeper.keep([call(str(step % 10), State.UP)])
    assert keeper.pending == 11
    held.set()
    assert [await tries.get() for _ in range(2)] == [(1, False), (10, False)]
    assert set(states(await reader.read(list_calls)).values()) == {State.UP}


async def test_many_are_written_in_small_batches(keeper, tries, reader):
    keeper.keep([call(str(n)) for n in range(2 * BATCH_LIMIT + 1)])
    assert [await tries.get() for _ in range(3)] == [(BATCH_LIMIT, False), (BATCH_LIMIT, False), (1, False)]


async def test_it_pauses_between_writes_and_not_before_the_first(writer, tries, monkeypatch):
    pauses = []
    wait_for = asyncio.wait_for

    async def noted(waiting, seconds):
        pauses.append(seconds)
        await wait_for(waiting, 0)

    monkeypatch.setattr("fraudguard.store.keepers.asyncio.wait_for", noted)
    keeper = CallKeeper(writer)
    keeper.keep([call()])
    await tries.get()
    keeper.keep([call(state=State.UP)])
    await tries.get()
    await keeper.close()
    assert pauses == [0.1, 0.1]


async def test_a_locked_database_loses_nothing_and_is_told_of_once(
    locked, keeper, tries, troubles, reader, monkeypatch
):
    monkeypatch.setattr("fraudguard.store.keepers.RETRY_SECONDS", (0,) * len(RETRY_SECONDS))
    with locked():
        keeper.keep([call("1"), call("2")])
        for _ in range(len(RETRY_SECONDS) - 1):
            await tries.get()
        assert troubles == []
        keeper.keep([call("1", State.ENDED), call("3")])
        for _ in range(3):
            await tries.get()
        assert keeper.pending == 3
    await keeper.close()
    assert states(await reader.read(list_calls)) == {"1": State.ENDED, "2": State.RINGING, "3": State.RINGING}
    assert [str(trouble).partition(": ")[2] for trouble in troubles] == [
        "is locked by another process (wait for its import or migration to end and try again)"
    ]
    assert keeper.lost == 0


async def test_a_keeper_steps_aside_for_verdicts(locked, keeper, tries, writer):
    with locked():
        keeper.keep([call()])
        started = asyncio.get_running_loop().time()
        await tries.get()
        assert asyncio.get_running_loop().time() - started < 2  # and not the writer's five seconds
    assert await writer.run(lambda c: c.execute("PRAGMA busy_timeout").fetchone()) == (5000,)


async def test_a_full_disk_is_tried_again(keeper, tries, writer, reader, monkeypatch):
    monkeypatch.setattr("fraudguard.store.keepers.RETRY_SECONDS", (0,))
    pages = await writer.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await writer.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    keeper.keep([call(str(n), account="x" * 250) for n in range(200)])
    await tries.get()
    assert keeper.stored == 0
    await writer.run(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    await keeper.close()
    assert len(await reader.read(lambda c: list_calls(c, limit=1000))) == 200


async def test_memory_has_a_limit_and_the_oldest_goes_first(writer, held, troubles, reader):
    keeper = CallKeeper(writer, failed=troubles.append, pending_limit=3)
    keeper.keep([call(str(n)) for n in range(7)])
    assert (keeper.pending, keeper.lost) == (3, 4)
    assert ["more than 3 records wait to be stored" in str(trouble) for trouble in troubles] == [True]
    held.set()
    await keeper.close()
    assert sorted(states(await reader.read(list_calls))) == ["4", "5", "6"]


@pytest.mark.parametrize("wrong", [{"began_at": None}, {"cause": 2**64}, {"ended_at": NOW}])
async def test_what_the_database_refuses_costs_only_itself(keeper, troubles, reader, wrong):
    keeper.keep([call("1"), call("2", **wrong), call("3")])
    await keeper.close()
    assert sorted(states(await reader.read(list_calls))) == ["1", "3"]
    assert (keeper.lost, len(troubles)) == (1, 1)


async def test_closing_waits_for_the_lock_once_and_then_says_what_is_lost(locked, database, troubles):
    writer = await open_writer(database, busy_seconds=0.01)
    keeper = CallKeeper(writer, failed=troubles.append)
    with locked():
        keeper.keep([call("1"), call("2")])
        await keeper.close()
    await writer.close()
    assert (keeper.lost, keeper.pending, len(troubles)) == (2, 0, 1)


async def test_a_closed_writer_does_not_end_the_keeper(database, tries, troubles):
    writer = await open_writer(database)
    keeper = CallKeeper(writer, failed=troubles.append)
    await writer.close()
    keeper.keep([call()])
    await keeper.close()
    assert [type(trouble) for trouble in troubles] == [StoreError]


async def test_it_tells_what_is_on_disk_and_what_never_will_be(writer, tries, troubles):
    told = []
    keeper = CallKeeper(
        writer, stored=lambda calls: told.append([each.leg.uniqueid for each in calls]), pause_seconds=0
    )
    keeper.keep([call("1"), call("2")])
    await tries.get()
    keeper.keep([call("3"), call("4", cause=2**64), call("5")])
    await keeper.close()
    assert told == [["1", "2"], ["3"], ["4"], ["5"]]


async def test_nothing_is_told_of_what_is_not_on_disk(locked, database):
    told = []
    writer = await open_writer(database, busy_seconds=0.01)
    keeper = CallKeeper(writer, stored=told.append)
    with locked():
        keeper.keep([call("1")])
        await keeper.close()
    await writer.close()
    assert told == []


async def test_a_listener_that_raises_does_not_end_the_keeper(writer, reader, tries):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context["exception"])))

    def stored(_):
        raise RuntimeError("a defect")

    keeper = CallKeeper(writer, stored=stored, pause_seconds=0)
    keeper.keep([call("1")])
    await tries.get()
    keeper.keep([call("2")])
    await keeper.close()
    assert complaints == ["a defect", "a defect"]
    assert (keeper.stored, keeper.lost, len(await reader.read(list_calls))) == (2, 0, 2)


# What is read between two writes


def identifiers(connection):
    return sorted(each.leg.uniqueid for each in list_calls(connection, limit=10_000))


@pytest.fixture(params=["writer", "reader"])
def asked(request, keeper, reader):
    """Ask a keeper exactly, noting how often it said that the moment is taken."""

    async def ask(taken=lambda: None, read=identifiers):
        by = reader if request.param == "reader" else None
        return await keeper.exactly(taken, read, reader=by)

    return ask


async def test_what_is_read_is_what_was_kept_before_the_moment(keeper, asked, held):
    keeper.keep([call("0")])
    await asyncio.sleep(0)  # handed over, and waits behind what holds the thread
    keeper.keep([call("1")])
    moments = []

    def taken():
        moments.append(keeper.pending)
        keeper.keep([call("2")])

    asking = asyncio.create_task(asked(taken))
    await asyncio.sleep(0)
    keeper.keep([call("1b")])
    held.set()
    found = await asking
    assert found == ["0", "1", "1b"]
    assert moments == [2], "after the write that was under way"
    assert await asked() == ["0", "1", "1b", "2"]


async def test_with_nothing_to_store_it_is_read_at_once(asked):
    assert await asked() == []


async def test_the_moment_is_another_one_when_a_write_failed(locked, keeper, tries, asked, monkeypatch):
    monkeypatch.setattr("fraudguard.store.keepers.RETRY_SECONDS", (0,) * len(RETRY_SECONDS))
    moments = []
    keeper.keep([call("0")])
    with locked():
        asking = asyncio.create_task(asked(lambda: moments.append(keeper.pending)))
        for n in range(3):
            await tries.get()
            keeper.keep([call(f"{n}.")])
    found = await asking
    assert len(moments) > 1
    assert len(found) == moments[-1], "all that was kept by the last one"


@pytest.mark.parametrize("when", ["asked", "taken"])
async def test_who_waits_no_longer_is_not_asked(keeper, held, when):
    keeper.keep([call("0")])
    await asyncio.sleep(0)
    moments = []
    asking = asyncio.create_task(keeper.exactly(lambda: moments.append(1), identifiers))
    await asyncio.sleep(0)
    if when == "taken":
        other = asyncio.create_task(keeper.exactly(asking.cancel, identifiers))
        await asyncio.sleep(0)
        held.set()
        assert await other == ["0"]
    else:
        asking.cancel()
    await asyncio.wait([asking])
    held.set()
    assert asking.cancelled()
    assert await keeper.exactly(lambda: None, identifiers) == ["0"]
    assert moments == [1] * (when == "taken")


async def test_what_they_raise_is_theirs(keeper, asked):
    def broken(*_):
        raise ValueError("a defect")

    for arguments in ((broken,), (lambda: None, broken)):
        with pytest.raises(ValueError, match="a defect"):
            await asked(*arguments)
    with pytest.raises(StoreError, match="no such table"):
        await asked(read=lambda connection: connection.execute("SELECT * FROM absent"))
    keeper.keep([call("1")])
    assert await asked() == ["1"]


async def test_what_is_refused_for_good_keeps_nobody_waiting(keeper, asked):
    keeper.keep([call("1"), call("2", cause=2**64)])
    assert await asked() == ["1"]


async def test_who_asks_before_the_end_is_answered_with_the_last_write(keeper, held, asked):
    keeper.keep([call("0")])
    await asyncio.sleep(0)
    keeper.keep([call("1")])
    asking = asyncio.create_task(asked())
    await asyncio.sleep(0)
    closing = asyncio.create_task(keeper.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="the keeper is closed"):
        await asked()
    held.set()
    await closing
    assert await asking == ["0", "1"]


@pytest.mark.parametrize("kept", [0, 1])
async def test_at_the_end_nobody_waits_for_a_lock(locked, database, kept):
    writer = await open_writer(database, busy_seconds=0.01)
    keeper = CallKeeper(writer)
    with locked():
        keeper.keep([call(str(n)) for n in range(kept)])
        asking = asyncio.create_task(keeper.exactly(lambda: None, identifiers))
        await asyncio.sleep(0)
        await keeper.close()
        with pytest.raises(StoreError, match="the keeper is closed" if kept else "is locked"):
            await asking
    await writer.close()


async def test_a_locked_database_is_asked_again(locked, keeper, tries, monkeypatch):
    monkeypatch.setattr("fraudguard.store.keepers.RETRY_SECONDS", (0,) * len(RETRY_SECONDS))
    moments = asyncio.Queue()
    with locked():
        asking = asyncio.create_task(keeper.exactly(lambda: moments.put_nowait(1), identifiers))
        for _ in range(3):
            await moments.get()
    assert await asking == []


async def test_nobody_hangs_when_the_worker_is_cancelled(writer, held):
    keeper = CallKeeper(writer)
    keeper.keep([call("0")])
    await asyncio.sleep(0)
    asking = asyncio.create_task(keeper.exactly(lambda: None, identifiers))
    await asyncio.sleep(0)
    keeper._worker.cancel()
    with pytest.raises(StoreError, match="the keeper is closed"):
        await asking


async def test_memory_and_database_agree_whatever_goes_on(database, keeper, reader, locked, monkeypatch):
    monkeypatch.setattr("fraudguard.store.keepers.RETRY_SECONDS", (0.001,) * len(RETRY_SECONDS))
    kept = []
    done = asyncio.Event()

    async def keep():
        for n in range(600):
            keeper.keep([call(f"{n:04}")])
            kept.append(f"{n:04}")
            if n % 7 == 0:
                await asyncio.sleep(0)
            if n % 150 == 0:
                with locked():
                    await asyncio.sleep(0.03)
        done.set()

    async def compare(by):
        compared = 0
        while not done.is_set():
            memory = []
            found = await keeper.exactly(
                lambda memory=memory: memory.__setitem__(slice(None), kept), identifiers, reader=by
            )
            assert found == memory
            compared += 1
        return compared

    async with asyncio.timeout(60):
        _, *compared = await asyncio.gather(keep(), compare(None), compare(reader))
    assert all(compared)


async def test_sightings_are_counted_together_whatever_the_batches(
    locked, writer, reader, tries, monkeypatch, database
):
    monkeypatch.setattr("fraudguard.store.keepers.RETRY_SECONDS", (0,))
    keeper = SourceKeeper(writer, pause_seconds=0)
    kinds = [SightingKind.SUCCEEDED, SightingKind.INVALID_PASSWORD, SightingKind.INVALID_PASSWORD]

    def seen(at):
        for kind in kinds:
            keeper.note(Sighting(at, "pbx1", "204", "198.51.100.7", kind))

    seen(NOW)
    await tries.get()
    with locked():
        seen(NOW + 5)
        await tries.get()
        seen(NOW - 5)
        await tries.get()
    await keeper.close()
    (source,) = await reader.read(list_sources)
    assert (source.succeeded, source.invalid_password, source.failed) == (3, 6, 6)
    assert (source.first_at, source.last_at) == (NOW - 5, NOW + 5)


KEEP = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store_keepers import NOW, call
from fraudguard.ledger.records import State
from fraudguard.store import open_writer
from fraudguard.store.keepers import CallKeeper

async def main():
    keeper = CallKeeper(await open_writer(Path(sys.argv[1])))
    for n in range(1_000_000):
        keeper.keep([call(f"{n:07}", State.ENDED)])
        sys.stdout.write(f"{n} {keeper.stored}\\n")
        sys.stdout.flush()
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def test_a_kill_loses_a_tenth_of_a_second(database, reader):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KEEP, database, Path(__file__).parent), stdout=asyncio.subprocess.PIPE
    )
    kept = [await process.stdout.readline() for _ in range(400)]
    process.kill()
    await process.communicate()
    _, stored = map(int, kept[-1].split())
    found = await reader.read(lambda c: [row[0] for row in c.execute("SELECT uniqueid FROM calls ORDER BY uniqueid")])
    assert len(found) >= stored > 0
    assert found == [f"{n:07}" for n in range(len(found))], "nothing is missing in between"
