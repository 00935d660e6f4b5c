"""Guesses that outlive the service: failures, unlocks, and codes that were used up."""

import asyncio

import pytest

from fraudguard.errors import InputError
from fraudguard.pins.guessing import FREE, Failure, Scope
from fraudguard.policy.pin import NewPin, PinKind, Scheme, Seal, Terms, Unlock
from fraudguard.store import guesses, pins

NOW = 1_800_000_000_000
BY = {"author": "eve", "now": NOW}


async def history(reader, **wanted):
    return [what for _, _, what in await reader.read(lambda c: pins.list_history(c, **wanted))]


async def test_unlocks(writer, reader):
    for unlock in (
        Unlock(NOW, tenant="acme", account="204"),
        Unlock(NOW + 1, source="192.0.2.7"),
        Unlock(NOW + 2, tenant="acme"),
        Unlock(NOW + 3, tenant="acme", account="204", source="192.0.2.7"),
    ):
        await guesses.unlock(writer, unlock, **BY)
    assert [each.at - NOW for each in await reader.read(lambda c: guesses.list_unlocks(c, NOW + 1))] == [1, 2, 3]
    (first, *_) = await reader.read(lambda c: guesses.list_unlocks(c, 0))
    assert first == Unlock(NOW, tenant="acme", account="204")
    assert await history(reader) == [
        "tenant acme: unlocked account 204 and source 192.0.2.7",
        "tenant acme: unlocked every account",
        "unlocked source 192.0.2.7",
        "tenant acme: unlocked account 204",
    ]
    assert len(await history(reader, tenant="acme")) == 3
    assert await history(reader, tenant="acm") == []
    for nothing in (Unlock(NOW), Unlock(NOW, account="204"), Unlock(NOW, account="204", source="192.0.2.7")):
        with pytest.raises(InputError, match="nothing is named that could be unlocked"):
            await guesses.unlock(writer, nothing, **BY)
    later = NOW + guesses.KEPT_MILLIS + 2
    await guesses.unlock(writer, Unlock(later, source="::1"), author="eve", now=later)
    assert [each.at - NOW for each in await reader.read(lambda c: guesses.list_unlocks(c, 0))] == [
        2,
        3,
        guesses.KEPT_MILLIS + 2,
    ]


async def test_failures_are_noted_and_taken_back(writer, reader):
    made = [Failure(NOW + n, "acme", f"{n}", "192.0.2.7") for n in range(4)]
    ids = [await guesses.note_failure(writer, failure) for failure in made]
    assert len(set(ids)) == 4
    await guesses.forget_failure(writer, ids[1])
    await guesses.forget_failure(writer, ids[1])
    assert await reader.read(lambda c: guesses.recent_failures(c, NOW)) == (made[0], made[2], made[3])
    assert await reader.read(lambda c: guesses.recent_failures(c, NOW + 3)) == (made[3],)


async def test_a_failure_can_be_noted_whatever_the_channel_says(writer, reader):
    await guesses.note_failure(writer, Failure(NOW, "\udcff", "a\x1fb", "x" * 1000))
    (stored,) = await reader.read(lambda c: guesses.recent_failures(c, 0))
    assert (stored.tenant, stored.account, len(stored.source)) == ("\N{REPLACEMENT CHARACTER}", "a\ufffdb", 255)


async def test_old_failures_go_a_few_at_a_time(writer, reader):
    count = guesses.DROPPED_ROWS + 5

    def fill(connection):
        connection.executemany("INSERT INTO pin_failures VALUES (NULL, ?, '', '', '')", [(n,) for n in range(count)])

    await writer.transaction(fill)
    left = []
    for _ in range(3):
        await guesses.note_failure(writer, Failure(NOW, "acme", "204", ""))
        left.append(len(await reader.read(lambda c: guesses.recent_failures(c, 0))))
    assert left == [6, 2, 3]


async def test_they_are_known_again_after_a_restart(writer, reader):
    for n in range(FREE[Scope.ACCOUNT] + 1):
        await guesses.note_failure(writer, Failure(NOW + n, "acme", "204", "192.0.2.7"))
    (lock,) = (await reader.read(lambda c: guesses.stored_guesses(c, NOW + 10))).locks(NOW + 10)
    assert (lock.scope, lock.account, lock.failures) == (Scope.ACCOUNT, "204", FREE[Scope.ACCOUNT] + 1)
    await guesses.unlock(writer, Unlock(NOW + 10, tenant="acme", account="204"), **BY)
    assert (await reader.read(lambda c: guesses.stored_guesses(c, NOW + 10))).locks(NOW + 10) == ()


async def test_a_code_is_good_once(writer):
    await pins.settle_scheme(writer, "acme", Scheme(b"s" * 16, 2, 19_456, 1, b"m" * 32))
    anna, bob = (NewPin("acme", name, PinKind.TOTP, False, Terms()) for name in ("anna", "bob"))
    one = await pins.add_pin(writer, anna, Seal(b"a", b"p"), **BY)
    other = await pins.add_pin(writer, bob, Seal(b"b", b"p"), **BY)
    used = [await guesses.use_step(writer, one.id, step) for step in (100, 100, 99, 101, 101, 0)]
    assert used == [True, False, False, True, False, False]
    assert await guesses.use_step(writer, other.id, 100)
    assert await asyncio.gather(*(guesses.use_step(writer, one.id, 200) for _ in range(20))) == [True] + [False] * 19
