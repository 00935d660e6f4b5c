"""The life of a session: answers, deadlines, failures, hangups, limits, drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource

import pytest
import structlog

from fraudguard.agi.counters import BURST, MAX_LOGGED, PERIOD, Failure, QuietLog, harmless
from fraudguard.agi.protocol import set_variables
from fraudguard.agi.server import AgiServer
from fraudguard.agi.session import GoneError, RefusedError, Session
from fraudguard.errors import ConfigError, FraudguardError, UnreachableError
from fraudguard.testing import Channel, FakeAsterisk, Faults

ENVIRONMENT = b"agi_network: yes\nagi_network_script: answer\n\n"


async def answer(session):
    """As a dialogue does: a command of its own, and an error of its own when it was not carried out."""
    reply = await session._ask(set_variables(("A", "B"), ("1", "2")))
    if reply.result != "1":
        raise RefusedError(f"Asterisk did not set the variables: {reply.code} {harmless(reply.extra)}".rstrip())


def answer_decided(session):
    """As `answer`, without a task: what is decided is there already."""
    decided = asyncio.get_running_loop().create_future()
    decided.set_result(("1", "2"))
    session.answer_when(decided, lambda values: set_variables(("A", "B"), values))


both_ways = pytest.mark.parametrize("answer", [answer, answer_decided])


async def until(condition):
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is waited for is the far side of a socket
            await asyncio.sleep(0.001)


async def raw(server, data):
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(data)
    return reader, writer


@both_ways
async def test_a_handler_answers_and_the_connection_closes(serve, answer):
    server, asterisk = await serve({"answer": answer})
    result = await asterisk.agi("answer")
    assert (result.status, result.variables, result.commands) == (
        "SUCCESS",
        {"A": "1", "B": "2"},
        ['SET VARIABLE ARRAY(A,B) "1,2"'],
    )
    await until(lambda: server.open_sessions == 0)
    assert server.counters.requests == {"answer": 1}
    assert not server.counters.failures


@both_ways
async def test_the_environment_may_come_byte_by_byte(serve, answer):
    _, asterisk = await serve({"answer": answer})
    assert (await asterisk.agi("answer", faults=Faults(byte_by_byte=True))).variables == {"A": "1", "B": "2"}


async def test_a_dialogue_of_several_commands(serve):
    seen = []

    async def dialogue(session):
        for verb, *arguments in (
            ("ANSWER",),
            ("GET DATA", "vm-password", "5000", "4"),
            ("GET DATA", "x"),
            ("NO SUCH",),
        ):
            seen.append(await session.command(verb, *arguments))

    server, asterisk = await serve({"pin": dialogue})
    await asterisk.agi("pin", channel=Channel(keyed=("1234",)))
    assert [(reply.code, reply.result, reply.value) for reply in seen] == [
        (200, "0", None),
        (200, "1234", None),
        (200, "", "timeout"),
        (510, "", None),
    ]
    assert server.counters.refused_commands == 1


async def test_an_unknown_path_fails(serve):
    server, asterisk = await serve({"answer": answer})
    result = await asterisk.agi("nowhere\x1b[2J")
    assert (result.status, result.variables) == ("FAILURE", {})
    assert result.failure == r"failure unknown_path nowhere\x1b[2J"
    assert server.counters.failures == {Failure.UNKNOWN_PATH: 1}


@pytest.mark.parametrize("error", [RuntimeError("secret"), FraudguardError("secret"), asyncio.CancelledError("secret")])
async def test_a_handler_that_raises_makes_a_failure_line(serve, error):
    async def broken(session):
        raise error

    server, asterisk = await serve({"broken": broken})
    with structlog.testing.capture_logs():
        result = await asterisk.agi("broken")
    assert result.status == "FAILURE"
    assert result.failure is not None
    assert result.failure.startswith("failure inner_error")
    assert "secret" not in result.failure
    assert server.counters.failures == {Failure.INNER_ERROR: 1}


async def test_a_handler_that_raises_after_the_answer_makes_a_failure_line(serve):
    async def broken(session):
        await answer(session)
        raise RuntimeError

    _, asterisk = await serve({"broken": broken})
    with structlog.testing.capture_logs():
        assert (await asterisk.agi("broken")).status == "FAILURE"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"510 Invalid or unknown command\n", Failure.REFUSED),
        (b"520-Usage\nmore\n520 End of proper usage.\n", Failure.REFUSED),
        (b"200 result=0\n", Failure.REFUSED),
        (b"rubbish\n", Failure.BAD_REQUEST),
        (b"200 result=1\n200 result=1\n200 result=1\n", None),
    ],
)
@both_ways
async def test_what_asterisk_may_say_to_the_answer(serve, reply, kind, answer):
    server, asterisk = await serve({"answer": answer})
    result = await asterisk.agi("answer", faults=Faults(replies=(reply,)))
    if kind is None:
        assert sum(server.counters.failures.values()) <= 1  # whether the line too many is read before the close
    else:
        assert result.status == "FAILURE"
        assert server.counters.failures == {kind: 1}


async def test_an_environment_that_is_none_fails(serve):
    server, asterisk = await serve({"answer": answer})
    result = await asterisk.agi("answer", faults=Faults(garbage=b"GET / HTTP/1.0\n\n"))
    assert result.status == "FAILURE"
    assert server.counters.failures == {Failure.BAD_REQUEST: 1}


async def test_an_environment_cut_short_is_counted(serve):
    server, asterisk = await serve({"answer": answer})
    await asterisk.agi("answer", faults=Faults(cut_after=100))
    await until(lambda: server.counters.failures)
    assert server.counters.failures == {Failure.BAD_REQUEST: 1}


async def test_connect_and_close_is_a_probe(serve):
    server, asterisk = await serve({"answer": answer})
    await asterisk.agi("answer", faults=Faults(cut_after=0))
    await until(lambda: server.counters.probes)
    assert not server.counters.failures
    await until(lambda: server.open_sessions == 0)


async def test_duplicate_headers_are_counted(serve):
    server, asterisk = await serve({"answer": answer})
    await asterisk.agi("answer")
    await asterisk.agi("answer", channel=Channel(caller_name="x\nagi_dnid: 1\nagi_dnid: 2"))
    await asterisk.agi("answer")
    assert server.counters.duplicate_headers == 2


# --- deadlines ---


async def test_silence_ends_at_the_deadline(serve):
    server, asterisk = await serve({"answer": answer}, deadline=0.2)
    result = await asterisk.agi("answer", faults=Faults(silent=True))
    assert (result.status, result.failure) == ("FAILURE", "failure deadline")
    assert server.counters.failures == {Failure.DEADLINE: 1}


async def test_a_slow_handler_is_cancelled_at_the_deadline(serve):
    ended = []

    async def slow(session):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    server, asterisk = await serve({"slow": slow}, deadline=0.2)
    assert (await asterisk.agi("slow")).failure == "failure deadline"
    assert ended == ["cancelled"]
    assert server.counters.failures == {Failure.DEADLINE: 1}


async def test_a_reply_after_the_deadline_changes_nothing(serve):
    server, _ = await serve({"answer": answer}, deadline=0.5)
    reader, writer = await raw(server, ENVIRONMENT)
    assert (await reader.readline()).startswith(b"SET VARIABLE")
    assert await reader.readline() == b"failure deadline\n"
    writer.write(b"200 result=1\n")
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    await until(lambda: server.open_sessions == 0)
    writer.close()
    assert server.counters.failures == {Failure.DEADLINE: 1}


async def test_a_handler_may_move_its_deadline(serve):
    async def patient(session):
        session.deadline += 60
        await asyncio.sleep(0.8)  # longer than the deadline
        await answer(session)

    _, asterisk = await serve({"patient": patient}, deadline=0.5)
    assert (await asterisk.agi("patient")).status == "SUCCESS"


async def test_a_handler_that_will_not_end_does_not_keep_the_caller(serve):
    release = asyncio.Event()

    async def stubborn(session):
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        with pytest.raises(GoneError):
            await session.command("NOOP")

    server, asterisk = await serve({"stubborn": stubborn}, deadline=0.2)
    assert (await asterisk.agi("stubborn")).failure == "failure deadline"
    assert server.open_sessions == 1
    release.set()
    await until(lambda: server.open_sessions == 0)


# --- hangup and end ---


async def test_a_handler_learns_of_a_hangup(serve):
    seen = []

    async def pin(session):
        await session.command("ANSWER")
        reply = await session.command("GET DATA", "vm-password")
        seen.append((session.hung_up, reply.code))

    server, asterisk = await serve({"pin": pin})
    result = await asterisk.agi("pin", channel=Channel(hangs_up_after=1))
    assert seen == [(True, 511)]
    assert result.status == "HANGUP"
    assert server.counters.hangups == 1


async def test_a_handler_that_waits_for_a_reply_learns_of_the_end(serve):
    seen = []

    async def pin(session):
        for _ in range(2):
            try:
                await session.command("ANSWER")
            except GoneError as error:
                seen.append(error.what)
        raise GoneError("both")

    server, _ = await serve({"answer": pin})
    reader, writer = await raw(server, ENVIRONMENT)
    await reader.readline()
    writer.close()
    await until(lambda: server.open_sessions == 0)
    assert len(seen) == 2
    assert server.counters.failures == {Failure.GONE: 1}


async def test_a_handler_that_does_something_else_is_cancelled_when_the_peer_resets(serve):
    started, ended = asyncio.Event(), asyncio.Event()

    async def busy(session):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    server, _ = await serve({"answer": busy}, deadline=1)
    _, writer = await raw(server, ENVIRONMENT)
    await started.wait()
    writer.transport.abort()
    # Half a connection may still be answered; the next write meets the reset. The deadline ends it at the latest.
    await asyncio.wait_for(ended.wait(), 5)
    await until(lambda: server.open_sessions == 0)


@both_ways
async def test_a_request_typed_by_hand_is_answered_although_its_end_is_there(serve, answer):
    """As in: printf '...' | nc -N HOST PORT"""
    server, _ = await serve({"answer": answer})
    reader, writer = await raw(server, ENVIRONMENT)
    writer.write_eof()
    assert await reader.read() == b'SET VARIABLE ARRAY(A,B) "1,2"\n'
    writer.close()


async def test_a_command_that_comes_after_the_end_is_written_but_not_waited_for(serve):
    async def late(session):
        await until(lambda: session._conversation.ended)
        await answer(session)

    server, _ = await serve({"answer": late})
    reader, writer = await raw(server, ENVIRONMENT)
    writer.write_eof()
    assert await reader.read() == b'SET VARIABLE ARRAY(A,B) "1,2"\n'
    writer.close()
    assert server.counters.failures == {Failure.GONE: 1}


@pytest.mark.parametrize("end", ["write_eof", "close"])
async def test_a_peer_that_ends_before_it_has_taken_the_answer(serve, end):
    server, _ = await serve({"answer": answer_decided})
    reader, writer = await raw(server, ENVIRONMENT)
    await reader.readline()
    getattr(writer, end)()
    await until(lambda: server.open_sessions == 0)
    assert server.counters.failures == {Failure.GONE: 1}
    writer.close()


async def test_what_is_never_decided_is_given_up_at_the_deadline(serve):
    decided = asyncio.get_running_loop().create_future()
    server, asterisk = await serve(
        {"slow": lambda session: session.answer_when(decided, lambda _: b"never\n")}, deadline=0.15
    )
    result = await asterisk.agi("slow")
    assert (result.status, result.failure, result.commands) == ("FAILURE", "failure deadline", [])
    assert decided.cancelled()
    assert server.counters.failures == {Failure.DEADLINE: 1}


@pytest.mark.parametrize("failed", [RuntimeError("secret"), FraudguardError("secret"), None])
async def test_what_cannot_be_decided_makes_a_failure_line(serve, failed):
    decided = asyncio.get_running_loop().create_future()
    _ = decided.cancel() if failed is None else decided.set_exception(failed)
    server, asterisk = await serve({"broken": lambda session: session.answer_when(decided, lambda _: b"never\n")})
    with structlog.testing.capture_logs():
        result = await asterisk.agi("broken")
    assert (result.status, result.commands) == ("FAILURE", [])
    assert server.counters.failures == {Failure.INNER_ERROR: 1}


async def test_a_handler_may_give_up_waiting_for_a_reply(serve):
    gave_up = asyncio.Event()

    async def impatient(session):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await session.command("ANSWER")
        gave_up.set()
        await until(lambda: not session._conversation.awaiting)
        await answer(session)

    server, _ = await serve({"answer": impatient})
    reader, writer = await raw(server, ENVIRONMENT)
    assert await reader.readline() == b"ANSWER\n"
    await gave_up.wait()
    writer.write(b"200 result=0\n")
    assert (await reader.readline()).startswith(b"SET VARIABLE")
    writer.write(b"200 result=1\n")
    assert await reader.read() == b""
    writer.close()


async def test_a_peer_that_answers_but_does_not_read(serve):
    asked = asyncio.Semaphore(0)

    async def flood(session):
        session.deadline += 60
        while True:
            asked.release()
            await session.command("VERBOSE", "x" * 2000)

    server, _ = await serve({"answer": flood})
    reader, writer = await raw(server, ENVIRONMENT)
    writer.transport.pause_reading()
    while not server.counters.failures:
        await asyncio.wait_for(asked.acquire(), 5)
        writer.write(b"200 result=1\n")
    writer.transport.abort()
    assert reader
    assert server.counters.failures == {Failure.BAD_REQUEST: 1}


async def test_a_peer_that_was_reset_before_it_was_accepted(serve):
    class Reset:
        aborted = False

        def get_extra_info(self, name):
            return None

        def abort(self):
            self.aborted = True

    server, _ = await serve({})
    session, transport = Session(server._desk), Reset()
    session.connection_made(transport)
    assert transport.aborted
    session.connection_lost(None)
    assert (server.counters.probes, server.open_sessions) == (1, 0)


# --- who may, and how many ---


async def test_a_stranger_is_turned_away(serve):
    server, asterisk = await serve({"answer": answer}, allow=["192.0.2.0/24", "2001:db8::/32"])
    result = await asterisk.agi("answer")
    assert (result.status, result.variables) == ("FAILURE", {})
    assert server.counters.failures == {Failure.NOT_ALLOWED: 1}


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", False),
    ],
)
def test_networks(peer, allowed):
    server = AgiServer({}, allow=["192.0.2.0/24", "2001:db8::/32"])
    assert server._is_allowed(peer) is allowed


def test_a_network_that_is_none():
    with pytest.raises(ConfigError, match=r"agi\.allow: '192\.0\.2\.256' is not a network"):
        AgiServer({}, allow=["192.0.2.256"])


async def test_one_session_too_many(serve):
    server, asterisk = await serve({"answer": answer}, sessions=1)
    _, writer = await raw(server, b"")
    await until(lambda: server.open_sessions == 1)
    assert (await asterisk.agi("answer")).failure == "failure too_many"
    assert server.counters.failures == {Failure.TOO_MANY: 1}
    writer.close()


async def test_a_port_in_use(serve):
    server, _ = await serve({})
    with pytest.raises(UnreachableError, match=r"agi\.host, agi\.port: cannot listen on 127\.0\.0\.1:"):
        await AgiServer({}, port=server.address[1]).start()


async def test_10_000_idle_connections(serve):
    """As many as the limit on open files lets one process hold at both ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = min(10_000, (hard - 200) // 2)
    server, asterisk = await serve({"answer": answer}, deadline=60, sessions=10_000)
    gc.collect()
    loop = asyncio.get_running_loop()
    transports = []
    try:
        for _ in range(0, wanted, 500):
            pairs = [
                loop.create_connection(asyncio.Protocol, *server.address)
                for _ in range(min(500, wanted - len(transports)))
            ]
            transports += [transport for transport, _ in await asyncio.gather(*pairs)]
        await until(lambda: server.open_sessions == wanted)
        assert (await asterisk.agi("answer")).variables == ({"A": "1", "B": "2"} if wanted < 10_000 else {})
    finally:
        for transport in transports:
            transport.abort()
        await until(lambda: server.open_sessions == 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert wanted > 1000


# --- stop ---


async def test_stop_drains(serve):
    release = asyncio.Event()

    async def slow(session):
        await release.wait()
        await answer(session)

    server, asterisk = await serve({"slow": slow})
    call = asyncio.create_task(asterisk.agi("slow"))
    await until(lambda: server.counters.requests)
    stopping = asyncio.create_task(server.stop(grace=5))
    await asyncio.sleep(0)
    assert (await asterisk.agi("slow")).status == "FAILURE"  # refused: nobody listens
    release.set()
    await stopping
    assert (await call).variables == {"A": "1", "B": "2"}
    await server.stop()  # once more is harmless


async def test_stop_does_not_wait_for_ever(serve):
    async def endless(session):
        await asyncio.Event().wait()

    server, asterisk = await serve({"endless": endless}, deadline=60)
    call = asyncio.create_task(asterisk.agi("endless"))
    await until(lambda: server.counters.requests)
    await server.stop(grace=0.1)
    assert (await call).failure == "failure stopping"
    assert server.open_sessions == 0


async def test_stop_resets_who_does_not_read(serve):
    async def flood(session):
        session._transport.write(b"x" * 8_000_000)
        await asyncio.Event().wait()

    server, _ = await serve({"answer": flood}, deadline=60)
    _, writer = await raw(server, ENVIRONMENT)
    writer.transport.pause_reading()
    await until(lambda: server.counters.requests)
    await server.stop(grace=0)
    await until(lambda: server.open_sessions == 0)
    writer.transport.abort()


# --- log ---


def test_the_log_is_bounded_and_says_what_it_left_out():
    now = [0.0]
    with structlog.testing.capture_logs() as lines:
        log = QuietLog(lambda: now[0])
        for _ in range(1000):
            log.failure(Failure.BAD_REQUEST, "192.0.2.1", "x")
        log.failure(Failure.INNER_ERROR, "192.0.2.1", "x", RuntimeError())
        assert len(lines) == BURST + 1
        assert lines[-1]["log_level"] == "error"
        now[0] += PERIOD
        log.failure(Failure.BAD_REQUEST, "192.0.2.1", "x")
    assert (lines[-2]["kind"], lines[-2]["count"]) == ("bad_request", 1000 - BURST)
    assert len(lines) == BURST + 3


def test_logged_text_is_harmless():
    assert harmless("a\x1b[31m\n\udcc3é\u202e") == r"a\x1b[31m\n\udcc3\xe9\u202e"
    assert len(harmless("\n" * 10_000)) == MAX_LOGGED


@pytest.fixture
def uvloop_loop():
    return pytest.importorskip("uvloop")


def test_on_uvloop(uvloop_loop):
    async def scene():
        server = AgiServer({"answer": answer}, port=0, deadline=1)
        await server.start()
        asterisk = FakeAsterisk(*server.address)
        assert (await asterisk.agi("answer")).variables == {"A": "1", "B": "2"}
        assert (await asterisk.agi("answer", faults=Faults(silent=True))).failure == "failure deadline"
        reader, writer = await raw(server, ENVIRONMENT)
        writer.write_eof()
        assert await reader.read() == b'SET VARIABLE ARRAY(A,B) "1,2"\n'
        writer.close()
        await server.stop()

    uvloop_loop.run(scene())
