"""A FastAGI server that does one thing, right or wrong, to every request: the faults a real guard must never show."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Behaviour = Callable[[socket.socket, dict[str, str]], None]


def verdict(verdict: str, reason: str, number: str, lease: str) -> Behaviour:
    """Answer as the contract says; `number` may hold {asked}."""

    def behave(connection: socket.socket, request: dict[str, str]) -> None:
        said = f"{verdict},{reason},{number.format(asked=request['number'])},{lease},c0ffee"
        names = "VERDICT,REASON,NUMBER,LEASE,CALL".replace(",", ",FRAUDGUARD_")
        say(f'SET VARIABLE ARRAY(FRAUDGUARD_{names}) "{said}"')(connection, request)

    return behave


def say(*lines: str) -> Behaviour:
    """Send lines, waiting for the reply to each, and close."""

    def behave(connection: socket.socket, _: dict[str, str]) -> None:
        for line in lines:
            connection.sendall(line.encode() + b"\n")
            connection.recv(4096)

    return behave


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
