"""The ledger: what was allowed, the calls by it, what they cost, and what has to be done about them.

    attempt ── standing ──> rules ──> verdict ── note ──> money set aside
                                         └ stored ── admit
    events of an Asterisk ── apply, resync ──> legs ──> changes: to store, to tell, to do
    a call is stored ── stored ──> money returns, Asterisk may be told of a longer lease
    time passes ── renew, settle

Pure and synchronous: what happens goes in with its time, changes come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from fraudguard.clock import Millis
from fraudguard.house import House
from fraudguard.ledger.admissions import Admissions
from fraudguard.ledger.endings import together
from fraudguard.ledger.judging import Judge, Price
from fraudguard.ledger.leases import Leases
from fraudguard.ledger.legs import Legs
from fraudguard.ledger.recall import recalled
from fraudguard.ledger.records import (
    NOTHING,
    Admission,
    Call,
    Changes,
    Event,
    HungUp,
    Key,
    Leg,
    Seen,
    State,
    admission_of,
)
from fraudguard.ledger.tempo import Tempo, caller_of
from fraudguard.ledger.treasury import Treasury
from fraudguard.ledger.warnings import warnings
from fraudguard.money import Micros
from fraudguard.policy import Facts, PolicyIndex, Reason, Verdict
from fraudguard.policy.records import Standing
from fraudguard.policy.rules import AFTER_SPEED

SINK_MILLIS: Final = 5_000
"""How often what live calls have cost is counted as spent: a budget's warnings are no later than that."""


