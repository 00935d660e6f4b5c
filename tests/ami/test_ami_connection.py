"""The link's life: login, ups and downs in order, overflow, what goes wrong at connect, and what is kept secret."""

from __future__ import annotations

import asyncio
import random
import ssl
import subprocess
from itertools import islice

import pytest
from ami_links import WANTED, answer, headers, kept_up, link_to, silence

from fraudguard.ami.connection import (
    ActionRefusedError,
    AmiError,
    Connection,
    DisconnectedError,
    Link,
    LoginRefusedError,
    Message,
    Timing,
    log_in_once,
)
from fraudguard.ami.feed import Feed
from fraudguard.ami.reconnect import delays, is_final
from fraudguard.clock import SystemClock
from fraudguard.config import Ami
from fraudguard.errors import ConfigError, UnreachableError
from fraudguard.testing import FakeAsterisk


def event(serial: int) -> bytes:
    return f"Event: VarSet\r\nSerial: {serial}\r\n\r\n".encode()


# --- login ---


async def test_up_comes_before_the_event_that_stands_in_the_packet_of_the_login(scripted):
    async with kept_up(link_to(await scripted(silence, before=event(1)))) as connection:
        assert await connection.next() is Link.UP
        assert (await connection.next())["Serial"] == "1"
        assert connection.status.version == "11.0.0"


@pytest.mark.parametrize(
    "refusal", ["Login Already In Use", "Asterisk is shutting down", "Permission denied", "", "Something new"]
)
async def test_a_refusal_that_may_pass_is_tried_again(asterisk, refusal):
    with asterisk.manager.faults.during(refusal=refusal):
        connection = link_to(asterisk.manager.port)
        with pytest.raises(ActionRefusedError, match="for now"):
            await connection._open()
    async with kept_up(connection):
        assert await connection.next() is Link.UP


async def test_it_keeps_trying_while_logins_are_refused_for_now_and_gets_in_then(asterisk):
    with asterisk.manager.faults.during(refusal="Login Already In Use"):
        running = kept_up(link_to(asterisk.manager.port))
        connection = await running.__aenter__()
        while len(asterisk.manager.received) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert await connection.next() is Link.UP
    await running.__aexit__(None, None, None)


async def test_a_connection_closed_before_the_answer_is_tried_again(scripted):
    port = await scripted(lambda _reader, _writer: asyncio.sleep(0), greet=False)  # authlimit: closed without a word
    with pytest.raises(DisconnectedError):
        await link_to(port)._open()


async def test_the_secret_is_only_told_to_who_greets_as_an_asterisk(scripted):
    heard = asyncio.get_running_loop().create_future()

    async def script(reader, writer):
        writer.write(b"220 mail.example.com ESMTP\r\n")
        heard.set_result(await reader.read())

    with pytest.raises(DisconnectedError, match="no Asterisk manager"):
        await link_to(await scripted(script, greet=False))._open()
    assert await heard == b""


@pytest.mark.parametrize(
    ("refusal", "final"), [("Authentication failed", True), ("Login Already In Use", False), ("", False)]
)
def test_what_is_final(refusal, final):
    assert is_final(refusal) is final


def test_delays_double_up_to_a_cap_and_are_spread():
    timing = Timing(backoff=0.5, backoff_most=10)
    assert list(islice(delays(timing, lambda: 1.0), 7)) == [0.5, 1, 2, 4, 8, 10, 10]
    assert list(islice(delays(timing, lambda: 0.0), 7)) == [0.25, 0.5, 1, 2, 4, 5, 5]
    spread = list(islice(delays(timing, random.Random(1).random), 100))
    assert len(set(spread)) == 100


