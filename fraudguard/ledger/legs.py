"""The legs towards trunks: each followed from its dialling to its end, and what was not seen of them made good.

Two rules hold throughout. What was seen as it happened is counted to the second. What was not seen is counted as the
dearest it can have been, because money that was spent unseen must never look unspent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from fraudguard.clock import Millis
from fraudguard.house import House, Line
from fraudguard.ledger.admissions import Admissions
from fraudguard.ledger.endings import (
    LEASE_SLACK_MILLIS,
    answered_unseen,
    disagreement,
    ended,
    ended_unseen,
    never_seen,
    together,
)
from fraudguard.ledger.judging import Judge, alert_about
from fraudguard.ledger.leases import Leases
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
    Key,
    Leg,
    Moved,
    Seen,
    State,
    TurnedDown,
    Why,
)
from fraudguard.ledger.treasury import Treasury
from fraudguard.policy.alert import AlertKind, NewAlert

SETTLE_MILLIS: Final = 5_000
"""How long an ended call waits for Asterisk's own record of it: Cdr comes within milliseconds, unless in batches."""

ENDED_LIMIT: Final = 20_000
"""Ended calls that wait at once, 4,000 a second. Beyond that the oldest are settled early."""

MISSED_MILLIS: Final = 16_000
"""How long after an interruption a verdict given during it may still be dialled by, before it counts as missed: 5
seconds, and until it would have been noticed that the link died again meanwhile."""

OVERDUE_MILLIS: Final = 60_000
"""How long after its lease a call may still be said to be up, before it is taken to have ended then."""

CALLED: Final = frozenset({"AppDial", "AppDial2", "AppQueue"})
"""The applications that Asterisk shows for a channel that is being called, or was (app_dial.c, dial.c, app_queue.c).
A channel that came in never shows one of them."""

SECOND_LEG: Final = "second leg"
"""Why a leg is cut whose verdict was used up by another that is still there, where no money is left for both."""


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
    turned_down: bool = False
    vanished: Call | None = None  # what it was when it was found gone, without having been seen to end


