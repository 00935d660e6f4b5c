"""Whatever dies: what an account costs, by the carrier's own clock, is never above its budget.

FRAUDGUARD_KILLS says how often the guard, its link or both are killed; `make kill-rounds` does it a hundred times.
"""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import cycle

import pytest
from asterisk_harness.loss import TARIFFS, Account, Crowd, Faults, charge, dialled, set_budget, spent, start
from asterisk_harness.waiting import wait_until

KILLS = int(os.environ.get("FRAUDGUARD_KILLS", "20"))
KILLS_PER_STAGE = 10
SEED = int(os.environ.get("FRAUDGUARD_SEED", str(random.randrange(10**6))))

BY_SECOND, BY_SIX, BY_MINUTE = TARIFFS
PHONES = ("alice", "ida", "nina", "oscar", "paul", "quinn", "rita", "fiona", "carol", "erin")
NAMES = {"erin": "erin-204"}


@pytest.mark.parametrize(
    ("seconds", "tariff", "cost"),
    [
        *((0.001, BY_SECOND, "0.004"), (1.0, BY_SECOND, "0.004"), (1.001, BY_SECOND, "0.008")),
        *((0.2, BY_SIX, "0.024"), (6.01, BY_SIX, "0.048"), (0.2, BY_MINUTE, "0.24"), (60.1, BY_MINUTE, "0.48")),
    ],
)
def test_the_carrier_charges_every_increment_that_began(seconds, tariff, cost):
    assert charge(seconds, tariff) == Decimal(cost)


def accounts(chance):
    """Return ten accounts, in all three tariffs: who has least can talk for ten seconds, or pay one call's minute."""
    tariffs = cycle(TARIFFS)
    return [
        Account(
            phone,
            NAMES.get(phone, phone),
            tariff := next(tariffs),
            dialled(tariff, 11 + index),
            tariff.per_minute * (60 * chance.randint(1, 4) if tariff is BY_MINUTE else chance.randint(12, 50)) / 60,
        )
        for index, phone in enumerate(PHONES)
    ]


def told(callers, names, legs):
    """Tell of accounts' answered calls: when the carrier answered, in UTC, and for how many seconds."""
    began = datetime.now(UTC) - timedelta(seconds=time.monotonic())
    numbers = {caller.number.removeprefix("9011"): caller.name for caller in callers if caller.name in names}
    return [
        f"{numbers[number]} {began + timedelta(seconds=leg.answered):%T.%f} {leg.seconds:.3f}"
        for leg in legs
        if (number := leg.number.lstrip("+")) in numbers and leg.answered
    ]


def test_no_account_costs_more_than_its_budget_whatever_is_killed(make_service, link, own_carrier, own_phones):
    """Twenty lines, two of each account; stages of some faults each, with budgets of their own."""
    chance = random.Random(SEED)
    done, costs, budgets = {}, Decimal(0), Decimal(0)
    own_carrier.ring = lambda _: chance.choice((0.0, 0.0, chance.uniform(0, 0.6)))
    for stage in range(-(-KILLS // KILLS_PER_STAGE)):
        callers = accounts(chance)
        service = make_service()
        for caller in callers:
            set_budget(service, caller.budget, "--tenant", "default", "--account", caller.name)
        start(service)
        first = len(own_carrier.legs)
        with Crowd(own_phones, callers, chance) as crowd:
            faults = Faults(service, link, crowd, own_carrier, chance, done)
            time.sleep(0.5)
            for _ in range(min(KILLS_PER_STAGE, KILLS - stage * KILLS_PER_STAGE)):
                faults.strike()
        wait_until(lambda: all(leg.over for leg in own_carrier.legs), "all calls were over", 90)
        service.kill()
        cost = spent(callers, own_carrier.legs[first:])
        sys.stdout.write(f"seed {SEED}, stage {stage}: {[f'{cost[c.name]}/{c.budget:.3f}' for c in callers]}\n")
        over = {c.name: (cost[c.name], c.budget) for c in callers if cost[c.name] > c.budget}
        assert not over, f"seed {SEED}: {over}, {told(callers, over, own_carrier.legs[first:])}, see {service.folder}"
        costs, budgets = costs + sum(cost.values()), budgets + sum(c.budget for c in callers)
    crossed = sum(leg.crossed for leg in own_carrier.legs)
    sys.stdout.write(f"{done}; {len(own_carrier.legs)} calls, {crossed} of them crossed; {costs} of {budgets}\n")
    assert sum(done.values()) == KILLS
    assert costs > budgets / 3, "hardly anything was spent: nothing was tried"


# -- what is left


@pytest.mark.parametrize(
    "tariff", TARIFFS if KILLS >= 100 else TARIFFS[:1], ids=lambda tariff: f"by {tariff.increment} s"
)
def test_twenty_callers_at_once_leave_little_of_a_budget(make_service, own_carrier, own_phones, tariff):
    """They dial again and again, until all of them are refused at once."""
    number, budget = dialled(tariff), charge(max(240, 20 * tariff.increment), tariff)
    service = make_service()
    set_budget(service, budget, "--tenant", "default", "--account", "alice")
    start(service)
    lines, deadline = [own_phones.call(number, "alice") for _ in range(20)], time.monotonic() + 150
    while not all(line.over and line.status >= 300 for line in lines):
        assert time.monotonic() < deadline, "there was money left"
        lines = [own_phones.call(number, "alice") if line.over and line.status < 300 else line for line in lines]
        time.sleep(0.05)
        if all(line.over or line.status >= 300 for line in lines):  # money that came back meanwhile
            lines = [own_phones.call(number, "alice") for _ in lines]
            for line in lines:
                wait_until(lambda line=line: line.status >= 200, "it was answered or refused")
    legs = [leg for leg in own_carrier.legs if leg.answered]
    wait_until(lambda: all(leg.over for leg in legs), "all calls were over")
    unused = budget - sum(charge(leg.seconds, tariff) for leg in legs)
    sys.stdout.write(f"{tariff.name}: {len(legs)} calls left {unused} of {budget} unused\n")
    assert 0 <= unused < 2 * charge(tariff.increment, tariff) * len(legs), [f"{leg.seconds:.3f}" for leg in legs]
