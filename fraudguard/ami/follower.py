"""Following one Asterisk: what its link says is told to the ledger, and what the ledger asks for is done.

One consumer takes what the connection read, in order. It waits for Asterisk only where the next event makes no sense
without the answer: for the list of channels after a link came up or events were dropped, and for the word of the
dialplan about a call that no verdict allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol

import structlog

from fraudguard.ami import events
from fraudguard.ami.connection import (
    ActionRefusedError,
    AmiError,
    Connection,
    DisconnectedError,
    Link,
    LoginRefusedError,
    Message,
)
from fraudguard.clock import Clock, Millis
from fraudguard.detect.sources import Sighting
from fraudguard.dialplan import names
from fraudguard.ledger import Changes, Ledger
from fraudguard.ledger.records import Dialled, Leg
from fraudguard.policy.alert import AlertKind, NewAlert

LOST_SECONDS: Final = 10.0
"""How long a link may be gone before somebody is told: a reload or restart of Asterisk takes less."""

UNNOTICED_MILLIS: Final = 11_000
"""How long a link can have been dead before that was noticed: a ping and the wait for its answer (reconnect.Timing)."""

RETRY_SECONDS: Final = 2.0
"""Until the list of channels is asked for again, when Asterisk did not give it."""

HANG_UP_TRIES: Final = 5
"""How often a call is to be hung up that is still there: with the waits for an answer half a minute and more, in which
an Asterisk that is merely slow comes round. Of a lost link the next list of channels takes care."""

TELL_TRIES: Final = 5
"""How often Asterisk is told of a call's end that it does not confirm; until it does, the call keeps its money."""

SOONEST_MILLIS: Final = 100
"""An end sooner than this is now: to Asterisk a timeout of 0 is none."""

PROMPT_MILLIS: Final = 500
"""How late an order may be answered to have come in time: two seconds more than the lease are paid for."""

CLOCK_SECONDS: Final = 3.0
STEP_MILLIS: Final = 1_000
"""How often it is asked what time it is at Asterisk, and how much more or less than before is a clock that was set."""

WARNING_DIGIT: Final = "5"
WARNING_MILLIS: Final = "300"
"""The tone before a call is cut."""

TOLD: Final = float("inf")
"""When somebody is told who was told already."""

REJECTED: Final = "21"
"""The hangup cause of a call that may not go on: call rejected (include/asterisk/causes.h)."""

log = structlog.get_logger()


class Listener(Protocol):
    """Where it goes: the service stores calls, delivers alerts and counts who connects."""

    def changed(self, changes: Changes) -> None:
        """Take over what changed in the ledger. Never blocks."""
        ...

    def alert(self, alert: NewAlert) -> None:
        """Tell a person. Never blocks."""
        ...

    def sighted(self, sighting: Sighting) -> None:
        """Note who connected. Never blocks."""
        ...


