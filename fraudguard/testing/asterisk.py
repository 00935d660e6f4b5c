"""FakeAsterisk: what the guard sees of an Asterisk, without one."""

from __future__ import annotations

import itertools
from dataclasses import replace

from fraudguard.testing.agi import AgiCall, AgiResult, Channel, Faults, application_arguments


class FakeAsterisk:
    """An Asterisk whose dialplan asks the FastAGI server at `host` and `port`, over a real socket.

    Every call has a channel of its own. `timeout` seconds bound a call, where a real Asterisk would wait
    for ever; a call that reaches it raises TimeoutError.
    """

    def __init__(self, host: str, port: int, *, timeout: float = 10.0) -> None:
        self._host = host
        self._port = port
        self._timeout = timeout
        self._serial = itertools.count(1)

    async def agi(
        self, path: str, *arguments: str, channel: Channel | None = None, faults: Faults | None = None
    ) -> AgiResult:
        """Run AGI(agi://host:port/path,argument,...) and return what the dialplan finds afterwards.

        Arguments are joined and split at commas as Asterisk does it: an argument with a comma in it becomes two.
        """
        words = application_arguments(",".join(arguments)) if arguments else []
        call = AgiCall(channel or self.channel(), path, words, faults or Faults())
        return await call.run(self._host, self._port, self._timeout)

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
