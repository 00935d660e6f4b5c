"""The calls of FakeAsterisk: who dials whom, who is up, and the events each step makes, in Asterisk's order.

Order and headers are those of Asterisk 22.10.1, recorded with a PJSIP phone and a PJSIP carrier. Of the variables
that channels are full of only those that say something about a call are set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from fraudguard.clock import Clock, Millis
from fraudguard.testing.channels import (
    CAUSES,
    DIAL_CLEARS,
    RTP_REPORT,
    Bridge,
    ChannelState,
    Headers,
    LiveChannel,
    Names,
)

NORMAL: Final = 16
REJECTED: Final = 21

_DIAL_STATUS_CAUSES: Final = {"BUSY": 17, "NOANSWER": 19, "CONGESTION": 34, "CHANUNAVAIL": 38, "CANCEL": 16}
_DISPOSITIONS: Final = {"BUSY": "BUSY", "CONGESTION": "CONGESTION", "CHANUNAVAIL": "FAILED"}


class Emit(Protocol):
    """Who sends events to those that listen: name, class ('call', 'dialplan', 'cdr'...), headers."""

    def __call__(self, event: str, privilege: str, headers: Headers) -> None: ...


@dataclass(slots=True, eq=False)
class Call:
    """One Dial(): `caller` (None: Asterisk itself dials, as with Originate) calls `trunk`, or whatever it dials.

    Every method makes the events that Asterisk would, at once; what does not fit the call's state is a ValueError.
    """

    exchange: Exchange
    caller: LiveChannel | None
    trunk: LiveChannel
    string: str
    lease: float | None = None
    began_at: Millis = 0
    answered_at: Millis | None = None
    ended_at: Millis | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def up(self) -> bool:
        return self.answered_at is not None and self.ended_at is None

    @property
    def linkedid(self) -> str:
        return self.trunk.linkedid

    def ring(self) -> None:
        """The called one rings: Newstate, DialState."""
        self._demand(self.answered_at is None, "is answered")
        self.trunk.state = ChannelState.RINGING
        self.exchange.channel_event("Newstate", self.trunk)
        self.exchange.dial_event("DialState", self, DialStatus="RINGING")

    def answer(self) -> None:
        """The called one answers: DialEnd, and both enter a bridge. The lease begins."""
        self._demand(self.answered_at is None, "is answered")
        self.exchange.answer(self)

    def fail(self, status: str = "BUSY") -> None:
        """The called one does not answer: DialEnd with `status` (BUSY, NOANSWER, CONGESTION, CHANUNAVAIL), Hangup."""
        self._demand(self.answered_at is None, "is answered")
        self.exchange.end(self, status=status, cause=_DIAL_STATUS_CAUSES[status])

    def hang_up(self, *, by: str = "caller", cause: int = NORMAL, cdr_seconds: int | None = None) -> None:
        """The 'caller' or the 'callee' hangs up; before the answer only the caller can (DialEnd with CANCEL).

        `cdr_seconds` makes the Cdr event tell other billable seconds than there were.
        """
        self._demand(by == "caller" or self.answered_at is not None, "is not answered")
        first = self.caller if by == "caller" and self.caller is not None else self.trunk
        self.exchange.channel_event("HangupRequest", first, Cause=str(cause))
        self.exchange.end(self, status="CANCEL", cause=cause, first=first, cdr_seconds=cdr_seconds)

    def blind_transfer(
        self, extension: str, string: str, *, context: str = "phones", lease: float | None = None
    ) -> Call:
        """The caller sends the called one on: that one dials `string` now. Returns the new Call; this one has ended.

        The trunk's channel lives on as the caller of the new call, in the same chain.
        """
        self._demand(self.up, "is not up")
        return self.exchange.blind_transfer(self, extension, string, context, lease)

    def attended_transfer(self, other: Call) -> None:
        """The caller of both calls joins the two called ones and is gone. This call goes on, between those two."""
        self._demand(self.up and other.up, "is not up")
        self.exchange.attended_transfer(self, other)

    async def over(self) -> None:
        """Wait until the call has ended, whoever ends it."""
        await self._over.wait()

    def conclude(self, now: Millis) -> None:
        """Note that the call has ended; for the exchange."""
        self.ended_at = now
        self._over.set()

    def _demand(self, fits: bool, otherwise: str) -> None:
        if self.ended_at is not None:
            raise ValueError("the call has ended")
        if not fits:
            raise ValueError(f"the call {otherwise}")


class Exchange:
    """All channels and calls of one Asterisk. `shown` are the variables that every event shows (channelvars)."""

    def __init__(self, clock: Clock, emit: Emit, *, system_name: str = "", shown: Sequence[str] = ()) -> None:
        self._clock = clock
        self._emit = emit
        self._names = Names(system_name)
        self.shown = tuple(shown)
        self.globals: dict[str, str] = {}
        self.channels: dict[str, LiveChannel] = {}
        self.calls: list[Call] = []
        self.processed = 0
        self.zone = UTC  # of the times in Cdr events, which carry none

    def now(self) -> Millis:
        return self._clock.now()

    # --- channels ---

    def new_channel(
        self,
        peer: str,
        *,
        called: bool = False,
        linkedid: str = "",
        fields: Mapping[str, str] | None = None,
    ) -> LiveChannel:
        """Make a channel of `peer` ('PJSIP/204'), one that calls or one that is called. Without a `linkedid` it
        begins a chain of its own. `fields` are further ones of LiveChannel.
        """
        now = self.now()
        name, uniqueid = self._names.new(peer, now)
        state = ChannelState.DOWN if called else ChannelState.RING
        channel = LiveChannel(name, uniqueid, linkedid or uniqueid, now, state, **(fields or {}))  # type: ignore[arg-type]
        self.channels[name] = channel
        self.channel_event("Newchannel", channel)
        return channel

    def step(self, channel: LiveChannel, application: str, data: str, *, event: bool = True) -> None:
        """A channel runs an application of the dialplan: Newexten."""
        channel.application, channel.data = application, data
        if event:
            headers = [("Extension", channel.extension), ("Application", application), ("AppData", data)]
            self._emit("Newexten", "dialplan", channel.headers(shown=self.shown) + headers)

    def set_variable(self, channel: LiveChannel | None, name: str, value: str) -> None:
        """Set a variable of a channel, or a global one: VarSet."""
        (self.globals if channel is None else channel.variables)[name] = value
        headers = [] if channel is None else channel.headers(shown=self.shown)
        self._emit("VarSet", "dialplan", [*headers, ("Variable", name), ("Value", value)])

    def rename(self, channel: LiveChannel, name: str) -> None:
        """Give a channel another name, as a masquerade does: Rename."""
        self._emit("Rename", "call", [("Channel", channel.name), ("Newname", name), ("Uniqueid", channel.uniqueid)])
        del self.channels[channel.name]
        channel.name = name
        self.channels[name] = channel

    def hang_up(self, channel: LiveChannel, cause: int = NORMAL) -> None:
        """End a channel and the call it is in, as the Hangup action does."""
        for call in [call for call in self.calls if channel in (call.caller, call.trunk)]:
            if call.ended_at is None:
                self.end(call, status="CANCEL", cause=cause, first=channel)
        if not channel.gone:
            self._gone(channel, cause)

    def expire(self, channel: LiveChannel, seconds: float) -> None:
        """End a channel so many seconds from now, whatever was arranged before."""
        if channel.ends is not None:
            channel.ends.cancel()
        channel.ends = asyncio.get_running_loop().call_later(seconds, self.hang_up, channel)

    def ends_at(self, channel: LiveChannel) -> Millis | None:
        """Return when a channel will be ended by what `expire` arranged; None for never."""
        if channel.ends is None:
            return None
        return self.now() + round((channel.ends.when() - asyncio.get_running_loop().time()) * 1000)

    def channel_event(self, event: str, channel: LiveChannel, **more: str) -> None:
        self._emit(event, "call", channel.headers(shown=self.shown) + list(more.items()))

    def dial_event(self, event: str, call: Call, **more: str) -> None:
        caller = [] if call.caller is None else call.caller.headers(shown=self.shown)
        headers = caller + call.trunk.headers("Dest", shown=self.shown) + list(more.items())
        self._emit(event, "call", headers)

    # --- calls ---

    def dial(
        self,
        caller: LiveChannel | None,
        string: str,
        *,
        lease: float | None = None,
        linkedid: str = "",
        ring_seconds: int = 60,
    ) -> Call:
        """Dial 'PJSIP/+442079460000@carrier' from `caller`, which the called one hears of at once."""
        technology, _, rest = string.partition("/")
        number, _, peer = rest.partition("@")
        if caller is not None:
            self.step(caller, "Dial", f"{string},{ring_seconds},{'' if lease is None else f'S({lease:g})'}")
            for name in DIAL_CLEARS:
                self.set_variable(caller, name, "")
        trunk = self.new_channel(
            f"{technology}/{peer or number}",
            called=True,
            linkedid=linkedid or (caller.linkedid if caller else ""),
            fields={"context": "from-trunk"},
        )
        if caller is None:
            self.step(trunk, "AppDial2", "(Outgoing Line)")
        else:
            self._introduce(caller, trunk, number, rest)
        call = Call(self, caller, trunk, string, lease, began_at=self.now())
        self.calls.append(call)
        self.processed += 1
        self.dial_event("DialBegin", call, DialString=rest)
        if caller is not None:
            caller.connected = number
            self.channel_event("NewConnectedLine", caller)
        return call

    def _introduce(self, caller: LiveChannel, trunk: LiveChannel, number: str, rest: str) -> None:
        """Tell the called channel who calls, and whom; one that Asterisk itself dials knows neither."""
        trunk.caller, trunk.extension = number, number
        trunk.connected, trunk.account = caller.caller, caller.account
        self.set_variable(trunk, "DIALEDPEERNUMBER", rest)
        self.step(trunk, "AppDial", "(Outgoing Line)")
        self.channel_event("NewCallerid", trunk, **{"CID-CallingPres": "0 (Presentation Allowed, Not Screened)"})
        self.channel_event("NewAccountCode", trunk, OldAccountCode="")
        self.channel_event("NewConnectedLine", trunk)

    def answer(self, call: Call) -> None:
        call.answered_at = self.now()
        trunk, caller = call.trunk, call.caller
        trunk.state = ChannelState.UP
        self.channel_event("Newstate", trunk)
        if caller is not None:
            trunk.extension = ""  # as measured: it has left AppDial by now
        self.dial_event("DialEnd", call, DialStatus="ANSWER")
        if call.lease is not None:
            self.expire(trunk, call.lease)
        if caller is None:
            self.step(trunk, "Wait", "3600")
            return
        self.set_variable(caller, "DIALSTATUS", "ANSWER")
        self.set_variable(caller, "DIALEDPEERNAME", trunk.name)
        self.set_variable(caller, "DIALEDPEERNUMBER", call.string.partition("/")[2])
        if caller.state is not ChannelState.UP:
            caller.state = ChannelState.UP
            self.channel_event("Newstate", caller)
        bridge = Bridge()
        self._emit("BridgeCreate", "call", bridge.headers())
        for channel, peer in ((trunk, caller), (caller, trunk)):
            self._enter(bridge, channel)
            self.set_variable(channel, "BRIDGEPEER", peer.name)

    def end(
        self,
        call: Call,
        *,
        status: str,
        cause: int,
        first: LiveChannel | None = None,
        cdr_seconds: int | None = None,
    ) -> None:
        """End a call: `first` is the channel that goes first, `status` what DialEnd says when it was not answered."""
        call.conclude(self.now())
        self.calls.remove(call)
        if call.answered_at is None:
            self.dial_event("DialEnd", call, DialStatus=status)
            if call.caller is not None:
                self.set_variable(call.caller, "DIALSTATUS", status)
        order = [call.trunk] if call.caller is None else [call.trunk, call.caller]
        for channel in sorted(order, key=lambda one: one is not first):
            self._leave(channel)
        if call.caller is not None:
            self.channel_event("SoftHangupRequest", call.caller, Cause=str(cause))
        for channel in order:  # the called one goes first, whoever hung up
            self._gone(channel, cause)
        self._cdr(call, status, cdr_seconds)

    def blind_transfer(self, call: Call, extension: str, string: str, context: str, lease: float | None) -> Call:
        caller, trunk, bridge = call.caller, call.trunk, call.trunk.bridge
        if caller is None or bridge is None:
            raise ValueError("nobody is there who could transfer the call")
        self._emit(
            "BlindTransfer",
            "call",
            [
                ("Result", "Success"),
                *caller.headers("Transferer", shown=self.shown),
                *trunk.headers("Transferee", shown=self.shown),
                *bridge.headers(),
                ("IsExternal", "Yes"),
                ("Context", context),
                ("Extension", extension),
            ],
        )
        trunk.context, trunk.extension = context, extension
        self._leave(trunk)
        self._leave(caller)
        call.conclude(self.now())
        self.calls.remove(call)
        self.channel_event("SoftHangupRequest", caller, Cause=str(NORMAL))
        self._gone(caller, NORMAL)
        self._cdr(call, "ANSWER", None)
        return self.dial(trunk, string, lease=lease)

    def attended_transfer(self, call: Call, other: Call) -> None:
        near, target = call.caller, other.trunk
        first, second = call.trunk.bridge, target.bridge
        if near is None or other.caller is None or first is None or second is None:
            raise ValueError("nobody is there who could transfer the calls")
        self._leave(target)
        target.linkedid = min(target.linkedid, call.trunk.linkedid, key=_age)
        call.trunk.linkedid = target.linkedid
        self._enter(first, target)
        self._emit(
            "AttendedTransfer",
            "call",
            [
                ("Result", "Success"),
                *near.headers("OrigTransferer", shown=self.shown),
                *first.headers("Orig"),
                *other.caller.headers("SecondTransferer", shown=self.shown),
                *second.headers("Second"),
                *call.trunk.headers("Transferee", shown=self.shown),
                *target.headers("TransferTarget", shown=self.shown),
                ("IsExternal", "Yes"),
                ("DestType", "Bridge"),
                ("DestBridgeUniqueid", first.uniqueid),
            ],
        )
        for channel in (near, other.caller):
            self._leave(channel)
            self.channel_event("SoftHangupRequest", channel, Cause=str(NORMAL))
            self._gone(channel, NORMAL)
        self.calls.remove(other)
        other.conclude(self.now())
        self._cdr(other, "ANSWER", None)
        call.caller = target

    def _enter(self, bridge: Bridge, channel: LiveChannel) -> None:
        bridge.channels.append(channel)
        channel.bridge = bridge
        self._emit("BridgeEnter", "call", bridge.headers() + channel.headers(shown=self.shown))

    def _leave(self, channel: LiveChannel) -> None:
        bridge = channel.bridge
        if bridge is None:
            return
        bridge.channels.remove(channel)
        channel.bridge = None
        self._emit("BridgeLeave", "call", bridge.headers() + channel.headers(shown=self.shown))
        if not bridge.channels:
            self._emit("BridgeDestroy", "call", bridge.headers())

    def _gone(self, channel: LiveChannel, cause: int) -> None:
        if channel.ends is not None:
            channel.ends.cancel()
        channel.gone = True
        if channel.state is ChannelState.UP:
            for name, value in RTP_REPORT.items():
                self.set_variable(channel, name, value)
        del self.channels[channel.name]
        text = {"Cause": str(cause), "Cause-txt": CAUSES.get(cause, "Unknown")}
        self.channel_event("Hangup", channel, **text)

    def _cdr(self, call: Call, status: str, seconds: int | None) -> None:
        caller, end = call.caller or call.trunk, call.ended_at or self.now()
        answered = call.answered_at
        billed = 0 if answered is None else (end - answered) // 1000  # Asterisk cuts fractions off
        values = {
            "AccountCode": caller.account,
            "Source": caller.caller,
            "Destination": caller.extension,
            "DestinationContext": caller.context,
            "CallerID": f'"{caller.caller_name}" <{caller.caller}>',
            "Channel": caller.name,
            "DestinationChannel": "" if call.caller is None else call.trunk.name,
            "LastApplication": caller.application,
            "LastData": caller.data,
            "StartTime": self._local(call.began_at),
            "AnswerTime": "" if answered is None else self._local(answered),
            "EndTime": self._local(end),
            "Duration": str((end - call.began_at) // 1000),
            "BillableSeconds": str(billed if seconds is None else seconds),
            "Disposition": "ANSWERED" if answered is not None else _DISPOSITIONS.get(status, "NO ANSWER"),
            "AMAFlags": "DOCUMENTATION",
            "UniqueID": caller.uniqueid,
            "UserField": "",
        }
        self._emit("Cdr", "cdr", list(values.items()))

    def _local(self, instant: Millis) -> str:
        return datetime.fromtimestamp(instant / 1000, tz=self.zone).strftime("%Y-%m-%d %H:%M:%S")


def _age(linkedid: str) -> tuple[int, int]:
    seconds, _, serial = linkedid.rpartition("-")[2].partition(".")
    return int(seconds), int(serial)
