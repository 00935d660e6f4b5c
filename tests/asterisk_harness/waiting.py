"""Waiting for something to become true, never longer than a deadline; and ports nobody uses."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(true: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Return what `true()` gave as soon as that is true; fail naming `what` when the deadline passes first.

    What is to be looked at closer comes from here: asked again, it may have changed.
    """
    deadline = time.monotonic() + seconds
    while not (value := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain until {what}")
        time.sleep(0.01)
    return value


def free_port(kind: socket.SocketKind) -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def udp_port_is_bound(port: int) -> bool:
    """Say whether somebody listens there, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