class Legs:
    """Follows the legs of every Asterisk. `treasury` sets aside what they may cost, `leases` keeps their leases.

    Unless they are `bounded`, no leg is cut for want of money.
    """

    def __init__(
        self,
        house: House,
        admissions: Admissions,
        judge: Judge,
        treasury: Treasury,
        leases: Leases,
        *,
        bounded: bool = True,
    ) -> None:
        self._house = house
        self._admissions = admissions
        self._judge = judge
        self._treasury = treasury
        self._leases = leases
        self._bounded = bounded
        self._entries: dict[Key, _Entry] = {}  # by uniqueid: live calls, and ended ones until they are settled
        self._by_channel: dict[Key, Key] = {}  # their channels' names
        self._ended: deque[tuple[Millis, Key]] = deque()
        self._gaps: list[_Gap] = []
        self._look_for_overdue_at: Millis = 0

    def restore(self, call: Call) -> None:
        """Put back what the store kept of a call that has not ended."""
        key = call.leg.key
        if call.state is not State.ENDED and key not in self._entries:
            self._enter(key, call).records = 0 if call.cdr_seconds is None else 1

    # -- what happens

    def apply(self, event: Event) -> Changes:
        """Follow one event. Any event may come twice, or late; those about other legs than a trunk's change nothing."""
        match event:
            case Dialled():
                return self._dialled(event)
            case Answered():
                return self._answered(event)
            case TurnedDown():
                return self._turned_down(event)
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
        key = leg.key
        entry = self._entries.get(key)
        if entry is None:
            entry = self._enter(key, self._judge.judge(event, lines))
            return self._changes(entry.call, event, event.at)
        return self._judge_again(entry, event, lines)

    def _judge_again(self, entry: _Entry, event: Dialled, lines: tuple[Line, ...]) -> Changes:
        """Judge a leg that was found without its number, and so only reported, now that there is one; and one of
        which it was not known that its dialplan let it go.
        """
        known = entry.call
        if known.why != Why.UNGUARDED or known.state is State.ENDED or (known.number and event.said != Why.FENCE):
            return NOTHING
        key = known.leg.key
        self._treasury.disown(key)
        entry.call = self._paid(
            key,
            replace(
                self._judge.judge(event, lines, missed=True),
                state=known.state,
                began_at=min(known.began_at, event.at),
                answered_at=known.answered_at,
                reconstructed=True,
            ),
        )
        return Changes((entry.call,), (), (known.leg,) if entry.call.cut else self._order(entry.call))

    def _answered(self, event: Answered) -> Changes:
        entry = self._entries.get((event.asterisk, event.uniqueid))
        if entry is None or entry.call.answered_at is not None:
            return NOTHING
        call = replace(entry.call, answered_at=event.at)
        entry.call = replace(call, state=State.UP) if call.ended_at is None else ended(call, call.ended_at)
        if entry.call.state is State.UP:
            self._treasury.follow(entry.call, event.at)
            self._leases.begin((event.asterisk, event.uniqueid), entry.call)
        return Changes((entry.call,))

    def _turned_down(self, event: TurnedDown) -> Changes:
        entry = self._entries.get((event.asterisk, event.uniqueid))
        if entry is not None:
            entry.turned_down = True
        return NOTHING  # its hangup says the rest

    def _hung_up(self, event: HungUp) -> Changes:
        key = (event.asterisk, event.uniqueid)
        self._admissions.first_gone(key, event.at)
        entry = self._entries.get(key)
        if entry is None:
            return NOTHING
        ended_at = entry.call.ended_at
        if ended_at is not None and (entry.vanished is None or event.at <= ended_at):
            return NOTHING
        if entry.vanished is not None:
            # Found gone, and now it is seen to end later than that: it was on its way while Asterisk made its list.
            self._treasury.reopen(entry.call, entry.vanished, event.at)
            entry.vanished = None
        given_up = entry.call.answered_at is None and not entry.turned_down
        call = replace(ended(entry.call, event.at), cause=event.cause, given_up=given_up)
        self._end(key, entry, call, event.at)
        return Changes((entry.call,), _cut_alert(entry.call, event.at))

    def _moved(self, event: Moved) -> Changes:
        leg = event.leg
        key = leg.key
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
            # One that was not looked into yet goes on: what was missed in it may have lasted until now.
            before = [gap for gap in self._gaps if gap.asterisk == asterisk]
            since = min((gap.since for gap in before), default=missed_since)
            self._gaps = [gap for gap in self._gaps if gap.asterisk != asterisk]
            self._gaps.append(_Gap(now + MISSED_MILLIS, asterisk, min(since, missed_since), now))
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
        return together(changes)

    def ends_untold(self, asterisk: str) -> tuple[Leg, ...]:
        """Return the answered legs with a lease, and take it for unknown what Asterisk was told of their end."""
        return tuple(
            entry.call.leg
            for key, entry in self._entries.items()
            if key[0] == asterisk and entry.call.state is State.UP and self._leases.distrust(key)
        )

    def _found(self, one: Seen, now: Millis) -> Changes:
        """Take over a leg that nothing was known of, if it is surely one that was called."""
        leg = one.leg
        lines = self._house.lines_of(leg.channel) if one.application in CALLED else ()
        if not lines:
            return NOTHING
        event = self._as_dialled(one, lines)
        call = replace(self._judge.judge(event, lines, missed=True), reconstructed=True)
        entry = self._enter(leg.key, answered_unseen(call, one))
        return self._changes(entry.call, event, now)

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
        entry.call = answered_unseen(entry.call, one)
        if before.state is State.ENDED:
            assert before.ended_at is not None
            self._treasury.reopen(before, entry.call, before.ended_at)
        if entry.call.state is State.UP:
            self._leases.begin(key, entry.call)
        if entry.call.leg != one.leg:
            self._rename(key, entry, one.leg)
        lines = self._house.lines_of(one.leg.channel)
        if lines:
            event = self._as_dialled(one, lines)
            self._judge_again(entry, event, lines)
        # The order to hang up may have been lost with the link.
        return Changes((entry.call,) if entry.call != before else (), (), self._order(entry.call))

    def _gaps_due(self, now: Millis, linked: Container[str]) -> Iterator[_Gap]:
        for gap in tuple(self._gaps):
            if gap.due <= now and gap.asterisk in linked:  # else the next list of channels tells more
                self._gaps.remove(gap)
                yield gap

    def _missed(self, gap: _Gap) -> tuple[Call, ...]:
        """Return the calls of which nothing but their verdict was ever seen, as ended."""
        return tuple(
            self.unseen(replace(admission, at=max(admission.at, gap.since)), gap.asterisk, gap.until)
            for admission in self._admissions.undialled(gap.asterisk, gap.since, gap.until)
            if admission.trunk not in self._house.unfollowed
        )

    def unseen(self, admission: Admission, asterisk: str, until: Millis) -> Call:
        call = never_seen(admission, asterisk)
        self._treasury.dialled(call, until)
        return ended_unseen(call, until)

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
        self._end(key, entry, ended_unseen(entry.call, now), now)

    def gap(self, asterisk: str) -> tuple[Millis, Millis] | None:
        """Return begin and end of the interruption of this Asterisk that `settle` still looks into, if any."""
        return next(((gap.since, gap.until) for gap in self._gaps if gap.asterisk == asterisk), None)

    # -- what is left

    def settle(self, now: Millis, linked: Container[str]) -> Changes:
        """Compare calls that ended some seconds ago with Asterisk's own records, and forget what is done with. Of those
        Asterisks that are `linked` it is settled what was missed.

        To be called every second. A call without a record is not compared, nor is one that was reconstructed.
        """
        changes = [Changes(self._missed(gap)) for gap in self._gaps_due(now, linked)]
        changes += [Changes((call,)) for call in self._overdue(now)]
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
                changes.append(Changes((entry.call,), disagreement(entry.call, entry.records, now)))
        return together(changes)

    def live(self) -> tuple[Call, ...]:
        """Return the calls that have not ended, the oldest first."""
        return tuple(entry.call for entry in self._entries.values() if entry.call.state is not State.ENDED)

    def live_leg(self, leg: Leg) -> Leg | None:
        """Return a leg as it is named now; None when it has ended, or is none of ours."""
        entry = self._entries.get(leg.key)
        return None if entry is None or entry.call.state is State.ENDED else entry.call.leg

    def replace(self, call: Call) -> None:
        """Take a leg as it is now: its lease is another, or it is cut."""
        self._entries[call.leg.key].call = call

    def shift(self, delta: Millis) -> tuple[Call, ...]:
        """Take all that is under way for so much later, or earlier: the clock was set. Return the live calls."""
        self._gaps = [
            replace(gap, due=gap.due + delta, since=gap.since + delta, until=gap.until + delta) for gap in self._gaps
        ]
        self._ended = deque((at + delta, key) for at, key in self._ended)
        self._look_for_overdue_at += delta
        live = []
        for entry in self._entries.values():
            call = entry.call
            if call.state is not State.ENDED:
                answered_at = None if call.answered_at is None else call.answered_at + delta
                entry.call = replace(call, began_at=call.began_at + delta, answered_at=answered_at)
                self._treasury.moved(entry.call)
                live.append(entry.call)
        return tuple(live)

    # -- keeping

    def _enter(self, key: Key, call: Call) -> _Entry:
        entry = self._entries[key] = _Entry(self._paid(key, call))
        self._by_channel[key[0], call.leg.channel] = key
        return entry

    def _paid(self, key: Key, call: Call) -> Call:
        """Have a leg paid for by what its verdict set aside, and its lease looked after; it is cut if nobody pays."""
        paid = call.why == Why.EMERGENCY or self._treasury.dialled(call, call.began_at)
        if not paid and call.call and self._bounded:
            call = replace(call, cut=SECOND_LEG)
        self._admissions.note_dialled(key[0], call.call)
        if call.state is State.UP:
            self._leases.begin(key, call)
        return call

    def call(self, key: Key) -> Call | None:
        entry = self._entries.get(key)
        return None if entry is None else entry.call

    def _rename(self, key: Key, entry: _Entry, leg: Leg) -> None:
        old = entry.call.leg
        self._admissions.join((old.asterisk, old.linkedid), (leg.asterisk, leg.linkedid))
        if old.channel != leg.channel:
            if self._by_channel.get((old.asterisk, old.channel)) == key:  # in a masquerade two names change places
                del self._by_channel[old.asterisk, old.channel]
            self._by_channel[leg.asterisk, leg.channel] = key
        entry.call = replace(entry.call, leg=leg)

    def _end(self, key: Key, entry: _Entry, call: Call, at: Millis) -> None:
        refused = self._leases.end(key)
        entry.call = replace(call, cut=refused) if refused and not call.cut and _lasted(call) else call
        self._ended.append((at + SETTLE_MILLIS, key))

    def _changes(self, call: Call, event: Dialled, at: Millis) -> Changes:
        """Return what follows from a leg that is new."""
        if call.why != Why.UNGUARDED:
            return Changes((call,), (), (call.leg,) if call.cut else ())
        order = self._order(call) if event.asked else ()  # who does not know hangs up nothing; a resync will
        return Changes((call,), (self._judge.alert(call, event, at),), order)

    def _order(self, call: Call) -> tuple[Leg, ...]:
        """Return the leg to be hung up, if it is."""
        return (call.leg,) if self._judge.must_end(call) else ()


def _lasted(call: Call) -> bool:
    """Say whether a call lived until its lease ended."""
    if call.answered_at is None or call.ended_at is None or call.lease_seconds is None:
        return False
    return call.ended_at >= call.answered_at + (call.lease_seconds - 1) * 1000


def _cut_alert(call: Call, at: Millis) -> tuple[NewAlert, ...]:
    """Return the alert about a call that the guard ended, or let end. Those of one account and cause fold together."""
    if not call.cut:
        return ()
    details = {"cut": call.cut, "seconds": str(call.seconds), "lease": str(call.lease_seconds)}
    fold = (call.tenant, call.account, call.cut)
    return (alert_about(call, AlertKind.CALL_CUT, at, fold=fold, dialled=call.number, details=details),)
