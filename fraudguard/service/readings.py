"""What the parts of the service know of themselves, read as the metrics want it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fraudguard.alerts.outbox import Outbox
from fraudguard.ami.follower import Follower
from fraudguard.clock import Clock
from fraudguard.ledger import Ledger, State
from fraudguard.metrics.sources import Calls, Channel, Deliveries, Link, LinkState


def links(followers: Iterable[Follower]) -> Mapping[str, Link]:
    """Read the links to the Asterisks, by name."""
    return {follower.connection.name: _link(follower) for follower in followers}


def calls(ledger: Ledger, clock: Clock) -> Calls:
    """Count the live calls, and what they have cost so far."""
    live = ledger.live()
    up = sum(call.state is State.UP for call in live)
    return Calls(ringing=len(live) - up, up=up, cost=ledger.live_cost(clock.now()), set_aside=ledger.treasury.set_aside)


def deliveries(outbox: Outbox) -> Deliveries:
    """Count what became of the alerts, by channel."""
    counters = outbox.counters
    return Deliveries(
        pending=sum(one.pending for one in counters.values()),
        channels={name: Channel(one.delivered, one.failed, one.expired) for name, one in counters.items()},
    )


def _link(follower: Follower) -> Link:
    status = follower.connection.status
    state = LinkState.UP if status.up else LinkState.REFUSED if follower.refused else LinkState.DOWN
    return Link(
        state,
        detail=status.error,
        lag=follower.lag,
        read=status.read,
        skipped=status.skipped,
        dropped=status.dropped,
        reconnects=status.reconnects,
        queued=status.queued,
    )