async def test_the_waits_begin_small_again_only_after_a_link_that_lived(asterisk):
    real = asyncio.sleep
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.extend([seconds] if seconds else [])
        await real(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fraudguard.ami.connection.asyncio.sleep", sleep)
        for steady, expected in ((0.0, [0.01, 0.01, 0.01]), (60.0, [0.01, 0.02, 0.04])):
            waits.clear()
            timing = Timing(backoff=0.02, backoff_most=10, steady=steady)
            ami = Ami(port=asterisk.manager.port, secret="secret")
            connection = Connection(
                "pbx", ami, "secret", events=WANTED, clock=SystemClock(), timing=timing, jitter=lambda: 0.0
            )
            async with kept_up(connection):
                for _ in range(3):
                    assert await connection.next() is Link.UP
                    asterisk.manager.cut()
                    assert await connection.next() is Link.DOWN
                assert await connection.next() is Link.UP
            assert waits == expected


async def test_log_in_once_hands_over_the_connection_or_says_why_not(asterisk):
    ami = Ami(port=asterisk.manager.port, secret="secret")
    connection = await log_in_once("pbx", ami, "secret", clock=SystemClock())
    assert connection.status.up
    assert (await connection.action("Ping"))["Ping"] == "Pong"
    connection.close()
    assert not connection.status.up
    with pytest.raises(LoginRefusedError):
        await log_in_once("pbx", ami, "wrong", clock=SystemClock())
    async with asterisk.manager.booting():
        with pytest.raises(DisconnectedError, match="cannot connect"):
            await log_in_once("pbx", ami, "secret", clock=SystemClock())
    assert issubclass(AmiError, UnreachableError)


async def test_the_secret_is_nowhere_to_be_seen(asterisk, capsys, caplog):
    secret = "hunter2-hunter2"
    connection = link_to(asterisk.manager.port, secret=secret)
    caplog.set_level(0)
    with pytest.raises(LoginRefusedError) as refused:
        await connection.run()
    seen = [repr(connection), repr(vars(connection)), repr(connection.status), str(refused.value), repr(refused.value)]
    seen += [*capsys.readouterr(), caplog.text]
    assert not [text for text in seen if secret in text]
    with pytest.raises(AmiError) as unsendable:
        await link_to(asterisk.manager.port, secret=f"{secret}\n")._open()
    assert secret not in str(unsendable.value)


# --- TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=pbx"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return folder


async def test_tls_proves_the_host_before_anything_is_said(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    async with FakeAsterisk(tls=context) as fake:
        good = Ami(port=fake.manager.port, secret="secret", tls=True, ca_file=certificate / "cert.pem")
        connection = await log_in_once("pbx", good, "secret", clock=SystemClock())
        assert (await connection.action("Ping"))["Ping"] == "Pong"
        connection.close()
        for bad in (good.model_copy(update={"ca_file": None}), good.model_copy(update={"host": "localhost"})):
            with pytest.raises(DisconnectedError, match=r"(?i)certificate"):
                await log_in_once("pbx", bad, "secret", clock=SystemClock())
    assert [action.name for action in fake.manager.received] == ["Login", "Ping"]


def test_a_file_of_authorities_that_cannot_be_used_is_an_error_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"ami\.pbx\.ca_file"):
        link_to(1, tls=True, ca_file=tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError, match=r"ami\.pbx\.ca_file"):
        link_to(1, tls=True, ca_file=tmp_path / "empty.pem")


# --- what is read ---


async def test_events_that_nobody_wants_are_skipped_and_counted(asterisk):
    async with kept_up(link_to(asterisk.manager.port, events=frozenset({"Hangup"}))) as connection:
        assert await connection.next() is Link.UP
        before = connection.status
        asterisk.manager.flood(50)
        asterisk.manager.emit("Hangup", "call", [("Channel", "PJSIP/a-1")])
        assert (await connection.next())["Channel"] == "PJSIP/a-1"
        assert connection.status.skipped - before.skipped == 50
        assert connection.status.read - before.read == 51


async def test_a_list_is_gathered_and_other_events_stay_in_the_queue(scripted):
    async def script(reader, writer):
        asked = await headers(reader)
        writer.write(answer(asked, "Success", "EventList: start"))
        for serial in (1, 2):
            writer.write(event(serial))
            writer.write(f"Event: CoreShowChannel\r\nActionID: {asked['ActionID']}\r\nN: {serial}\r\n\r\n".encode())
        writer.write(b"Event: VarSet\r\nActionID: of somebody else\r\nSerial: 3\r\n\r\n")
        writer.write(
            f"Event: CoreShowChannelsComplete\r\nActionID: {asked['ActionID']}\r\nEventList: Complete\r\n\r\n".encode()
        )
        await silence(reader, writer)

    async with kept_up(link_to(await scripted(script))) as connection:
        assert await connection.next() is Link.UP
        assert [item["N"] for item in await connection.collect("CoreShowChannels")] == ["1", "2"]
        assert [(await connection.next())["Serial"] for _ in range(3)] == ["1", "2", "3"]


@pytest.mark.parametrize("ending", ["refused", "cancelled", "endless"])
async def test_a_list_that_is_none_is_an_error(scripted, monkeypatch, ending):
    monkeypatch.setattr("fraudguard.ami.connection.MAX_LIST", 10)

    async def script(reader, writer):
        asked = await headers(reader)
        item = f"Event: Status\r\nActionID: {asked['ActionID']}\r\n"
        writer.write(answer(asked, "Error", "Message: none") if ending == "refused" else answer(asked, "Success"))
        if ending == "cancelled":
            writer.write(f"{item}\r\n{item}EventList: cancelled\r\n\r\n".encode())
        elif ending == "endless":
            writer.write(f"{item}\r\n".encode() * 11)
        await silence(reader, writer)

    async with kept_up(link_to(await scripted(script))) as connection:
        assert await connection.next() is Link.UP
        says = {"refused": "none", "cancelled": "cancelled", "endless": "more than 10"}[ending]
        with pytest.raises(ActionRefusedError, match=says):
            await connection.collect("Status")


async def test_an_event_that_carries_the_actionid_of_a_plain_action_stays_an_event(scripted):
    async def script(reader, writer):
        asked = await headers(reader)
        writer.write(f"Event: VarSet\r\nActionID: {asked['ActionID']}\r\nSerial: 1\r\n\r\n".encode())
        writer.write(answer(asked, "Success", "Value: 5"))
        writer.write(f"Event: VarSet\r\nActionID: {asked['ActionID']}\r\nSerial: 2\r\n\r\n".encode())
        await silence(reader, writer)

    async with kept_up(link_to(await scripted(script))) as connection:
        assert await connection.next() is Link.UP
        assert (await connection.action("Getvar", Variable="X"))["Value"] == "5"
        assert [(await connection.next())["Serial"] for _ in range(2)] == ["1", "2"]


async def test_output_of_a_command_comes_line_by_line(scripted):
    async def script(reader, writer):
        asked = await headers(reader)
        writer.write(
            answer(asked, "Success", "Message: Command output follows", "Output: one", "Output: ", "Output: a: b")
        )
        await silence(reader, writer)

    async with kept_up(link_to(await scripted(script))) as connection:
        assert await connection.next() is Link.UP
        assert (await connection.action("Command", Command="x")).all("Output") == ("one", "", "a: b")


async def test_answers_find_their_actions_in_whatever_order_they_come(scripted):
    async def script(reader, writer):
        asked = [await headers(reader) for _ in range(3)]
        for each in reversed(asked):
            writer.write(answer(each, "Success", f"Value: {each['Variable']}"))
        await silence(reader, writer)

    async with kept_up(link_to(await scripted(script))) as connection:
        assert await connection.next() is Link.UP
        replies = await asyncio.gather(*(connection.action("Getvar", Variable=name) for name in "abc"))
    assert [reply["Value"] for reply in replies] == ["a", "b", "c"]


async def test_reading_goes_on_while_nobody_consumes_and_overflow_says_so(asterisk):
    async with kept_up(link_to(asterisk.manager.port, queue=100)) as connection:
        assert await connection.next() is Link.UP
        asterisk.manager.flood(250)
        await connection.action("Ping")
        status = connection.status
        assert (status.up, status.overflows, status.dropped) == (True, 2, 199)
        assert await connection.next() is Link.OVERFLOW
        assert [(await connection.next())["Serial"] for _ in range(51)] == [str(n) for n in range(200, 251)]
        assert connection.status.queued == 0


async def test_rubbish_between_messages_does_no_harm(asterisk):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        assert await connection.next() is Link.UP
        asterisk.manager.send_raw(
            b"\r\n\r\n: \r\n\r\nEvent\r\n\r\nResponse: Success\r\nActionID: nobody\r\n\r\nEvent: Shutdown\r\n\r\n"
        )
        asterisk.manager.flood(1)
        assert (await connection.next())["Serial"] == "1"
        assert connection.status.up


async def test_a_shutdown_that_is_wanted_is_an_event_and_the_link_ends_when_it_ends(asterisk):
    async with kept_up(link_to(asterisk.manager.port, events=frozenset({"Shutdown"}))) as connection:
        assert await connection.next() is Link.UP
        asterisk.manager.emit("Shutdown", "system", [("Shutdown", "Cleanly")])
        assert (await connection.next())["Event"] == "Shutdown"
        assert connection.status.up


# --- the feed ---


def message(serial: int) -> Message:
    return Message(serial, {"Serial": str(serial)})


async def drained(feed: Feed) -> list[object]:
    return [item if isinstance(item := await feed.next(), Link) else item.at for _ in range(len(feed))]


@pytest.mark.parametrize(
    ("ups_and_downs", "kept"),
    [
        ([], []),
        ([Link.UP], [Link.UP]),
        ([Link.DOWN, Link.UP], [Link.DOWN, Link.UP]),
        ([Link.UP, Link.DOWN, Link.UP], [Link.UP]),
        ([Link.DOWN, Link.UP, Link.DOWN], [Link.DOWN]),
        ([Link.DOWN, Link.UP, Link.DOWN, Link.UP], [Link.DOWN, Link.UP]),
    ],
)
async def test_an_overflow_keeps_what_the_ups_and_downs_come_to(ups_and_downs, kept):
    feed = Feed(8)
    for serial, link in enumerate(ups_and_downs):
        feed.put(message(serial))
        feed.put(link)
    while not feed.overflows:
        feed.put(message(99))
    assert await drained(feed) == [*kept, Link.OVERFLOW, 99]


async def test_a_second_overflow_is_not_said_twice():
    feed = Feed(3)
    for serial in range(9):
        feed.put(message(serial))
    assert feed.overflows > 1
    items = await drained(feed)
    assert items.count(Link.OVERFLOW) == 1
    assert items[-1] == 8
    assert feed.dropped == 9 - (len(items) - 1)


async def test_a_consumer_that_is_cancelled_while_it_waits_loses_nothing():
    feed = Feed(10)
    waiting = asyncio.create_task(feed.next())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="somebody else"):
        await feed.next()
    feed.put(message(1))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await feed.next() == message(1)
