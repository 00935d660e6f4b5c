"""The bound on guesses, against attackers with a hundred channels and as many accounts and addresses as they like."""

from __future__ import annotations

import random
from bisect import bisect_right
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.pins.guessing import (
    FREE,
    GUESSES_PER_DAY,
    WINDOW,
    Failure,
    Guesses,
    Scope,
    chance,
    guesses_per_day,
)

START = 1_800_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
CHANNELS = 100
SIX_DIGITS = 10**6


def most_within_a_day(times):
    """Return the most of these moments, in order, that lie in any 24 hours."""
    return max((index - bisect_right(times, at - WINDOW) + 1 for index, at in enumerate(times)), default=0)


class World:
    """A guard whose clock may be set back and which may be restarted, and its tenant's attackers.

    `real` is the time that passes, `off` what the clock says beyond it; `admitted` are the real times of guesses made.
    """

    def __init__(self):
        self.real, self.off = START, 0
        self.guesses = Guesses()
        self.stored = []
        self.admitted = []
        self.names = count()

    @property
    def now(self):
        return self.real + self.off

    def volley(self, account=None, source=None, refusals=3):
        """Key one PIN in every channel at the same moment. All are wrong. After so many refusals the rest is left out:
        nothing changes within the moment.
        """
        begun = []
        for _ in range(CHANNELS):
            name = next(self.names)
            failure = Failure(self.now, "acme", account or f"a{name}", source or f"s{name}")
            if self.guesses.begin(failure):
                begun.append(failure)
            elif (refusals := refusals - 1) == 0:
                break
        for failure in begun:
            self.guesses.confirm(failure)
        self.stored += begun
        self.admitted += [self.real] * len(begun)

    def succeed(self):
        """Key a PIN that is known: its owner, or an attacker who has one and wants another."""
        right = Failure(self.now, "acme", f"o{next(self.names)}", "")
        if self.guesses.begin(right):
            self.guesses.forgive(right)

    def restart(self):
        self.guesses = Guesses()
        self.guesses.restore([one for one in self.stored if one.at > self.now - 2 * WINDOW], [])

    def next_chance(self):
        """Return the next moment, by the clock, at which anything changes: a lock ends, or a failure is a day old."""
        changes = [lock.until for lock in self.guesses.locks(self.now)]
        changes += [failure.at + WINDOW for failure in self.stored[-2 * GUESSES_PER_DAY :]]
        return min((at for at in changes if at > self.now), default=self.now + MINUTE)

    def wait_for_next_chance(self):
        self.real = self.next_chance() - self.off


def attack(world, days, **what):
    """Key with all channels whenever something changes, for so many days."""
    end = world.real + days * WINDOW
    while world.real < end:
        world.volley(**what)
        world.wait_for_next_chance()


def test_in_a_day_the_best_strategy_gets_exactly_the_bound():
    world = World()
    attack(world, days=1, refusals=CHANNELS)
    hours = [round((at - START) / HOUR, 2) for at in world.admitted]
    assert hours[:51] == [0] * 51
    assert hours[51:] == [0.02, 0.05, 0.12, 0.25, 0.52, 1.05, 2.12, 4.25, 8.52, 17.05]
    assert len(hours) == GUESSES_PER_DAY


def test_over_two_weeks_no_24_hours_hold_more_than_the_bound():
    world = World()
    attack(world, days=14)
    assert most_within_a_day(world.admitted) == GUESSES_PER_DAY
    assert len(world.admitted) <= 14 * GUESSES_PER_DAY


def test_a_pin_of_six_digits_is_hit_with_less_than_one_chance_in_a_thousand_a_day():
    world = World()
    attack(world, days=3, refusals=CHANNELS)
    worst = most_within_a_day(world.admitted)
    assert Fraction(worst, SIX_DIGITS) == chance(1, 6) < Fraction(1, 1000)


