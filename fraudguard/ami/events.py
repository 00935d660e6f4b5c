"""What Asterisk says over AMI, made what the rest of the house understands. Every event and header name, once.

Names and headers are those of Asterisk 22: main/manager_channels.c, main/manager_bridges.c, cdr/cdr_manager.c and
main/security_events.c. Headers are read by key, and what has not the form it must have is no event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from fraudguard.ami.feed import Message
from fraudguard.clock import Millis
from fraudguard.detect.sources import Sighting, SightingKind
from fraudguard.dialplan import names
from fraudguard.ledger.records import Answered, Billed, Dialled, Event, HungUp, Leg, Moved, Seen, TurnedDown, Why

Headers: TypeAlias = Mapping[str, str]

UNKNOWN: Final = "<unknown>"
"""What Asterisk writes for a number or name that it does not have."""

UNSET: Final = "(null)"
"""What Status writes for a variable that is not set."""

MAX_DIGITS: Final = 12
"""Of a count or an instant in seconds: 30,000 years. More are none, and would fit neither the database nor int()."""

UP: Final = "6"
"""AST_STATE_UP of include/asterisk/channelstate.h."""


def _leg(asterisk: str, headers: Headers, prefix: str = "") -> Leg | None:
    uniqueid, channel = headers.get(f"{prefix}Uniqueid"), headers.get(f"{prefix}Channel")
    if not uniqueid or not channel:
        return None
    return Leg(asterisk, uniqueid, headers.get(f"{prefix}Linkedid") or uniqueid, channel)


def _known(text: str | None) -> str:
    return "" if text is None or text == UNKNOWN else text


def _dial_begin(asterisk: str, headers: Headers, at: Millis) -> Dialled | None:
    leg = _leg(asterisk, headers, "Dest")
    if leg is None:
        return None
    return Dialled(
        at,
        leg,
        string=headers.get("DialString", ""),
        caller=_leg(asterisk, headers),  # not there when Asterisk itself dials
        account=_known(headers.get("AccountCode") or headers.get("DestAccountCode")),
        context=_known(headers.get("Context") or headers.get("DestContext")),
        extension=_known(headers.get("Exten") or headers.get("DestExten")),
    )


TURNED_DOWN: Final = frozenset({"BUSY", "CONGESTION", "CHANUNAVAIL"})
"""What DialEnd says where the far end would not have the call. NOANSWER and CANCEL are no word of the far end's."""


def _dial_end(asterisk: str, headers: Headers, at: Millis) -> Answered | TurnedDown | None:
    uniqueid, status = headers.get("DestUniqueid"), headers.get("DialStatus")
    if not uniqueid:
        return None
    if status == "ANSWER":
        return Answered(at, asterisk, uniqueid)
    return TurnedDown(at, asterisk, uniqueid) if status in TURNED_DOWN else None  # its hangup says the rest


def _moved(asterisk: str, headers: Headers, at: Millis) -> Moved | None:
    leg = _leg(asterisk, headers)
    return None if leg is None else Moved(at, leg)


def _hangup(asterisk: str, headers: Headers, at: Millis) -> HungUp | None:
    uniqueid = headers.get("Uniqueid")
    return HungUp(at, asterisk, uniqueid, _number(headers.get("Cause", ""))) if uniqueid else None


CALL_EVENTS: Final[Mapping[str, Callable[[str, Headers, Millis], Event | None]]] = {
    "DialBegin": _dial_begin,
    "DialEnd": _dial_end,
    "BridgeEnter": _moved,  # the one event that tells of a linkedid that changed, and of a name after a masquerade
    "Hangup": _hangup,
}

CDR: Final = "Cdr"

SECURITY_EVENTS: Final[Mapping[str, SightingKind]] = {
    "SuccessfulAuth": SightingKind.SUCCEEDED,
    "InvalidPassword": SightingKind.INVALID_PASSWORD,
    "InvalidAccountID": SightingKind.INVALID_ACCOUNT,
    "ChallengeResponseFailed": SightingKind.FAILED_CHALLENGE,
    "FailedACL": SightingKind.FAILED_ACL,
}

