"""What the service manager hears, over real datagram sockets: named ones and abstract ones."""

import asyncio
import os
import socket
import time

import pytest
from structlog.testing import capture_logs

from fraudguard.readiness import MAX_STATUS, Manager, Readiness


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path):
    address = (
        str(tmp_path / "notify") if request.param == "path" else f"@fraudguard-{os.getpid()}-{time.monotonic_ns()}"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address.replace("@", "\0", 1))
        heard.setblocking(False)
        yield Listener(heard, address)


class Listener:
    def __init__(self, heard, address):
        self.heard = heard
        self.address = address

    async def next(self):
        """Return the fields of the next datagram."""
        text = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.heard, 4096), 5)
        return dict(line.split("=", 1) for line in text.decode().split("\n"))

    def silent(self):
        try:
            return not self.heard.recv(4096)
        except BlockingIOError:
            return True


def environment(listener, **more):
    return {"NOTIFY_SOCKET": listener.address, "HOME": "/root", **more}


async def test_ready_and_stopping_are_told_with_what_the_service_does(listener):
    async with Readiness(Manager.of(environment(listener))) as readiness:
        assert listener.silent(), "not ready before somebody says so"
        readiness.ready(lambda: "3 live calls\nMAINPID=1")
        assert await listener.next() == {"READY": "1", "STATUS": "3 live calls MAINPID=1"}
        readiness.stopping()
        assert await listener.next() == {"STOPPING": "1", "STATUS": "stopping"}


async def test_a_sign_of_life_comes_twice_per_period_for_as_long_as_the_loop_turns(listener):
    manager = Manager.of(environment(listener, WATCHDOG_USEC="200000", WATCHDOG_PID=str(os.getpid())))
    assert manager.watchdog == 0.2
    began = time.monotonic()
    async with Readiness(manager):
        assert [await listener.next() for _ in range(4)] == [{"WATCHDOG": "1"}] * 4
        assert time.monotonic() - began >= 0.3, "the first at once, then one each 0.1 s"
        while not listener.silent():
            pass  # what a busy machine made late
        time.sleep(0.3)  # noqa: ASYNC251  the frozen loop itself
        assert listener.silent(), "who does not serve callers gives no sign of life"
        assert await listener.next() == {"WATCHDOG": "1"}
    assert listener.silent()


async def test_the_status_is_brought_up_to_date_when_it_changes(listener, monkeypatch):
    monkeypatch.setattr("fraudguard.readiness.STATUS_SECONDS", 0.01)
    lines = iter(["one", "one", "two" * MAX_STATUS])
    async with Readiness(Manager.of(environment(listener))) as readiness:
        readiness.ready(lambda: next(lines, "two" * MAX_STATUS))
        assert (await listener.next())["STATUS"] == "one"
        assert (await listener.next())["STATUS"] == ("two" * MAX_STATUS)[:MAX_STATUS]


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
    ],
    ids=["none", "zero", "rubbish", "another process's"],
)
def test_no_sign_of_life_is_given_that_nobody_asked_this_process_for(listener, watchdog):
    manager = Manager.of(environment(listener, **watchdog))
    manager.close()
    assert manager.watchdog is None


def test_the_variables_are_not_left_to_children(listener):
    variables = environment(listener, WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
    Manager.of(variables).close()
    assert variables == {"HOME": "/root"}


@pytest.mark.parametrize("address", ["", "vsock:2:9999", "relative"])
async def test_without_a_manager_nobody_is_told_anything(address):
    manager = Manager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100"})
    with capture_logs() as logs:
        async with Readiness(manager) as readiness:
            readiness.ready(lambda: "")
            readiness.stopping()
    assert logs == []


async def test_a_manager_that_cannot_be_told_is_complained_of_once(tmp_path):
    manager = Manager.of({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with capture_logs() as logs:
        async with Readiness(manager) as readiness:
            readiness.ready(lambda: "")
            readiness.stopping()
    assert [entry["event"] for entry in logs] == ["the service manager cannot be told"]


def test_a_manager_that_reads_nothing_holds_nobody_up(listener):
    manager = Manager.of(environment(listener))
    began = time.monotonic()
    for _ in range(2000):
        manager.tell(WATCHDOG="1")
    manager.close()
    assert time.monotonic() - began < 1
    manager.tell(WATCHDOG="1")  # after the end: nothing
