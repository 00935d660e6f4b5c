"""What is left after kill -9: processes of our own, killed by their id in the middle of their work."""

import asyncio
import sys

from fraudguard.rating import Rate
from fraudguard.store import open_writer
from fraudguard.store.rates import Delivery, import_deck, list_versions, load_deck

NOW = 1_800_000_000_000

RECORD = """
import asyncio, sys
from pathlib import Path
from fraudguard.numbering import BadNumber
from fraudguard.policy.records import Attempt, Facts, Limit, Scope, Verdict
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.store import VerdictLog, open_writer

async def main():
    log = VerdictLog(await open_writer(Path(sys.argv[1])))
    facts = Facts(Attempt("x", "t", "", "", "", 1), BadNumber("x", "no"), "d", None, Limit(Scope(), 1), None, None)

    async def caller(name):
        for n in range(1_000_000):
            await log.record(Verdict(f"{name}-{n}", Outcome.NOWHERE, Reason.BAD_NUMBER, facts, None))
            sys.stdout.write(f"{name}-{n}\\n")
            sys.stdout.flush()

    await asyncio.gather(*(caller(name) for name in range(32)))

asyncio.run(main())
"""

IMPORT = """
import asyncio, sys
from pathlib import Path
from fraudguard.rating import Rate
from fraudguard.store import open_writer, rates

def progress(rows):
    print(rows, flush=True)

def endless():
    for n in range(10_000_000, 1_000_000_000):
        yield Rate(str(n), "", 1, 0, 0, 1, 0)

class SlowPublish(rates._Importer):
    # The rows are in the table, the transaction is open: the worst moment.
    def _deck(self, connection):
        found = super()._deck(connection)
        connection.execute("INSERT INTO deck_versions VALUES (99, ?, 1, '', ?, 1, '', '')", (found, "a" * 64))
        connection.execute("INSERT INTO rates SELECT 99, prefix, 0, '', 1, 0, 0, 1, 1 FROM temp.staged")
        print("publishing", flush=True)
        sys.stdin.read()

async def main():
    delivery = rates.Delivery("main", "USD", "new.csv", "b" * 64, "eve", 0)
    if sys.argv[2] == "publishing":
        rates._Importer = SlowPublish
        rows = [Rate(str(n), "", 1, 0, 0, 1, 0) for n in range(10_000, 99_999)]
    else:
        rows = endless()
    writer = await open_writer(Path(sys.argv[1]))
    await rates.import_deck(writer, delivery, rows, currency="USD", now=0, progress=progress)

asyncio.run(main())
"""


async def start(program, *arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_whatever_was_answered_is_stored(database, reader):
    process = await start(RECORD, database)
    answered = [await process.stdout.readline() for _ in range(500)]
    process.kill()
    rest, _ = await process.communicate()
    # The last line may have been cut: only a whole one was an answer.
    answered += [line for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    stored = {call for (call,) in await reader.read(lambda c: c.execute("SELECT call FROM attempts").fetchall())}
    assert {line.decode().strip() for line in answered} <= stored
    (tries,) = await reader.read(lambda c: c.execute("SELECT sum(tries) FROM alerts").fetchone())
    assert tries == len(stored)
    assert await reader.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()) == ("ok",)


async def killed_import(database, reader, moment, line):
    async with await open_writer(database) as writer:
        delivery = Delivery("main", "USD", "old.csv", "a" * 64, "eve", 0)
        old = await import_deck(writer, delivery, [Rate("44", "", 7, 0, 0, 1, 0)], currency="USD", now=NOW)
    process = await start(IMPORT, database, moment)
    while (await process.stdout.readline()).strip() != line:
        assert process.returncode is None
    process.kill()
    await process.communicate()
    assert [v.id for v in await reader.read(lambda c: list_versions(c, NOW))] == [old.version]
    assert await reader.read(lambda c: c.execute("SELECT count(*) FROM rates").fetchone()) == (1,)
    assert (await reader.read(lambda c: load_deck(c, "main", NOW))).lookup("44").per_minute == 7
    async with await open_writer(database) as writer:
        again = Delivery("main", "USD", "new.csv", "b" * 64, "eve", 0)
        await import_deck(writer, again, [Rate("44", "", 8, 0, 0, 1, 0)], currency="USD", now=NOW)
    assert (await reader.read(lambda c: load_deck(c, "main", NOW))).lookup("44").per_minute == 8


async def test_an_import_killed_while_reading_leaves_nothing(database, reader):
    await killed_import(database, reader, "reading", b"20000")


async def test_an_import_killed_while_publishing_leaves_nothing(database, reader):
    await killed_import(database, reader, "publishing", b"publishing")
