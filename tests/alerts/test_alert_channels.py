"""Each channel against a real server or program: what arrives, what a failure says, and that no secret is in it."""

import asyncio
import email
import email.policy
import json
import logging
import os
import re
import sys
import warnings
from pathlib import Path

import pytest
from alert_cases import alert, message
from structlog.testing import capture_logs

from fraudguard.alerts.build import build_channels
from fraudguard.alerts.channel import NotDeliveredError
from fraudguard.alerts.command import CommandChannel
from fraudguard.alerts.journal import JournalChannel
from fraudguard.alerts.webhook import sign
from fraudguard.clock import SystemClock
from fraudguard.config import load
from fraudguard.errors import ConfigError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from aiosmtpd.smtp import SMTP, AuthResult

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "get-alerts.md"
SECRET = "correct horse battery staple"
TOKEN = "T0K3N"


@pytest.fixture
async def channel(tmp_path):
    """Return what makes the channel 'x' of a section's text."""
    made = []

    def make(text):
        path = tmp_path / "fraudguard.toml"
        path.write_text(f"[alerts.channels.x]\n{text}\n")
        (tmp_path / "secret").write_text(f"{SECRET}\n")
        (tmp_path / "secret").chmod(0o600)
        built = build_channels(load(path), SystemClock())["x"]
        made.append(built)
        return built

    yield make
    for one in made:
        await one.close()


# The log


async def test_the_log_gets_a_line_with_everything():
    with capture_logs() as lines:
        await JournalChannel().send(message())
    (line,) = lines
    assert line["event"] == message().subject
    assert (line["log_level"], line["number"], line["account"], line["allow"]) == (
        *("warning", "+88216000", "204"),
        ["fraudguard grant add +88216000 --tenant acme --account 204 --max-price 4.00"],
    )


# Mail


class Mailbox:
    """What aiosmtpd hands mails to. `refuse` are recipients that it does not want."""

    def __init__(self):
        self.mails = []
        self.refuse = ()
        self.answer = "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address in self.refuse:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.answer.startswith("2"):
            encrypted = server.transport.get_extra_info("sslcontext") is not None
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            self.mails.append((encrypted, envelope.rcpt_tos, mail))
        return self.answer


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
async def smtp(mailbox):
    """Return what starts a mail server and returns its port."""
    servers = []

    async def start(ssl=None, **options):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(mailbox, hostname="test", **options), "127.0.0.1", 0, ssl=ssl)
        servers.append(server)
        return server.sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


def mail(port, text='tls = "none"', recipients='["noc@example.com"]'):
    return (
        f'type = "smtp"\nhost = "localhost"\nport = {port}\nsender = "guard <pbx@example.com>"\n'
        f"recipients = {recipients}\n{text}"
    )


async def test_a_mail_arrives(channel, smtp, mailbox):
    assert await channel(mail(await smtp())).send(message()) == ""
    ((_, recipients, got),) = mailbox.mails
    assert recipients == ["noc@example.com"]
    assert (got["Subject"], got["Auto-Submitted"]) == (message().subject, "auto-generated")
    assert got["Message-ID"] == f"<{message().id}@example.com>"
    assert got["In-Reply-To"] is None
    assert got.get_content_type() == "text/plain"
    assert got.get_content().replace("\r\n", "\n").strip() == message().text.strip()


async def test_a_repeat_is_threaded_below_the_first(channel, smtp, mailbox):
    await channel(mail(await smtp())).send(message(1))
    ((_, _, got),) = mailbox.mails
    assert got["References"] == got["In-Reply-To"] == f"<{message().id}@example.com>"
    assert "\N{HORIZONTAL ELLIPSIS}" in got["Subject"]


async def test_what_was_dialled_is_no_header(channel, smtp, mailbox):
    hostile = alert(dialled="1\r\nBcc: eve@example.net\r\n\r\nhello", number=None, account="\r\nX-Evil: 1")
    await channel(mail(await smtp())).send(message(told=hostile))
    ((_, recipients, got),) = mailbox.mails
    assert recipients == ["noc@example.com"]
    assert (got["Bcc"], got["X-Evil"]) == (None, None)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # aiosmtpd does not see implicit TLS
