"""What is counted in the way of a call, and what is made of the store's errors."""

import asyncio

import pytest
from metrics_cases import verdict

from fraudguard.errors import StoreError
from fraudguard.metrics import meter as meter_module
from fraudguard.metrics.meter import BOUNDS, Meter, Store
from fraudguard.policy import Outcome, Reason


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Log:
    """The verdict log: gives a future that the test settles."""

    def __init__(self):
        self.futures = []

    def record(self, verdict):
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


@pytest.fixture
def time():
    return Time()


async def test_a_verdict_is_counted_when_it_is_committed_with_the_time_it_took(time):
    log = Log()
    meter = Meter(time).measuring(log)
    assert meter.record(verdict(Reason.OVER_LIMIT, "a")) is log.futures[0], "no future of its own"
    assert not meter.verdicts
    time.now += 0.003
    meter.committed(verdict(Reason.OVER_LIMIT, "a", simulated=(Reason.BLOCKED, Reason.NO_RATE)))
    assert meter.verdicts == {(Outcome.NOWHERE, Reason.OVER_LIMIT): 1}
    assert meter.simulated == {Reason.BLOCKED: 1, Reason.NO_RATE: 1}
    assert meter.buckets[BOUNDS.index(0.005)] == 1
    assert meter.seconds == pytest.approx(0.003)


@pytest.mark.parametrize("index", range(len(BOUNDS)))
async def test_a_bound_belongs_to_its_own_bucket(time, index):
    meter = Meter(time).measuring(Log())
    time.now = 0.0
    meter.record(verdict(call="a"))
    time.now = BOUNDS[index]
    meter.committed(verdict(call="a"))
    assert meter.buckets.index(1) == index


async def test_what_takes_longer_than_every_bound_is_in_the_last_bucket(time):
    meter = Meter(time).measuring(Log())
    meter.record(verdict(call="a"))
    time.now += 60
    meter.committed(verdict(call="a"))
    assert meter.buckets[-1] == 1


async def test_verdicts_that_are_never_committed_do_not_pile_up(time, monkeypatch):
    monkeypatch.setattr(meter_module, "MAX_WAITING", 10)
    meter = Meter(time).measuring(Log())
    for index in range(25):
        meter.record(verdict(call=str(index)))
        assert len(meter._began) <= 10
    meter.committed(verdict(call="0"))  # forgotten: counted, but not timed
    assert (sum(meter.verdicts.values()), sum(meter.buckets)) == (1, 0)


async def test_what_the_log_refuses_is_raised_and_not_timed(time):
    class Closed:
        def record(self, verdict):
            raise StoreError("the verdict log is closed")

    meter = Meter(time).measuring(Closed())
    with pytest.raises(StoreError):
        meter.record(verdict())
    assert not meter._began


def test_an_error_of_the_store_counts_until_somebody_wrote(time):
    store = Store(time)
    assert store.error == ""
    store.failed(StoreError("cannot grow: the disk is full"))
    assert "disk is full" in store.error
    store.wrote()
    assert (store.error, store.errors) == ("", 1)


def test_an_error_of_the_store_is_forgotten_when_nobody_writes(time):
    store = Store(time)
    store.failed("locked")
    time.now += Store.MEMORY - 1
    assert store.error
    time.now += 2
    assert not store.error


def test_the_store_is_judged_by_the_verdicts_that_met_it(time):
    store = Store(time)
    store.compare(written=5, refused=0)
    assert not store.error
    store.compare(written=6, refused=3)
    assert store.error
    assert store.errors == 3
    store.compare(written=6, refused=3)
    assert store.error, "nobody wrote since"
    store.compare(written=7, refused=3)
    assert (store.error, store.errors) == ("", 3)


def test_edits_that_cannot_be_read_are_told_while_it_lasts(time):
    store = Store(time)
    time.now += 5
    assert store.snapshot_age == 5
    store.reload_failed(StoreError("is damaged"))
    assert store.reload_error == "is damaged"
    time.now += Store.RELOAD_MEMORY
    assert store.reload_error == "", "the next tries were silent: nothing to read, and nothing wrong"
    store.reload_failed(StoreError("is damaged"))
    store.swapped()
    assert (store.reload_error, store.snapshot_age, store.reload_failures, store.errors) == ("", 0, 2, 2)
