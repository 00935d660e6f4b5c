"""The FastAGI half of FakeAsterisk: does over a socket what res_agi.c of Asterisk 22 does for one AGI().

Kept close to that file where the guard's safety hangs on it: a close without a word is SUCCESS, a line that
begins with "failure" is FAILURE, a command cut off by the end of the connection is still carried out, and
ARRAY() splits and unquotes what it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

_TEXT: Final = {"encoding": "utf-8", "errors": "surrogateescape"}

DEAD_CHANNEL: Final = "511 Command Not Permitted on a dead channel or intercept routine"

FAILED: Final = "200 result=-1"
"""What comes of a command during which the caller hung up, or of a prompt whose sound is not there."""


@dataclass(frozen=True, slots=True)
class Channel:
    """The calling channel, and what its caller does.

    `keyed` are the digits keyed at one GET DATA after the other ('12' then '1234#'); without any more the
    prompt times out. After `hangs_up_after` commands the caller hangs up (None: never; 0: before the first), or while
    command `hangs_up_during` is carried out (1: the first). `missing` are the sounds that are not there.
    """

    name: str = "PJSIP/phone-00000001"
    uniqueid: str = "1767225600.1"
    caller: str = "204"
    caller_name: str = "Front Desk"
    dnid: str = "unknown"
    context: str = "fraudguard"
    extension: str = "s"
    account: str = ""
    keyed: tuple[str, ...] = ()
    hangs_up_after: int | None = None
    hangs_up_during: int | None = None
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on the way to the guard.

    `silent`: connects and sends nothing. `garbage`: sent in place of the environment. `cut_after`: the connection is
    closed after so many bytes sent. `byte_by_byte`: every byte is a segment of its own. `replies`: sent in
    place of the true ones, in order (b"" for none).
    """

    silent: bool = False
    garbage: bytes | None = None
    cut_after: int | None = None
    byte_by_byte: bool = False
    replies: tuple[bytes, ...] = ()


@dataclass(slots=True)
class AgiResult:
    """What the dialplan finds after AGI(), and what the guard did meanwhile.

    `status` is AGISTATUS: SUCCESS, FAILURE or HANGUP. `commands` are the lines received, `failure` the line that began
    with that word.
    """

    status: str = "SUCCESS"
    variables: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    failure: str | None = None


