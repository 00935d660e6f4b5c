"""/metrics and /healthz over real sockets: what they answer, what hostile clients get, a loop that stands still."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import pytest
from metrics_cases import sources
from structlog.testing import capture_logs

from fraudguard.config import Http
from fraudguard.errors import UnreachableError
from fraudguard.metrics import server as server_module
from fraudguard.metrics.health import FROZEN_SECONDS
from fraudguard.metrics.observing import observing
from fraudguard.metrics.server import DEADLINE, MAX_CONNECTIONS, MAX_REQUEST
from fraudguard.metrics.sources import Calls, Link, LinkState

ANY_PORT = Http(port=0)


def exchange(address, sent, *, patience=10.0):
    """Send bytes, read until the end; return (status, headers, body), or None when nothing came back."""
    with socket.create_connection(address, timeout=patience) as connection:
        received = b""
        try:
            connection.sendall(sent)
            while part := connection.recv(65536):
                received += part
        except (ConnectionError, BrokenPipeError):
            pass
    if not received:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def request(address, path, method="GET"):
    return exchange(address, f"{method} {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())


async def asked(address, path, method="GET"):
    return await asyncio.to_thread(request, address, path, method)


@pytest.fixture
async def address():
    async with observing(ANY_PORT, sources()) as address:
        yield address


async def test_metrics_are_prometheus_text(address):
    status, headers, body = await asked(address, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert int(headers["Content-Length"]) == len(body)
    assert b"fraudguard_agi_sessions 3.0\n" in body


async def test_health_is_json(address):
    status, headers, body = await asked(address, "/healthz?verbose")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert list(json.loads(body)["checks"]) == ["loop", "store", "ami.office", "alerts"]


async def test_a_lost_link_is_degraded_and_a_store_that_fails_is_503():
    given = sources(links=lambda: {"office": Link(LinkState.DOWN, "connection refused")})
    async with observing(ANY_PORT, given) as address:
        status, _, body = await asked(address, "/healthz")
    assert (status, json.loads(body)["status"]) == (200, "degraded")
    given.meter.store.failed("the disk is full")
    async with observing(ANY_PORT, given) as address:
        status, _, body = await asked(address, "/healthz")
    assert (status, json.loads(body)["checks"]["store"]) == (503, {"status": "failed", "detail": "the disk is full"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/", 404), ("POST", "/metrics", 405), ("DELETE", "/healthz", 405)],
)
async def test_nothing_else_is_served(address, method, path, status):
    assert (await asked(address, path, method))[0] == status


async def test_head_has_no_body(address):
    status, headers, body = await asked(address, "/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


async def test_no_header_tells_what_runs_here(address):
    _, headers, _ = await asked(address, "/healthz")
    assert headers.keys() == {"Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options", "Connection"}


async def test_a_port_in_use_is_an_error_that_names_the_key(address):
    with pytest.raises(UnreachableError, match=r"http\.port") as caught:
        async with observing(Http(port=address[1]), sources()):
            pass
    assert caught.value.exit_status == 3


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
async def test_an_address_that_is_not_here_is_an_error_that_names_the_key(host):
    with pytest.raises(UnreachableError, match=r"http\.host"):
        async with observing(Http(host=host, port=0), sources()):
            pass


async def test_switched_off_it_listens_nowhere():
    async with observing(Http(enabled=False), sources()) as address:
        assert address is None


async def test_it_stops_with_connections_open():
    async with observing(ANY_PORT, sources()) as address:
        idle = [socket.create_connection(address) for _ in range(5)]
        assert (await asked(address, "/healthz"))[0] == 200
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]
    for connection in idle:
        with connection:
            connection.settimeout(5)
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b"", "closed, and not left to time out"


# Numbers


async def test_the_numbers_are_read_in_the_loop_at_most_once_a_second():
    threads = []

    def calls():
        threads.append(threading.current_thread())
        return Calls()

    async with observing(ANY_PORT, sources(calls=calls)) as address:
        await asyncio.gather(*(asked(address, "/metrics") for _ in range(20)))
    assert threads == [threading.main_thread()]


async def test_a_source_that_raises_is_an_error_that_is_logged_once(monkeypatch):
    def broken():
        raise LookupError("no ledger")

    with capture_logs() as logs:
        async with observing(ANY_PORT, sources(calls=broken)) as address:
            assert [(await asked(address, path))[0] for path in ("/metrics", "/healthz", "/metrics")] == [500] * 3
    assert [entry["event"] for entry in logs] == ["metrics cannot be read"]


# A loop that stands still


async def test_a_frozen_loop_is_told_while_it_is_frozen():
    async with observing(ANY_PORT, sources()) as address:
        assert (await asked(address, "/healthz"))[0] == 200
        answers = []
        freezing = threading.Event()

        def watcher():
            freezing.wait()
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and not (answers and answers[-1][0] == 503):
                answers.append(request(address, "/healthz"))
            answers.append(request(address, "/metrics"))
            freezing.clear()

        thread = threading.Thread(target=watcher)
        thread.start()
        freezing.set()
        while freezing.is_set():
            time.sleep(0.01)  # noqa: ASYNC251  the freeze: no await in this loop
        thread.join()
        status, _, body = answers[-2]
        loop = json.loads(body)["checks"]["loop"]
        assert (status, loop["status"]) == (503, "failed")
        assert float(loop["detail"].split()[-2]) >= FROZEN_SECONDS
        assert answers[-1][0] == 503
        await asyncio.sleep(0)
        assert (await asked(address, "/healthz"))[0] == 200, "it turns again"


# Hostile clients


async def test_a_huge_request_is_refused_before_it_is_read(address):
    sent = b"GET /metrics HTTP/1.1\r\nX: " + b"a" * (MAX_REQUEST * 4) + b"\r\n\r\n"
    answer = await asyncio.to_thread(exchange, address, sent)
    assert answer is None or answer[0] == 431
    assert (await asked(address, "/healthz"))[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\xff\xfe \xff HTTP/1.1\r\n\r\n",
    ],
)
async def test_rubbish_gets_a_refusal(address, sent):
    assert (await asyncio.to_thread(exchange, address, sent))[0] in {400, 404}


async def test_who_dawdles_is_cut_off_at_the_deadline(monkeypatch):
    monkeypatch.setattr(server_module, "DEADLINE", 0.3)
    async with observing(ANY_PORT, sources()) as address:

        def dawdle():
            began = time.monotonic()
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\n")
                connection.settimeout(0.05)
                while time.monotonic() - began < 10:
                    try:
                        connection.sendall(b"X")  # a byte each time: no single wait is long
                        if connection.recv(1) == b"":
                            break
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        break
            return time.monotonic() - began

        assert await asyncio.to_thread(dawdle) < 5
    assert DEADLINE < 10, "Prometheus waits 10 s"


async def test_whoever_asks_properly_is_served_whatever_crowd_dawdles(address):
    with contextlib.ExitStack() as crowd:
        dawdlers = []
        for _ in range(MAX_CONNECTIONS * 3):
            dawdlers.append(crowd.enter_context(socket.create_connection(address, timeout=5)))
            dawdlers[-1].sendall(b"GET /metrics HTTP/1.1\r\n")
        began = time.monotonic()
        assert (await asked(address, "/healthz"))[0] == 200
        assert time.monotonic() - began < DEADLINE / 2, "nobody's deadline had to pass"
        for connection in dawdlers[:-MAX_CONNECTIONS]:  # the oldest gave way
            with contextlib.suppress(ConnectionError):
                assert await asyncio.to_thread(connection.recv, 1) == b""
        assert time.monotonic() - began < DEADLINE / 2, "at once"
