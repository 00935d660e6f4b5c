"""Where the numbers come from: the ports that the composition root plugs in, and what is read from them at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Protocol

from fraudguard.metrics.meter import Meter
from fraudguard.money import Micros
from fraudguard.policy.reasons import Outcome, Reason

TICK_SECONDS: Final = 0.25
"""How often the loop says that it turns."""

STALL_SECONDS: Final = 0.1
"""A tick later than this is counted: a caller who waits that long for one line of answer would notice."""


class Counts(Protocol):
    """agi.counters.Counters."""

    connections: int
    probes: int
    hangups: int
    refused_commands: int
    unknown_keys: int
    duplicate_headers: int

    @property
    def requests(self) -> Mapping[Any, int]: ...

    @property
    def failures(self) -> Mapping[Any, int]: ...


class AgiServer(Protocol):
    """agi.server.AgiServer."""

    @property
    def counters(self) -> Counts: ...

    @property
    def open_sessions(self) -> int: ...


class LinkState(StrEnum):
    """How the link to an Asterisk's manager is."""

    UP = "up"
    DOWN = "down"  # it is tried again
    REFUSED = "refused"  # the login was; it is not tried again


@dataclass(frozen=True, slots=True)
class Link:
    """The link to one Asterisk. `lag` is in seconds, `detail` says why it is not up."""

    state: LinkState
    detail: str = ""
    lag: float = 0.0
    read: int = 0
    skipped: int = 0
    dropped: int = 0
    reconnects: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls on guarded trunks now, what they have cost so far, and what they may yet cost."""

    ringing: int = 0
    up: int = 0
    cost: Micros = 0
    set_aside: Micros = 0


@dataclass(frozen=True, slots=True)
class Channel:
    """What became of one alert channel's messages since the service started. `failed` are tries, not messages."""

    delivered: int = 0
    failed: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The outbox: how many messages wait, and what became of the others, by channel."""

    pending: int = 0
    channels: Mapping[str, Channel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read, in the event loop, at most once a second. The callables are quick and raise nothing.

    `agi_failures` are the kinds that can be, so that each is there with 0 before it happens first.
    """

    meter: Meter
    agi: AgiServer
    currency: str
    agi_failures: Iterable[str] = ()
    links: Callable[[], Mapping[str, Link]] = dict
    calls: Callable[[], Calls] = Calls
    deliveries: Callable[[], Deliveries] = Deliveries


@dataclass(frozen=True, slots=True)
class Reading:
    """All numbers at one moment. Another thread may look at it as long as it likes."""

    at: float
    currency: str
    loop_lag: float
    loop_stalls: int
    verdicts: Mapping[tuple[Outcome, Reason], int]
    simulated: Mapping[Reason, int]
    buckets: tuple[int, ...]
    seconds: float
    agi: Mapping[str, int]
    requests: Mapping[str, int]
    failures: Mapping[str, int]
    links: Mapping[str, Link]
    calls: Calls
    ended: Mapping[tuple[str, bool], int]
    ended_cost: Micros
    renewed: int
    cut: int
    deliveries: Deliveries
    failing: frozenset[str]  # channels whose latest try failed
    snapshot_age: float
    reload_failures: int
    reload_error: str
    store_errors: int
    store_error: str


class Pulse:
    """The event loop's own sign of life. `beat` is read from another thread: a float is swapped whole."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._failing: set[str] = set()
        self._seen: dict[str, Channel] = {}
        self.beat = time.monotonic()
        self.lag = 0.0
        self.stalls = 0

    def start(self) -> None:
        """Tick in the running loop from now on."""
        loop = asyncio.get_running_loop()
        self._due = loop.time()
        self._tick(loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def age(self) -> float:
        """Seconds since the latest tick."""
        return time.monotonic() - self.beat

    def read(self) -> Reading:
        """Read everything. Only in the loop: there nothing changes meanwhile."""
        meter, agi = self._sources.meter, self._sources.agi
        counters = agi.counters
        return Reading(
            at=time.monotonic(),
            currency=self._sources.currency,
            loop_lag=self.lag,
            loop_stalls=self.stalls,
            verdicts=MappingProxyType(dict(meter.verdicts)),
            simulated=MappingProxyType(dict(meter.simulated)),
            buckets=tuple(meter.buckets),
            seconds=meter.seconds,
            agi=MappingProxyType(
                {
                    "sessions": agi.open_sessions,
                    "connections": counters.connections,
                    "probes": counters.probes,
                    "hangups": counters.hangups,
                    "refused_commands": counters.refused_commands,
                    "unknown_keys": counters.unknown_keys,
                    "duplicate_headers": counters.duplicate_headers,
                }
            ),
            requests=MappingProxyType({str(path): count for path, count in counters.requests.items()}),
            failures=MappingProxyType(
                dict.fromkeys(map(str, self._sources.agi_failures), 0)
                | {str(kind): count for kind, count in counters.failures.items()}
            ),
            links=MappingProxyType(dict(self._sources.links())),
            calls=self._sources.calls(),
            ended=MappingProxyType(dict(meter.ended)),
            ended_cost=meter.ended_cost,
            renewed=meter.renewed,
            cut=meter.cut,
            deliveries=self._sources.deliveries(),
            failing=frozenset(self._failing),
            snapshot_age=meter.store.snapshot_age,
            reload_failures=meter.store.reload_failures,
            reload_error=meter.store.reload_error,
            store_errors=meter.store.errors,
            store_error=meter.store.error,
        )

    def watch_channels(self) -> None:
        """See by the counts whether a channel's latest try failed. Of both since the last look the delivery counts."""
        for name, counts in self._sources.deliveries().channels.items():
            before = self._seen.get(name, Channel())
            if counts.delivered > before.delivered:
                self._failing.discard(name)
            elif counts.failed > before.failed:
                self._failing.add(name)
            self._seen[name] = counts

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self.beat = time.monotonic()
        self.lag = max(0.0, now - self._due)
        self.stalls += self.lag > STALL_SECONDS
        meter = self._sources.meter
        meter.store.compare(sum(meter.verdicts.values()), self._sources.agi.counters.failures.get("not_stored", 0))
        self.watch_channels()
        self._due = now + TICK_SECONDS
        self._timer = loop.call_at(self._due, self._tick, loop)
