"""Waiting for something to become true, never longer than a deadline; and ports nobody uses."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds: ten times what anything takes here, for a machine that has other work. Who promises less says so."""

PORTS: Final = range(23_000, 32_768)
"""Above Asterisk's media (rtp.conf), and below what Linux gives out by itself: connections made meanwhile take none."""

_ports = iter(random.sample(PORTS, len(PORTS)))


def wait_until(true: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
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
    """Return a loopback port that nobody listens on, never the same again, and that stays free until somebody asks for
    that very one.
    """
    return next(port for port in _ports if not _is_bound(port, kind))


def udp_port_is_bound(port: int) -> bool:
    """Say whether somebody listens there. Not by trying: meanwhile the one that is waited for could not bind it."""
    local = (line.split()[1] for line in Path("/proc/net/udp").read_text().splitlines()[1:])
    return any(int(address.partition(":")[2], 16) == port for address in local)


def _is_bound(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
