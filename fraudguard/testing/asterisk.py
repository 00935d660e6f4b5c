"""FakeAsterisk: what the guard sees of an Asterisk, without one."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from fraudguard.clock import Clock, SystemClock
from fraudguard.testing.actions import Actions
from fraudguard.testing.agi import AgiCall, AgiResult, Channel, Faults, application_arguments
from fraudguard.testing.ami import AmiServer, ManagerUser
from fraudguard.testing.calls import REJECTED, Call, Exchange
from fraudguard.testing.channels import LiveChannel
from fraudguard.testing.security import security_headers

FENCE_LEASE: float = 3600


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a call that the dialplan asked the guard about.

    `result` is what AGI() left behind, `reason` FRAUDGUARD_REASON ('fence' where the guard did not answer and the
    dialplan decided alone, '' where nobody allowed it), `call` the call if it was let go, else None.
    """

    result: AgiResult
    reason: str
    call: Call | None


class FakeAsterisk:
    """An Asterisk whose dialplan asks the FastAGI server at `host` and `port`, and whose manager a test can log in to.

    Every call has a channel of its own. `timeout` seconds bound a call, where a real Asterisk would wait
    for ever; a call that reaches it raises TimeoutError.

    As a context (or with `start` and `stop`) it listens for manager clients: `manager.port`. Calls are made with
    `dial` (Asterisk dials, nobody is asked) and `place` (as the generated dialplan does it); CoreShowChannels, Status
    and Getvar agree with them. `manager.faults` holds what can go wrong.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        timeout: float = 10.0,
        name: str = "asterisk",
        users: Sequence[ManagerUser] = (ManagerUser(),),
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        system_name: str = "",
        channel_variables: Sequence[str] = (),
        fence: Callable[[str], bool] = lambda _: False,
        write_timeout: float | None = None,
    ) -> None:
        """`name` is the [dialplan] asterisk key, `channel_variables` manager.conf's channelvars, `system_name`
        asterisk.conf's systemname; `fence` says which numbers, as asked about, the dialplan lets go by itself.
        """
        self.guard = (host, port)
        self.name = name
        self._timeout = timeout
        self._fence = fence
        self._serial = itertools.count(1)
        self._clock = clock or SystemClock()
        self.exchange = Exchange(self._clock, self._emit, system_name=system_name, shown=channel_variables)
        self.manager = AmiServer(
            Actions(self.exchange, system_name).commands(),
            self._clock,
            users=tuple(users),
            tls=tls,
            system_name=system_name,
            write_timeout=write_timeout,
        )

    # --- the manager ---

    async def start(self) -> None:
        """Let manager clients in."""
        await self.manager.start()

    async def stop(self) -> None:
        """End every connection and every timer. The calls that are there vanish without a word, as in a crash."""
        for channel in self.exchange.channels.values():
            if channel.ends is not None:
                channel.ends.cancel()
        await self.manager.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def security(self, event: str, *, account: str, source: str, service: str = "PJSIP") -> None:
        """Report a login or call as Asterisk's security events do. `source` is address:port.

        PJSIP sends ChallengeSent, SuccessfulAuth, ChallengeResponseFailed (a wrong password), InvalidAccountID,
        FailedACL; InvalidPassword comes from the manager.
        """
        headers = security_headers(event, self._clock.now(), account=account, source=source, service=service)
        self._emit(event, "security", headers)

    def contact_status(self, endpoint: str, uri: str, status: str = "Reachable", roundtrip_usec: int = 12_345) -> None:
        """Report what became of a phone's registration: Reachable, Unreachable, NonQualified, Removed..."""
        self._emit(
            "ContactStatus",
            "system",
            [
                ("URI", uri),
                ("ContactStatus", status),
                ("AOR", endpoint),
                ("EndpointName", endpoint),
                ("RoundtripUsec", str(roundtrip_usec)),
            ],
        )

    def _emit(self, event: str, privilege: str, headers: list[tuple[str, str]]) -> None:
        self.manager.emit(event, privilege, headers)

    # --- calls ---

    def phone(
        self, account: str = "204", *, extension: str = "s", context: str = "phones", **fields: str
    ) -> LiveChannel:
        """A phone calls in: return its channel. `fields` are those of LiveChannel (source, caller_name...)."""
        values = {"account": account, "caller": account, **fields}
        return self.exchange.new_channel(
            f"PJSIP/{account}", fields={"context": context, "extension": extension, **values}
        )

    async def dial(
        self,
        number: str,
        *,
        trunk: str = "carrier",
        account: str = "204",
        caller: LiveChannel | None = None,
        context: str = "phones",
        lease: float | None = None,
        originated: bool = False,
    ) -> Call:
        """Dial a number by a trunk without asking anybody; returns when DialBegin is out. Then `answer`, `hang_up`...

        `caller` is the channel that dials, by default a new one of `account`; `originated` calls have none.
        """
        if caller is None and not originated:
            caller = self.phone(account, extension=number, context=context)
        call = self.exchange.dial(caller, f"PJSIP/{number}@{trunk}", lease=lease)
        await asyncio.sleep(0)  # the manager's sessions may send
        return call

    async def place(
        self,
        number: str,
        *,
        trunk: str = "carrier",
        account: str = "204",
        tenant: str = "default",
        source: str = "",
        keyed: Sequence[str] = (),
        faults: Faults | None = None,
        **fields: str,
    ) -> Placed:
        """Place a call as the generated dialplan does: ask the guard, dial what it allows, else go nowhere.

        `keyed` is what the caller keys at one PIN prompt after the other ('123456#'). Where the guard gives no
        verdict, the fence decides. Raises TimeoutError as `outbound` does.
        """
        context = f"fraudguard-out-{trunk}"
        phone = self.phone(account, extension=number, context=context, source=source, **fields)
        self.exchange.step(phone, "AGI", "agi://{}:{}/outbound".format(*self.guard))
        result = await self.outbound(
            trunk=trunk,
            tenant=tenant,
            account=account,
            source=source,
            asterisk=self.name,
            linkedid=phone.linkedid,
            number=number,
            channel=Channel(
                name=phone.name,
                uniqueid=phone.uniqueid,
                caller=phone.caller,
                account=account,
                keyed=tuple(keyed),
            ),
            faults=faults,
        )
        for name, value in result.variables.items():
            self.exchange.set_variable(phone, name, value)
        allowed = self._allowed(phone, number, result)
        if allowed is None:
            self.exchange.step(phone, "Congestion", "10")
            self.exchange.hang_up(phone, REJECTED)
            return Placed(result, phone.variables.get("FRAUDGUARD_REASON", ""), None)
        dialled, lease = allowed
        call = await self.dial(dialled, trunk=trunk, caller=phone, lease=lease)
        return Placed(result, phone.variables["FRAUDGUARD_REASON"], call)

    def _allowed(self, phone: LiveChannel, number: str, result: AgiResult) -> tuple[str, float] | None:
        """Return the number to dial and its lease, as the generated dialplan reads the answer; None: nowhere."""
        said = result.variables
        verdict, lease = said.get("FRAUDGUARD_VERDICT", ""), said.get("FRAUDGUARD_LEASE", "")
        if result.status == "SUCCESS" and verdict == "nowhere":
            return None
        if result.status == "SUCCESS" and verdict == "allow" and said.get("FRAUDGUARD_REASON") == "emergency":
            return said["FRAUDGUARD_NUMBER"], 86_400
        if result.status == "SUCCESS" and verdict == "allow" and lease.isdecimal() and int(lease) > 0:
            return said["FRAUDGUARD_NUMBER"], int(lease)
        if not self._fence(number):
            return None
        self.exchange.set_variable(phone, "FRAUDGUARD_VERDICT", "allow")
        self.exchange.set_variable(phone, "FRAUDGUARD_REASON", "fence")
        return number, FENCE_LEASE

    # --- FastAGI ---

    async def agi(
        self, path: str, *arguments: str, channel: Channel | None = None, faults: Faults | None = None
    ) -> AgiResult:
        """Run AGI(agi://host:port/path,argument,...) and return what the dialplan finds afterwards.

        Arguments are joined and split at commas as Asterisk does it: an argument with a comma in it becomes two.
        """
        words = application_arguments(",".join(arguments)) if arguments else []
        call = AgiCall(channel or self.channel(), path, words, faults or Faults())
        host, port = self.guard
        return await call.run(host, port, self._timeout)

    async def outbound(
        self,
        *,
        number: str,
        trunk: str,
        channel: Channel | None = None,
        faults: Faults | None = None,
        **more: str,
    ) -> AgiResult:
        """Ask for a verdict as the generated dialplan does; `more` are further arguments (account=, tenant=)."""
        fields = {"number": number, "trunk": trunk, **more}
        arguments = [f"{key}={value}" for key, value in fields.items()]
        return await self.agi("outbound", *arguments, channel=channel, faults=faults)

    def channel(self, **fields: str) -> Channel:
        """Return a new channel with a name and uniqueid that no other of this Asterisk has."""
        serial = next(self._serial)
        channel = Channel(name=f"PJSIP/phone-{serial:08x}", uniqueid=f"1767225600.{serial}")
        return replace(channel, **fields)  # type: ignore[arg-type]  # all text but `keyed`, which goes in by replace()