class AgiCall:
    """One AGI() of one channel."""

    def __init__(self, channel: Channel, path: str, arguments: Sequence[str], faults: Faults) -> None:
        self._channel = channel
        self._path = path
        self._arguments = arguments
        self._faults = faults
        self._keyed = iter(channel.keyed)
        self._replies = iter(faults.replies)
        self._sent = 0
        self._hung_up = False
        self._untold = False  # that the caller hung up
        self.result = AgiResult()

    async def run(self, host: str, port: int, timeout: float) -> AgiResult:  # noqa: ASYNC109  as FakeAsterisk says
        """Connect, ask, obey until the connection ends. Raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                self.result.status = "FAILURE"
                return self.result
            try:
                with contextlib.suppress(ConnectionError):  # a reset ends the AGI as a close does
                    await self._converse(reader, writer, f"agi://{host}:{port}/{self._path}")
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
        if self.result.failure is not None:
            self.result.status = "FAILURE"
        elif self._hung_up:
            self.result.status = "HANGUP"
        return self.result

    def environment(self, request: str) -> bytes:
        """Return the environment as setup_env() prints it."""
        channel = self._channel
        headers = {
            "agi_network": "yes",
            **({"agi_network_script": self._path} if self._path else {}),
            "agi_request": request,
            "agi_channel": channel.name,
            "agi_language": "en",
            "agi_type": channel.name.partition("/")[0],
            "agi_uniqueid": channel.uniqueid,
            "agi_version": "22.10.1",
            "agi_callerid": channel.caller,
            "agi_calleridname": channel.caller_name,
            "agi_callingpres": "0",
            "agi_callingani2": "0",
            "agi_callington": "0",
            "agi_callingtns": "0",
            "agi_dnid": channel.dnid,
            "agi_rdnis": "unknown",
            "agi_context": channel.context,
            "agi_extension": channel.extension,
            "agi_priority": "1",
            "agi_enhanced": "0.0",
            "agi_accountcode": channel.account,
            "agi_threadid": "140245677061824",
            **{f"agi_arg_{number}": word for number, word in enumerate(self._arguments, 1)},
        }
        return "".join([*(f"{name}: {value}\n" for name, value in headers.items()), "\n"]).encode(**_TEXT)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str) -> None:
        if not self._faults.silent:
            garbage = self._faults.garbage
            await self._send(writer, self.environment(request) if garbage is None else garbage)
        await self._maybe_hang_up(writer)
        while line := await reader.readline():  # at the end of the connection also half a line
            text = line.decode(**_TEXT).rstrip("\n")
            if text.lower().startswith("failure"):
                self.result.failure = text
                return
            self.result.commands.append(text)
            if self._untold:
                self._untold = False
                await self._send(writer, b"HANGUP\n")
            reply = next(self._replies, None)
            answer = "".join(f"{part}\n" for part in self._obey(agi_words(text))).encode(**_TEXT)
            await self._send(writer, answer if reply is None else reply)
            await self._maybe_hang_up(writer)

    async def _maybe_hang_up(self, writer: asyncio.StreamWriter) -> None:
        if not self._hung_up and len(self.result.commands) == self._channel.hangs_up_after:
            self._hung_up = True
            await self._send(writer, b"HANGUP\n")

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        cut = self._faults.cut_after
        allowed = data if cut is None else data[: max(0, cut - self._sent)]
        self._sent += len(data)
        step = 1 if self._faults.byte_by_byte else max(1, len(allowed))
        for start in range(0, len(allowed), step):
            writer.write(allowed[start : start + step])
            await writer.drain()
            await asyncio.sleep(0)  # the other side may run, and see the bytes one by one
        if cut is not None and self._sent >= cut:
            raise ConnectionAbortedError("cut")

    def _obey(self, words: Sequence[str]) -> Iterator[str]:
        for name, (handler, arguments, alive) in _COMMANDS.items():
            verb = name.split()
            if [word.upper() for word in words[: len(verb)]] == verb:
                given = words[len(verb) :]
                if alive and self._hung_up:
                    yield DEAD_CHANNEL
                elif len(given) not in arguments:
                    yield from (
                        "520-Invalid command syntax.  Proper usage follows:",
                        f"Usage: {name}",
                        "520 End of proper usage.",
                    )
                elif self._hangs_up_now() and alive:
                    yield FAILED
                else:
                    yield handler(self, given)
                return
        yield "510 Invalid or unknown command"

    def _hangs_up_now(self) -> bool:
        """Say whether the caller hangs up during the present command. Asterisk tells with the next one (measured)."""
        if len(self.result.commands) == self._channel.hangs_up_during:
            self._hung_up = self._untold = True
        return self._untold

    def _set_variable(self, given: Sequence[str]) -> str:
        name, value = given
        if name.upper().startswith("ARRAY(") and name.endswith(")"):
            names = application_arguments(name[len("ARRAY(") : -1])
            values = application_arguments(value)
            pairs = zip_longest(names, values[: len(names)], fillvalue="")
            self.result.variables.update((each.strip(), text) for each, text in pairs)
        else:
            self.result.variables[name] = value
        return "200 result=1"

    def _get_variable(self, given: Sequence[str]) -> str:
        value = self.result.variables.get(given[0])
        return "200 result=0" if value is None else f"200 result=1 ({value})"

    def _get_data(self, given: Sequence[str]) -> str:
        if given[0] in self._channel.missing:
            return FAILED  # at once, and with no other sign of it than that the channel lives (measured)
        keyed = next(self._keyed, None)
        if keyed is None:
            return "200 result= (timeout)"
        most = int(given[2]) if len(given) > 2 else 1024
        digits, pound, _ = keyed.partition("#")
        finished = pound or len(digits) >= most
        return f"200 result={digits[:most]}" + ("" if finished else " (timeout)")

    def _stream_file(self, given: Sequence[str]) -> str:
        return f"{FAILED} endpos=0" if given[0] in self._channel.missing else "200 result=0 endpos=8000"

    def _hang_up(self, given: Sequence[str]) -> str:
        del given  # there is one channel
        self._hung_up = True
        return "200 result=1"


_Handler = Callable[[AgiCall, Sequence[str]], str]


def _say(text: str) -> _Handler:
    return lambda _call, _given: text


# command: (what it does, how many arguments it takes, whether it needs a live channel)
_COMMANDS: Final[Mapping[str, tuple[_Handler, range, bool]]] = {
    "SET VARIABLE": (AgiCall._set_variable, range(2, 3), False),  # noqa: SLF001
    "GET VARIABLE": (AgiCall._get_variable, range(1, 2), False),  # noqa: SLF001
    "GET DATA": (AgiCall._get_data, range(1, 4), True),  # noqa: SLF001
    "STREAM FILE": (AgiCall._stream_file, range(2, 4), True),  # noqa: SLF001
    "CHANNEL STATUS": (_say("200 result=4"), range(2), True),
    "EXEC": (_say("200 result=0"), range(1, 3), False),
    "ANSWER": (_say("200 result=0"), range(1), True),
    "HANGUP": (AgiCall._hang_up, range(2), True),  # noqa: SLF001
    "NOOP": (_say("200 result=0"), range(128), False),
    "VERBOSE": (_say("200 result=1"), range(1, 3), False),
}


def agi_words(line: str) -> list[str]:
    """Split a command as parse_args() of res_agi.c does: blanks separate, quotes hold together, a backslash escapes."""
    words: list[str] = []
    quoted = escaped = inside = False
    for character in line:
        if escaped or character not in ' \t"\\' or (quoted and character in " \t"):
            if not inside:
                words.append("")
            words[-1] += character
            inside, escaped = True, False
        elif character == '"':
            quoted = not quoted
            if quoted and not inside:
                words.append("")
                inside = True
        elif character == "\\":
            escaped = True
        else:
            inside = False
    return words


def application_arguments(text: str) -> list[str]:
    """Split at commas as Asterisk splits arguments of applications and functions (main/app.c): brackets and
    quotes protect commas, quotes vanish, a backslash protects the next character and vanishes.
    """
    arguments = [""]
    depth = 0
    quoted = escaped = False
    for character in text:
        if escaped:
            arguments[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted and depth == 0:
            arguments.append("")
        else:
            depth = max(0, depth + (character in "([") - (character in ")]")) if not quoted else depth
            arguments[-1] += character
    return arguments
