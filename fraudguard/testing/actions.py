"""What the manager of FakeAsterisk does when asked: the action_... functions of main/manager.c, in their words."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from fraudguard.testing.agi import application_arguments
from fraudguard.testing.ami import Action, AmiSession, Command, message
from fraudguard.testing.calls import NORMAL, Exchange
from fraudguard.testing.channels import Headers, LiveChannel
from fraudguard.testing.filters import EventFilter, FilterError, event_mask, privileges

VERSION: Final = "22.10.1"

_SYSTEM_ONLY: Final = ("SHELL(", "EVAL(", "FILE(", "CURL(", "DB_DELETE(")
"""Functions that reach outside: Getvar and Status want the system class for them."""


class Actions:
    """The actions, over one Exchange."""

    def __init__(self, exchange: Exchange, system_name: str = "") -> None:
        self._exchange = exchange
        self._system_name = system_name
        self._challenges = itertools.count(179_961_046)
        self._started_at = exchange.now()

    def commands(self) -> dict[str, Command]:
        """Return every action by name, with the classes that main/manager.c registers it with."""
        system, call, reporting = "system", "call", "reporting"
        return {
            "AbsoluteTimeout": Command("Set absolute timeout.", (system, call), self._absolute_timeout),
            "Challenge": Command("Generate Challenge for MD5 Auth.", (), self._challenge),
            "Command": Command("Execute Asterisk CLI Command.", ("command",), _not_played),
            "CoreSettings": Command("Show PBX core settings (version etc).", (system, reporting), self._core_settings),
            "CoreShowChannels": Command(
                "List currently active channels.", (system, reporting), self._core_show_channels
            ),
            "CoreStatus": Command("Show PBX core status variables.", (system, reporting), self._core_status),
            "Events": Command("Control Event Flow.", (), self._events),
            "Filter": Command("Dynamically add filters for the current manager session.", (system,), self._filter),
            "GetConfig": Command("Retrieve configuration.", (system, "config"), _not_played),
            "Getvar": Command("Gets a channel variable or function value.", (call, reporting), self._getvar),
            "Hangup": Command("Hangup channel.", (system, call), self._hangup),
            "ListCommands": Command("List available manager commands.", (), self._list_commands),
            "Login": Command("Login Manager.", (), self._login),
            "Logoff": Command("Logoff Manager.", (), self._logoff),
            "Originate": Command("Originate a call.", ("originate",), _not_played),
            "Ping": Command("Keepalive command.", (), self._ping),
            "Redirect": Command("Redirect (transfer) a call.", (call,), _not_played),
            "Reload": Command("Send a reload event.", (system, "config"), _not_played),
            "Setvar": Command("Sets a channel variable or function value.", (call,), self._setvar),
            "Status": Command("List channel status.", (system, call, reporting), self._status),
            "UpdateConfig": Command("Update basic configuration.", ("config",), _not_played),
        }

    # --- the session ---

    def _login(self, session: AmiSession, action: Action) -> bool:
        server = session.server
        if session.user is not None:
            session.respond(action, "Success", ("Message", "Already authenticated"))
            return True
        name = action.get("Username")
        user = server.users.get(name.lower())
        if server.faults.refusal is not None:
            session.refuse(action, server.faults.refusal)
            return False
        if user is None:
            if name:
                server.report("InvalidAccountID", session, name, [])
            session.refuse(action, "Authentication failed")
            return False
        if action.get("AuthType").lower() == "md5":
            digest = hashlib.md5(f"{session.challenge}{user.secret}".encode(), usedforsecurity=False).hexdigest()
            right = bool(session.challenge) and action.get("Key") == digest
            failure = "ChallengeResponseFailed"
        else:
            right, failure = action.get("Secret") == user.secret, "InvalidPassword"
        if not right:
            server.report(failure, session, name, [])
            session.refuse(action, "Authentication failed")
            return False
        session.user = user
        session.filters += [EventFilter.parse(*each) for each in user.filters]
        mask = event_mask(action.get("Events"))
        session.events = user.read if mask is None else user.read & mask
        session.respond(action, "Success", ("Message", "Authentication accepted"))
        if "system" in session.events and server.booted:  # past its filters, as in action_login()
            headers = [("Event", "FullyBooted"), ("Privilege", "system,all"), *server.boot_headers()]
            session.send(message(headers))
        server.report("SuccessfulAuth", session, name, [("UsingPassword", "0")])
        return True

    def _challenge(self, session: AmiSession, action: Action) -> None:
        if action.get("AuthType").lower() != "md5":
            session.refuse(action, "Must specify AuthType")
            return
        session.challenge = session.challenge or str(next(self._challenges))
        session.respond(action, "Success", ("Challenge", session.challenge))

    def _logoff(self, session: AmiSession, action: Action) -> bool:
        session.respond(action, "Goodbye", ("Message", "Thanks for all the fish."))
        return False

    def _ping(self, session: AmiSession, action: Action) -> None:
        if session.server.faults.no_pongs:
            return
        seconds, millis = divmod(self._exchange.now(), 1000)
        session.respond(action, "Success", ("Ping", "Pong"), ("Timestamp", f"{seconds}.{millis:03d}000"))

    def _events(self, session: AmiSession, action: Action) -> None:
        mask = event_mask(action.get("EventMask"))
        if mask is None or session.user is None:
            session.refuse(action, "Invalid event mask")
            return
        session.events = session.user.read & mask
        session.respond(action, "Success", ("Events", "On" if mask else "Off"))

    def _filter(self, session: AmiSession, action: Action) -> None:
        if action.get("Operation").lower() != "add":
            session.refuse(action, "Unknown operation")
            return
        try:
            session.filters.append(EventFilter.parse(action.get("MatchCriteria"), action.get("Filter")))
        except FilterError as error:
            session.refuse(action, str(error))
        else:
            session.respond(action, "Success", ("Message", "Success"))

    def _list_commands(self, session: AmiSession, action: Action) -> None:
        write = session.user.write if session.user else frozenset()
        session.respond(
            action,
            "Success",
            *(
                (name, f"{command.synopsis}  (Priv: {privileges(command.classes)})")
                for name, command in session.server.commands.values()
                if not command.classes or write.intersection(command.classes)
            ),
        )

    # --- the system ---

    def _core_status(self, session: AmiSession, action: Action) -> None:
        date, time = _date_and_time(self._started_at)
        session.respond(
            action,
            "Success",
            ("CoreStartupDate", date),
            ("CoreStartupTime", time),
            ("CoreReloadDate", date),
            ("CoreReloadTime", time),
            ("CoreCurrentCalls", str(len(self._exchange.channels))),  # so named, but channels are counted
            ("CoreProcessedCalls", str(self._exchange.processed)),
        )

    def _core_settings(self, session: AmiSession, action: Action) -> None:
        session.respond(
            action,
            "Success",
            ("AMIversion", "11.0.0"),
            ("AsteriskVersion", VERSION),
            ("SystemName", self._system_name),
            ("CoreMaxCalls", "0"),
            ("CoreMaxLoadAvg", "0.000000"),
            ("CoreRunUser", "asterisk"),
            ("CoreRunGroup", "asterisk"),
            ("CoreMaxFilehandles", "0"),
            ("CoreRealTimeEnabled", "No"),
            ("CoreCDRenabled", "Yes"),
            ("CoreHTTPenabled", "No"),
            ("SoundsSearchCustomDir", "No"),
        )

    def _core_show_channels(self, session: AmiSession, action: Action) -> None:
        self._list(session, action, "Channels will follow", "CoreShowChannelsComplete", self._shown_channels(action))

    def _shown_channels(self, action: Action) -> Iterator[Headers]:
        for channel in list(self._exchange.channels.values()):
            minutes, seconds = divmod((self._exchange.now() - channel.created_at) // 1000, 60)
            yield [
                ("Event", "CoreShowChannel"),
                *_action_id(action),
                *channel.headers(shown=self._exchange.shown),
                ("Application", channel.application),
                ("ApplicationData", channel.data),
                ("Duration", f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"),
                ("BridgeId", channel.bridge.uniqueid if channel.bridge else ""),
            ]

    # --- channels ---

    def _status(self, session: AmiSession, action: Action) -> None:
        variables = action.get("Variables")
        if _forbidden(session, variables):
            session.refuse(action, "Status Access Forbidden: Variables")
            return
        name = action.get("Channel")
        channels = [each for each in self._exchange.channels.values() if name in ("", each.name)]
        if name and not channels:
            session.refuse(action, "No such channel")
            return
        wanted = application_arguments(variables) if variables else []
        items = (self._status_of(action, channel, wanted) for channel in channels)
        self._list(session, action, "Channel status will follow", "StatusComplete", items, ("Items", len(channels)))

    def _status_of(self, action: Action, channel: LiveChannel, variables: list[str]) -> Headers:
        everything = action.get("AllVariables").lower() in {"yes", "true", "y", "t", "1", "on"}
        shown = [(name, channel.read(name)) for name in variables]
        shown += list(channel.variables.items()) if everything else []
        ends = self._exchange.ends_at(channel)
        return [
            ("Event", "Status"),
            ("Privilege", "Call"),
            *channel.headers(shown=self._exchange.shown),
            ("Type", channel.technology),
            ("DNID", ""),
            ("EffectiveConnectedLineNum", channel.connected or "<unknown>"),
            ("EffectiveConnectedLineName", channel.connected_name or "<unknown>"),
            ("TimeToHangup", str(ends // 1000 if ends else 0)),  # so named, but it is the time of day it will be
            ("BridgeID", channel.bridge.uniqueid if channel.bridge else ""),
            ("Application", channel.application),
            ("Data", channel.data),
            ("Nativeformats", "(ulaw)"),
            ("Readformat", "ulaw"),
            ("Readtrans", ""),
            ("Writeformat", "ulaw"),
            ("Writetrans", ""),
            ("Callgroup", "0"),
            ("Pickupgroup", "0"),
            ("Seconds", str((self._exchange.now() - channel.created_at) // 1000)),
            *(("Variable", f"{name}={'(null)' if value is None else value}") for name, value in shown),
            *_action_id(action),
        ]

    def _getvar(self, session: AmiSession, action: Action) -> None:
        variable, name = action.get("Variable"), action.get("Channel")
        channel = self._exchange.channels.get(name)
        if not variable:
            session.refuse(action, "No variable specified")
        elif _forbidden(session, variable):
            session.refuse(action, "GetVar Access Forbidden: Variable")
        elif name and channel is None:
            session.refuse(action, "No such channel")
        else:
            value = self._exchange.globals.get(variable) if channel is None else channel.read(variable)
            session.respond(action, "Success", ("Variable", variable), ("Value", value or ""))

    def _setvar(self, session: AmiSession, action: Action) -> None:
        variable, name = action.get("Variable"), action.get("Channel")
        channel = self._exchange.channels.get(name)
        if not variable:
            session.refuse(action, "No variable specified")
        elif name and channel is None:
            session.refuse(action, "No such channel")
        else:
            session.respond(action, "Success", ("Message", "Variable Set"))
            self._exchange.set_variable(channel, variable, action.get("Value"))

    def _hangup(self, session: AmiSession, action: Action) -> None:
        name, cause = action.get("Channel"), action.get("Cause")
        channel = self._exchange.channels.get(name)
        if not name:
            session.refuse(action, "No channel specified")
        elif channel is None:
            session.refuse(action, "No such channel")
        else:
            session.respond(action, "Success", ("Message", "Channel Hungup"))
            number = int(cause) if cause.isdecimal() else 0
            self._exchange.hang_up(channel, number if 0 < number <= 127 else NORMAL)

    def _absolute_timeout(self, session: AmiSession, action: Action) -> None:
        name = action.get("Channel")
        channel = self._exchange.channels.get(name)
        seconds = _number(action.get("Timeout"))
        if not name:
            session.refuse(action, "No channel specified")
        elif seconds <= 0:
            session.refuse(action, "No timeout specified")
        elif channel is None:
            session.refuse(action, "No such channel")
        else:
            self._exchange.expire(channel, seconds)
            session.respond(action, "Success", ("Message", "Timeout Set"))

    def _list(
        self,
        session: AmiSession,
        action: Action,
        text: str,
        complete: str,
        items: Iterator[Headers],
        *more: tuple[str, int],
    ) -> None:
        session.respond(action, "Success", ("EventList", "start"), ("Message", text))
        stop = session.server.faults.list_stops_after
        count = 0
        for item in items:
            if count == stop:
                return
            session.send(message(item))
            count += 1
        if stop is None:
            end = [("Event", complete), *_action_id(action), ("EventList", "Complete"), ("ListItems", str(count))]
            session.send(message([*end, *((name, str(value)) for name, value in more)]))


def _not_played(session: AmiSession, action: Action) -> None:
    session.refuse(action, "FakeAsterisk does not play this action")


def _forbidden(session: AmiSession, text: str) -> bool:
    trusted = session.user is not None and "system" in session.user.write
    return not trusted and any(function in text.upper() for function in _SYSTEM_ONLY)


def _action_id(action: Action) -> Headers:
    given = action.get("ActionID")
    return [("ActionID", given)] if given else []


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _date_and_time(instant: int) -> tuple[str, str]:
    date, _, time = datetime.fromtimestamp(instant / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S").partition(" ")
    return date, time
