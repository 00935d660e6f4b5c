"""A plain manager client: what Asterisk says, word for word and in order, beside what the product makes of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from asterisk_harness.waiting import PATIENCE, wait_until

Headers = list[tuple[str, str]]


class Message:
    """One event or response. A header that occurs twice is read with `all`."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.headers: Headers = [
            (key, value.lstrip()) for key, _, value in (line.partition(":") for line in raw.split("\r\n"))
        ]

    def __getitem__(self, key: str) -> str:
        return next((value for name, value in self.headers if name == key), "")

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.headers if name == key]

    def __repr__(self) -> str:
        return f"<{self.raw!r}>"


class Manager:
    """Logs in and keeps every message since."""

    def __init__(self, port: int, user: str, secret: str, *, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
        self._credentials = (user, secret)
        self._received = b""
        self._actions = 0
        self.messages: list[Message] = []
        self.bytes = 0
        self.closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        user, secret = self._credentials
        response = self.action("Login", Username=user, Secret=secret)[0]
        if response["Response"] != "Success":
            self.__exit__(None, None, None)
            raise AssertionError(response["Message"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.closed:
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    @property
    def events(self) -> list[Message]:
        """What no action asked for."""
        return [message for message in self.messages if message["Event"] and not message["ActionID"]]

    def action(self, name: str, **headers: str) -> list[Message]:
        """Send an action and return its response, followed by the events of its list if it is one."""
        self._actions += 1
        identity = f"test-{self._actions}"
        lines = [f"Action: {name}", f"ActionID: {identity}", *(f"{key}: {value}" for key, value in headers.items())]
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")

        def answer() -> list[Message]:
            return [message for message in self.messages if message["ActionID"] == identity]

        def whole() -> bool:
            found = answer()
            listed = bool(found) and found[0]["EventList"] == "start"
            return bool(found) and (not listed or found[-1]["EventList"] in ("Complete", "cancelled"))

        wait_until(whole, f"{name} was answered")
        return answer()

    def wait_for(self, what: str, true: Callable[[Message], bool], seconds: float = PATIENCE) -> Message:
        """Return the first event for which `true` holds, now or to come."""
        found: list[Message] = []
        wait_until(lambda: bool(found) or _first(self.events, true, found), what, seconds)
        return found[0]

    def _read(self) -> None:
        while True:
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                chunk = b""
            if not chunk:
                self.closed = True
                return
            self.bytes += len(chunk)
            self._received += chunk
            if b"Asterisk Call Manager" in self._received[:21]:
                _, _, self._received = self._received.partition(b"\r\n")
            *whole, self._received = self._received.split(b"\r\n\r\n")
            self.messages += [Message(part.decode(errors="replace")) for part in whole]


def _first(events: list[Message], true: Callable[[Message], bool], found: list[Message]) -> bool:
    found += [event for event in events if true(event)][:1]
    return bool(found)
