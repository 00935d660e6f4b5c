"""The eleven points of panoramisk 1.4 that a listener must not have, each closed: docs/decisions/0002 numbers them."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from ami_links import answer, headers, kept_up, link_to, silence

from fraudguard.ami.connection import (
    ActionRefusedError,
    ActionTimeoutError,
    DisconnectedError,
    Link,
    LoginRefusedError,
    Message,
    Timing,
    log_in_once,
)
from fraudguard.ami.framing import MAX_MESSAGE
from fraudguard.clock import SystemClock
from fraudguard.config import Ami


async def up(connection):
    assert await connection.next() is Link.UP


async def test_1_a_character_split_between_two_chunks_survives(asterisk):
    asterisk.manager.faults.segments = (1,)
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        asterisk.manager.send_raw("Event: UserEvent\r\nName: Zoë ☎ 日本\r\n\r\n".encode())
        event = await connection.next()
    assert event["Name"] == "Zoë ☎ 日本"


async def test_1_text_that_is_no_utf_8_goes_back_as_it_came(scripted):
    asked = asyncio.get_running_loop().create_future()

    async def script(reader, writer):
        writer.write(b"Event: UserEvent\r\nChannel: PJSIP/J\xfcrgen-1\r\n\r\n")
        asked.set_result(await reader.readuntil(b"\r\n\r\n"))

    async with kept_up(link_to(await scripted(script))) as connection:
        await up(connection)
        event = await connection.next()
        with pytest.raises(DisconnectedError):
            await connection.action("Hangup", Channel=event["Channel"])
    assert b"Channel: PJSIP/J\xfcrgen-1\r\n" in await asked


async def test_2_a_message_without_end_is_bounded_and_takes_no_more_time_the_longer_it_gets(asterisk):
    asterisk.manager.faults.segments = (1024,)
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        began = time.process_time()
        asterisk.manager.send_raw(b"Event: UserEvent\r\nValue: " + b"x" * 8 * MAX_MESSAGE + b"\r\n\r\n")
        asterisk.manager.send_raw(b"Event: UserEvent\r\nValue: next\r\n\r\n")
        assert await connection.next() is Link.OVERFLOW
        assert (await connection.next())["Value"] == "next"
        assert connection.status.up
        assert connection.status.dropped == 1
    assert time.process_time() - began < 5  # joined anew for every chunk: 2 GB copied


async def test_3_an_exception_of_the_consumer_does_not_touch_the_link(asterisk):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)

        async def consume():
            message = await connection.next()
            raise ValueError(message["Serial"])

        asterisk.manager.flood(3)
        for serial in ("1", "2", "3"):
            with pytest.raises(ValueError, match=serial):
                await consume()
        assert connection.status.up
        assert len(asterisk.manager.sessions) == 1


async def test_4_events_are_consumed_one_after_the_other_in_order(asterisk):
    asterisk.manager.faults.segments = (7, 1000, 50)
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        asterisk.manager.flood(2000)
        serials = []
        for turn in range(2000):
            serials.append((await connection.next())["Serial"])
            if turn % 3 == 0:
                await asyncio.sleep(0)  # a consumer that waits is not overtaken
    assert serials == [str(serial) for serial in range(1, 2001)]


async def test_4_a_long_queue_does_not_keep_the_event_loop_for_itself(asterisk):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        asterisk.manager.flood(1000)
        await connection.action("Ping")  # its answer comes behind them
        turns = itertools.count()

        async def others():
            while True:
                next(turns)
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        for _ in range(1000):
            await connection.next()
        other.cancel()
    assert next(turns) >= 10  # of 64 to 125 messages each


async def test_5_a_hung_asterisk_is_noticed_by_the_missing_pong(asterisk):
    timing = Timing(ping=0.02, pong=0.05, backoff=0.01, backoff_most=0.02)
    with asterisk.manager.faults.during(no_pongs=True):
        async with kept_up(link_to(asterisk.manager.port, timing=timing)) as connection:
            await up(connection)
            assert await connection.next() is Link.DOWN
            assert "ping" in connection.status.error
            assert await connection.next() is Link.UP  # it connects again


async def test_5_a_link_that_answers_pings_stays_up(scripted):
    pings = asyncio.Semaphore(0)

    async def script(reader, writer):
        while True:
            writer.write(answer(await headers(reader), "Success", "Ping: Pong"))
            pings.release()

    timing = Timing(ping=0.01, pong=5)
    async with kept_up(link_to(await scripted(script), timing=timing)) as connection:
        await up(connection)
        for _ in range(5):
            await pings.acquire()
        assert connection.status.up
        assert connection.status.reconnects == 0


async def test_6_an_action_without_answer_ends_at_its_deadline(asterisk):
    timing = Timing(action=0.3)
    async with kept_up(link_to(asterisk.manager.port, timing=timing)) as connection:
        await up(connection)
        with (
            asterisk.manager.faults.during(mute=True),
            pytest.raises(ActionTimeoutError, match=r"Getvar within 0\.3 s"),
        ):
            await connection.action("Getvar", Channel="x", Variable="y")
        assert connection._wire.responses == {}
        assert (await connection.action("Ping"))["Ping"] == "Pong"


async def test_6_a_list_that_stops_half_way_ends_at_its_deadline(asterisk):
    await asterisk.dial("+442079460000", trunk="carrier")
    async with kept_up(link_to(asterisk.manager.port, timing=Timing(collect=0.05))) as connection:
        await up(connection)
        with asterisk.manager.faults.during(list_stops_after=1), pytest.raises(ActionTimeoutError):
            await connection.collect("CoreShowChannels")


async def test_6_an_action_without_a_link_fails_at_once(asterisk):
    connection = link_to(asterisk.manager.port)
    with pytest.raises(DisconnectedError, match="no link for Ping"):
        await connection.action("Ping")
    with pytest.raises(DisconnectedError):
        await connection.collect("CoreShowChannels")


@pytest.mark.parametrize("ask", ["action", "collect"])
async def test_6_what_waits_for_an_answer_is_told_that_the_link_is_lost(scripted, ask):
    async def script(reader, writer):
        asked = await headers(reader)
        if ask == "collect":
            writer.write(answer(asked, "Success", "EventList: start"))
            writer.write(f"Event: Status\r\nActionID: {asked['ActionID']}\r\n\r\n".encode())

    async with kept_up(link_to(await scripted(script))) as connection:
        await up(connection)
        with pytest.raises(DisconnectedError):
            await getattr(connection, ask)("Status")


async def test_7_nothing_is_sent_again_after_a_reconnect(asterisk):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        with asterisk.manager.faults.during(mute=True):
            hanging_up = asyncio.create_task(connection.action("Hangup", Channel="PJSIP/late-1"))
            while all(action.name != "Hangup" for action in asterisk.manager.received):  # noqa: ASYNC110
                await asyncio.sleep(0)
            asterisk.manager.cut()
            with pytest.raises(DisconnectedError):
                await hanging_up
        assert await connection.next() is Link.DOWN
        await up(connection)
        asterisk.manager.boot()  # FullyBooted: what panoramisk waits for before it sends again
        await connection.action("Ping")
    assert [action.name for action in asterisk.manager.received] == ["Login", "Hangup", "Login", "Ping"]


async def test_8_a_refused_login_is_final_and_loud(asterisk, capsys):
    connection = link_to(asterisk.manager.port, secret="rosebud-7")
    with pytest.raises(LoginRefusedError, match=r"manager\.conf"):
        await connection.run()
    assert [action.name for action in asterisk.manager.received] == ["Login"]
    assert "Authentication failed" in connection.status.error
    assert not connection.status.up
    assert "ami login refused" in "".join(capsys.readouterr())


async def test_8_cancelled_while_it_waits_to_connect_again_it_stays_away(asterisk):
    timing = Timing(backoff=30, backoff_most=30)
    async with kept_up(link_to(asterisk.manager.port, timing=timing)) as connection:
        await up(connection)
        asterisk.manager.cut()
        assert await connection.next() is Link.DOWN
    assert asterisk.manager.sessions == []
    waiting = [task for task in asyncio.all_tasks() if "Connection.run" in repr(task)]
    assert waiting == []


@pytest.mark.parametrize("text", ["x\r\nAction: Originate", "x\n", "\r", "a\0b"])
async def test_9_a_value_that_would_be_a_second_action_is_refused(asterisk, text):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        with pytest.raises(ActionRefusedError, match="line end"):
            await connection.action("Hangup", Channel=text)
        with pytest.raises(ActionRefusedError, match="line end"):
            await connection.collect("Status", Channel=text)
        with pytest.raises(ActionRefusedError):
            await connection.action("Hangup", **{"Channel: x\r\nCause": "21"})
        with pytest.raises(ActionRefusedError):
            await connection.action(text)
    assert [action.name for action in asterisk.manager.received] == ["Login"]


async def test_9_a_line_that_asterisk_would_drop_is_refused(asterisk):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        fits = "x" * (1024 - len("Channel: \r\n"))
        with pytest.raises(ActionRefusedError, match="No such channel"):
            await connection.action("Hangup", Channel=fits)
        with pytest.raises(ActionRefusedError, match="more than 1024 bytes"):
            await connection.action("Hangup", Channel=fits + "x")
        with pytest.raises(ActionRefusedError, match="more than 1024 bytes"):
            await connection.action("Hangup", Channel="ö" * 512)  # bytes, not characters
    assert [action.name for action in asterisk.manager.received] == ["Login", "Hangup"]


async def test_10_a_misspelt_key_is_an_error_and_a_repeated_one_gives_the_first(asterisk):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        asterisk.manager.send_raw(
            b"Event: UserEvent\r\nChannel: true\r\nResult: a%20b\r\nChannel: injected\r\nchannel: other\r\n\r\n"
        )
        event = await connection.next()
    assert isinstance(event, Message)
    with pytest.raises(KeyError):
        event["Chanel"]
    with pytest.raises(AttributeError):
        event.chanel  # noqa: B018
    assert event.get("Chanel", "none") == "none"
    assert event["Channel"] == "true"
    assert event.all("Channel") == ("true", "injected")
    assert event.all("channel") == ("other",)
    assert event.all("Chanel") == ()
    assert event["Result"] == "a%20b"  # as it stood
    assert "true" not in repr(event)


async def test_11_it_connects_again_after_whatever_ended_the_link(asterisk):
    async with kept_up(link_to(asterisk.manager.port)) as connection:
        await up(connection)
        asterisk.manager.cut()
        assert [await connection.next(), await connection.next()] == [Link.DOWN, Link.UP]
        async with asterisk.manager.booting():
            assert await connection.next() is Link.DOWN
            with pytest.raises(DisconnectedError):
                await connection.action("Ping")
        await up(connection)
        assert connection.status.reconnects == 2


async def test_11_a_host_that_never_answers_is_given_up():
    connection = link_to(9, timing=Timing(connect=0.05))
    loop = asyncio.get_running_loop()

    async def never(*_args, **_kwargs):
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "create_connection", never)
        with pytest.raises(DisconnectedError, match=r"no connection within 0\.05 s"):
            await connection._open()


@pytest.mark.parametrize("greet", [True, False])
async def test_11_a_server_that_accepts_and_stays_silent_is_given_up(scripted, greet):
    port = await scripted(silence, greet=False) if not greet else await scripted_mute(scripted)
    ami = Ami(port=port, secret="s")
    with pytest.raises(ActionTimeoutError, match="Login" if greet else "greeting"):
        await log_in_once("pbx", ami, "s", clock=SystemClock(), timing=Timing(login=0.05))


async def scripted_mute(scripted):
    async def script(_reader, writer):
        writer.write(b"Asterisk Call Manager/11.0.0\r\n")
        await asyncio.Event().wait()

    return await scripted(script, greet=False)
