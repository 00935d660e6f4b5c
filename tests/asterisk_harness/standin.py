"""A FastAGI server that does one thing, right or wrong, to every request: the faults a real guard must never show."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from asterisk_harness.waiting import wait_until

# The line with which a reply is over: 520- announces more lines, and HANGUP is no reply.
_ENDS_REPLY = re.compile(r"[0-9]{3} ")

Behaviour = Callable[[socket.socket, dict[str, str]], None]


def verdict(verdict: str, reason: str, number: str, lease: str) -> Behaviour:
    """Answer as the contract says; `number` may hold {asked}."""

    def behave(connection: socket.socket, request: dict[str, str]) -> None:
        say(answer(verdict, reason, number.format(asked=request["number"]), lease))(connection, request)

    return behave


def answer(verdict: str, reason: str, number: str, lease: str) -> str:
    """Return the line with which a guard answers."""
    names = "VERDICT,REASON,NUMBER,LEASE,CALL".replace(",", ",FRAUDGUARD_")
    return f'SET VARIABLE ARRAY(FRAUDGUARD_{names}) "{verdict},{reason},{number},{lease},c0ffee"'


def say(*lines: str) -> Behaviour:
    """Send lines, waiting for the reply to each, and close."""

    def behave(connection: socket.socket, _: dict[str, str]) -> None:
        for line in lines:
            connection.sendall(line.encode() + b"\n")
            connection.recv(4096)

    return behave


class Dialogue:
    """Sends commands, takes the reply to each, and keeps everything that was said, by either side, in order. A step
    that is no command is called, so that a test may hold the dialogue until it has done something.
    """

    def __init__(self, *steps: str | Callable[[], object]) -> None:
        self._steps = steps
        self.said: list[str] = []
        """Commands as '> SET ...', and what came back as it came: replies, HANGUP, and every line of a 520."""

    def __call__(self, connection: socket.socket, _: dict[str, str]) -> None:
        lines = connection.makefile("r", encoding="utf-8", errors="replace", newline="\n")
        for step in self._steps:
            if not isinstance(step, str):
                step()
                continue
            self.said.append(f"> {step}")
            connection.sendall(step.encode() + b"\n")
            while True:
                line = lines.readline()
                if not line:
                    self.said.append("(closed)")
                    return
                self.said.append(line.rstrip("\n"))
                if _ENDS_REPLY.match(line):
                    break

    @property
    def replies(self) -> list[str]:
        """What came back."""
        return [line for line in self.said if not line.startswith("> ")]

    def wait_said(self, line: str, times: int = 1) -> None:
        """Return when a line, '> ' before it if it is a command, was said so many times."""
        wait_until(lambda: self.said.count(line) >= times, f"{line!r} was said")


def close(_connection: socket.socket, _: dict[str, str]) -> None:
    """Close without a word."""


def reset(connection: socket.socket, _: dict[str, str]) -> None:
    """Reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang(connection: socket.socket, _: dict[str, str]) -> None:
    """Say nothing until the other side gives up (or the test ends, which closes the connection)."""
    while connection.recv(4096):
        pass


class StandIn:
    """Listens on `port` while the `with` block runs. `requests` holds the arguments of every request it got."""

    def __init__(self, port: int, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.requests: list[dict[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed long ago
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = _read_request(connection)
                self.requests.append(request)
                self._behaviour(connection, request)
            except OSError:
                return  # the caller hung up, or the test is over


def _read_request(connection: socket.socket) -> dict[str, str]:
    received = b""
    while b"\n\n" not in received:
        chunk = connection.recv(4096)
        if not chunk:
            raise OSError("gone")
        received += chunk
    headers = dict(line.partition(": ")[::2] for line in received.decode(errors="replace").splitlines() if line)
    arguments = (value for key, value in headers.items() if key.startswith("agi_arg_"))
    return dict(argument.partition("=")[::2] for argument in arguments)
