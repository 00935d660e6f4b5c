from zoneinfo import ZoneInfo

import pytest

from fraudguard.clock import SteadyClock, SystemClock, format_instant, parse_instant
from fraudguard.errors import InputError


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("1971-01-02", 31_622_400_000),
        ("2026-12-31T18:00", 1_798_740_000_000),
        ("2026-12-31T18:00:00+01:00", 1_798_736_400_000),
        ("2026-12-31T18:00Z", 1_798_740_000_000),
    ],
)
def test_instants_are_read(text, millis):
    assert parse_instant(text) == millis


def test_a_time_without_offset_is_taken_in_the_given_zone():
    assert parse_instant("2026-07-01T12:00", zone=ZoneInfo("Europe/Berlin")) == parse_instant("2026-07-01T10:00Z")


@pytest.mark.parametrize("text", ["", "tomorrow", "31.12.2026", "2026-13-01", "x" * 1000])
def test_what_is_no_time_is_refused_with_a_way_out(text):
    with pytest.raises(InputError, match="is not a time") as caught:
        parse_instant(text, where="--until")
    assert caught.value.where == "--until"
    assert caught.value.fix


@pytest.mark.parametrize("text", ["0001-01-01", "1969-12-31", "9999-12-31T23:59-12:00"])
def test_a_time_out_of_range_is_refused(text):
    with pytest.raises(InputError, match="is out of range"):
        parse_instant(text)


def test_instants_are_written_with_their_offset():
    assert format_instant(1_798_740_000_999) == "2026-12-31T18:00:00+00:00"


def test_the_system_clock_goes_forward():
    clock = SystemClock()
    assert clock.now() > parse_instant("2026-01-01")
    assert clock.monotonic() <= clock.monotonic()


class Machine:
    """A machine whose clock can be set."""

    def __init__(self):
        self.wall, self.passed = 1_800_000_000_000, 0.0

    def now(self):
        return self.wall

    def monotonic(self):
        return self.passed

    def go_on(self, seconds):
        self.wall += int(seconds * 1000)
        self.passed += seconds


@pytest.mark.parametrize("delta", [-3_600_000, 3_600_000, -300, 300])
def test_a_steady_clock_goes_on_when_the_machines_is_set_and_says_by_how_much(delta):
    machine = Machine()
    clock = SteadyClock(machine)
    began = clock.now()
    machine.go_on(5)
    machine.wall += delta
    assert clock.now() == began + 5_000
    assert clock.monotonic() == 5
    assert clock.step(250) == delta
    assert clock.now() == began + 5_000 + delta
    assert clock.step(250) == 0


def test_the_way_a_clock_goes_is_no_step():
    machine = Machine()
    clock = SteadyClock(machine)
    machine.wall += 249
    assert clock.step(250) == 0
    assert clock.now() == machine.wall - 249
