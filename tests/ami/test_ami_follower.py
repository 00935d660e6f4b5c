"""What a follower tells about its link. Following itself: tests/test_service.py and tests/asterisk."""

import asyncio
import contextlib
import socket

import pytest

from fraudguard.ami import follower
from fraudguard.ami.connection import Connection
from fraudguard.clock import SystemClock
from fraudguard.config import Ami, Settings
from fraudguard.house import build_house
from fraudguard.ledger import Ledger


class Desk:
    def __init__(self):
        self.told = asyncio.Queue()

    def alert(self, alert):
        self.told.put_nowait(alert)


@pytest.mark.parametrize(("followed_until", "kind"), [(None, "ami_absent"), (1_767_225_600_000, "ami_lost")])
async def test_an_asterisk_that_was_never_there_is_not_lost(monkeypatch, followed_until, kind):
    monkeypatch.setattr(follower, "LOST_SECONDS", 0.0)
    with socket.socket() as taken:  # bound, not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        settings, clock, desk = Ami(port=taken.getsockname()[1], secret="x"), SystemClock(), Desk()
        link = Connection("pbx", settings, "x", events=frozenset(), clock=clock)
        ledger = Ledger(build_house(Settings()), "pbx", lambda _trunk, _number: None)
        task = asyncio.create_task(follower.Follower(link, ledger, desk, clock, followed_until).run())
        try:
            alert = await asyncio.wait_for(desk.told.get(), 5)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    assert (alert.kind, alert.details["asterisk"]) == (kind, "pbx")
