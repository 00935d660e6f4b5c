"""Asking for a PIN: what counts as a guess, who is locked out, which device need not key again, whose money."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pin_cases import (
    ASKING,
    LONDON,
    MINUTE,
    PARIS,
    RIGHT,
    WRONG,
    Desk,
    Memory,
    pin,
    policy,
    wanted,
)
from policy_cases import NOW, attempt, rate

from fraudguard.asking import asker as asking
from fraudguard.asking.keypad import HungUpError
from fraudguard.errors import StoreError
from fraudguard.guard import Guard
from fraudguard.pins.digits import Digits
from fraudguard.pins.guessing import FREE, Scope
from fraudguard.policy import PolicyIndex, Reason, Snapshot
from fraudguard.policy.hours import Hours
from fraudguard.policy.pin import Unlock
from fraudguard.rating import Deck, PrefixTable, cost
from fraudguard.rating.rate import SLACK_SECONDS

REMEMBERING = replace(ASKING, remember_millis=10 * MINUTE)


class Keys:
    """A caller who keys these digits, one after the other, and then nothing (asking.keypad.Keypad)."""

    def __init__(self, *keyed):
        self.keyed = list(keyed)
        self.asked = []
        self.refused = False

    async def ask(self, *, again):
        self.asked.append("again" if again else "ask")
        await asyncio.sleep(0)
        keyed = self.keyed.pop(0) if self.keyed else ""
        if isinstance(keyed, Exception):
            raise keyed
        return Digits(keyed)

    async def refuse(self):
        self.refused = True


async def ask(desk, *keyed, facts=None):
    return await desk.asker.ask(facts or wanted(), Keys(*keyed))


async def fail(desk, times, **changes):
    for _ in range(times):
        await ask(desk, WRONG, facts=wanted(**changes))


@pytest.fixture
def desk():
    return Desk(pin())


# --- what comes of a dialogue ---


@pytest.mark.parametrize(
    ("keyed", "asked", "refusal", "tries"),
    [
        ((RIGHT,), ["ask"], None, 1),
        ((WRONG, RIGHT), ["ask", "again"], None, 2),
        ((WRONG,) * 5, ["ask", "again", "again"], "pin_wrong", 3),
        ((), ["ask", "ask", "ask"], "pin_timeout", 0),
        (("", RIGHT), ["ask", "ask"], None, 1),
        ((WRONG, "", ""), ["ask", "again", "again"], "pin_wrong", 1),
        ((HungUpError("x"),), ["ask"], "pin_hangup", 0),
        ((WRONG, HungUpError("x")), ["ask", "again"], "pin_wrong", 1),
    ],
)
async def test_what_comes_of_it(desk, keyed, asked, refusal, tries):
    keys = Keys(*keyed)
    came = await desk.asker.ask(wanted(), keys)
    assert (came.refusal, came.tries, keys.asked) == (refusal, tries, asked)
    assert (came.pin is not None, came.at, came.assumed) == (refusal is None, NOW, False)
    assert not keys.refused, "what the call comes to is not said here"


async def test_a_pin_of_other_accounts_is_named_but_is_a_wrong_guess():
    desk = Desk(pin(accounts=frozenset({"205"})))
    came = await ask(desk, RIGHT, RIGHT, RIGHT)
    assert (came.refusal, came.pin, came.tries) == ("pin_account", desk.policy.pin(1), 3)
    assert (len(desk.records.failures), desk.told) == (3, ["pin_failures"])


# --- what counts as a guess ---


async def test_a_guess_counts_before_anybody_looks_and_no_longer_when_it_was_right(desk):
    seen = []

    async def meanwhile():
        seen.append((len(desk.records.failures), len(desk.guesses._tries)))

    desk.verifier.meanwhile = meanwhile
    await ask(desk, WRONG, RIGHT)
    assert desk.events == ["note", "verify", "note", "verify", "forget"]
    assert seen == [(1, 3), (2, 3)]
    assert [failure.source for failure in desk.records.failures.values()] == ["198.51.100.7"]
    assert {len(tries) for tries in desk.guesses._tries.values()} == {1}, "the wrong one stays"


@pytest.mark.parametrize("error", [StoreError("full"), asyncio.CancelledError()])
async def test_what_cannot_be_noted_is_not_looked_at_and_does_not_count(desk, error):
    async def full(what):
        raise error

    desk.records.before = full
    with pytest.raises(type(error)):
        await ask(desk, RIGHT)
    assert (desk.verifier.looked, desk.guesses._tries, desk.alerts) == (0, {}, [])


@pytest.mark.parametrize("error", [RuntimeError("x"), asyncio.CancelledError()])
async def test_what_nobody_saw_the_end_of_stays_counted_and_is_told(desk, error):
    async def broken():
        raise error

    desk.verifier.meanwhile = broken
    for _ in range(FREE[Scope.ACCOUNT] + 1):
        with pytest.raises(type(error)):
            await ask(desk, RIGHT)
    assert len(desk.records.failures) == 6
    assert desk.told == ["pin_failures", "pin_locked_out"]
    desk.verifier.meanwhile = lambda: asyncio.sleep(0)
    assert (await ask(desk, RIGHT)).refusal == "pin_locked"


async def test_a_caller_who_goes_away_while_it_is_looked_at_has_used_up_a_guess(desk):
    looking = asyncio.Event()

    async def meanwhile():
        looking.set()
        await asyncio.Event().wait()

    desk.verifier.meanwhile = meanwhile
    call = asyncio.create_task(ask(desk, RIGHT))
    await looking.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(desk.records.failures) == 1
    assert {tries[0].wrong for tries in desk.guesses._tries.values()} == {True}


async def test_what_cannot_be_taken_back_lets_nobody_through(desk):
    async def full(what):
        if what == "forget":
            raise StoreError("full")

    desk.records.before = full
    with pytest.raises(StoreError):
        await ask(desk, RIGHT)
    assert desk.guesses._tries == {}, "it was right: until the next start it does not count"


# --- locked out ---


async def test_who_is_locked_out_hears_the_same_after_as_long_and_takes_nobodys_turn(desk, monkeypatch):
    await fail(desk, 6)
    noted, looked = len(desk.records.failures), desk.verifier.looked
    waited = []

    async def sleep(seconds):
        if seconds:  # the others are of what stands in for the verifier
            waited.append((seconds, desk.asker._slots.locked()))

    desk.asker._took = 0.025
    monkeypatch.setattr(asking.asyncio, "sleep", sleep)
    keys = Keys(RIGHT, RIGHT, RIGHT)
    came = await desk.asker.ask(wanted(), keys)
    assert (came.pin, came.refusal, came.tries) == (None, "pin_locked", 3)
    assert keys.asked == ["ask", "again", "again"]
    assert (len(desk.records.failures), desk.verifier.looked) == (noted, looked), "it is not looked at"
    assert waited == [(0.025, False)] * 3
    assert desk.told == ["pin_failures", "pin_locked_out"]


@pytest.mark.parametrize(
    ("scope", "elsewhere"),
    [
        (Scope.ACCOUNT, {}),
        (Scope.SOURCE, {"account"}),
        (Scope.TENANT, {"account", "source"}),
    ],
)
async def test_a_hundred_channels_at_once_have_no_guess_more_than_one(scope, elsewhere):
    desk = Desk(pin())
    callers = [wanted(**{what: f"{what}{index}" for what in elsewhere}) for index in range(100)]
    came = await asyncio.gather(*(ask(desk, WRONG, WRONG, WRONG, facts=facts) for facts in callers))
    assert len(desk.records.failures) == FREE[scope] + 1
    assert {one.refusal for one in came} <= {"pin_wrong", "pin_locked"}
    locks = [alert for alert in desk.alerts if alert.kind == "pin_locked_out" and scope in alert.details["locked"]]
    assert len(locks) == 1
    right = await asyncio.gather(*(ask(desk, RIGHT, facts=facts) for facts in callers))
    assert {one.refusal for one in right} == {"pin_locked"}


async def test_a_right_guess_among_a_hundred_wrong_ones_at_once_is_not_found_beyond_the_bound(desk):
    tries = [WRONG] * 40 + [RIGHT] + [WRONG] * 59
    came = await asyncio.gather(*(ask(desk, digits) for digits in tries))
    assert {one.refusal for one in came} == {"pin_wrong", "pin_locked"}
    assert len(desk.records.failures) == FREE[Scope.ACCOUNT] + 1


async def test_a_crowd_of_honest_callers_of_one_account_is_not_locked_out(desk):
    came = await asyncio.gather(*(ask(desk, RIGHT) for _ in range(200)))
    assert {one.refusal for one in came} == {None}
    assert (desk.alerts, desk.records.failures, desk.guesses._tries) == ([], {}, {})


async def test_no_more_are_looked_at_at_once_than_there_are_slots(desk):
    at_once = []
    now = 0

    async def meanwhile():
        nonlocal now
        now += 1
        at_once.append(now)
        await asyncio.sleep(0)
        now -= 1

    desk.verifier.meanwhile = meanwhile
    await asyncio.gather(*(ask(desk, RIGHT) for _ in range(50)))
    assert max(at_once) == asking.SLOTS


async def test_a_queue_without_end_is_refused(desk, monkeypatch):
    monkeypatch.setattr(asking, "MAX_WAITING", 3)
    came = await asyncio.gather(*(ask(desk, RIGHT) for _ in range(5)))
    assert [(one.pin, one.refusal) for one in came[3:]] == [(None, "pin_busy")] * 2
    assert {one.refusal for one in came[:3]} == {None}
    assert (await ask(desk, RIGHT)).refusal is None, "when they are through there is room again"


async def test_nobody_is_asked_for_what_cannot_be_looked_at(desk):
    desk.verifier.is_ready = False
    keys = Keys(RIGHT)
    came = await desk.asker.ask(wanted(), keys)
    assert (came.pin, came.refusal, came.assumed, keys.asked) == (None, None, False, [])


async def test_one_account_does_not_take_all_places_at_the_prompt(desk, monkeypatch):
    monkeypatch.setattr(asking, "MAX_ASKED_OF_ACCOUNT", 2)
    calls = [ask(desk, RIGHT, facts=wanted(account=account)) for account in ("204", "204", "204", "205")]
    assert [one.refusal for one in await asyncio.gather(*calls)] == [None, None, "pin_busy", None]


async def test_nobody_is_asked_while_too_many_are_at_the_prompt(desk):
    desk.asker._places = 2
    callers = [Keys(RIGHT) for _ in range(3)]

    async def call(keys):
        return (await desk.asker.ask(wanted(), keys)).pin is not None

    assert await asyncio.gather(*map(call, callers)) == [True, True, False]
    assert callers[2].asked == []
    broken = Keys(RuntimeError("x"))
    for _ in range(3):
        broken.keyed = [RuntimeError("x")]
        with pytest.raises(RuntimeError):
            await call(broken)
    assert await call(Keys(RIGHT)), "who has gone is not counted any more"


async def test_an_unlock_of_an_operators_counts_from_the_next_try(desk):
    await fail(desk, 6)
    desk.clock.at += 1
    assert (await ask(desk, RIGHT)).refusal == "pin_locked"
    desk.policy = policy(pin(), unlocks=(Unlock(desk.clock.at, "acme", "204"),))
    desk.verifier.pins[RIGHT] = desk.policy.pin(1)
    assert (await ask(desk, RIGHT)).refusal is None
    await fail(desk, 6)
    assert (await ask(desk, RIGHT)).refusal is not None, "the same unlock is good once"


@pytest.mark.parametrize(
    ("elsewhere", "free", "kind", "details", "fold"),
    [
        ((), 3, "pin_failures", {"counted": "account 204", "failures": "3"}, "account\x1facme\x1f204"),
        ((), 6, "pin_locked_out", {"locked": "account 204", "failures": "6"}, "account\x1facme\x1f204"),
        (
            ("account",),
            21,
            "pin_locked_out",
            {"locked": "source 198.51.100.7", "failures": "21"},
            "source\x1f\x1f198.51",
        ),
        (
            ("account", "source"),
            51,
            "pin_locked_out",
            {"locked": "tenant acme", "failures": "51"},
            "tenant\x1facme\x1f",
        ),
    ],
)
async def test_what_a_person_is_told(desk, elsewhere, free, kind, details, fold):
    for index in range(free):
        await fail(desk, 1, **{what: f"{what}{index}" for what in elsewhere})
    alert = desk.alerts[-1]
    assert (alert.kind, alert.reason, alert.at, alert.tenant, alert.trunk) == (kind, kind, NOW, "acme", "carrier")
    assert alert.number == LONDON.dialable
    assert details.items() <= alert.details.items()
    assert ("until" in alert.details) == (kind == "pin_locked_out")
    assert alert.fold.startswith(f"{kind}\x1f{fold}")
    assert WRONG not in repr(desk.alerts)


# --- devices that need not key again ---


async def recalled(desk, facts=None):
    """Say whether a call goes without anything keyed."""
    keys = Keys()
    came = await desk.asker.ask(facts or wanted(at=desk.clock.at), keys)
    return came.pin is not None and not keys.asked


@pytest.fixture
def remembering():
    return Desk(pin(), asking=REMEMBERING)


async def test_nobody_is_remembered_unless_it_is_configured(desk):
    await ask(desk, RIGHT)
    assert not await recalled(desk)


async def test_the_same_device_may_dial_the_same_region_for_a_while(remembering):
    desk = remembering
    await ask(desk, RIGHT)
    desk.clock.at += 10 * MINUTE - 1
    assert await recalled(desk)
    came = await desk.asker.ask(wanted(at=desk.clock.at), Keys())
    assert (came.tries, came.refusal, came.at) == (0, None, desk.clock.at)
    desk.clock.at += 1
    assert not await recalled(desk), "since it was keyed, not since it was used"


async def test_a_device_is_remembered_again_when_it_has_keyed_again(remembering):
    desk = remembering
    for _ in range(3):
        assert not await recalled(desk)
        await ask(desk, RIGHT, facts=wanted(at=desk.clock.at))
        assert await recalled(desk)
        desk.clock.at += 10 * MINUTE


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"source": "198.51.100.7:9"}, True),
        ({"source": "198.51.100.8:5060"}, False),
        ({"source": ""}, False),
        ({"account": "205"}, False),
        ({"account": ""}, False),
        ({"tenant": "other"}, False),
        ({"dialled": PARIS}, False),
    ],
)
async def test_another_device_or_region_is_asked(remembering, changes, same):
    await ask(remembering, RIGHT)
    assert await recalled(remembering, wanted(**changes)) == same


@pytest.mark.parametrize("changes", [{"account": ""}, {"source": ""}, {"dialled": replace(LONDON, region=None)}])
async def test_what_is_not_known_is_not_remembered(remembering, changes):
    await ask(remembering, RIGHT, facts=wanted(**changes))
    assert not await recalled(remembering, wanted(**changes))


async def test_a_wrong_pin_is_not_remembered(remembering):
    await ask(remembering, WRONG)
    assert not await recalled(remembering)


async def test_a_revoked_pin_is_forgotten_and_the_next_one_remembered(remembering):
    desk = remembering
    await ask(desk, RIGHT)
    desk.policy = policy(pin(id=2))
    assert not await recalled(desk)
    desk.verifier.pins[RIGHT] = desk.policy.pin(2)
    await ask(desk, RIGHT)
    assert await recalled(desk)


@pytest.mark.parametrize(
    ("terms", "later"),
    [
        ({"regions": frozenset({"FR"})}, {}),
        ({"highest": 59_999}, {}),
        ({"hours": Hours(frozenset({0}))}, {}),  # the moment is on a Friday
        ({"per_day": 999}, {}),
        ({"until": NOW + MINUTE}, {"at": NOW + MINUTE}),
    ],
)
async def test_a_pin_that_does_not_help_is_not_in_the_way_of_one_that_does(terms, later):
    desk = Desk(pin(**terms), pin(WRONG, id=2, name="bert"), asking=REMEMBERING)
    desk.verifier.pins[WRONG] = desk.policy.pin(2)
    assert (await ask(desk, RIGHT)).pin.id == 1
    desk.clock.at = later.get("at", NOW)
    assert (await ask(desk, WRONG, facts=wanted(at=desk.clock.at))).pin.id == 2
    assert await recalled(desk)


async def test_no_more_devices_are_remembered_than_there_is_room_for(remembering, monkeypatch):
    monkeypatch.setattr(asking, "MAX_REMEMBERED", 2)
    for account in ("1", "2", "1", "3"):
        await ask(remembering, RIGHT, facts=wanted(account=account))
    assert [await recalled(remembering, wanted(account=account)) for account in "123"] == [False, True, True]


# --- money ---


async def test_a_pin_whose_money_is_spent_is_named_and_its_device_is_asked_again():
    desk = Desk(pin(per_day=10**6), asking=REMEMBERING)
    await ask(desk, RIGHT)
    assert await recalled(desk)
    desk.spend(10**6)
    assert not await recalled(desk)
    came = await ask(desk, RIGHT)
    assert (came.pin.name, came.refusal) == ("anna", None), "what it may spend is for the rules to say"


async def test_of_what_others_spent_nobody_is_asked_again():
    desk = Desk(pin(per_day=10**6), asking=REMEMBERING)
    await ask(desk, RIGHT)
    desk.spend(10**6, who="bert")
    assert await recalled(desk)


async def test_without_a_ledger_a_device_is_remembered_whatever_was_spent():
    desk = Desk(pin(per_day=1), asking=REMEMBERING)
    desk.asker._standing = None
    await ask(desk, RIGHT)
    assert await recalled(desk)


class Spending(Memory):
    """Commits after a while."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def record(self, verdict):
        return asyncio.ensure_future(self.commit(verdict))

    async def commit(self, verdict):
        for _ in range(self.waits.pop() if self.waits else 0):
            await asyncio.sleep(0)
        self.verdicts.append(verdict)
        return verdict