@pytest.mark.parametrize("how", ["starttls", "implicit"])
async def test_a_mail_goes_encrypted_with_a_login(channel, smtp, mailbox, server_tls, certificate, how):
    def login(_server, _session, _envelope, _mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"pbx", SECRET.encode()))

    options = {"authenticator": login, "auth_required": True}
    if how == "starttls":
        port = await smtp(tls_context=server_tls, require_starttls=True, **options)
    else:
        port = await smtp(ssl=server_tls, auth_require_tls=False, **options)
    text = f'tls = "{how}"\nusername = "pbx"\npassword_file = "secret"\nca_file = "{certificate[0]}"'
    await channel(mail(port, text)).send(message())
    assert [encrypted for encrypted, *_ in mailbox.mails] == [True]


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(channel, smtp, mailbox, server_tls):
    port = await smtp(tls_context=server_tls)
    with pytest.raises(NotDeliveredError, match="certificate"):
        await channel(mail(port, 'tls = "starttls"')).send(message())
    assert mailbox.mails == []


async def test_a_wrong_password_is_told_without_it(channel, smtp):
    port = await smtp(authenticator=lambda *_: AuthResult(success=False, handled=False), auth_require_tls=False)
    made = channel(mail(port, 'tls = "none"\nusername = "pbx"\npassword_file = "secret"'))
    with pytest.raises(NotDeliveredError, match="the server said 535") as caught:
        await made.send(message())
    assert SECRET not in str(caught.value) + repr(made) + repr(vars(made))


async def test_a_mail_server_that_refuses_says_why(channel, smtp, mailbox):
    port = await smtp()
    mailbox.refuse = ("noc@example.com",)
    with pytest.raises(NotDeliveredError, match=r"localhost:\d+: every recipient was refused: .* 550 nobody"):
        await channel(mail(port)).send(message())
    both = channel(mail(port, recipients='["noc@example.com", "eve@example.com"]'))
    assert await both.send(message()) == "noc@example.com refused: 550"  # the other has it: that is delivered
    mailbox.refuse, mailbox.answer = (), "451 later"
    with pytest.raises(NotDeliveredError, match="the server said 451 later"):
        await channel(mail(port)).send(message())


async def test_a_mail_server_that_is_not_there(channel, unused_tcp_port):
    with pytest.raises(NotDeliveredError, match=f"localhost:{unused_tcp_port}: "):
        await channel(mail(unused_tcp_port)).send(message())


# The webhook