EVENTS: Final = frozenset({*CALL_EVENTS, CDR, *SECURITY_EVENTS})
"""All that is listened to; the filters of the generated manager.conf let through these and no others."""

RESYNC_VARIABLES: Final = (names.REASON, "DIALEDPEERNUMBER", "CDR(answer,u)")
"""What is asked of every channel in a resync: on the calling side what the dialplan decided, on the called one what was
dialled and when it was answered. No function that only some kinds of channel know: Asterisk warns of those.
"""


def call_events(asterisk: str, headers: Headers, at: Millis) -> tuple[Event, ...]:
    """Return what happened to calls, nothing for what tells nothing about one."""
    name = headers.get("Event", "")
    if name == CDR:
        return _cdr(asterisk, headers, at)
    convert = CALL_EVENTS.get(name)
    event = None if convert is None else convert(asterisk, headers, at)
    return () if event is None else (event,)


def _cdr(asterisk: str, headers: Headers, at: Millis) -> tuple[Billed, ...]:
    # A leg is billed on either side: called, or calling after it was transferred or when Asterisk itself dialled it.
    seconds = headers.get("BillableSeconds", "")
    if not _is_number(seconds):
        return ()
    channels = {headers.get("Channel", ""), headers.get("DestinationChannel", "")} - {""}
    return tuple(Billed(at, asterisk, channel, int(seconds)) for channel in channels)


def sighting(asterisk: str, headers: Headers, at: Millis) -> Sighting | None:
    """Return who was seen connecting, or trying to; None for what is no security event or names no address."""
    kind = SECURITY_EVENTS.get(headers.get("Event", ""))
    address = remote_address(headers.get("RemoteAddress", ""))
    if kind is None or not address:
        return None
    # Accounts that do not exist are counted together: anybody can invent any number of them.
    account = "" if kind is SightingKind.INVALID_ACCOUNT else _known(headers.get("AccountID"))
    return Sighting(at, asterisk, account, address, kind, headers.get("Service", ""))


def remote_address(text: str) -> str:
    """Return the address in 'IPV4/UDP/198.51.100.7/5060', '' when there is none."""
    parts = text.split("/")
    return parts[2] if len(parts) == 4 and parts[0] in ("IPV4", "IPV6") else ""


def seen(asterisk: str, listed: Iterable[Message], at: Millis, ahead: Millis) -> list[Seen]:
    """Return the channels of a Status list that was asked for with RESYNC_VARIABLES.

    `ahead` is by how much Asterisk's clock is ahead of ours.
    """
    found = []
    said: dict[str, str] = {}  # by linkedid: the called side of a call does not know what the calling side was told
    for message in listed:
        leg = _leg(asterisk, message.headers)
        if leg is None:
            continue
        variables = dict(line.partition("=")[::2] for line in message.all("Variable"))
        reason, string, answer = (variables.get(name, "") for name in RESYNC_VARIABLES)
        if reason == Why.FENCE:
            said[leg.linkedid] = reason
        found.append(
            Seen(
                leg,
                up=message.get("ChannelState") == UP,
                began_at=at - 1000 * (_number(message.get("Seconds")) + 1),  # whole ones, and not before it began
                answered_at=None if (epoch := instant(answer)) is None else epoch - ahead,
                string="" if string == UNSET else string,
                account=_known(message.get("AccountCode")),
                context=_known(message.get("Context")),
                extension=_known(message.get("Exten")),
                application=message.get("Application"),
            )
        )
    return [replace(one, said=said.get(one.leg.linkedid, "")) for one in found]


def instant(text: str) -> Millis | None:
    """Return the instant in '1795373381.079858', by Asterisk's clock; None for '0.000000' and anything else."""
    seconds, _, fraction = text.partition(".")
    if not _is_number(seconds) or not _is_number((fraction + "000")[:3]) or not int(seconds):
        return None
    return int(seconds) * 1000 + int((fraction + "000")[:3])


def _number(text: str) -> int:
    return int(text) if _is_number(text) else 0


def _is_number(text: str) -> bool:
    return len(text) <= MAX_DIGITS and text.isascii() and text.isdecimal()
