"""Where everything that is noticed arrives, and is handed on: to the ledger, the store, the outbox and the meter.

verdict log ──> Desk.committed, .dropped ──> ledger, sources, outbox
followers ────> Desk.changed, .alert, .sighted ──> calls, sources, alerts
calls stored ─> Desk.stored ──> ledger ──> followers: Asterisk is told of longer leases
now and then ─> Desk.renew, .settle, .reconsider ──> ledger ──> calls, alerts, followers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from fraudguard.clock import Clock, Millis
from fraudguard.detect.sources import Sighting, SightingKind, SourceWatch
from fraudguard.ledger import Call, Changes, Ledger, Leg, State
from fraudguard.metrics.meter import Meter
from fraudguard.policy import PolicyIndex, Verdict
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.policy.index import without_port
from fraudguard.store.alerts import AlertKeeper
from fraudguard.store.keepers import CallKeeper, SourceKeeper

TOLD_MILLIS = 2_000
"""By how much the clock must have been set for a person to be told."""

log = structlog.get_logger()


class Orders(Protocol):
    """Who can tell an Asterisk what to do: its follower."""

    def hang_up(self, leg: Leg) -> None:
        """End a leg, now. Never blocks."""
        ...

    def tell_end(self, leg: Leg) -> None:
        """Tell when to end a leg, as the ledger has it. Never blocks."""
        ...

    def warn(self, channel: str) -> None:
        """Let whoever is on a channel hear that the call is about to end. Never blocks."""
        ...


class Desk:
    """Takes what the verdict log and the followers tell (ami.follower.Listener). Nothing here waits.

    `watch` says what is odd about a sighting; `orders` are those who can be told, by Asterisk.
    """

    def __init__(
        self,
        ledger: Ledger,
        watch: SourceWatch,
        calls: CallKeeper,
        sources: SourceKeeper,
        alerts: AlertKeeper,
        *,
        meter: Meter,
        clock: Clock,
        orders: Mapping[str, Orders],
        wake_outbox: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._calls = calls
        self._sources = sources
        self._alerts = alerts
        self._meter = meter
        self._clock = clock
        self._orders = orders
        self._wake_outbox = wake_outbox
        self._store_failing = False

    def committed(self, verdict: Verdict) -> None:
        """A verdict is stored and about to be given."""
        attempt = verdict.facts.attempt
        if verdict.allowed:
            self._ledger.admit(verdict)  # before anything that may fail: an allowed call is hung up if it is not known
        else:
            self._wake_outbox()  # its alert was stored with it
        self._meter.committed(verdict)
        address = without_port(attempt.source)
        if address:
            kind = SightingKind.CALLED
            self.sighted(Sighting(attempt.at, attempt.asterisk, attempt.account, address, kind))

    def dropped(self, verdict: Verdict) -> None:
        """A verdict is not given: it could not be stored, or nobody waits for it any more."""
        self._ledger.drop(verdict.call)

    def stored(self, calls: Sequence[Call]) -> None:
        """Calls are on disk: money returns, and Asterisk may let them live longer."""
        self._order(Changes(tell_end=self._ledger.stored(calls, self._clock.now())))

    def renew(self) -> None:
        """Renew the leases that end soon; Asterisk is told when they are stored."""
        changes = self._ledger.renew(self._clock.now())
        self._meter.renewed += len(changes.calls)
        self._order(changes)
        self._calls.keep(changes.calls)

    def reconsider(self, policy: PolicyIndex) -> None:
        """Operators have changed their minds: end the calls that would not be allowed any more, or shorten them."""
        changes = self._ledger.reconsider(policy, self._clock.now())
        self._order(changes)
        self.changed(changes)

    def clock_set(self, delta: Millis) -> None:
        """The machine's clock was set, by so much."""
        changes = self._ledger.shift(delta)
        self._order(changes)
        self.changed(changes)
        if abs(delta) >= TOLD_MILLIS:
            kind = AlertKind.CLOCK_STEPPED
            details = {"seconds": f"{delta / 1000:+.1f}"}
            self.alert(NewAlert(kind, self._clock.now(), fold=kind, reason=kind, details=details))

    def _order(self, changes: Changes) -> None:
        """Have done what changes want done, by whoever follows the Asterisk."""
        for leg in changes.hang_up:
            if leg.asterisk in self._orders:
                self._orders[leg.asterisk].hang_up(leg)
        for leg in changes.tell_end:
            if leg.asterisk in self._orders:
                self._orders[leg.asterisk].tell_end(leg)
        for asterisk, channel in changes.warn:
            if asterisk in self._orders and channel:
                self._orders[asterisk].warn(channel)

    def changed(self, changes: Changes) -> None:
        """Calls changed."""
        self._calls.keep(changes.calls)
        for call in changes.calls:
            if call.state is State.ENDED:
                self._meter.call_ended(call)
        for alert in changes.alerts:
            self.alert(alert)

    def alert(self, alert: NewAlert) -> None:
        """A person should know something."""
        log.warning("alert", kind=alert.kind, tenant=alert.tenant, account=alert.account, number=alert.number)
        self._alerts.keep(alert)

    def sighted(self, sighting: Sighting) -> None:
        """Somebody connected, or tried to."""
        self._sources.note(sighting)
        for alert in self._watch.see(sighting):
            self.alert(alert)

    def settle(self, now: Millis) -> None:
        """Hold ended calls against Asterisk's records, and account for those that nobody saw."""
        changes = self._ledger.settle(now)
        self._calls.keep(changes.calls)  # most were counted when they ended
        for alert in changes.alerts:
            self.alert(alert)
        self._tell_of_the_store(now)

    def _tell_of_the_store(self, now: Millis) -> None:
        """Tell once that the database cannot be written: at once in the log, and as an alert as soon as it can be."""
        error = self._meter.store.error
        if error and not self._store_failing:
            kind = AlertKind.STORE_FAILED
            log.critical("the database cannot be written: calls get no verdict", error=error)
            self.alert(NewAlert(kind, now, fold=kind, reason=kind, details={"error": error}))
        self._store_failing = bool(error)