def recipe():
    """Return the verification function that the how-to page shows."""
    (code,) = re.findall(r"^```python\n(.*?)^```", HOW_TO.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(code, names)  # our own page
    return names["verify"]


async def test_a_webhook_gets_a_signed_document(channel, http):
    made = channel(f'type = "webhook"\nurl = "http://127.0.0.1:{http.port}/hook?x=1"\nsecret_file = "secret"')
    await made.send(message())
    ((line, headers, body),) = http.requests
    assert line == "POST /hook?x=1 HTTP/1.1"
    assert json.loads(body) == message().document
    assert (headers["idempotency-key"], headers["content-type"]) == (message().id, "application/json")
    verify, signature = recipe(), headers["x-fraudguard-signature"]
    assert verify(SECRET.encode(), signature, body)
    assert not verify(b"another", signature, body)
    assert not verify(SECRET.encode(), signature, body + b" ")
    assert not verify(SECRET.encode(), sign(SECRET.encode(), 1_000_000, body), body)  # replayed much later


async def test_without_a_secret_there_is_no_signature(channel, http):
    await channel(f'type = "webhook"\nurl = "http://127.0.0.1:{http.port}/"').send(message())
    assert "x-fraudguard-signature" not in http.requests[0][1]


@pytest.mark.parametrize("status", [302, 400, 404, 500])
async def test_any_other_status_is_a_failure_and_the_address_stays_secret(channel, http, tmp_path, status):
    (tmp_path / "url").write_text(f"http://127.0.0.1:{http.port}/services/{TOKEN}\n")
    http.status = status
    made = channel('type = "webhook"\nurl_file = "url"')
    with pytest.raises(NotDeliveredError) as caught:
        await made.send(message())
    assert str(caught.value) == f"127.0.0.1: answered with status {status}"
    assert TOKEN not in repr(made) + repr(vars(made))
    assert len(http.requests) == 1  # nobody is followed to elsewhere


async def test_a_webhook_that_does_not_answer(channel, http, monkeypatch):
    monkeypatch.setattr("fraudguard.alerts.webhook.HTTP_SECONDS", 0.05)
    http.silent = True
    with pytest.raises(NotDeliveredError, match=r"^127.0.0.1: no answer in time \(ReadTimeout\)$"):
        await channel(f'type = "webhook"\nurl = "http://127.0.0.1:{http.port}/{TOKEN}"').send(message())


async def test_a_webhook_that_is_not_there(channel, unused_tcp_port):
    with pytest.raises(NotDeliveredError) as caught:
        await channel(f'type = "webhook"\nurl = "http://127.0.0.1:{unused_tcp_port}/token"').send(message())
    assert str(caught.value).startswith("127.0.0.1: ")
    assert "token" not in str(caught.value)


# A program


def program(*argv, timeout=10):
    return f'type = "command"\nargv = {json.dumps(argv)}\ntimeout_seconds = {timeout}'


async def test_a_program_gets_the_document_and_no_settings(channel, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAUDGUARD_AMI__PBX__SECRET", SECRET)
    code = (
        "import json, os, sys\n"
        "json.dump([sys.argv[1:], json.load(sys.stdin), dict(os.environ)], open(sys.argv[1], 'w'))"
    )
    await channel(program(sys.executable, "-c", code, str(tmp_path / "out"), "$(reboot) ;")).send(message())
    arguments, document, environment = json.loads((tmp_path / "out").read_text())
    assert arguments[1] == "$(reboot) ;"
    assert document == message().document
    assert SECRET not in environment.values()
    assert "PATH" in environment


async def test_a_program_that_fails_is_quoted(channel):
    code = "import sys; sys.stderr.write('first' * 9999 + '\\nno \\x1b[2Jroute\\n'); sys.exit(3)"
    with pytest.raises(NotDeliveredError, match=r"ended with status 3: no \\x1b\[2Jroute$"):
        await channel(program(sys.executable, "-c", code)).send(message())


async def test_a_program_need_not_read(channel):
    assert await channel(program("/bin/true")).send(message()) == ""


def test_programs_run_on_the_loop_that_the_service_runs_on():
    uvloop = pytest.importorskip("uvloop")

    async def send(*argv, timeout_seconds=10.0):
        return await CommandChannel(argv, timeout_seconds).send(message())

    for _ in range(20):  # ends without reading, sooner or later
        assert uvloop.run(send("/bin/true")) == ""
    with pytest.raises(NotDeliveredError, match="status 3: no route"):
        uvloop.run(send("/bin/sh", "-c", "echo no route >&2; exit 3"))
    with pytest.raises(NotDeliveredError, match="and killed"):
        uvloop.run(send("/bin/sh", "-c", "sleep 600 & sleep 600", timeout_seconds=0.1))


async def test_a_program_that_floods_its_complaints_is_held_up_and_fills_no_disk(tmp_path):
    written = tmp_path / "written"
    script = (
        "import os, sys\n"
        "n = 0\n"
        "while n < 64 << 20:\n"
        "    n += os.write(2, b'x' * 65536)\n"
        "    with open(sys.argv[1], 'w') as file: file.write(str(n))"
    )
    with pytest.raises(NotDeliveredError, match="and killed"):
        await CommandChannel((sys.executable, "-c", script, str(written)), 3).send(message())
    assert (1 << 20) <= int(written.read_text()) <= (1 << 20) + 3 * 65536  # read, and what the pipe holds
    chatty = ("/bin/sh", "-c", "yes a long complaint | head -c 300000 >&2; echo >&2; echo the reason >&2; exit 3")
    with pytest.raises(NotDeliveredError, match="status 3: the reason"):
        await CommandChannel(chatty, 10).send(message())


async def test_a_program_that_takes_too_long_is_killed_with_its_children(channel, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"sleep 600 > {fifo} & sleep 600"
    held = asyncio.get_running_loop().run_in_executor(None, lambda: fifo.open("rb"))
    sending = asyncio.create_task(channel(program("/bin/sh", "-c", script, timeout=0.5)).send(message()))
    reader = await held  # the child has opened it
    with pytest.raises(NotDeliveredError, match=r"/bin/sh: not done within 0.5 s, and killed"):
        await sending
    assert await asyncio.get_running_loop().run_in_executor(None, reader.read) == b""  # end of file: nobody holds it
    reader.close()


async def test_a_child_that_stays_does_not_hold_up_the_message(channel):
    async with asyncio.timeout(5):
        await channel(program("/bin/sh", "-c", "sleep 20 & exit 0", timeout=15)).send(message())


# Apprise


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # apprise's own
async def test_apprise_notifies_each_service_once(channel, tmp_path, monkeypatch):
    apprise = pytest.importorskip("apprise")
    logging.getLogger("apprise").handlers.clear()
    got, down = [], {"b"}

    def notify(self, body, title="", body_format=None, **_):
        name = self.urls()[0].split("//")[1][0]
        got.append((name, title, body_format))
        return name not in down

    monkeypatch.setattr(apprise.Apprise, "notify", notify)
    (tmp_path / "urls").write_text(f"# two\njson://a.example/{TOKEN}\n\njson://b.example/\n")
    made = channel('type = "apprise"\nurls_file = "urls"')
    with pytest.raises(NotDeliveredError, match=r"^1 of 2 services did not take it$"):
        await made.send(message())
    down.clear()
    assert await made.send(message()) == ""
    assert [name for name, *_ in got] == ["a", "b", "b"]
    assert got[0][1:] == (message().subject, apprise.NotifyFormat.TEXT)


# Checked before the service starts


def smtp_to(recipients, more="", sender="a@b.example"):
    return f'type="smtp"\nhost="h"\nsender="{sender}"\nrecipients={recipients}\n{more}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (smtp_to('["a@b.example"]', sender="x"), "alerts.channels.x"),
        (smtp_to('["a@b.example\\nBcc: c@d.example"]'), "alerts.channels.x"),
        (smtp_to('["a@b.example"]', 'username="u"'), "username and password_file"),
        (
            smtp_to('["a@b.example"]', 'username="u"\npassword_file="secret"\ntls="none"'),
            "x.tls: would send the password in clear",
        ),
        (smtp_to('["a@b.example"]', 'ca_file="nope.pem"'), "x.ca_file"),
        ('type="webhook"\nurl="http://"', "x.url: is no address"),
        ('type="webhook"\nurl="https://example.com:99999/"', "x.url: is no address"),
        ('type="webhook"\nurl_file="nope"', "x.url_file: "),
        ('type="webhook"\nurl="https://example.com"\nsecret_file="empty"', "x.secret_file: "),
        ('type="webhook"\nurl="https://example.com"\nca_file="secret"', "x.ca_file: "),
        ('type="command"\nargv=["/no/such/program"]', "x.argv: '/no/such/program' is no program"),
        ('type="apprise"\nurls_file="secret"', "x.urls_file: line 1 is no URL"),
        ('type="apprise"\nurls_file="nope"', "x.urls_file: "),
    ],
)
def test_what_cannot_work_is_said_with_its_key(channel, tmp_path, text, complaint):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError) as caught:
        channel(text)
    assert complaint in str(caught.value)
    assert SECRET not in str(caught.value)


def test_without_apprise_it_says_what_to_install(channel, monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(
        ConfigError, match=r"x.urls_file: apprise is not installed \(pip install 'fraudguard\[apprise\]'"
    ):
        channel('type="apprise"\nurls_file="secret"')


def test_a_secret_that_everybody_may_read_is_warned_of(channel, tmp_path):
    (tmp_path / "open").write_text("http://example.com/")
    (tmp_path / "open").chmod(0o644)
    with capture_logs() as lines:
        channel('type="webhook"\nurl_file="open"')
    assert [(line["event"], line["mode"]) for line in lines] == [("secret is readable by everybody", "0644")]
