"""The ledger: every live leg towards a trunk, what it costs, and what has to be done about it.

Pure and synchronous: events go in with their time, changes come out. Two rules hold throughout. What was seen as it
happened is counted to the second. What was not seen is counted as the dearest it can have been, because money that
was spent unseen must never look unspent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

from fraudguard.clock import Millis
from fraudguard.house import House, Line
from fraudguard.ledger.admissions import Admissions
from fraudguard.ledger.judging import Judge, Price, alert_about
from fraudguard.ledger.records import (
    NOTHING,
    Admission,
    Answered,
    Billed,
    Call,
    Changes,
    Dialled,
    Event,
    HungUp,
    Leg,
    Moved,
    Seen,
    State,
    Why,
    admission_of,
)
from fraudguard.money import Micros
from fraudguard.policy import Verdict
from fraudguard.policy.alert import AlertKind, NewAlert

SETTLE_MILLIS: Final = 5_000
"""How long an ended call waits for Asterisk's own record of it: Cdr comes within milliseconds, unless in batches."""

ENDED_LIMIT: Final = 20_000
"""Ended calls that wait at once, 4,000 a second. Beyond that the oldest are settled early."""

LEASE_SLACK_MILLIS: Final = 2_000
"""How much longer than its lease an answered leg may live: Asterisk looks at S() once a second, and hangs up."""

MISSED_MILLIS: Final = 5_000
"""How long after an interruption a verdict given during it may still be dialled by, before it counts as missed."""

OVERDUE_MILLIS: Final = 60_000
"""How long after its lease a call may still be said to be up, before it is taken to have ended then."""

CALLED: Final = frozenset({"AppDial", "AppDial2", "AppQueue"})
"""The applications that Asterisk shows for a channel that is being called, or was (app_dial.c, dial.c, app_queue.c).
A channel that came in never shows one of them."""

Key: TypeAlias = tuple[str, str]
"""Asterisk, and a uniqueid or a channel's name there."""


@dataclass(frozen=True, slots=True)
class _Gap:
    """A time in which nothing was heard of an Asterisk; looked into at `due`."""

    due: Millis
    asterisk: str
    since: Millis
    until: Millis


@dataclass(slots=True)
class _Entry:
    call: Call
    records: int = 0  # of Asterisk's own, added up in call.cdr_seconds
    vanished: Call | None = None  # what it was when it was found gone, without having been seen to end


