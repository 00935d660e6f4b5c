"""FakeAsterisk against servers that misbehave: it must judge them as Asterisk does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from fraudguard.testing import Channel, FakeAsterisk, Faults, agi_words, application_arguments


@asynccontextmanager
async def guard(script):
    """A server that runs `script(reader, writer)` for each connection and then closes it."""

    async def serve(reader, writer):
        try:
            await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield FakeAsterisk(*server.sockets[0].getsockname(), timeout=5)


def says(*lines):
    async def script(reader, writer):
        await reader.readuntil(b"\n\n")
        for line in lines:
            writer.write(line)
            if line.endswith(b"\n"):
                script.replies.append(await reader.readline())

    script.replies = []
    return script


async def test_the_environment():
    seen = []

    async def script(reader, writer):
        seen.append(await reader.readuntil(b"\n\n"))

    async with guard(script) as asterisk:
        channel = Channel(caller_name="Andr\udcc3", account="204")
        await asterisk.outbound(number="1", trunk="a", channel=channel)
    lines = seen[0].split(b"\n")
    assert lines[:2] == [b"agi_network: yes", b"agi_network_script: outbound"]
    assert b"agi_calleridname: Andr\xc3" in lines
    assert lines[-6:] == [
        b"agi_accountcode: 204",
        b"agi_threadid: 140245677061824",
        b"agi_arg_1: number=1",
        b"agi_arg_2: trunk=a",
        b"",
        b"",
    ]


async def test_a_close_without_a_word_is_success():
    async with guard(says()) as asterisk:
        result = await asterisk.agi("")
    assert (result.status, result.variables) == ("SUCCESS", {})


async def test_a_reset_without_a_word_is_success():
    async def script(reader, writer):
        writer.transport.abort()

    async with guard(script) as asterisk:
        assert (await asterisk.agi("x")).status == "SUCCESS"


async def test_a_failure_line_is_failure():
    async with guard(says(b"FAILURE whatever\n")) as asterisk:
        result = await asterisk.agi("x")
    assert (result.status, result.failure) == ("FAILURE", "FAILURE whatever")


async def test_nobody_listening_is_failure():
    async with guard(says()) as asterisk:
        pass
    assert (await asterisk.agi("x")).status == "FAILURE"


async def test_a_server_that_stays_silent_is_a_timeout():
    async def script(reader, writer):
        await reader.read()

    async with guard(script) as asterisk:
        asterisk._timeout = 0.1
        with pytest.raises(TimeoutError):
            await asterisk.agi("x")


async def test_a_command_cut_off_by_the_end_is_carried_out():
    async with guard(says(b'SET VARIABLE A "allow,o')) as asterisk:
        assert (await asterisk.agi("x")).variables == {"A": "allow,o"}


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"SET VARIABLE A 1\n", b"200 result=1\n"),
        (b'set variable ARRAY(A,B) "1"\n', b"200 result=1\n"),
        (b"SET VARIABLE A\n", b"520-Invalid command syntax.  Proper usage follows:\n"),
        (b"GET VARIABLE A\n", b"200 result=0\n"),
        (b"GET DATA vm-password 5000 2\n", b"200 result=12\n"),
        (b"GET DATA vm-password\n", b"200 result=123\n"),
        (b"STREAM FILE beep #\n", b"200 result=0 endpos=8000\n"),
        (b"ANSWER\n", b"200 result=0\n"),
        (b"HANGUP\n", b"200 result=1\n"),
        (b"RECEIVE FAX\n", b"510 Invalid or unknown command\n"),
        (b"\n", b"510 Invalid or unknown command\n"),
    ],
)
async def test_replies(command, reply):
    script = says(command)
    async with guard(script) as asterisk:
        await asterisk.agi("x", channel=Channel(keyed=("123#",)))
    assert script.replies == [reply]


async def test_prompts_one_after_the_other():
    script = says(*[b"GET DATA vm-password 5000 4\n"] * 3)
    async with guard(script) as asterisk:
        await asterisk.agi("x", channel=Channel(keyed=("12345", "1")))
    assert script.replies == [b"200 result=1234\n", b"200 result=1 (timeout)\n", b"200 result= (timeout)\n"]


async def test_variables_are_kept_and_read_back():
    script = says(b'SET VARIABLE ARRAY(A,B,C) "1,2"\n', b"GET VARIABLE B\n", b"GET VARIABLE C\n")
    async with guard(script) as asterisk:
        result = await asterisk.agi("x")
    assert result.variables == {"A": "1", "B": "2", "C": ""}
    assert script.replies == [b"200 result=1\n", b"200 result=1 (2)\n", b"200 result=1 ()\n"]


async def test_a_caller_who_hangs_up():
    script = says(b"ANSWER\n", b"", b"GET DATA x\n", b"SET VARIABLE A 1\n")
    async with guard(script) as asterisk:
        result = await asterisk.agi("x", channel=Channel(hangs_up_after=1))
    assert script.replies == [
        b"200 result=0\n",
        b"HANGUP\n",
        b"511 Command Not Permitted on a dead channel or intercept routine\n",
    ]
    assert (result.status, result.variables) == ("HANGUP", {"A": "1"})


@pytest.mark.parametrize(
    ("faults", "received"),
    [
        (Faults(cut_after=12), b"agi_network:"),
        (Faults(garbage=b"\xff\0", cut_after=2), b"\xff\0"),
        (Faults(byte_by_byte=True, cut_after=20), b"agi_network: yes\nagi"),
    ],
)
async def test_faults(faults, received):
    seen = asyncio.get_running_loop().create_future()

    async def script(reader, writer):
        seen.set_result(await reader.read())

    async with guard(script) as asterisk:
        await asterisk.agi("x", faults=faults)
        assert await seen == received


async def test_every_channel_is_another():
    asterisk = FakeAsterisk("127.0.0.1", 1)
    first, second = asterisk.channel(account="204"), asterisk.channel()
    assert first.account == "204"
    assert first.name != second.name
    assert first.uniqueid != second.uniqueid


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("A  b\tc ", ["A", "b", "c"]),
        ('A "b c" ""', ["A", "b c", ""]),
        (r'A "b\"c\\" d\ e', ["A", 'b"c\\', "d e"]),
        ('A "never closed', ["A", "never closed"]),
        ('a"b c"d', ["ab cd"]),
    ],
)
def test_words_of_a_command(line, words):
    assert agi_words(line) == words


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("a,b,,", ["a", "b", "", ""]),
        ("", [""]),
        ('"a,b",c', ["a,b", "c"]),
        (r"a\,b,c", ["a,b", "c"]),
        ("F(a,b),c", ["F(a,b)", "c"]),
        ("a),b", ["a)", "b"]),
    ],
)
def test_arguments_of_an_application(text, arguments):
    assert application_arguments(text) == arguments
