"""Where everything that is noticed arrives, and is handed on: to the ledger, the store, the outbox and the meter.

verdict log ──> Desk.committed ──> ledger, sources, outbox
followers ────> Desk.changed, .alert, .sighted ──> calls, sources, alerts
every second ─> ledger.settle
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from fraudguard.clock import Millis
from fraudguard.detect.sources import Sighting, SightingKind, SourceWatch
from fraudguard.ledger import Changes, Ledger, State
from fraudguard.metrics.meter import Meter
from fraudguard.policy import Verdict
from fraudguard.policy.alert import AlertKind, NewAlert
from fraudguard.policy.index import without_port
from fraudguard.store.alerts import AlertKeeper
from fraudguard.store.keepers import CallKeeper, SourceKeeper

log = structlog.get_logger()


class Desk:
    """Takes what the verdict log and the followers tell (ami.follower.Listener). Nothing here waits.

    `watch` says what is odd about a sighting; with `follows` verdicts are admitted to the ledger.
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
        follows: bool,
        wake_outbox: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._calls = calls
        self._sources = sources
        self._alerts = alerts
        self._meter = meter
        self._follows = follows
        self._wake_outbox = wake_outbox
        self._store_failing = False

    def committed(self, verdict: Verdict) -> None:
        """A verdict is stored and about to be given."""
        attempt = verdict.facts.attempt
        if self._follows and verdict.allowed:
            self._ledger.admit(verdict)  # before anything that may fail: an allowed call is hung up if it is not known
        elif not verdict.allowed:
            self._wake_outbox()  # its alert was stored with it
        self._meter.committed(verdict)
        address = without_port(attempt.source)
        if address:
            kind = SightingKind.CALLED
            self.sighted(Sighting(attempt.at, attempt.asterisk, attempt.account, address, kind))

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