class Ledger:
    """Follows the calls of every Asterisk. `sole` is the name of the only one configured, '' with several, and
    `asterisks` are all that are: a verdict for one that nobody knows may be of any of them.

    `price` says what a call without a verdict costs.
    """

    def __init__(
        self,
        house: House,
        sole: str,
        price: Price = lambda _trunk, _number: None,
        *,
        asterisks: Sequence[str] = (),
    ) -> None:
        self._house = house
        self._admissions = Admissions(sole, asterisks)
        self._judge = Judge(house, self._admissions, price)
        self._entries: dict[Key, _Entry] = {}  # by uniqueid: live calls, and ended ones until they are settled
        self._by_channel: dict[Key, Key] = {}  # their channels' names
        self._ended: deque[tuple[Millis, Key]] = deque()
        self._gaps: deque[_Gap] = deque()
        self._look_for_overdue_at: Millis = 0

    # -- what is allowed

    def admit(self, verdict: Verdict) -> None:
        """Take note of a verdict, before Asterisk can act on it. Again, or a refusing one, changes nothing."""
        admission = admission_of(verdict)
        if admission is not None:
            self._admissions.add(admission)

    def restore(self, admissions: Iterable[Admission], calls: Iterable[Call]) -> None:
        """Put back what the store kept over a restart: verdicts that may still be dialled by, and unfinished calls.

        Which of the calls still live, and what happened to them, the next `resync` finds out.
        """
        for admission in admissions:
            self._admissions.add(admission)
        for call in calls:
            key = (call.leg.asterisk, call.leg.uniqueid)
            if call.state is not State.ENDED and key not in self._entries:
                self._enter(key, call).records = 0 if call.cdr_seconds is None else 1

    def wonders(self, leg: Leg, string: str, caller: Leg | None = None) -> bool:
        """Say whether nothing explains a leg: then its Dialled needs `said`, and `application` for the alert."""
        return (leg.asterisk, leg.uniqueid) not in self._entries and self._judge.wonders(leg, string, caller)

    # -- what happens

    def apply(self, event: Event) -> Changes:
        """Follow one event. Any event may come twice, or late; those about other legs than a trunk's change nothing."""
        match event:
            case Dialled():
                return self._dialled(event)
            case Answered():
                return self._answered(event)
            case HungUp():
                return self._hung_up(event)
            case Moved():
                return self._moved(event)
            case Billed():
                return self._billed(event)
            case _:
                assert_never(event)

    def _dialled(self, event: Dialled) -> Changes:
        leg = event.leg
        lines = self._house.lines_of(leg.channel)
        if not lines:
            return NOTHING
        key = (leg.asterisk, leg.uniqueid)
        entry = self._entries.get(key)
        if entry is None:
            call = self._judge.judge(event, lines)
            self._enter(key, call)
            return self._changes(call, event, event.at)
        return self._judge_again(entry, event, lines)

    def _judge_again(self, entry: _Entry, event: Dialled, lines: tuple[Line, ...]) -> Changes:
        """Judge a leg that was found without its number, and so only reported, now that there is one; and one of
        which it was not known that its dialplan let it go.
        """
        known = entry.call
        if known.why != Why.UNGUARDED or known.state is State.ENDED or (known.number and event.said != Why.FENCE):
            return NOTHING
        entry.call = replace(
            self._judge.judge(event, lines, missed=True),
            state=known.state,
            began_at=min(known.began_at, event.at),
            answered_at=known.answered_at,
            reconstructed=True,
        )
        return Changes((entry.call,), (), self._order(entry.call))

    def _answered(self, event: Answered) -> Changes:
        entry = self._entries.get((event.asterisk, event.uniqueid))
        if entry is None or entry.call.answered_at is not None:
            return NOTHING
        call = replace(entry.call, answered_at=event.at)
        entry.call = replace(call, state=State.UP) if call.ended_at is None else _ended(call, call.ended_at)
        return Changes((entry.call,))

    def _hung_up(self, event: HungUp) -> Changes:
        key = (event.asterisk, event.uniqueid)
        self._admissions.first_gone(key, event.at)
        entry = self._entries.get(key)
        if entry is None:
            return NOTHING
        ended_at = entry.call.ended_at
        if ended_at is not None and (entry.vanished is None or event.at <= ended_at):
            return NOTHING
        # Found gone, and now it is seen to end later than that: it was on its way while Asterisk made its list.
        entry.vanished = None
        self._end(key, entry, replace(_ended(entry.call, event.at), cause=event.cause), event.at)
        return Changes((entry.call,))

    def _moved(self, event: Moved) -> Changes:
        leg = event.leg
        key = (leg.asterisk, leg.uniqueid)
        # A chain is named after the channel that began it: when that one moves, its chain was merged into another.
        self._admissions.join(key, (leg.asterisk, leg.linkedid))
        entry = self._entries.get(key)
        if entry is None or entry.call.leg == leg or entry.call.state is State.ENDED:
            return NOTHING
        self._rename(key, entry, leg)
        return Changes((entry.call,))

    def _billed(self, event: Billed) -> Changes:
        key = self._by_channel.get((event.asterisk, event.channel))
        if key is not None:
            entry = self._entries[key]
            entry.records += 1
            entry.call = replace(entry.call, cdr_seconds=(entry.call.cdr_seconds or 0) + event.seconds)
        return NOTHING  # stored when the call is settled

    # -- what was missed

    def resync(self, asterisk: str, seen: Sequence[Seen], now: Millis, missed_since: Millis | None = None) -> Changes:
        """Bring the calls of one Asterisk up to what it says is there, after events were missed since an instant.

        Calls that began after `now` are left alone. What is found is marked as reconstructed, and counted as the
        dearest it can have been:

        - A call that is gone ended just now, or at the end of its lease.
        - One that rang when last heard of and is gone, or is up by now, was answered when it was dialled, unless
          Asterisk says when it was.
        - One that was allowed meanwhile and is not there began and ended unseen: `settle` takes it to have been
          answered when it was allowed, and ended just now or at the end of its lease. Without `missed_since` none was.
        """
        if missed_since is not None:
            self._gaps.append(_Gap(now + MISSED_MILLIS, asterisk, missed_since, now))
        changes: list[Changes] = []
        there = {(asterisk, one.leg.uniqueid): one for one in seen}
        for key, one in there.items():  # transfers first: they tell in whose chain a leg may have been allowed
            self._admissions.join(key, (asterisk, one.leg.linkedid))
        for key, one in there.items():
            entry = self._entries.get(key)
            changes.append(self._found(one, now) if entry is None else self._found_again(key, entry, one))
        for key, entry in self._entries.items():
            if key[0] != asterisk or key in there or entry.call.state is State.ENDED or entry.call.began_at > now:
                continue
            self._vanish(key, entry, now)
            changes.append(Changes((entry.call,)))
        return _together(changes)

    def _found(self, one: Seen, now: Millis) -> Changes:
        """Take over a leg that nothing was known of, if it is surely one that was called."""
        leg = one.leg
        lines = self._house.lines_of(leg.channel) if one.application in CALLED else ()
        if not lines:
            return NOTHING
        event = self._as_dialled(one, lines)
        call = replace(self._judge.judge(event, lines, missed=True), reconstructed=True)
        self._enter((leg.asterisk, leg.uniqueid), _answered_unseen(call, one))
        return self._changes(_answered_unseen(call, one), event, now)

    def _as_dialled(self, one: Seen, lines: tuple[Line, ...]) -> Dialled:
        return Dialled(
            at=one.began_at,
            leg=one.leg,
            string=one.string if self._judge.number_in(one.string, lines) else "",
            account=one.account,
            context=one.context,
            extension=one.extension,
            application=one.application,
            said=one.said,
        )

    def _found_again(self, key: Key, entry: _Entry, one: Seen) -> Changes:
        before = entry.call
        if before.state is State.ENDED:
            if entry.vanished is None:
                return NOTHING  # it was seen to end: the list is older than that
            entry.call = replace(entry.vanished, cdr_seconds=before.cdr_seconds, reconstructed=True)
            entry.vanished = None
        entry.call = _answered_unseen(entry.call, one)
        if entry.call.leg != one.leg:
            self._rename(key, entry, one.leg)
        lines = self._house.lines_of(one.leg.channel)
        if lines:
            event = self._as_dialled(one, lines)
            self._judge_again(entry, event, lines)
        # The order to hang up may have been lost with the link.
        return Changes((entry.call,) if entry.call != before else (), (), self._order(entry.call))

    def _gaps_due(self, now: Millis) -> Iterator[_Gap]:
        while self._gaps and self._gaps[0].due <= now:
            yield self._gaps.popleft()

    def _missed(self, gap: _Gap) -> tuple[Call, ...]:
        """Return the calls of which nothing but their verdict was ever seen, as ended."""
        return tuple(
            self._ended_unseen(_never_seen(admission, gap.asterisk), gap.until)
            for admission in self._admissions.undialled(gap.asterisk, gap.since, gap.until)
            if admission.trunk not in self._house.unfollowed
        )

    def _ended_unseen(self, call: Call, now: Millis) -> Call:
        answered_at = call.began_at if call.answered_at is None else call.answered_at
        ended_at = now
        if call.lease_seconds is not None:
            ended_at = min(now, answered_at + call.lease_seconds * 1000 + LEASE_SLACK_MILLIS)
        return _ended(replace(call, answered_at=answered_at, reconstructed=True), ended_at)

    def _overdue(self, now: Millis) -> tuple[Call, ...]:
        """End the calls whose lease ran out long ago: the link that would have told of their end may be gone."""
        if now < self._look_for_overdue_at:
            return ()
        self._look_for_overdue_at = now + OVERDUE_MILLIS // 2
        ended = []
        for key, entry in self._entries.items():
            call = entry.call
            if call.state is not State.UP or call.lease_seconds is None:
                continue
            assert call.answered_at is not None
            if call.answered_at + call.lease_seconds * 1000 + LEASE_SLACK_MILLIS + OVERDUE_MILLIS < now:
                self._vanish(key, entry, now)
                ended.append(entry.call)
        return tuple(ended)

    def _vanish(self, key: Key, entry: _Entry, now: Millis) -> None:
        entry.vanished = entry.call
        self._end(key, entry, self._ended_unseen(entry.call, now), now)

    def looks_into(self, asterisk: str) -> bool:
        """Say whether an interruption of this Asterisk is still looked into by `settle`."""
        return any(gap.asterisk == asterisk for gap in self._gaps)

    # -- what is left

    def settle(self, now: Millis) -> Changes:
        """Compare calls that ended some seconds ago with Asterisk's own records, and forget what is done with.

        To be called every second. A call without a record is not compared, nor is one that was reconstructed.
        """
        changes = [Changes(self._missed(gap)) for gap in self._gaps_due(now)]
        changes += [Changes((call,)) for call in self._overdue(now)]
        self._admissions.forget(now)
        while self._ended and (self._ended[0][0] <= now or len(self._ended) > ENDED_LIMIT):
            _, key = self._ended.popleft()
            entry = self._entries.get(key)
            if entry is None or entry.call.state is not State.ENDED:
                continue  # it was found again, and lives
            del self._entries[key]
            channel = (key[0], entry.call.leg.channel)
            if self._by_channel.get(channel) == key:  # a restarted Asterisk gives the same names again
                del self._by_channel[channel]
            if entry.call.cdr_seconds is not None:
                changes.append(Changes((entry.call,), _disagreement(entry, now)))
        return _together(changes)

    def live(self) -> tuple[Call, ...]:
        """Return the calls that have not ended, the oldest first."""
        return tuple(entry.call for entry in self._entries.values() if entry.call.state is not State.ENDED)

    def live_leg(self, leg: Leg) -> Leg | None:
        """Return a leg as it is named now; None when it has ended, or is none of ours."""
        entry = self._entries.get((leg.asterisk, leg.uniqueid))
        return None if entry is None or entry.call.state is State.ENDED else entry.call.leg

    def live_cost(self, now: Millis) -> Micros:
        """Return what the live calls have cost up to now; those without a price count as nothing."""
        return sum(call.cost_at(now) or 0 for call in self.live())

    # -- keeping

    def _enter(self, key: Key, call: Call) -> _Entry:
        entry = self._entries[key] = _Entry(call)
        self._by_channel[key[0], call.leg.channel] = key
        self._admissions.note_dialled(key[0], call.call)
        return entry

    def _rename(self, key: Key, entry: _Entry, leg: Leg) -> None:
        old = entry.call.leg
        self._admissions.join((old.asterisk, old.linkedid), (leg.asterisk, leg.linkedid))
        if old.channel != leg.channel:
            if self._by_channel.get((old.asterisk, old.channel)) == key:  # in a masquerade two names change places
                del self._by_channel[old.asterisk, old.channel]
            self._by_channel[leg.asterisk, leg.channel] = key
        entry.call = replace(entry.call, leg=leg)

    def _end(self, key: Key, entry: _Entry, call: Call, at: Millis) -> None:
        entry.call = call
        self._ended.append((at + SETTLE_MILLIS, key))

    def _changes(self, call: Call, event: Dialled, at: Millis) -> Changes:
        """Return what follows from a leg that is new."""
        if call.why != Why.UNGUARDED:
            return Changes((call,))
        order = self._order(call) if event.asked else ()  # who does not know hangs up nothing; a resync will
        return Changes((call,), (self._judge.alert(call, event, at),), order)

    def _order(self, call: Call) -> tuple[Leg, ...]:
        """Return the leg to be hung up, if it is."""
        return (call.leg,) if self._judge.must_end(call) else ()


