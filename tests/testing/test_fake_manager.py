"""The manager half of FakeAsterisk against its own claims, read by a client that knows nothing but sockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import ssl
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fraudguard.testing import FakeAsterisk, ManagerUser

RECORDED = Path(__file__).parent / "recorded-events.txt"


class Client:
    """Reads messages one by one, as lists of (name, value)."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.read = []

    def ask(self, **headers):
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.writer.write(f"{text}\r\n".encode())

    async def message(self):
        block = await self.reader.readuntil(b"\r\n\r\n")
        lines = block.decode("utf-8", "surrogateescape").split("\r\n")[:-2]
        self.read.append([tuple(line.split(": ", 1)) for line in lines])
        return self.read[-1]

    async def response(self, **headers):
        """Ask, and return the response as a dict; events in between are skipped."""
        self.ask(**headers)
        while True:
            found = dict(await self.message())
            if "Response" in found:
                return found

    async def event(self, name):
        while True:
            found = dict(await self.message())
            if found.get("Event") == name:
                return found

    async def until_the_end(self):
        """Return what still comes before the connection ends."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := await self.reader.read(65_536):
                data += piece
        return data

    async def log_in(self, username="fraudguard", secret="secret", **more):
        assert (await self.response(Action="Login", Username=username, Secret=secret, **more))["Response"] == "Success"
        return self


@asynccontextmanager
async def connected(asterisk, **options):
    reader, writer = await asyncio.open_connection("127.0.0.1", asterisk.manager.port, **options)
    try:
        assert await reader.readline() == b"Asterisk Call Manager/11.0.0\r\n"
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def logged_in(**options):
    async with asyncio.timeout(10), FakeAsterisk(**options) as asterisk, connected(asterisk) as client:
        yield asterisk, await client.log_in()


# --- logging in ---


async def test_a_login_and_what_follows_it():
    async with asyncio.timeout(10), FakeAsterisk() as asterisk, connected(asterisk) as client:
        client.ask(Action="Login", ActionID="1", Username="fraudguard", Secret="secret")
        assert await client.message() == [
            ("Response", "Success"),
            ("ActionID", "1"),
            ("Message", "Authentication accepted"),
        ]
        assert dict(await client.message())["Event"] == "FullyBooted"
        assert dict(await client.message())["AccountID"] == "fraudguard"
        assert (await client.response(Action="Login"))["Message"] == "Already authenticated"


@pytest.mark.parametrize(("username", "secret"), [("fraudguard", "wrong"), ("nobody", "secret"), ("", "")])
async def test_a_refused_login_ends_the_connection(username, secret):
    async with asyncio.timeout(10), FakeAsterisk() as asterisk, connected(asterisk) as client:
        answer = await client.response(Action="Login", Username=username, Secret=secret)
        assert answer == {"Response": "Error", "Message": "Authentication failed"}
        assert await client.reader.read() == b""


@pytest.mark.parametrize("right", [True, False])
async def test_a_login_by_challenge(right):
    async with asyncio.timeout(10), FakeAsterisk() as asterisk, connected(asterisk) as client:
        challenge = (await client.response(Action="Challenge", AuthType="MD5"))["Challenge"]
        key = hashlib.md5(f"{challenge}{'secret' if right else 'guess'}".encode()).hexdigest()
        answer = await client.response(Action="Login", AuthType="MD5", Username="fraudguard", Key=key)
        assert answer["Response"] == ("Success" if right else "Error")


async def test_failed_logins_are_security_events_for_the_others():
    async with logged_in() as (asterisk, watcher):
        async with connected(asterisk) as client:
            await client.response(Action="Login", Username="fraudguard", Secret="wrong")
        assert (await watcher.event("InvalidPassword"))["AccountID"] == "fraudguard"
        async with connected(asterisk) as client:
            await client.response(Action="Login", Username="nobody", Secret="wrong")
        assert (await watcher.event("InvalidAccountID"))["AccountID"] == "nobody"


async def test_nothing_goes_before_the_login():
    async with asyncio.timeout(10), FakeAsterisk() as asterisk, connected(asterisk) as client:
        assert (await client.response(Action="Ping"))["Message"] == "Permission denied"
        asterisk.manager.flood(3)
        assert (await client.response(Action="Logoff"))["Response"] == "Goodbye"
        assert await client.reader.read() == b""


@pytest.fixture
def certificate(tmp_path):
    key, certificate = str(tmp_path / "key"), str(tmp_path / "certificate")
    subject = ["-subj", "/CN=pbx", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject],
        check=True,
        capture_output=True,
    )
    return certificate, key


async def test_over_tls(certificate):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with asyncio.timeout(10), FakeAsterisk(tls=server) as asterisk, connected(asterisk, ssl=trusting) as client:
        await client.log_in()
        assert (await client.response(Action="Ping"))["Ping"] == "Pong"


# --- what it refuses, and whom ---


async def test_refusals_in_asterisks_words():
    async with logged_in() as (_, client):
        for headers, text in [
            ({"Foo": "x"}, "Missing action in request"),
            ({"Action": "Nope"}, "Invalid/unknown command: Nope. Use Action: ListCommands to show available commands."),
            ({"Action": "Ping", "X": "y" * 1024}, "Failed to parse message: line too long"),
            (
                {"Action": "Ping", **{f"H{n}": "" for n in range(128)}},
                "Too many lines in message or allocation failure",
            ),
            ({"Action": "Hangup"}, "No channel specified"),
            ({"Action": "Hangup", "Channel": "PJSIP/none"}, "No such channel"),
            ({"Action": "Getvar"}, "No variable specified"),
            ({"Action": "Getvar", "Variable": "X", "Channel": "none"}, "No such channel"),
            ({"Action": "Status", "Channel": "none"}, "No such channel"),
            ({"Action": "AbsoluteTimeout", "Timeout": "5"}, "No channel specified"),
            ({"Action": "AbsoluteTimeout", "Channel": "none"}, "No timeout specified"),
            ({"Action": "AbsoluteTimeout", "Channel": "none", "Timeout": "5"}, "No such channel"),
            ({"Action": "Events"}, "Invalid event mask"),
            ({"Action": "Filter", "Operation": "Drop"}, "Unknown operation"),
            (
                {"Action": "Filter", "Operation": "Add", "Filter": "["},
                "Filter did not compile.  Check the syntax of the filter given.",
            ),
            (
                {"Action": "Filter", "Operation": "Add", "MatchCriteria": "colour(red)"},
                "Filter was formatted incorrectly.  Check the syntax of the filter given.",
            ),
        ]:
            assert (await client.response(ActionID="7", **headers)) == {
                "Response": "Error",
                "ActionID": "7",
                "Message": text,
            }


async def test_a_user_does_only_what_his_classes_allow():
    poor = ManagerUser("poor", "s", read=frozenset({"call"}), write=frozenset({"call"}))
    async with asyncio.timeout(10), FakeAsterisk(users=[poor]) as asterisk, connected(asterisk) as client:
        await client.log_in("poor", "s")
        assert (await client.response(Action="CoreShowChannels"))["Message"] == "Permission denied"
        forbidden = await client.response(Action="Getvar", Variable="SHELL(ls)")
        assert forbidden["Message"] == "GetVar Access Forbidden: Variable"
        commands = await client.response(Action="ListCommands")
        assert commands["Hangup"] == "Hangup channel.  (Priv: system,call,all)"
        assert commands["Ping"] == "Keepalive command.  (Priv: <none>)"
        assert "CoreShowChannels" not in commands
        assert "Originate" not in commands


@pytest.mark.parametrize(
    ("filters", "seen"),
    [
        ([], ["VarSet", "ContactStatus", "Newchannel"]),
        ([("", "Event: Newchannel")], ["Newchannel"]),
        ([("", "!Event: VarSet")], ["ContactStatus", "Newchannel"]),
        ([("name(Newchannel)", "")], ["Newchannel"]),
        ([("action(exclude),name(Newchannel)", "")], ["VarSet", "ContactStatus"]),
        ([("name(Newchannel),header(Channel),method(starts_with)", "PJSIP/2")], ["Newchannel"]),
        ([("name(Newchannel),header(Channel),method(contains)", "SIP/3")], []),
        ([("", "Event: .*"), ("", "!Event: VarSet")], ["ContactStatus", "Newchannel"]),
    ],
)
@pytest.mark.parametrize("at_login", [True, False])
async def test_filters(filters, seen, at_login):
    user = ManagerUser(filters=tuple(filters) if at_login else ())
    async with asyncio.timeout(10), FakeAsterisk(users=[user]) as asterisk, connected(asterisk) as client:
        await client.log_in(Events="system,call,dialplan")
        for criteria, pattern in [] if at_login else filters:
            answer = await client.response(Action="Filter", Operation="Add", MatchCriteria=criteria, Filter=pattern)
            assert answer["Response"] == "Success"
        asterisk.exchange.set_variable(None, "A", "b")
        asterisk.contact_status("204", "sip:204@198.51.100.7:5060")
        asterisk.phone("204")
        client.ask(Action="Logoff")
        found = re.findall(rb"^Event: (\w+)", await client.reader.read(), re.MULTILINE)
        assert [name.decode() for name in found if name != b"FullyBooted"] == seen


async def test_events_can_be_turned_off_and_on():
    async with logged_in() as (asterisk, client):
        assert (await client.response(Action="Events", EventMask="off"))["Events"] == "Off"
        asterisk.manager.flood(1)
        assert (await client.response(Action="Events", EventMask="cdr,dialplan"))["Events"] == "On"
        asterisk.manager.flood(1)
        assert (await client.event("VarSet"))["Serial"] == "2"


# --- what can go wrong ---


async def test_bytes_in_any_segments():
    async with logged_in() as (asterisk, client):
        asterisk.manager.faults.segments = (1, 3, 2)
        asterisk.manager.send_raw("Event: X\r\nName: Zoë\r\n\r\n".encode())
        assert (await client.event("X"))["Name"] == "Zoë"


async def test_cut_at_any_byte():
    whole = b"Event: X\r\nName: 1\r\n\r\n"
    for count in range(len(whole)):
        async with logged_in() as (asterisk, client):
            await client.response(Action="Ping")
            asterisk.manager.faults.cut_after(count)
            asterisk.manager.send_raw(whole)
            assert await client.until_the_end() == whole[:count]


async def test_cut_now():
    async with logged_in() as (asterisk, client):
        await client.response(Action="Ping")
        asterisk.manager.cut()
        with pytest.raises(ConnectionError):
            await client.reader.read()
        async with connected(asterisk) as again:
            await again.log_in()


async def test_a_frozen_asterisk_says_nothing_and_then_all_at_once():
    async with logged_in() as (asterisk, client):
        await client.response(Action="Ping")
        with asterisk.manager.faults.frozen():
            client.ask(Action="Ping", ActionID="late")
            asterisk.manager.flood(2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.message(), 0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", asterisk.manager.port)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.05)
        assert (await client.event("VarSet"))["Serial"] == "1"
        assert (await client.response())["ActionID"] == "late"
        assert await reader.readline()
        writer.close()


async def test_no_pongs_and_no_answers():
    async with logged_in() as (asterisk, client):
        with asterisk.manager.faults.during(no_pongs=True):
            client.ask(Action="Ping")
            assert "CoreCurrentCalls" in await client.response(Action="CoreStatus")
        with asterisk.manager.faults.during(mute=True):
            client.ask(Action="CoreStatus")
            asterisk.manager.flood(1)
            assert (await client.event("VarSet"))["Serial"] == "1"
        assert (await client.response(Action="Ping"))["Ping"] == "Pong"


async def test_a_refusal_of_choice():
    async with asyncio.timeout(10), FakeAsterisk() as asterisk, connected(asterisk) as client:
        asterisk.manager.faults.refusal = "Login Already In Use"
        answer = await client.response(Action="Login", Username="fraudguard", Secret="secret")
        assert answer["Message"] == "Login Already In Use"


async def test_a_list_that_stops_half_way():
    async with logged_in() as (asterisk, client):
        await asterisk.dial("+442079460000")
        asterisk.manager.faults.list_stops_after = 1
        assert (await client.response(Action="CoreShowChannels"))["EventList"] == "start"
        assert dict(await client.message())["Event"] == "CoreShowChannel"
        assert (await client.response(Action="Ping", ActionID="next"))["ActionID"] == "next"


async def test_booting_refuses_and_then_accepts_on_the_same_port():
    async with asyncio.timeout(10), FakeAsterisk() as asterisk:
        async with connected(asterisk) as client, asterisk.manager.booting():
            with pytest.raises(ConnectionError):
                await client.reader.read()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", asterisk.manager.port)
        asterisk.manager.booted = False
        async with connected(asterisk) as client:
            await client.log_in()
            asterisk.manager.boot()
            first = [dict(await client.message())["Event"] for _ in range(2)]
            assert first == ["SuccessfulAuth", "FullyBooted"]


async def test_half_a_character_and_an_oversized_message():
    async with logged_in() as (asterisk, client):
        asterisk.exchange.set_variable(None, "A", "caf\udcc3")
        asterisk.manager.send_raw(b"Event: Big\r\nValue: " + b"x" * 50_000 + b"\r\n\r\n")
        assert (await client.event("VarSet"))["Value"] == "caf\udcc3"
        assert len((await client.event("Big"))["Value"]) == 50_000


async def test_a_slow_reader_is_disconnected():
    async with asyncio.timeout(20), FakeAsterisk(write_timeout=0.1) as asterisk, connected(asterisk) as client:
        await client.log_in()
        while asterisk.manager.sessions:
            asterisk.manager.flood(1000)
            await asyncio.sleep(0)
        await client.until_the_end()


async def test_a_flood_arrives_whole_and_in_order():
    async with logged_in() as (asterisk, client):
        asterisk.manager.flood(5000)
        await asterisk.manager.flushed()
        client.ask(Action="Logoff")
        serials = re.findall(rb"^Serial: (\d+)", await client.reader.read(), re.MULTILINE)
        assert serials == [str(number).encode() for number in range(1, 5001)]


# --- the wire ---


def recorded():
    """Return {event: [its header names in order]} of the recording."""
    found = {}
    for block in RECORDED.read_text().split("\n\n")[1:]:
        names = [line.partition(":")[0] for line in block.strip().split("\n")]
        found.setdefault(block.split("\n")[0].removeprefix("Event: "), []).append(names)
    return found


async def test_every_event_has_the_headers_of_a_real_one_in_their_order():
    async with logged_in() as (asterisk, client):
        async with connected(asterisk) as other:
            await other.response(Action="Ping")
            await other.response(Action="Login", Username="x")
        async with connected(asterisk) as other:
            await other.response(Action="Login", Username="fraudguard", Secret="wrong")
        await client.response(Action="Nope")
        asterisk.security("ChallengeSent", account="204", source="198.51.100.7:5060")
        asterisk.contact_status("204", "sip:204@198.51.100.7:5060")
        call = await asterisk.dial("+442079460000", lease=60)
        call.ring()
        call.answer()
        await client.response(Action="CoreShowChannels", ActionID="1")
        await client.response(Action="Status", ActionID="1")
        after = call.blind_transfer("+442079460001", "PJSIP/+442079460001@carrier")
        after.answer()
        after.hang_up()
        originated = await asterisk.dial("+442079460002", originated=True)
        originated.answer()
        originated.hang_up(by="callee")
        assert (await client.response(Action="Logoff"))["Response"] == "Goodbye"
    real, seen = recorded(), {}
    for headers in client.read:
        if headers[0][0] == "Event":
            seen.setdefault(headers[0][1], []).append([name for name, _ in headers])
    assert set(real) <= set(seen)
    for event, forms in seen.items():
        for names in forms:
            assert names in real[event], event
