"""FastAGI as the server sees it: bytes in, events out; commands in, bytes out. No I/O, no clock.

    conversation = Conversation()
    conversation.receive(data)                    # b"" says that Asterisk ended its side
    while event := conversation.next_event():     # Request, then Reply and Hangup, at last End
        ...
    transport.write(conversation.ask(command("GET DATA", "vm-password", "5000", "4")))

Whatever the bytes and however they are cut, the events are the same, or ProtocolError says what was wrong;
after an error nothing more is read. What Asterisk sends is in res/res_agi.c: setup_env() for the
environment, ast_agi_send() for the replies, run_agi() for HANGUP and for what it makes of our lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote

from fraudguard.errors import FraudguardError, PeerError

MAX_ENVIRONMENT: Final = 16 * 1024
"""Bytes of a request's environment, its empty line included. A real one with seven arguments is under 1 KiB."""

MAX_ENVIRONMENT_LINES: Final = 128
"""Lines of an environment: Asterisk sends 23 and one per argument, and cuts its own arguments at 128."""

MAX_LINE: Final = 8 * 1024
"""Bytes of one reply, its newline included. GET VARIABLE can print a long value; nothing else comes close."""

MAX_USAGE: Final = 16 * 1024
"""Characters of the usage text between 520- and 520. The longest in Asterisk 22 has about 2,000."""

MAX_UNASKED: Final = 16
"""HANGUP and 100 lines before the next reply. Asterisk sends one of each; a flood of them must end somewhere."""

MAX_COMMAND: Final = 2047
"""Bytes of a command, its newline included. Asterisk reads into 2,048 bytes (8,192 in the newest 22.x) and takes
what does not fit for the next command: a longer one would be an injection."""

MAX_TEXT: Final = 160
"""Characters of an argument, the dialled string apart: Asterisk's longest, a linkedid, has 149."""

SURROGATES: Final = "surrogateescape"
"""How text that is not UTF-8 is kept: a caller's name may be cut inside a character."""


class ProtocolError(PeerError):
    """Asterisk, or whoever connected in its place, sent what FastAGI does not allow."""


class UnsendableError(FraudguardError):
    """A command cannot be written so that Asterisk would read what was meant."""


class Fields(NamedTuple):
    """The key=value words of a request. `strays` counts the words without '='."""

    values: dict[str, str]
    strays: int