def _never_seen(admission: Admission, asterisk: str) -> Call:
    """Return the call of a verdict by which no leg was ever seen; the verdict stands in for its channel's name."""
    leg = Leg(asterisk, admission.call, admission.linkedid, "")
    return Call.admitted(admission, leg, began_at=admission.at)


def _answered_unseen(call: Call, one: Seen) -> Call:
    """Return a call as answered if it is by now, at the earliest that can have been."""
    if not one.up or call.answered_at is not None:
        return call
    answered_at = call.began_at if one.answered_at is None else one.answered_at
    return replace(call, state=State.UP, answered_at=answered_at, reconstructed=True)


def _ended(call: Call, at: Millis) -> Call:
    call = replace(call, state=State.ENDED, ended_at=at)
    return replace(call, seconds=call.seconds_at(at), cost=call.cost_at(at))


def _disagreement(entry: _Entry, now: Millis) -> tuple[NewAlert, ...]:
    """Return an alert where Asterisk counted other seconds, more or fewer by over one.

    Each of its records drops the last, unfinished second, so what it means is a span of as many seconds.
    """
    call = entry.call
    assert call.ended_at is not None
    assert call.cdr_seconds is not None
    length = 0 if call.answered_at is None else call.ended_at - call.answered_at
    least, most = (call.cdr_seconds - 1) * 1000, (call.cdr_seconds + entry.records + 1) * 1000
    if call.reconstructed or least <= length <= most:
        return ()
    details = {"seconds": str(call.seconds), "cdr_seconds": str(call.cdr_seconds), "records": str(entry.records)}
    return (alert_about(call, AlertKind.CDR_DISAGREEMENT, now, dialled=call.number, details=details),)


def _together(changes: Iterable[Changes]) -> Changes:
    changes = list(changes)
    return Changes(
        tuple(call for one in changes for call in one.calls),
        tuple(alert for one in changes for alert in one.alerts),
        tuple(leg for one in changes for leg in one.hang_up),
    )