class Follower:
    """Keeps the ledger true to one Asterisk for as long as `run` lasts."""

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        listener: Listener,
        clock: Clock,
        followed_until: Millis | None = None,
    ) -> None:
        self.connection = connection
        self._asterisk = connection.name
        self._ledger = ledger
        self._listener = listener
        self._clock = clock
        self._orders: set[asyncio.Task[None]] = set()
        self._lost: asyncio.TimerHandle | None = None
        self._due: float | None = None  # when somebody is told, by the loop's time; None while all is well
        self._trouble = ""  # why the channels could not be listed
        self._heard_at: Millis = 0  # when the latest event was read, or the list asked for
        self._ahead: Millis | None = None  # by how much Asterisk's clock was ahead of ours when that was last asked
        self.lag: float = 0.0  # seconds from reading an event to acting on it, of the latest one
        self.refused = False
        self.following = False
        self._followed_until = followed_until  # when it was last; None while it is, and before it first was
        self._ever = followed_until is not None

    async def run(self) -> None:
        """Follow until cancelled. A refused login is final: it is told, and this returns."""
        reading = asyncio.create_task(self.connection.run(), name=f"AMI {self._asterisk}")
        consuming = asyncio.create_task(self._consume(), name=f"follow {self._asterisk}")
        watching = asyncio.create_task(self._watch_clock(), name=f"clock {self._asterisk}")
        self._link_down()
        try:
            await asyncio.wait((reading, consuming, watching), return_when=asyncio.FIRST_COMPLETED)
            for task in (consuming, watching):
                if task.done():
                    task.result()  # a defect of ours: let it be seen
            with suppress(LoginRefusedError):
                reading.result()
            self._refuse(reading.exception())
        finally:
            self._call_off()
            tasks = (reading, consuming, watching, *self._orders)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _consume(self) -> None:
        while True:
            item = await self.connection.next()
            if item is Link.DOWN:
                self._link_down()
            elif item is Link.UP:
                self._call_off()
                await self._resync()
            elif item is Link.OVERFLOW:
                self._tell(AlertKind.AMI_OVERFLOW)
                if self.following:  # what was dropped may have waited for long
                    self._followed_until = min(self._heard_at, self._clock.now())
                await self._resync()
            elif isinstance(item, Message):
                await self._act(item)

    async def _act(self, message: Message) -> None:
        self.lag = max(0, self._clock.now() - message.at) / 1000
        try:
            await self._tell_of(message)
        except Exception:  # whatever it was: who ends here follows nothing any more
            log.exception("event not followed", asterisk=self._asterisk, name=message.get("Event"))
        self._heard_at = message.at

    async def _tell_of(self, message: Message) -> None:
        if (sighting := events.sighting(self._asterisk, message.headers, message.at)) is not None:
            self._listener.sighted(sighting)
        for event in events.call_events(self._asterisk, message.headers, message.at):
            known = await self._asked_about(event) if isinstance(event, Dialled) else event
            self._take(self._ledger.apply(known))
            if isinstance(known, Dialled) and not known.asked:
                await self._resync()  # the list says of each channel what its dialplan decided

    async def _asked_about(self, event: Dialled) -> Dialled:
        """Ask about a leg that nothing explains: what the dialplan decided without the guard, and what dials there."""
        if not self._ledger.wonders(event.leg, event.string, event.caller):
            return event
        if event.caller is None:
            return replace(event, application="Originate")  # or a call file, or ARI: they look alike
        try:
            said = await self._variable(event.caller, names.REASON)
        except AmiError as error:  # it may be a call that the dialplan let go: nothing is done to it yet
            log.warning("not told why a call is there", channel=event.leg.channel, error=str(error))
            return replace(event, asked=False)
        with suppress(AmiError):
            event = replace(event, application=await self._variable(event.caller, "CHANNEL(appname)"))
        return replace(event, said=said)

    async def _variable(self, leg: Leg, name: str) -> str:
        try:
            reply = await self.connection.action("Getvar", Channel=leg.channel, Variable=name)
        except ActionRefusedError:  # the channel is gone
            return ""
        return reply.get("Value")

    def _take(self, changes: Changes) -> None:
        if not changes:
            return
        for leg in changes.hang_up:
            self.hang_up(leg)
        for leg in changes.tell_end:
            self.tell_end(leg)
        try:
            self._listener.changed(changes)
        except Exception:  # the ledger knows already: following goes on
            log.exception("changes were not taken over", asterisk=self._asterisk)

    def hang_up(self, leg: Leg) -> None:
        """End a leg, now. Does not wait for it."""
        self._order(self._hang_up(leg), f"hang up {leg.channel}")

    def tell_end(self, leg: Leg) -> None:
        """Tell Asterisk when to end a leg, as the ledger has it. Does not wait for it."""
        self._order(self._tell_end(leg), f"end {leg.channel}")

    def _order(self, order: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(order, name=name)
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def _tell_end(self, leg: Leg) -> None:
        """Give a leg its end by Asterisk's own timer, which goes on when nobody is here any more.

        It runs from when Asterisk reads the order. One that was answered late may have come late, and is given again.
        """
        for _ in range(TELL_TRIES):
            end = self._ledger.end_of(leg)
            if end is None:
                return
            now_named, ends_at, seconds = end
            asked_at = self._clock.now()
            if ends_at - asked_at < SOONEST_MILLIS:  # no time at all would be no end at all
                await self._hang_up(now_named)
                return
            try:
                timeout = f"{(ends_at - asked_at) / 1000:.3f}"
                await self.connection.action("AbsoluteTimeout", Channel=now_named.channel, Timeout=timeout)
            except DisconnectedError:
                return  # after the next resync it is told again
            except AmiError as error:
                log.warning("not told when to end a call", channel=now_named.channel, error=str(error))
                await asyncio.sleep(RETRY_SECONDS / 4)
                continue
            if self._clock.now() - asked_at <= PROMPT_MILLIS:
                self._take(self._ledger.told_end(leg, seconds))
                return

    def warn(self, channel: str) -> None:
        """Let whoever is on a channel hear that the call is about to end. Does not wait for it."""
        self._order(self._warn(channel), f"warn {channel}")

    async def _warn(self, channel: str) -> None:
        # The one sound that needs no right to originate calls, and leaves the call's end as it is.
        with suppress(AmiError):
            await self.connection.action("PlayDTMF", Channel=channel, Digit=WARNING_DIGIT, Duration=WARNING_MILLIS)

    async def _watch_clock(self) -> None:
        """Tell all ends anew when Asterisk's clock was set: its timers go by it, and were put off or over by that."""
        while True:
            await asyncio.sleep(CLOCK_SECONDS)
            if not self.following:
                continue
            with suppress(AmiError):
                pong = await self.connection.action("Ping")
                before, ahead = self._ahead, _ahead(pong)
                self._ahead = ahead
                if before is not None and ahead is not None and abs(ahead - before) >= STEP_MILLIS:
                    log.warning("Asterisk's clock was set", asterisk=self._asterisk, seconds=(ahead - before) / 1000)
                    self._take(Changes(tell_end=self._ledger.ends_untold(self._asterisk)))

    async def _hang_up(self, leg: Leg) -> None:
        for _ in range(HANG_UP_TRIES):
            try:
                await self.connection.action("Hangup", Channel=leg.channel, Cause=REJECTED)
            except AmiError as error:
                log.warning("call not hung up", asterisk=leg.asterisk, channel=leg.channel, error=str(error))
                if isinstance(error, DisconnectedError):
                    return  # a resync finds it again
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)  # by then its end has been heard of, if it is gone
            now = self._ledger.live_leg(leg)
            if now is None:
                return
            leg = now
        log.error("call goes on", asterisk=leg.asterisk, channel=leg.channel, fix="hang it up by hand")

    # -- after an interruption

    async def _resync(self) -> None:
        """Ask which channels there are. Events read meanwhile wait, and change nothing that the list has told."""
        variables = ",".join(events.RESYNC_VARIABLES)
        while self.connection.status.up:
            asked_at = self._clock.now()
            try:
                pong = await self.connection.action("Ping")
                listed = await self.connection.collect("Status", Variables=variables)
            except AmiError as error:
                self._trouble = str(error)
                self._tell_later()
                log.error("the channels could not be listed", asterisk=self._asterisk, error=str(error))  # noqa: TRY400
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                self._listed(listed, asked_at, pong)
            except Exception:  # a defect of ours: events can be followed all the same, and somebody is told
                log.exception("the list of channels was not understood", asterisk=self._asterisk)
                self._trouble = "the list of channels was not understood: see the log"
                self._tell_later()
            return

    def _listed(self, listed: list[Message], asked_at: Millis, pong: Message) -> None:
        self._ahead = _ahead(pong)
        found = events.seen(self._asterisk, listed, self._clock.now(), self._ahead or 0)
        since = self._followed_until
        missed_since = None if since is None else since - UNNOTICED_MILLIS
        self._take(self._ledger.resync(self._asterisk, found, asked_at, missed_since))
        self._followed_until, self._heard_at = None, asked_at
        self.following = self._ever = True
        self._trouble = ""
        self._call_off()
        self._due = None
        log.info("channels listed", asterisk=self._asterisk, channels=len(found), live=len(self._ledger.live()))

    # -- the link itself

    def _call_off(self) -> None:
        """Tell nobody for now: the link is back, or following ends."""
        if self._lost is not None:
            self._lost.cancel()
            self._lost = None

    def _link_down(self) -> None:
        self._ledger.unlinked(self._asterisk)
        if self.following:
            self.following, self._followed_until = False, self._clock.now()
        self._tell_later()

    def _tell_later(self) -> None:
        """Tell somebody, unless all is well again by then; once, and not put off by a link that comes and goes."""
        loop = asyncio.get_running_loop()
        if self._due is None:
            self._due = loop.time() + LOST_SECONDS
        if self._lost is None and self._due != TOLD:
            self._lost = loop.call_at(self._due, self._tell_gone)

    def _tell_gone(self) -> None:
        self._due = TOLD
        # A newcomer's first start has no Asterisk, and nothing is lost by that.
        trouble = {"error": self._trouble} if self._trouble else {}
        self._tell(AlertKind.AMI_LOST if self._ever else AlertKind.AMI_ABSENT, **trouble)

    def _refuse(self, error: BaseException | None) -> None:
        self.refused = True
        self._tell(AlertKind.AMI_REFUSED, error=str(error))

    def _tell(self, kind: AlertKind, **details: str) -> None:
        say = log.warning if kind is AlertKind.AMI_ABSENT else log.error
        say(kind.value, asterisk=self._asterisk, fix="'fraudguard doctor' shows what is wrong", **details)
        at: Millis = self._clock.now()
        told = {"asterisk": self._asterisk, "link": str(self.connection.status.error or ""), **details}
        self._listener.alert(NewAlert(kind, at, fold=f"{kind}/{self._asterisk}", reason=kind, details=told))


def _ahead(pong: Message) -> Millis | None:
    """Return by how much Asterisk's clock is ahead of ours, as an answer to a ping tells."""
    theirs = events.instant(pong.get("Timestamp"))
    return None if theirs is None else theirs - pong.at