def test_keying_a_known_pin_in_between_gives_no_new_guesses():
    world = World()
    end = world.real + 3 * WINDOW
    while world.real < end:
        for _ in range(10):
            world.succeed()
        world.volley()
        world.succeed()
        world.wait_for_next_chance()
    assert most_within_a_day(world.admitted) == GUESSES_PER_DAY


def test_restarts_give_no_new_guesses():
    world = World()
    end = world.real + 4 * WINDOW
    while world.real < end:
        world.volley()
        world.restart()
        world.volley()
        world.wait_for_next_chance()
        world.restart()
    assert most_within_a_day(world.admitted) == GUESSES_PER_DAY


@pytest.mark.parametrize("back", [1000, 5 * MINUTE, 11 * MINUTE, 3 * HOUR, 2 * WINDOW, 3650 * WINDOW])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_set_back_gives_no_new_guesses(back, restarted):
    world = World()
    attack(world, days=1)
    world.off -= back
    if restarted:
        world.restart()
    end = world.real + 3 * WINDOW
    while world.real < end:
        world.volley()
        world.real += 30 * MINUTE
    assert most_within_a_day(world.admitted) <= GUESSES_PER_DAY
    assert world.admitted[-1] > START + 2 * WINDOW  # and nobody is locked out for years


@pytest.mark.parametrize("seed", range(5))
def test_no_other_pace_gets_more(seed):
    chosen = random.Random(seed)
    world = World()
    end = world.real + 3 * WINDOW
    while world.real < end:
        if chosen.random() < 0.5:
            world.volley()
        elif world.guesses.begin(failure := Failure(world.now, "acme", "", "")):
            world.stored.append(failure)  # keyed one by one, and never heard of again
            world.admitted.append(world.real)
        if chosen.random() < 0.7:
            world.wait_for_next_chance()
        else:
            world.real += chosen.randrange(3 * HOUR)
    assert most_within_a_day(world.admitted) <= GUESSES_PER_DAY


@pytest.mark.parametrize(
    ("what", "scope"), [({"account": "204"}, Scope.ACCOUNT), ({"source": "192.0.2.7"}, Scope.SOURCE)]
)
def test_one_stolen_account_or_one_address_locks_no_wider_scope(what, scope):
    world = World()
    end = world.real + 4 * WINDOW
    while world.real < end:
        world.volley(**what)
        assert {lock.scope for lock in world.guesses.locks(world.now)} <= {scope}
        owner = Failure(world.now, "acme", "205", "198.51.100.1")
        assert world.guesses.begin(owner)
        world.guesses.forgive(owner)
        world.wait_for_next_chance()
    assert most_within_a_day(world.admitted) == guesses_per_day(scope) <= FREE[Scope.TENANT]


ACTION = st.sampled_from(["volley", "volley", "begin", "confirm", "forgive", "restart", "back"])
STEP = st.one_of(
    st.sampled_from([0, 1, MINUTE, 2 * MINUTE, 17 * MINUTE, HOUR, WINDOW // 2, WINDOW - 1, WINDOW]),
    st.integers(0, WINDOW),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(ACTION, STEP, st.booleans()), max_size=40))
def test_however_it_is_mixed_no_24_hours_hold_more_than_the_bound(actions):
    world, pending = World(), []
    for action, step, next_best in actions:
        if next_best and world.stored:
            world.wait_for_next_chance()
        elif action == "back":
            world.off -= step
        else:
            world.real += step
        if action == "volley":
            world.volley()
        elif action == "begin":
            new = Failure(world.now, "acme", f"p{next(world.names)}", "")
            if world.guesses.begin(new):
                pending.append((new, world.real))
                world.stored.append(new)
                world.admitted.append(world.real)
        elif action == "restart":
            pending = []
            world.restart()
        elif pending and action == "confirm":
            world.guesses.confirm(pending.pop()[0])
        elif pending and action == "forgive":
            right, at = pending.pop()
            world.guesses.forgive(right)
            world.stored.remove(right)
            world.admitted.remove(at)
    assert most_within_a_day(world.admitted) <= GUESSES_PER_DAY
