"""What is counted while it happens, in the event loop: verdicts, how long they took, calls that ended, the store."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from fraudguard.ledger.records import Call
from fraudguard.money import Micros
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import Verdict

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Upper bounds in seconds: a commit to a fast disk takes 1 ms; 2 s is the deadline of a request."""

MAX_WAITING: Final = 40_000
"""Verdicts whose commit is waited for at once: twice what the verdict log lets wait. Those that fail pile up."""


class Recorder(Protocol):
    """Where verdicts go before they are answered: the verdict log."""

    def record(self, verdict: Verdict) -> Awaitable[Verdict]:
        """Return what gives the verdict back once it is committed."""
        ...


class Meter:
    """Counts. It stands between guard and verdict log as `record`, and hears of each verdict that is `committed`.

    Plain integers, because both are in the way of every call: prometheus_client's own counters take a lock each, and
    a callback on the future of each verdict costs twice as much as both methods here.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began: dict[str, float] = {}
        self._recorder: Recorder | None = None
        self.verdicts: Counter[tuple[Outcome, Reason]] = Counter()
        self.simulated: Counter[Reason] = Counter()  # what rules in shadow would have refused
        self.buckets = [0] * (len(BOUNDS) + 1)  # the last is above every bound
        self.seconds = 0.0
        self.ended: Counter[tuple[str, bool]] = Counter()  # by why, and whether reconstructed
        self.ended_cost: Micros = 0
        self.renewed = 0  # leases
        self.cut = 0
        self.store = Store(now)

    # --- the way of a call ---

    def measuring(self, recorder: Recorder) -> Meter:
        """Measure how long `recorder` takes; return what to hand to the guard in its place."""
        self._recorder = recorder
        return self

    def record(self, verdict: Verdict) -> Awaitable[Verdict]:
        """Record as the verdict log does, and take the time."""
        assert self._recorder is not None, "measures nobody"
        committed = self._recorder.record(verdict)
        if len(self._began) >= MAX_WAITING:
            self._began.clear()
        self._began[verdict.call] = self._now()
        return committed

    def committed(self, verdict: Verdict) -> None:
        """Count a verdict that is stored and about to be answered."""
        self.verdicts[verdict.outcome, verdict.reason] += 1
        began = self._began.pop(verdict.call, None)
        if began is not None:
            seconds = self._now() - began
            self.buckets[bisect_left(BOUNDS, seconds)] += 1
            self.seconds += seconds
        if verdict.simulated:
            self.simulated.update(verdict.simulated)

    # --- after it ---

    def call_ended(self, call: Call) -> None:
        """Count a call that is over. `why` is one of few: a reason, or ledger.Why."""
        self.ended[call.why, call.reconstructed] += 1
        self.ended_cost += call.cost or 0
        self.cut += bool(call.cut)


class Store:
    """Whether the database can be written and read, by what those who use it met.

    Nothing is written to find out: a probe would wait for the lock, and for the disk, that callers wait for.
    """

    MEMORY: Final = 60.0
    """Seconds an error counts when nobody wrote since: a night without a call is not a night without a disk."""

    RELOAD_MEMORY: Final = 10.0
    """The same for reading the edits, which is tried several times a second, and is silent when there are none."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failed_at: float | None = None
        self._error = ""
        self._written = 0
        self._refused = 0
        self._swapped_at = now()
        self._reload_failed_at: float | None = None
        self._reload_error = ""
        self.errors = 0
        self.reload_failures = 0

    @property
    def error(self) -> str:
        """What kept the latest write from being made; empty when it was."""
        return self._error if self._since(self._failed_at, self.MEMORY) else ""

    @property
    def reload_error(self) -> str:
        """What keeps the operators' edits from being read; empty when nothing does."""
        return self._reload_error if self._since(self._reload_failed_at, self.RELOAD_MEMORY) else ""

    @property
    def snapshot_age(self) -> float:
        """Seconds since the operators' edits changed."""
        return self._now() - self._swapped_at

    def wrote(self) -> None:
        """Somebody's transaction was committed."""
        self._failed_at = None

    def failed(self, error: Exception | str) -> None:
        """Somebody's transaction was refused."""
        self.errors += 1
        self._failed_at = self._now()
        self._error = str(error)

    def swapped(self) -> None:
        """A new snapshot of the operators' edits is in force."""
        self._swapped_at = self._now()
        self._reload_failed_at = None

    def reload_failed(self, error: Exception) -> None:
        """The operators' edits could not be read."""
        self.errors += 1
        self.reload_failures += 1
        self._reload_failed_at = self._now()
        self._reload_error = str(error)

    def compare(self, written: int, refused: int) -> None:
        """Follow the verdicts by their totals: those committed, and those the FastAGI server got no commit for."""
        if refused > self._refused:
            self.failed("verdicts are not stored: the log says why")
            self.errors += refused - self._refused - 1
        elif written > self._written:
            self.wrote()
        self._written, self._refused = written, refused

    def _since(self, failed_at: float | None, memory: float) -> bool:
        return failed_at is not None and self._now() - failed_at < memory
