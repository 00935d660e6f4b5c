"""Channels and bridges of FakeAsterisk, and the headers that Asterisk's manager describes them with."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from fraudguard.clock import Millis

Headers: TypeAlias = list[tuple[str, str]]

UNKNOWN: Final = "<unknown>"

CAUSES: Final = {
    0: "Unknown",
    1: "Unallocated (unassigned) number",
    16: "Normal Clearing",
    17: "User busy",
    18: "No user responding",
    19: "User alerting, no answer",
    21: "Call Rejected",
    26: "Answered elsewhere",
    34: "Circuit/channel congestion",
    38: "Network out of order",
    127: "Interworking, unspecified",
}
"""Q.850 causes as ast_cause2str() words them (main/channel.c)."""


DIAL_CLEARS: Final = (
    *("DIALSTATUS", "DIALEDPEERNUMBER", "DIALEDPEERNAME", "ANSWEREDTIME", "ANSWEREDTIME_MS", "DIALEDTIME"),
    *("DIALEDTIME_MS", "RINGTIME", "RINGTIME_MS", "PROGRESSTIME", "PROGRESSTIME_MS"),
)
"""Variables of the caller that Dial() empties before it dials (app_dial.c)."""

_SPREAD: Final = "{0}rxjitter=000.000000;{0}txjitter=000.000000;"
RTP_REPORT: Final = {
    "RTPAUDIOQOS": "ssrc=53201215;themssrc=811598135;lp=0;rxjitter=0.000000;rxcount=512;txjitter=0.000000;txcount=512;"
    "rlp=0;rtt=0.000000;rxmes=85.500000;txmes=85.500000",
    "RTPAUDIOQOSJITTER": "".join(_SPREAD.format(each) for each in ("min", "max", "avg", "stdev")),
    "RTPAUDIOQOSLOSS": "  minrxlost=000.000000;  maxrxlost=000.000000;  avgrxlost=000.000000;",
    "RTPAUDIOQOSRTT": "     minrtt=000.000000;     maxrtt=000.000000;     avgrtt=000.000000;",
    "RTPAUDIOQOSMES": "   minrxmes=085.500000;   maxrxmes=085.500000;   avgrxmes=085.500000;",
}
"""What each answered channel says of its sound when it ends: most of the bytes of a call's events."""


class ChannelState(IntEnum):
    """How far a channel has come (ast_channel_state)."""

    DOWN = 0
    RING = 4  # the one who calls
    RINGING = 5  # the one who is called
    UP = 6

    @property
    def text(self) -> str:
        return self.name.capitalize()


@dataclass(slots=True, eq=False)
class Bridge:
    """What two answered channels are joined by."""

    uniqueid: str = field(default_factory=lambda: str(uuid.uuid4()))
    channels: list[LiveChannel] = field(default_factory=list)

    def headers(self, prefix: str = "", *, channels: int | None = None) -> Headers:
        """Describe it as ast_manager_build_bridge_state_string_prefix() does."""
        return [
            (f"{prefix}BridgeUniqueid", self.uniqueid),
            (f"{prefix}BridgeType", "basic"),
            (f"{prefix}BridgeTechnology", "simple_bridge"),
            (f"{prefix}BridgeCreator", UNKNOWN),
            (f"{prefix}BridgeName", UNKNOWN),
            (f"{prefix}BridgeNumChannels", str(len(self.channels) if channels is None else channels)),
            (f"{prefix}BridgeVideoSourceMode", "none"),
        ]


@dataclass(slots=True, eq=False)
class LiveChannel:
    """One channel that is there. `variables` are its own; `ends` the timer that S() or AbsoluteTimeout set."""

    name: str
    uniqueid: str
    linkedid: str
    created_at: Millis
    state: ChannelState = ChannelState.DOWN
    caller: str = ""
    caller_name: str = ""
    connected: str = ""
    connected_name: str = ""
    account: str = ""
    context: str = ""
    extension: str = "s"
    priority: int = 1
    application: str = ""
    data: str = ""
    source: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    bridge: Bridge | None = None
    ends: asyncio.TimerHandle | None = None
    gone: bool = False

    @property
    def technology(self) -> str:
        return self.name.partition("/")[0]

    def headers(self, prefix: str = "", *, shown: Sequence[str] = ()) -> Headers:
        """Describe it as ast_manager_build_channel_state_string_prefix() does; `shown` is manager.conf's channelvars.

        A variable that the channel does not have is shown empty.
        """
        values = {
            "Channel": self.name,
            "ChannelState": str(self.state.value),
            "ChannelStateDesc": self.state.text,
            "CallerIDNum": self.caller or UNKNOWN,
            "CallerIDName": self.caller_name or UNKNOWN,
            "ConnectedLineNum": self.connected or UNKNOWN,
            "ConnectedLineName": self.connected_name or UNKNOWN,
            "Language": "en",
            "AccountCode": self.account,
            "Context": self.context,
            "Exten": self.extension,
            "Priority": str(self.priority),
            "Uniqueid": self.uniqueid,
            "Linkedid": self.linkedid,
        }
        return [
            *((prefix + name, value) for name, value in values.items()),
            *((f"{prefix}ChanVariable", f"{name}={self.read(name) or ''}") for name in shown),
        ]

    def read(self, name: str) -> str | None:
        """Return a variable, or what the CHANNEL() and CALLERID() functions say; None where there is none."""
        if not name.endswith(")"):
            return self.variables.get(name)
        function, _, argument = name[:-1].partition("(")
        known = {
            "CHANNEL(linkedid)": self.linkedid,
            "CHANNEL(uniqueid)": self.uniqueid,
            "CHANNEL(name)": self.name,
            "CHANNEL(state)": self.state.text,
            "CHANNEL(appname)": self.application,
            "CHANNEL(accountcode)": self.account,
            "CHANNEL(channeltype)": self.technology,
            "CHANNEL(endpoint)": self.name.partition("/")[2].rpartition("-")[0],
            "CHANNEL(context)": self.context,
            "CHANNEL(exten)": self.extension,
            "CHANNEL(pjsip,remote_addr)": self.source,
            "CALLERID(num)": self.caller,
            "CALLERID(name)": self.caller_name,
        }
        return known.get(f"{function.upper()}({argument})", "")


class Names:
    """Names and uniqueids that no other channel of one Asterisk has; both count up as Asterisk's do."""

    def __init__(self, system_name: str = "") -> None:
        self._system_name = system_name
        self._serials: Iterator[int] = itertools.count()

    def new(self, peer: str, now: Millis) -> tuple[str, str]:
        """Return (name, uniqueid) for a new channel of `peer` ('PJSIP/carrier')."""
        serial = next(self._serials)
        prefix = f"{self._system_name}-" if self._system_name else ""
        return f"{peer}-{serial:08x}", f"{prefix}{now // 1000}.{serial}"
