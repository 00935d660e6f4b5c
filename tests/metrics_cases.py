"""What the tests of metrics read from: a server's counters, links, calls and deliveries, made up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from policy_cases import facts

from fraudguard.agi.counters import Counters, Failure
from fraudguard.metrics.meter import Meter
from fraudguard.metrics.sources import Calls, Channel, Deliveries, Link, LinkState, Sources
from fraudguard.policy import Outcome, Reason, Verdict


@dataclass
class Agi:
    """agi.server.AgiServer, as far as it is read."""

    counters: Counters = field(default_factory=Counters)
    open_sessions: int = 0


def verdict(reason: Reason = Reason.OK, call: str = "c0ffee", simulated: tuple[Reason, ...] = ()) -> Verdict:
    outcome = Outcome.ALLOW if reason in (Reason.OK, Reason.EMERGENCY) else Outcome.NOWHERE
    return Verdict(call, outcome, reason, facts(), None, simulated)


def sources(**changes) -> Sources:
    """Return sources with one of everything; `changes` replaces some."""
    agi = Agi(open_sessions=3)
    agi.counters.connections = 10
    agi.counters.requests["outbound"] = 9
    agi.counters.failures[Failure.DEADLINE] = 1
    usual = Sources(
        Meter(),
        agi,
        "EUR",
        tuple(Failure),
        links=lambda: {"office": Link(LinkState.UP, "", 0.25, 100, 900, 2, 1, 7)},
        calls=lambda: Calls(ringing=2, up=5, cost=1_250_000),
        deliveries=lambda: Deliveries(3, {"mail": Channel(40, 2, 1)}),
    )
    return replace(usual, **changes)
