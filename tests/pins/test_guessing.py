"""Who is locked out for wrong PINs, for how long, and what a person is told of it."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.pins.guessing import (
    FIRST_LOCK,
    FREE,
    GUESSES_PER_DAY,
    LONGEST_LOCK,
    SET_BACK,
    TARGET,
    WEAK,
    WINDOW,
    Failure,
    Guesses,
    Lock,
    Scope,
    chance,
    digits_for,
    guesses_per_day,
    lock_after,
)
from fraudguard.policy.pin import Unlock

PAGE = Path(__file__).resolve().parents[2] / "docs/explanation/pins.md"
NOW = 1_800_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.fixture
def guesses():
    return Guesses()


def failure(at=NOW, account="204", source="192.0.2.7", tenant="acme"):
    return Failure(at, tenant, account, source)


def fail(guesses, count, **what):
    """Fail so often at once, all looked at; return what was told of the last."""
    told = ()
    for _ in range(count):
        assert guesses.begin(failure(**what))
        told = guesses.confirm(failure(**what))
    return told


def fill(guesses, count, at=NOW):
    """Fail so often in the tenant, each time from another account and address."""
    return [fail(guesses, 1, at=at, account=f"a{i}", source=f"s{i}") for i in range(count)]


# -- locks


def test_five_failures_lock_nothing_and_the_sixth_locks_the_account_for_a_minute(guesses):
    assert fail(guesses, 5) == ()
    assert guesses.locks(NOW) == ()
    (lock,) = fail(guesses, 1)
    assert lock == Lock(Scope.ACCOUNT, "acme", "204", "", 6, NOW + FIRST_LOCK)
    assert guesses.locks(NOW) == (lock,)
    assert not guesses.begin(failure(NOW + FIRST_LOCK - 1))
    assert guesses.locks(NOW + FIRST_LOCK) == ()
    assert guesses.begin(failure(NOW + FIRST_LOCK))


def test_each_failure_more_doubles_the_lock(guesses):
    fail(guesses, 5)
    at, waits = NOW, []
    for _ in range(10):
        (lock,) = fail(guesses, 1, at=at)
        waits.append((lock.until - at) // MINUTE)
        at = lock.until
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_other_accounts_are_not_locked_with_it(guesses):
    fail(guesses, 6)
    assert not guesses.begin(failure())
    assert guesses.begin(failure(account="205"))
    assert guesses.begin(failure(tenant="other"))


def test_an_address_is_locked_in_every_tenant(guesses):
    told = [fail(guesses, 1, account=f"a{i}", tenant=f"t{i}") for i in range(21)]
    assert told[-2:] == [(), (Lock(Scope.SOURCE, "", "", "192.0.2.7", 21, NOW + FIRST_LOCK),)]
    assert not guesses.begin(failure(tenant="yet another"))
    assert guesses.begin(failure(tenant="yet another", source="192.0.2.8"))


def test_without_an_address_none_is_locked(guesses):
    for i in range(40):
        assert fail(guesses, 1, account=f"a{i}", source="") == ()
    assert guesses.begin(failure(source=""))


def test_calls_without_an_account_count_together_in_their_tenant(guesses):
    fail(guesses, 6, account="")
    assert not guesses.begin(failure(account="", source="192.0.2.8"))
    assert guesses.begin(failure(account="", tenant="other"))


def test_the_tenant_is_locked_whatever_accounts_and_addresses_are_used(guesses):
    told = fill(guesses, 51)
    assert told[-2:] == [(), (Lock(Scope.TENANT, "acme", "", "", 51, NOW + FIRST_LOCK),)]
    assert not guesses.begin(failure())
    assert guesses.begin(failure(tenant="other"))


def test_tries_while_locked_are_not_counted_and_do_not_prolong(guesses):
    fail(guesses, 6)
    for second in range(60):
        assert not guesses.begin(failure(NOW + second * 1000))
    (lock,) = fail(guesses, 1, at=NOW + FIRST_LOCK)
    assert lock.failures == 7


def test_failures_no_longer_count_after_24_hours(guesses):
    fail(guesses, 6)
    fail(guesses, 1, at=NOW + WINDOW - 1)
    assert guesses.locks(NOW + WINDOW - 1)[0].failures == 7
    assert guesses.locks(NOW + WINDOW) == ()
    assert fail(guesses, 4, at=NOW + WINDOW) == ()  # five with the one of a moment ago
    assert fail(guesses, 1, at=NOW + WINDOW)[0].failures == 6


def test_locks_are_listed_narrow_scopes_first(guesses):
    fail(guesses, 6)
    for i in range(15):
        fail(guesses, 1, account=f"b{i}")
    fill(guesses, 30)
    assert [lock.scope for lock in guesses.locks(NOW)] == ["account", "source", "tenant"]


# -- a hundred at once


def test_a_hundred_parallel_tries_gain_nothing(guesses):
    begun = [guesses.begin(failure()) for _ in range(100)]
    assert begun == [True] * 6 + [False] * 94


def test_a_hundred_parallel_tries_from_everywhere_gain_nothing(guesses):
    begun = [guesses.begin(failure(account=f"a{i}", source=f"s{i}")) for i in range(100)]
    assert begun == [True] * 51 + [False] * 49


# -- right after all


def test_a_right_one_is_taken_back_and_nothing_else(guesses):
    fail(guesses, 5)
    assert guesses.begin(failure())
    assert not guesses.begin(failure())
    guesses.forgive(failure())
    assert guesses.locks(NOW) == ()
    (lock,) = fail(guesses, 1)
    assert lock.failures == 6  # the five before it were not erased


def test_of_equal_tries_one_is_taken_back(guesses):
    for _ in range(3):
        guesses.begin(failure())
    guesses.forgive(failure())
    guesses.confirm(failure())
    guesses.confirm(failure())
    assert guesses.confirm(failure()) == ()
    guesses.forgive(failure())  # none is left that could be
    assert fail(guesses, 4)[0].failures == 6


def test_what_is_forgiven_leaves_nothing_in_memory(guesses):
    for i in range(1000):
        assert guesses.begin(failure(NOW + i, account=f"a{i}", source=f"s{i}"))
        guesses.forgive(failure(NOW + i, account=f"a{i}", source=f"s{i}"))
    assert guesses._tries == {}


def test_what_grew_old_leaves_nothing_in_memory(guesses):
    for day in range(30):
        fill(guesses, 51, at=NOW + day * WINDOW)
    assert sum(map(len, guesses._tries.values())) == 3 * 51
    assert guesses.locks(NOW + 30 * WINDOW) == ()
    assert guesses._tries == {}


# -- what a person is told


def test_the_third_failure_of_an_account_is_told_before_anything_is_locked(guesses):
    told = [fail(guesses, 1) for _ in range(5)]
    assert told == [(), (), (Lock(Scope.ACCOUNT, "acme", "204", "", 3, 0),), (), ()]


def test_those_being_looked_at_are_not_told_of_as_failures(guesses):
    for second in range(4):
        guesses.begin(failure(NOW + second))
    assert guesses.confirm(failure(NOW + 3)) == ()
    guesses.forgive(failure(NOW + 1))
    assert guesses.confirm(failure(NOW)) == ()
    assert [lock.failures for lock in guesses.confirm(failure(NOW + 2))] == [3]


def test_each_failure_that_locks_is_told_of_whatever_the_order(guesses):
    for i in range(6):
        guesses.begin(failure(NOW + i))
    told = [guesses.confirm(failure(NOW + i)) for i in (5, 2, 0, 4, 3, 1)]
    assert [[lock.failures for lock in locks] for locks in told] == [[], [], [3], [], [], [6]]
    assert told[-1][0].until == NOW + 5 + FIRST_LOCK  # from the last of them on


def test_one_failure_may_lock_all_three(guesses):
    fill(guesses, 30)
    for i in range(15):
        fail(guesses, 1, account=f"b{i}")
    locks = fail(guesses, 6)
    assert [(lock.scope, lock.failures) for lock in locks] == [("account", 6), ("source", 21), ("tenant", 51)]


# -- operators


@pytest.mark.parametrize(
    ("unlock", "locked"),
    [
        (Unlock(NOW, tenant="acme", account="204"), ["source", "tenant"]),
        (Unlock(NOW, source="192.0.2.7"), ["account", "tenant"]),
        (Unlock(NOW, tenant="acme"), ["source"]),
        (Unlock(NOW, tenant="acme", account="204", source="192.0.2.7"), ["tenant"]),
        (Unlock(NOW, tenant="acme", source="192.0.2.7"), []),
        (Unlock(NOW, tenant="other"), ["account", "source", "tenant"]),
        (Unlock(NOW, tenant="other", account="204"), ["account", "source", "tenant"]),
        (Unlock(NOW, tenant="acme", account="205"), ["account", "source", "tenant"]),
        (Unlock(NOW, source="192.0.2.8"), ["account", "source", "tenant"]),
        (Unlock(NOW), ["account", "source", "tenant"]),
        (Unlock(NOW - 1, tenant="acme", source="192.0.2.7"), ["account", "source", "tenant"]),
    ],
)
def test_an_unlock_covers_what_it_names(guesses, unlock, locked):
    fill(guesses, 30)
    for i in range(15):
        fail(guesses, 1, account=f"b{i}")
    fail(guesses, 6)
    guesses.unlock([unlock])
    assert [lock.scope for lock in guesses.locks(NOW)] == locked


def test_an_unlock_given_again_does_nothing(guesses):
    unlocks = [Unlock(NOW + HOUR, tenant="acme")]  # as if the clock had been wrong
    fail(guesses, 6)
    guesses.unlock(unlocks)
    assert guesses.locks(NOW) == ()
    fail(guesses, 6, at=NOW + 1)
    guesses.unlock(unlocks)
    assert [lock.failures for lock in guesses.locks(NOW + 1)] == [6]


def test_a_failure_after_the_unlock_counts(guesses):
    fail(guesses, 5)
    fail(guesses, 1, at=NOW + 1)
    guesses.unlock([Unlock(NOW, tenant="acme", account="204")])
    assert fail(guesses, 5, at=NOW + 2)[0].failures == 6


def test_a_try_that_was_unlocked_while_it_was_looked_at_is_gone(guesses):
    guesses.begin(failure())
    guesses.begin(failure(NOW + 1, source=""))
    guesses.unlock([Unlock(NOW + 1, tenant="acme", source="192.0.2.7")])
    assert guesses.confirm(failure()) == ()
    guesses.forgive(failure(NOW + 1, source=""))
    assert guesses.locks(NOW + 1) == ()
    assert guesses._tries == {}


def test_what_was_unlocked_for_its_account_still_counts_and_tells_for_the_tenant(guesses):
    fill(guesses, 50)
    assert guesses.begin(failure())
    guesses.unlock([Unlock(NOW, tenant="acme", account="204")])
    assert [lock.scope for lock in guesses.confirm(failure())] == ["tenant"]


# -- restarts and clocks


def test_after_a_restart_everything_is_as_it_was(guesses):
    stored = [failure(NOW + i) for i in range(6)]
    guesses.restore(stored, [])
    assert guesses.locks(NOW + 5) == (Lock(Scope.ACCOUNT, "acme", "204", "", 6, NOW + 5 + FIRST_LOCK),)
    guesses.forgive(stored[0])  # nobody looks at it any more
    guesses.restore(stored, [Unlock(NOW + 3, tenant="acme", account="204")])
    assert guesses.locks(NOW + 5) == ()
    assert fail(guesses, 4, at=NOW + 6)[0].failures == 6


def test_failures_ahead_of_the_clock_count_as_recent(guesses):
    fail(guesses, 6, at=NOW + 5 * MINUTE)
    assert not guesses.begin(failure())
    assert guesses.locks(NOW)[0].until == NOW + 5 * MINUTE + FIRST_LOCK


@pytest.mark.parametrize("back", [SET_BACK + 1, 3 * HOUR, 2 * WINDOW, 3650 * WINDOW])
def test_a_clock_set_back_locks_nobody_until_it_has_caught_up(guesses, back):
    fail(guesses, 6, at=NOW + back)
    assert guesses.locks(NOW)[0].until == NOW + FIRST_LOCK
    assert not guesses.begin(failure(NOW + FIRST_LOCK - 1))
    guesses.unlock([Unlock(NOW + 1, tenant="acme", account="204")])
    assert guesses.begin(failure(NOW + 1))


def test_a_try_told_late_of_its_time_does_not_shorten_a_lock(guesses):
    fail(guesses, 6, at=NOW)
    assert not guesses.begin(failure(NOW - SET_BACK))
    assert guesses.locks(NOW)[0].until == NOW + FIRST_LOCK


# -- the arithmetic


def test_the_locks_are_doubled_up_to_a_day():
    for scope in Scope:
        locks = [lock_after(FREE[scope] + i, scope) // MINUTE for i in range(1, 13)]
        assert locks == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440]
        assert lock_after(FREE[scope], scope) == lock_after(0, scope) == 0
        assert lock_after(10**9, scope) == LONGEST_LOCK


def test_the_bounds_are_what_the_pages_say():
    assert {scope.value: guesses_per_day(scope) for scope in Scope} == {"account": 16, "source": 31, "tenant": 61}
    assert GUESSES_PER_DAY == 61


def test_a_narrow_scope_cannot_fill_a_wider_one():
    assert guesses_per_day(Scope.ACCOUNT) <= FREE[Scope.SOURCE]
    assert guesses_per_day(Scope.SOURCE) <= FREE[Scope.TENANT]
    assert 3 * guesses_per_day(Scope.ACCOUNT) <= FREE[Scope.TENANT] < 4 * guesses_per_day(Scope.ACCOUNT)


def test_the_chance_is_the_guesses_times_the_pins():
    assert chance(1, 6) == Fraction(61, 1_000_000) < TARGET
    assert chance(500, 8) == Fraction(61 * 500, 10**8) < TARGET
    assert chance(1, 4) > TARGET  # short PINs are taken, and are not within the target
    assert chance(1000, 4) == 1


@pytest.mark.parametrize(
    ("pins", "digits"), [(0, 6), (1, 6), (16, 6), (17, 7), (162, 7), (163, 8), (1622, 8), (1623, 9), (16229, 9)]
)
def test_more_pins_want_more_digits(pins, digits):
    assert digits_for(pins) == digits


@given(st.integers(0, 10**9))
def test_with_so_many_digits_the_target_holds_and_with_one_less_it_does_not(pins):
    digits = digits_for(pins)
    assert chance(pins, digits) / (1 - WEAK) < TARGET
    assert digits == 6 or chance(pins, digits - 1) / (1 - WEAK) >= TARGET


# -- the page that shows it


def test_the_page_says_the_same_chances():
    text = PAGE.read_text(encoding="utf-8")
    pins = [int(number) for number in re.findall(r"([0-9]+) PINs? \|", text)]
    rows = re.findall(r"^\| ([4-9]) \|(.* %\*{0,2} \|)$", text, flags=re.MULTILINE)
    assert (len(pins), len(rows)) == (5, 6)
    for digits, cells in rows:
        for count, cell in zip(pins, cells.strip(" |").split("|"), strict=True):
            expected = chance(count, int(digits))
            assert Fraction(cell.strip(" *%")) / 100 == expected, (count, digits)
            assert ("**" in cell) == (expected < TARGET), (count, digits)


def test_the_page_says_the_same_digits_and_bounds():
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([0-9,]+) \| ([6-9]) \|$", text, flags=re.MULTILINE)
    assert [digits for _, digits in rows] == ["6", "7", "8", "9"]
    for shown, digits in rows:
        most = int(shown.replace(",", ""))
        assert (digits_for(most), digits_for(most + 1)) == (int(digits), int(digits) + 1)
    for scope in Scope:
        assert re.search(rf"^\| {scope}[^|]*\| {FREE[scope]} \| {guesses_per_day(scope)} \|$", text, re.MULTILINE)


# -- against the rules written down the slow way

STEP = st.sampled_from([0, 1, 1000, MINUTE, 2 * MINUTE, HOUR, 6 * HOUR, WINDOW // 2, WINDOW - 1, WINDOW])
ACTION = st.sampled_from(["begin", "burst", "confirm", "forgive", "unlock", "restore"])
NAME = st.integers(0, 2)


class Plain:
    """The rules as a list of [failure, scopes it counts for]."""

    def __init__(self):
        self.counted = []

    def begin(self, new):
        keys = {("account", new.tenant, new.account), ("source", new.source), ("tenant", new.tenant)} - {("source", "")}
        for key in keys:
            times = [old.at for old, scopes in self.counted if key in scopes and old.at > new.at - WINDOW]
            if new.at < max(times, default=0) + lock_after(len(times), Scope(key[0])):
                return False
        self.counted.append((new, keys))
        return True

    def forgive(self, failure):
        index = next((i for i, (old, _) in enumerate(self.counted) if old == failure), None)
        if index is not None:
            del self.counted[index]

    def unlock(self, unlock):
        for failure, scopes in self.counted:
            if failure.at <= unlock.at and (unlock.tenant, unlock.account) == (failure.tenant, failure.account):
                scopes.discard(("account", failure.tenant, failure.account))
            if failure.at <= unlock.at and unlock.tenant == failure.tenant and not unlock.account:
                scopes -= {("account", failure.tenant, failure.account), ("tenant", failure.tenant)}
            if failure.at <= unlock.at and unlock.source and unlock.source == failure.source:
                scopes.discard(("source", failure.source))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ACTION, STEP, NAME, NAME, NAME), max_size=60))
def test_whatever_happens_it_is_as_the_rules_say(actions):
    guesses, plain, now, pending, unlocks = Guesses(), Plain(), NOW, [], []
    for action, step, account, source, tenant in actions:
        now += step
        names = (f"t{tenant}", f"a{account}", f"s{source}" if source else "")
        if action in {"begin", "burst"}:
            for _ in range(8 if action == "burst" else 1):
                new = Failure(now, *names)
                begun = guesses.begin(new)
                assert begun == plain.begin(new)
                pending += [new] * begun
        elif action == "confirm" and pending:
            guesses.confirm(pending.pop(account % len(pending)))
        elif action == "forgive" and pending:
            right = pending.pop(account % len(pending))
            guesses.forgive(right)
            plain.forgive(right)
        elif action == "unlock":
            unlock = Unlock(now, *[(names[0], "", ""), (*names[:2], ""), ("", "", names[2])][account])
            unlocks.append(unlock)
            guesses.unlock(unlocks)
            plain.unlock(unlock)
        elif action == "restore":
            guesses, pending = Guesses(), []
            guesses.restore([old for old, _ in plain.counted], unlocks)