@settings(max_examples=60, deadline=None)
@given(
    per_day=st.integers(0, 3_000_000),
    price=st.builds(
        rate,
        st.integers(0, 2_000_000),
        st.integers(0, 300_000),
        prefix=st.just("44"),
        minimum_seconds=st.integers(0, 90),
        increment_seconds=st.integers(1, 90),
    ),
    waits=st.lists(st.integers(0, 5), max_size=8),
    callers=st.integers(1, 8),
    remember=st.booleans(),
)
def test_calls_at_once_by_one_pin_never_cost_more_than_it_may_spend_in_a_day(per_day, price, waits, callers, remember):
    async def work():
        desk = Desk(pin(per_day=per_day), asking=REMEMBERING if remember else ASKING)
        decks = {"a": Deck("a", "USD", 1, PrefixTable([price]))}
        snapshot = Snapshot(decks=decks, pins=(desk.policy.pin(1),))
        desk.policy = PolicyIndex(replace(snapshot, limits=()))
        memory = Spending(list(waits))
        guard = Guard(desk.house, lambda: desk.policy, memory, desk.asker, desk.ledger)
        call = attempt(number="011442079460000")
        await asyncio.gather(*(guard.decide(call, Keys(RIGHT)) for _ in range(callers)))
        return memory.verdicts

    verdicts = asyncio.run(work())
    allowed = [verdict for verdict in verdicts if verdict.allowed]
    assert sum(cost(price, verdict.lease_seconds + SLACK_SECONDS) for verdict in allowed) <= per_day
    assert {verdict.reason for verdict in verdicts} <= {Reason.OK, Reason.PIN_MONEY, Reason.OVER_LIMIT}
    if price.dearest <= 250_000:
        assert bool(allowed) == (cost(price, 1 + SLACK_SECONDS) <= per_day or price.dearest == 0)