class Request:
    """What Asterisk asked, as it was sent; text that is not UTF-8 is kept by surrogateescape.

    The headers are taken out of the text when they are asked for: a verdict needs three of some thirty. What
    decides is read by `sole` and `arguments`, which refuse duplicates: a newline smuggled into a caller's
    name looks exactly like one.
    """

    __slots__ = ("_arguments_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = f"\n{text}\n"  # so that every header stands between two newlines
        found = self._text.find("\nagi_arg_1: ")
        self._arguments_at = found + 1 if found >= 0 else len(self._text)

    @property
    def headers(self) -> int:
        """How many headers there are beside the arguments. The same Asterisk always sends the same number."""
        return self._text.count("\n", 1, self._arguments_at)

    @property
    def environment(self) -> dict[str, str]:
        """All headers by name; the first of duplicates wins, lines without a colon are left out."""
        environment: dict[str, str] = {}
        for name, value in self._lines():
            environment.setdefault(name, value)
        return environment

    @property
    def duplicates(self) -> tuple[str, ...]:
        """The names of headers that came again, once for each time."""
        names = [name for name, _ in self._lines()]
        return tuple(name for place, name in enumerate(names) if name in names[:place])

    def sole(self, name: str) -> str | None:
        """Return a header that decides, None when it is missing. Raises ProtocolError when it came twice."""
        mark = f"\n{name}:"
        start = self._text.find(mark)
        if start < 0:
            return None
        start += len(mark)
        if self._text.find(mark, start) >= 0:
            raise ProtocolError(f"header {name!r} comes twice")
        return self._text[start : self._text.index("\n", start)].removeprefix(" ")

    @property
    def script(self) -> str:
        """What stood after the host in AGI(agi://host/...): path and query. Empty when nothing did."""
        script = self.sole("agi_network_script")
        if script is None:
            script = (self.sole("agi_request") or "").partition("://")[2].partition("/")[2]
        return script

    @property
    def path(self) -> str:
        return self.script.partition("?")[0]

    @property
    def query(self) -> list[str]:
        """The words between '&' in the query, percent-decoded; '+' stays a plus, for it begins numbers."""
        query = self.script.partition("?")[2]
        return [unquote(word, errors=SURROGATES) for word in query.split("&")] if query else []

    @property
    def arguments(self) -> list[str]:
        """The arguments after the URL, agi_arg_1 and so on.

        Raises ProtocolError unless they are the last headers, in order and each once, as Asterisk sends them.
        """
        lines = self._text[self._arguments_at : -1].split("\n") if self._arguments_at < len(self._text) else []
        arguments = []
        for expected, line in zip(_ARGUMENT_HEADERS, lines, strict=False):
            header, _, argument = line.partition(": ")
            if header != expected:
                raise ProtocolError(f"environment line {line[:40]!r} among the arguments")
            arguments.append(argument)
        if self._text.count("\nagi_arg_") != len(arguments):
            raise ProtocolError("an argument comes twice or out of order")
        return arguments

    def fields(self) -> Fields:
        """Return the key=value words of arguments and query, in any order.

        Raises ProtocolError when a key comes twice: a value with a comma in it would otherwise speak for another key.
        """
        values: dict[str, str] = {}
        strays = 0
        for word in self.arguments + self.query:
            key, equals, value = word.partition("=")
            key = key.strip()
            if not equals:
                strays += 1
            elif key in values:
                raise ProtocolError(f"argument {key[:40]!r} comes twice")
            else:
                values[key] = value
        return Fields(values, strays)

    def _lines(self) -> Iterator[tuple[str, str]]:
        for line in self._text[1:-1].split("\n"):
            name, colon, value = line.partition(":")
            if colon:
                yield name, value.removeprefix(" ")


@dataclass(frozen=True, slots=True)
class Reply:
    """Asterisk's answer to one command.

    `result` is what follows 'result=' ('1', '-1', the digits of GET DATA, often empty), `value` what stands in
    parentheses (None: no parentheses), `extra` the rest ('endpos=24807'), or the whole text of a refusal.
    A PIN may be a result: it is not shown.
    """

    code: int
    result: str = field(default="", repr=False)
    value: str | None = None
    extra: str = ""

    @property
    def ok(self) -> bool:
        """True when Asterisk carried the command out; what came of it is in `result`."""
        return self.code == 200


@dataclass(frozen=True, slots=True)
class Hangup:
    """The caller hung up. Asterisk still answers commands, but those that need a live channel with 511."""


@dataclass(frozen=True, slots=True)
class End:
    """Asterisk ended its side of the connection, between lines."""


Event: TypeAlias = Request | Reply | Hangup | End


class Conversation:
    """One FastAGI connection.

    `awaiting`: a reply is due; `hung_up`: the caller has gone; `ended`: Asterisk ended its side.
    """

    __slots__ = (
        "_at",
        "_broken",
        "_buffer",
        "_opened",
        "_searched",
        "_unasked",
        "_usage",
        "awaiting",
        "ended",
        "hung_up",
    )

    def __init__(self) -> None:
        self.awaiting = False
        self.hung_up = False
        self.ended = False
        self._buffer = b""
        self._at = 0  # where the next line begins: a chunk of many lines is not copied for each of them
        self._searched = 0  # no end of the environment before this
        self._opened = False
        self._unasked = 0
        self._usage: list[str] | None = None
        self._broken = ""

    def receive(self, data: bytes) -> None:
        """Take what the socket gave; b"" when the peer ended its side."""
        if data:
            self._buffer = self._buffer[self._at :] + data
            self._at = 0
        else:
            self.ended = True

    def next_event(self) -> Event | None:
        """Return the next event, or None when more bytes are needed. Raises ProtocolError, from then on each time."""
        if self._broken:
            raise ProtocolError(self._broken)
        try:
            if not self._opened:
                return self._read_environment()
            while (line := self._read_line()) is not None:
                if event := self._read_reply(line):
                    return event
            return self._at_end("a line")
        except ProtocolError as error:
            self._broken = error.what
            raise

    def ask(self, command: bytes) -> bytes:
        """Return `command` to be written; one reply is due now. One command at a time, as res_agi works."""
        if self.awaiting:
            raise RuntimeError("the reply to the previous command has not come yet")
        self.awaiting = True
        return command

    def _read_environment(self) -> Event | None:
        end = self._buffer.find(b"\n\n", self._searched)
        size = end + 2 if end >= 0 else len(self._buffer) + 1
        if size > MAX_ENVIRONMENT:
            raise ProtocolError(f"environment of more than {MAX_ENVIRONMENT} bytes")
        if end < 0:
            self._searched = max(0, len(self._buffer) - 1)
            return self._at_end("the environment")
        self._at = size
        self._opened = True
        return _parse_environment(self._buffer[:end].decode("utf-8", SURROGATES))

    def _read_line(self) -> str | None:
        end = self._buffer.find(b"\n", self._at)
        size = (end if end >= 0 else len(self._buffer)) + 1 - self._at
        if size > MAX_LINE:
            raise ProtocolError(f"line of more than {MAX_LINE} bytes")
        if end < 0:
            return None
        line = self._buffer[self._at : end]
        self._at = end + 1
        return line.decode("utf-8", SURROGATES)

    def _at_end(self, inside: str) -> End | None:
        if not self.ended:
            return None
        if self._at < len(self._buffer) or self._usage is not None:
            raise ProtocolError(f"connection ended inside {inside}")
        return _END

    def _read_reply(self, line: str) -> Reply | Hangup | None:
        if self._usage is not None:
            return self._read_usage(self._usage, line)
        if line == "HANGUP":
            self._count_unasked()
            self.hung_up = True
            return _HANGUP
        if not self.awaiting:
            raise ProtocolError(f"{_shown(line)} without a command")
        if line.startswith("520-"):
            self._usage = [line[4:]]
            return None
        reply = _parse_reply(line)
        if reply.code < 200:  # 'Trying': the answer is still to come
            self._count_unasked()
            return None
        return self._answered(reply)

    def _read_usage(self, usage: list[str], line: str) -> Reply | None:
        # The usage text may lack its last newline, and then the closing line stands behind it.
        if not line.startswith("520 ") and not line.endswith("520 End of proper usage."):
            usage.append(line)
            if sum(map(len, usage)) + len(usage) > MAX_USAGE:
                raise ProtocolError(f"usage text of more than {MAX_USAGE} characters")
            return None
        self._usage = None
        return self._answered(Reply(520, extra="\n".join(usage)))

    def _answered(self, reply: Reply) -> Reply:
        self.awaiting = False
        self._unasked = 0
        return reply

    def _count_unasked(self) -> None:
        self._unasked += 1
        if self._unasked > MAX_UNASKED:
            raise ProtocolError(f"more than {MAX_UNASKED} lines that nobody asked for")


def command(verb: str, *arguments: str) -> bytes:
    """Write a command: `verb` as it is, each argument quoted where it must be.

    Raises UnsendableError for CR, LF or NUL, and for a command of more than MAX_COMMAND bytes.
    """
    words = [argument if _PLAIN(argument) else _quote(argument) for argument in arguments]
    return _line(" ".join((verb, *words)))


def set_variables(names: Sequence[str], values: Sequence[str]) -> bytes:
    """Write one SET VARIABLE ARRAY(...) that sets every name: one round trip, all or nothing.

    Raises UnsendableError for a value that Asterisk's ARRAY() would split, unquote or unescape.
    """
    if len(names) != len(values):
        raise UnsendableError(f"{len(names)} names for {len(values)} values")
    joined = ",".join(values)
    if joined.count(",") != len(values) - 1 or _UNSAFE_IN_ARRAY(joined):
        raise UnsendableError(
            f"{joined[:80]!r} would not arrive as {len(values)} values of ARRAY()", where=",".join(names)
        )
    return _line(f'SET VARIABLE ARRAY({",".join(names)}) "{joined}"')


def failure(what: str) -> bytes:
    """Write the line that makes Asterisk set AGISTATUS=FAILURE and leave the AGI. `what` is for whoever debugs."""
    return _line(f"failure {what}")


_END: Final = End()
_HANGUP: Final = Hangup()
_DONE: Final = Reply(200, "1")
_ARGUMENT_HEADERS: Final = tuple(f"agi_arg_{n}" for n in range(1, MAX_ENVIRONMENT_LINES))
_REPLY: Final = re.compile(r"([1-5][0-9][0-9]) (?:result=([^ ]*)(?: (.*))?|(.*))", re.DOTALL).fullmatch
_RESULT: Final = re.compile(r"result=.*", re.DOTALL)
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/+*#@=(),-]+").fullmatch
# Commas split, quotes and backslashes vanish, brackets hide commas from the splitting (main/app.c).
_UNSAFE_IN_ARRAY: Final = re.compile(r'[\x00-\x1f\x7f"\\()\[\]{}]').search
_ENDS_COMMAND: Final = re.compile(r"[\r\n\x00]").search


def _parse_environment(text: str) -> Request:
    if not text.startswith("agi_"):
        raise ProtocolError(f"an environment does not begin with {text.partition(chr(10))[0][:40]!r}")
    if text.count("\n") >= MAX_ENVIRONMENT_LINES:
        raise ProtocolError(f"environment of more than {MAX_ENVIRONMENT_LINES} lines")
    return Request(text)


def _parse_reply(line: str) -> Reply:
    if line == "200 result=1":
        return _DONE
    match = _REPLY(line)
    if match is None:
        raise ProtocolError(f"{_shown(line)} is not a reply")
    code, result, rest, text = match.groups()
    if result is None:
        if code < "300":
            raise ProtocolError(f"{_shown(line)} has no result")
        return Reply(int(code), extra=text)
    rest = rest or ""
    if not rest.startswith("("):
        return Reply(int(code), result, extra=rest)
    # A value may hold ')' itself. Words follow only behind a fixed word such as (speech) or (timeout), so a
    # line that ends with ')' is value to its end, and in any other the first ') ' closes it.
    end = len(rest) - 1 if rest.endswith(")") else rest.find(") ")
    if end < 0:
        raise ProtocolError(f"{_shown(line)} does not close its value")
    return Reply(int(code), result, rest[1:end], rest[end + 2 :])


def _shown(line: str) -> str:
    """Quote a reply in a complaint, without its result: it may be a PIN."""
    return repr(_RESULT.sub("result=...", line[:40]))


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _line(text: str) -> bytes:
    if _ENDS_COMMAND(text):
        raise UnsendableError(f"{text[:40]!r} holds a line end or NUL")
    try:
        line = text.encode("utf-8", SURROGATES) + b"\n"
    except UnicodeEncodeError:
        raise UnsendableError(f"{text[:40]!r} holds half a character") from None
    if len(line) > MAX_COMMAND:
        raise UnsendableError(f"{text[:40]!r} and more: over {MAX_COMMAND} bytes")
    return line