class Ledger:
    """Keeps the calls of every Asterisk, and the money. `sole` is the name of the only one configured, '' with several,
    and `asterisks` are all that are: a verdict for one that nobody knows may be of any of them.

    `price` says what a call without a verdict costs.
    """

    def __init__(
        self,
        house: House,
        sole: str,
        price: Price = lambda _trunk, _number: None,
        *,
        asterisks: Sequence[str] = (),
        tempo: Tempo | None = None,
    ) -> None:
        self._house = house
        self.treasury = Treasury(house.zone_of, house.is_strict)
        self.tempo = tempo or Tempo(house.speed_of)
        self._admissions = Admissions(sole, asterisks)
        self._judge = Judge(house, self._admissions, price)
        bounded = Reason.OVER_BUDGET not in house.shadow
        self._leases = Leases(house.lease, self.treasury, self._call, bounded=bounded)
        self._legs = Legs(house, self._admissions, self._judge, self.treasury, self._leases, bounded=bounded)
        self._unseen_since: Millis | None = None  # the oldest restored verdict by which nothing is known to be dialled
        self._noted: dict[str, Admission] = {}  # allowing verdicts that are being stored
        self._linked: set[str] = set()  # Asterisks whose events are followed, and that can be told something
        self._listed: set[str] = set()  # Asterisks whose channels were listed since the start
        self._sink_at: Millis = 0

    def _call(self, key: Key) -> Call | None:
        return self._legs.call(key)

    # -- what is allowed

    def standing(self, facts: Facts) -> Standing:
        """Say how things stand for an attempt: what money is left for it, and what is too much of it."""
        now, payer = facts.attempt.at, facts.payer
        caller = caller_of(facts)
        room = self.treasury.room(payer, now, strict=facts.strict)
        too_many = self.tempo.too_many(caller) if self._linked else ""  # who sees no call end cannot count them
        return Standing(room.money, room.budget, room.pin, self.tempo.too_fast(caller, now), too_many)

    def note(self, verdict: Verdict) -> None:
        """Take note of a verdict before it is stored: from now on its money is nobody else's to spend."""
        facts = verdict.facts
        if verdict.allowed or verdict.reason in AFTER_SPEED:
            self.tempo.passed(caller_of(facts), facts.attempt.at, allowed=verdict.allowed)
        admission = admission_of(verdict)
        if admission is not None:
            self._noted[verdict.call] = admission
            self._pledge(admission, strict=facts.strict)

    def admit(self, verdict: Verdict) -> None:
        """Take note of a verdict that is stored, before Asterisk can act on it. Again, or a refusing one, changes
        nothing.
        """
        admission = self._noted.pop(verdict.call, None) or admission_of(verdict)
        if admission is not None:
            self._admissions.add(admission)

    def drop(self, verdict: str) -> None:
        """Take back a verdict that is not given, or by which nothing is dialled any more."""
        self._noted.pop(verdict, None)
        self.treasury.withdraw(verdict)
        if not self.treasury.holds(verdict):
            self.tempo.leave(verdict)

    def restore(self, admissions: Iterable[Admission], calls: Iterable[Call]) -> None:
        """Put back what the store kept over a restart: verdicts that may still be dialled by, and unfinished calls.

        Which of the calls still live, and what happened to them, the next `resync` finds out.
        """
        for admission in admissions:
            self._admissions.add(admission, watched=False)
            if not admission.dialled:
                self._unseen_since = min(self._unseen_since or admission.at, admission.at)
                self._pledge(admission, strict=self._house.is_strict(admission.tenant, admission.at))
        for call in calls:
            self._legs.restore(call)
            if call.call:
                self.tempo.enter(call.call, call.payer)

    def _pledge(self, admission: Admission, *, strict: bool) -> None:
        if admission.lease_seconds is not None:  # emergencies are counted against nothing
            self.treasury.pledge(admission, strict=strict)
            self.tempo.enter(admission.call, admission.payer)

    # -- what happens

    def wonders(self, leg: Leg, string: str, caller: Leg | None = None) -> bool:
        """Say whether nothing explains a leg: then its Dialled needs `said`, and `application` for the alert."""
        return self._legs.call(leg.key) is None and self._judge.wonders(leg, string, caller)

    def apply(self, event: Event) -> Changes:
        """Follow one event. Any event may come twice, or late; those about other legs than a trunk's change nothing."""
        if isinstance(event, HungUp):
            gap = self._legs.gap(event.asterisk)
            after = None if gap is None else gap[1]
            for verdict in self._admissions.asker_gone((event.asterisk, event.uniqueid), after=after):
                self.drop(verdict)
        return self._legs.apply(event)

    def resync(self, asterisk: str, seen: Sequence[Seen], now: Millis, missed_since: Millis | None = None) -> Changes:
        """Bring the calls of one Asterisk up to what it says is there, after events were missed since an instant.

        See Legs.resync. From now on, until `unlinked`, that Asterisk can be told when its calls end.
        """
        self._linked.add(asterisk)
        if missed_since is None and asterisk not in self._listed:
            missed_since = self._unseen_since  # nobody saw what became of verdicts from before, either
        self._listed.add(asterisk)
        changes = self._legs.resync(asterisk, seen, now, missed_since)
        # What was asked for during the gap may have been dialled unseen: that is looked into later.
        there = {(asterisk, one.leg.uniqueid) for one in seen}
        gap = self._legs.gap(asterisk)
        before, watched = (now, True) if gap is None else (gap[0], False)
        for verdict in self._admissions.askers_missing(asterisk, there, before, watched=watched):
            self.drop(verdict)
        return together((changes, Changes(tell_end=self.ends_untold(asterisk))))

    def unlinked(self, asterisk: str) -> None:
        """Note that an Asterisk is not followed, until the next `resync`."""
        self._linked.discard(asterisk)

    def looks_into(self, asterisk: str) -> bool:
        """Say whether an interruption of this Asterisk is still looked into by `settle`."""
        return self._legs.gap(asterisk) is not None

    def ends_untold(self, asterisk: str) -> tuple[Leg, ...]:
        """Return the answered legs of an Asterisk that has to be told anew when they end: an order may have been lost,
        or its clock was set.
        """
        return self._legs.ends_untold(asterisk)

    # -- what time brings

    def settle(self, now: Millis) -> Changes:
        """Account for what ended or can no longer begin, and warn of budgets that come to their end.

        To be called every second.
        """
        changes = [self._legs.settle(now, self._linked), Changes(tuple(self._expired(now)))]
        self.tempo.forget(now)
        if now >= self._sink_at:
            self._sink_at = now + SINK_MILLIS
            self.treasury.sink(now)
            changes.append(Changes(alerts=warnings(self.treasury, now)))
        return together(changes)

    def _expired(self, now: Millis) -> Iterator[Call]:
        """Return the calls by verdicts that can no longer be dialled by, of which nobody could see what became of them.

        They are taken to have been answered at once, and to have lived for their whole lease. Where Asterisk was
        followed there was no call: then what was set aside is returned.
        """
        for admission in self._admissions.forget(now):
            if not self.treasury.pledged(admission.call):
                continue
            asterisk = self._admissions.asterisk_of(admission)
            followed = asterisk in self._linked and not self.looks_into(asterisk)
            if followed and admission.trunk not in self._house.unfollowed:
                self.drop(admission.call)
            else:
                yield self._legs.unseen(admission, asterisk, now)

    def renew(self, now: Millis) -> Changes:
        """Renew the leases that end soon, where there is money. To be called several times a second.

        Asterisk is to be told only when the calls are stored (see `stored`).
        """
        found = self._leases.renew(now, self._linked, strict=self._house.is_strict)
        for call in found.renewed:
            self._legs.replace(call)
        return Changes(
            tuple(found.renewed),
            hang_up=tuple(call.leg for call in found.overstayed),
            tell_end=tuple(call.leg for call in found.untold),
            warn=tuple((call.leg.asterisk, call.caller) for call in found.to_warn),
        )

    def stored(self, calls: Iterable[Call], now: Millis) -> tuple[Leg, ...]:
        """Note that calls are on disk as they are here: only now money returns, and Asterisk may be told of a longer
        lease. Return the legs of which it is to be told.
        """
        longer = []
        for call in calls:
            key = call.leg.key
            present = self._legs.call(key)
            if call.state is State.ENDED:
                if present is None or present.state is State.ENDED:  # else it was found again
                    self._close(call)
                continue
            if present is not None:
                self.treasury.follow(present, now)
            if self._leases.stored(key, call):
                longer.append(call.leg)
        return tuple(longer)

    def _close(self, call: Call) -> None:
        self.treasury.close(call, again=self._admissions.may_be_dialled(call.leg.asterisk, call.call))
        if self.treasury.pledged(call.call):
            self._admissions.note_returned(call.leg.asterisk, call.call)
        if call.call and not self.treasury.holds(call.call):
            self.tempo.leave(call.call)

    def shift(self, delta: Millis) -> Changes:
        """Take all that is under way for so much later, or earlier: the clock was set, and no time has passed by it.

        Asterisk, whose timers go by its machine's clock, is to be told anew when calls end.
        """
        self._admissions.shift(delta)
        self._leases.shift(delta)
        self._sink_at = 0
        live = self._legs.shift(delta)
        return Changes(live, tell_end=tuple(leg for one in self._linked for leg in self.ends_untold(one)))

    # -- when calls have to end

    def end_of(self, leg: Leg) -> tuple[Leg, Millis, int] | None:
        """Return a leg as it is named now, when it has to end, and how many seconds after its answer that is; None
        where it has ended or has no end.
        """
        key = leg.key
        call = self._legs.call(key)
        if call is None or call.state is not State.UP or call.answered_at is None:
            return None
        seconds = self._leases.wanted(key, call)
        return None if seconds is None else (call.leg, call.answered_at + seconds * 1000, seconds)

    def untold(self, call: Call) -> bool:
        """Say whether Asterisk is still to be told that a call may live so long."""
        return self._leases.wants_order(call.leg.key, call)

    def told_end(self, leg: Leg, lease_seconds: int) -> Changes:
        """Note that Asterisk will end a leg so many seconds after its answer."""
        key = leg.key
        call = self._legs.call(key)
        shorter = None if call is None else self._leases.told(key, call, lease_seconds)
        if shorter is None:
            return NOTHING
        self._legs.replace(shorter)
        return Changes((shorter,))

    def reconsider(self, policy: PolicyIndex, now: Millis) -> Changes:
        """End the calls that operators would not allow any more, and shorten those for which there is no more money."""
        recall = recalled(self.live(), policy, self.treasury, now, self._house.shadow)
        cut, shorten = [], []
        for call in self.live():
            key = call.leg.key
            if key in recall.cut:
                cut.append(replace(call, cut=call.cut or recall.cut[key]))
                self._legs.replace(cut[-1])
            elif key in recall.shorten:
                self._leases.shorten(key, recall.shorten[key], recall.short_of[key])
                shorten.append(call.leg)
        return Changes(tuple(cut), hang_up=tuple(call.leg for call in cut), tell_end=tuple(shorten))

    # -- what there is

    def live(self) -> tuple[Call, ...]:
        """Return the calls that have not ended, the oldest first."""
        return self._legs.live()

    def live_leg(self, leg: Leg) -> Leg | None:
        """Return a leg as it is named now; None when it has ended, or is none of ours."""
        return self._legs.live_leg(leg)

    def live_cost(self, now: Millis) -> Micros:
        """Return what the live calls have cost up to now; those without a price count as nothing."""
        return sum(call.cost_at(now) or 0 for call in self.live())
