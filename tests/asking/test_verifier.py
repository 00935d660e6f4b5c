"""Whose PIN it is: one argon2 for each that is keyed, codes of an authenticator good for one call."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pyotp
import pytest
from pin_cases import RIGHT, SCHEME, VAULT, WRONG, StillClock, pin, policy

from fraudguard.asking.asker import SLOTS
from fraudguard.asking.verifier import PinVerifier
from fraudguard.errors import ConfigError, StoreError
from fraudguard.pins.digits import Digits
from fraudguard.pins.totp import STEP_MILLIS
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.policy.pin import PinKind, Seal


class Sealing:
    """The vault of the tests; counts how often it seals, and does `meanwhile` first."""

    def __init__(self):
        self.threads = []
        self.meanwhile = lambda: None

    def seal(self, scheme, tenant, digits):
        self.threads.append(threading.current_thread().name)
        self.meanwhile()
        return VAULT.seal(scheme, tenant, digits)

    def __getattr__(self, name):
        return getattr(VAULT, name)


class Bench:
    """A verifier and all that it works with."""

    def __init__(self, *pins, **parts):
        self.policy = policy(*pins, **parts)
        self.vault = Sealing()
        self.steps = {}
        self.clock = StillClock()
        self.failed = []
        self.verifier = PinVerifier(
            lambda _: self.vault,
            lambda: self.policy,
            self.use_step,
            self.clock,
            workers=SLOTS,
            failed=self.failed.append,
        )

    async def use_step(self, pin_id, step):
        await asyncio.sleep(0)
        fresh = step > self.steps.get(pin_id, -1)
        self.steps[pin_id] = max(step, self.steps.get(pin_id, -1))
        return fresh

    async def whose(self, digits, account="204", tenant="acme"):
        found = await self.verifier.verify(tenant, account, Digits(digits))
        return found and found.id

    def code(self, of, steps=0):
        key = VAULT.totp_key(of.tenant, of.seal).base32()
        return pyotp.TOTP(key).at((self.clock.at + steps * STEP_MILLIS) // 1000)


@pytest.fixture
def bench():
    made = []

    def make(*pins, **parts):
        made.append(Bench(*pins, **parts))
        return made[-1]

    yield make
    for one in made:
        one.verifier.close()


async def test_whose_it_is(bench):
    there = bench(pin(), pin("913057", id=2, name="bert", accounts=frozenset({"205"})))
    assert [await there.whose(digits) for digits in (RIGHT, "913057", WRONG, "", RIGHT + "0")] == [
        1,
        2,
        None,
        None,
        None,
    ]


async def test_a_pin_of_another_tenant_is_none(bench):
    other = pin(tenant="other", id=2)
    there = bench(pin(), other)
    there.policy = PolicyIndex(Snapshot(decks={}, pins=(other,), schemes={"acme": SCHEME, "other": SCHEME}))
    assert (await there.whose(RIGHT), await there.whose(RIGHT, tenant="other")) == (None, 2)


async def test_one_argon2_however_many_pins_there_are_and_whether_or_not_it_is_known(bench):
    digits = [f"{600_000 + 7 * index}" for index in range(500)]
    there = bench(*(pin(text, id=index, name=text) for index, text in enumerate(digits, 1)))
    assert [await there.whose(text) for text in (digits[0], digits[499], WRONG)] == [1, 500, None]
    assert len(there.vault.threads) == 3


async def test_a_tenant_without_pins_has_none(bench):
    there = bench()
    assert (await there.whose(RIGHT, tenant="other"), there.vault.threads) == (None, [])


async def test_a_pin_that_was_revoked_meanwhile_is_none(bench):
    there = bench(pin())
    there.vault.meanwhile = lambda: setattr(there, "policy", policy())
    assert await there.whose(RIGHT) is None


async def test_what_only_looks_alike_is_none(bench):
    true = pin()
    forged = replace(true, seal=Seal(true.seal.index, bytes(32)))
    assert await bench(forged).whose(RIGHT) is None


async def test_the_loop_goes_on_and_no_more_threads_than_slots_work(bench):
    there = bench(pin())
    go_on = threading.Event()
    there.vault.meanwhile = lambda: go_on.wait(5)
    calls = [asyncio.create_task(there.whose(RIGHT)) for _ in range(20)]
    await asyncio.sleep(0.01)
    go_on.set()
    assert await asyncio.gather(*calls) == [1] * 20
    assert 1 <= len(set(there.vault.threads)) <= SLOTS
    assert threading.main_thread().name not in there.vault.threads


async def test_what_nobody_waits_for_any_more_is_left_undone_at_the_end(bench):
    there = bench(pin())
    go_on = threading.Event()
    there.vault.meanwhile = lambda: go_on.wait(5)
    calls = [asyncio.create_task(there.whose(RIGHT)) for _ in range(5)]
    await asyncio.sleep(0)
    go_on.set()
    there.verifier.close()
    came = await asyncio.gather(*calls, return_exceptions=True)
    assert all(one == 1 or isinstance(one, asyncio.CancelledError) for one in came)
    assert any(isinstance(one, asyncio.CancelledError) for one in came)


async def test_without_the_pepper_nothing_is_known(bench):
    there = bench(pin())

    def gone(_):
        raise ConfigError("no pepper")

    assert there.verifier.ready("acme")
    there.verifier._vault = gone
    with pytest.raises(ConfigError):
        await there.whose(RIGHT)
    assert there.failed == []
    assert not there.verifier.ready("acme")
    assert [error.what for error in there.failed] == ["no pepper"]


async def test_of_a_tenant_that_never_had_a_pin_there_is_nothing_to_tell(bench):
    there = bench(pin())
    assert (there.verifier.ready("other"), there.failed) == (False, [])


# --- authenticators ---


@pytest.fixture
def phone():
    return pin(kind=PinKind.TOTP)


async def test_a_code_is_good_for_one_call(bench, phone):
    there = bench(phone)
    code = there.code(phone)
    assert [await there.whose(code) for _ in range(3)] == [1, None, None]
    assert [await there.whose(WRONG)] == [None]


async def test_a_code_is_good_for_one_of_a_hundred_calls_at_once(bench, phone):
    there = bench(phone)
    came = await asyncio.gather(*(there.whose(there.code(phone)) for _ in range(100)))
    assert sorted(came, key=str) == [1] + [None] * 99


async def test_the_code_before_and_the_one_after_are_good_but_none_before_one_that_was_used(bench, phone):
    there = bench(phone)
    codes = {steps: there.code(phone, steps) for steps in range(-2, 3)}
    assert len(set(codes.values())) == 5
    assert [await there.whose(codes[steps]) for steps in (-2, 2)] == [None, None]
    assert [await there.whose(codes[steps]) for steps in (-1, 0, 1)] == [1, 1, 1]
    assert [await there.whose(codes[steps]) for steps in (-1, 0, 1)] == [None, None, None]


async def test_only_authenticators_of_the_account_are_looked_at(bench, phone):
    mine = replace(phone, terms=pin(accounts=frozenset({"205"})).terms)
    there = bench(mine)
    code = there.code(mine)
    assert [await there.whose(code), there.steps] == [None, {}]
    assert await there.whose(code, account="205") == 1


async def test_two_of_one_code_are_both_used_up(bench, phone):
    twin = replace(phone, id=2, name="bert")
    there = bench(phone, twin)
    code = there.code(phone)
    assert await there.whose(code) == 2
    assert (sorted(there.steps), await there.whose(code)) == ([1, 2], None)


async def test_a_code_that_cannot_be_used_up_is_good_for_nothing(bench, phone):
    there = bench(phone)

    async def full(*_):
        raise StoreError("full")

    there.verifier._use_step = full
    with pytest.raises(StoreError):
        await there.whose(there.code(phone))


async def test_digits_that_are_a_pin_use_up_no_code(bench, phone):
    there = bench(pin(id=2, name="bert"), phone)
    there.policy = policy(pin(there.code(phone), id=2, name="bert"), phone)
    assert (await there.whose(there.code(phone)), there.steps) == (2, {})
