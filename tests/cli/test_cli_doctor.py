"""What doctor says where there is no Asterisk, and of an Asterisk played by a fake."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest
from asterisk_harness.waiting import free_port

from fraudguard.ami.connection import Message
from fraudguard.cli import findings
from fraudguard.cli.examination import _clock, _endpoint, _records, _version, examine
from fraudguard.cli.findings import LAST_BYTES, OLD_DAYS, SCARCE_BYTES, Grade
from fraudguard.cli.pin import findings as pin_findings
from fraudguard.clock import DAY_MILLIS, SystemClock
from fraudguard.config import Settings, Trunk
from fraudguard.testing import FakeAsterisk, ManagerUser


def examined(doctor, *arguments, status=1):
    found = doctor("doctor", "--json", *arguments, status=status).json
    return {finding["check"]: finding for finding in found}


@pytest.fixture
def site(fraudguard, tmp_path):
    """With prices and a dialplan; nothing listens on the ports that it names."""
    text = fraudguard.config.read_text()
    text = text.replace("port = 4573", f"port = {free_port(socket.SOCK_STREAM)}")
    text = text.replace("port = 5038", f"port = {free_port(socket.SOCK_STREAM)}")
    fraudguard.config.write_text(text)
    fraudguard("dialplan", "install", tmp_path / "fraudguard.conf")
    return fraudguard


def test_what_does_not_run_is_a_fault_and_what_is_there_is_not(site, tmp_path):
    found = examined(site, "--dialplan", tmp_path / "fraudguard.conf", "--sounds", tmp_path / "sounds")
    grades = {check: finding["grade"] for check, finding in found.items()}
    assert grades == {
        "configuration": "ok",
        "database": "ok",
        "disk": "ok",
        "prices of carrier": "ok",
        "pins of default": "warning",
        "prompts": "ok",
        "dialplan": "ok",
        "service": "fault",
        "ami asterisk": "fault",
        "pin.pepper_file": "ok",
        "ami.asterisk.secret_file": "ok",
        "alerts": "warning",
    }
    assert found["service"]["fix"] == "start it: fraudguard run"
    assert "cannot connect" in found["ami asterisk"]["what"]


def test_the_table_says_the_same(site, tmp_path):
    out = site("doctor", "--dialplan", tmp_path / "fraudguard.conf", status=1).out
    assert "start it: fraudguard run" in out
    assert "deck 'carrier' has 5 rates, imported 0 days ago" in out


def test_a_configuration_that_cannot_be_used_is_the_only_finding(fraudguard):
    fraudguard.config.write_text("curency = 'USD'\n")
    assert "did you mean currency?" in examined(fraudguard)["configuration"]["what"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[alerts.channels.c]\ntype = "command"\nargv = ["/no/such"]\n', "is no program that can be run"),
        ('[alerts.channels.c]\ntype = "log"\n[[alerts.routes]]\nchannels = ["d"]\n', "unknown channel 'd'"),
    ],
)
def test_alerts_with_which_the_service_would_not_start_are_a_fault(site, text, told):
    site.config.write_text(site.config.read_text() + text)
    found = examined(site)["alerts"]
    assert found["grade"] == "fault"
    assert told in found["what"]


def test_an_empty_database_is_not_to_be_started_with(site):
    for file in site.config.parent.glob("*.db*"):
        file.unlink()
    (site.config.parent / "fraudguard.db").touch()
    found = examined(site)["database"]
    assert (found["grade"], "init" in found["fix"]) == ("fault", True)


def test_what_is_missing_is_named(empty):
    empty.config.write_text(empty.config.read_text().replace("[ami.asterisk]", "[ami.other]"))
    (empty.config.parent / "ami.secret").chmod(0o644)
    found = examined(empty, "--dialplan", "/nowhere/fraudguard.conf")
    assert found["prices of carrier"]["fix"] == "fraudguard rates import FILE --deck carrier"
    assert found["dialplan"]["grade"] == "warning"
    assert "no Asterisk is followed" in found["ami"]["what"]
    assert "chmod 0640" in found["ami.other.secret_file"]["fix"]
    (empty.config.parent / "ami.secret").unlink()
    found = examined(empty)
    assert found["ami.other.secret_file"]["grade"] == "fault"
    assert "dialplan install" in found["ami other"]["fix"]


def test_budgets_that_nobody_returns_money_to_are_a_warning(empty):
    assert "budgets" not in examined(empty)
    text = empty.config.read_text()
    empty.config.write_text(text[: text.index("[ami.")])
    found = examined(empty)
    assert found["budgets"]["grade"] == "warning"
    assert "count every call as its whole lease" in found["budgets"]["what"]
    assert "[ami.NAME]" in found["budgets"]["fix"]


def test_a_database_that_is_not_there_is_a_fault(fraudguard):
    (fraudguard.config.parent / "fraudguard.db").unlink()
    found = examined(fraudguard)
    assert found["database"]["grade"] == found["prices"]["grade"] == found["pins"]["grade"] == "fault"


def test_a_dialplan_of_yesterday_is_a_fault(site, tmp_path):
    site.config.write_text(site.config.read_text().replace('"congestion"', '"silence"'))
    path = tmp_path / "fraudguard.conf"
    assert "the configuration has changed" in examined(site, "--dialplan", path)["dialplan"]["what"]
    assert "cannot be read" in examined(site, "--dialplan", path / "x")["dialplan"]["what"]


@pytest.mark.parametrize(
    ("free", "grade"), [(LAST_BYTES - 1, "fault"), (SCARCE_BYTES - 1, "warning"), (SCARCE_BYTES, "ok")]
)
def test_disk_room_is_graded(fraudguard, monkeypatch, free, grade):
    monkeypatch.setattr(findings.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert examined(fraudguard)["disk"]["grade"] == grade


def test_an_old_price_list_is_a_warning(fraudguard, monkeypatch):
    monkeypatch.setattr(SystemClock, "now", lambda _: 1_795_000_000_000 + (OLD_DAYS + 30) * DAY_MILLIS)
    assert examined(fraudguard)["prices of carrier"]["grade"] == "warning"


def test_channels_that_reach_somebody_are_named(fraudguard):
    channel = '[alerts.channels.ops]\ntype = "webhook"\nurl = "https://ops.example/"\nsecret_file = "absent"\n'
    fraudguard.config.write_text(fraudguard.config.read_text() + channel)
    found = examined(fraudguard)
    assert "ops (webhook)" in found["alerts"]["what"]
    assert found["alerts.channels.ops.secret_file"]["grade"] == "fault"


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
def test_everywhere_is_asked_at_home(host):
    assert findings.reachable(host) in ("127.0.0.1", "::1")
    assert findings.reachable("192.0.2.1") == "192.0.2.1"


# PINs and what callers hear


def test_where_a_pin_is_asked_for_there_has_to_be_one(tenants, monkeypatch):
    tenants("pin", "add", "Ann", "--tenant", "acme")
    tenants("pin", "add", "Bob", "--tenant", "globex", "--until", "2090-01-01")
    found = examined(tenants)
    assert found["pins of acme"] == {
        "check": "pins of acme",
        "grade": "ok",
        "what": "1 of digits, 0 of an app; a new one gets 6 digits",
        "fix": "",
    }
    assert (found["pins"]["grade"], found["pin.pepper_file"]["grade"]) == ("ok", "ok")
    assert (found["pins of default"]["grade"], found["pins of globex"]["grade"]) == ("warning", "ok")
    assert found["pins of default"]["fix"].startswith("fraudguard pin add NAME --tenant default")
    monkeypatch.setattr(SystemClock, "now", lambda _: 3_800_000_000_000)  # what has expired is none
    assert examined(tenants)["pins of globex"]["grade"] == "warning"
    monkeypatch.setenv("FRAUDGUARD_PIN__ASK", "[]")
    assert not [check for check in examined(tenants) if check.startswith(("pins of", "prompts"))]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is not there, and the stored PINs are worth nothing without it"),
        ("ab" * 32, "is not what the stored PINs were sealed with"),
        ("x", "64 hexadecimal digits"),
    ],
)
def test_pins_are_worth_nothing_without_their_pepper(fraudguard, content, told):
    pepper = fraudguard.config.parent / "pin.pepper"
    fraudguard("pin", "add", "Ann")
    pepper.unlink()
    if content is not None:
        pepper.write_text(content)
        pepper.chmod(0o644)
    result = fraudguard("doctor", "--json", status=1)
    found = {finding["check"]: finding for finding in result.json}
    assert found["pins"]["grade"] == "fault"
    assert told in found["pins"]["what"]
    assert ("pin.pepper_file" in found) == (content is not None)
    assert found.get("pin.pepper_file", {"grade": "fault"})["grade"] == "fault"  # others can read it
    assert result.err == ""
    fraudguard("pin", "revoke", "Ann")
    assert "pins" not in examined(fraudguard), "nothing is lost that anybody could key"


def test_too_many_apps_at_one_account_are_guessed(fraudguard):
    for number in range(6):
        fraudguard("pin", "add", f"Person {number}", "--totp", "--account", "204", "--account", f"30{number}")
    found = examined(fraudguard)["pins of default"]
    assert found["grade"] == "warning"
    assert "the codes of 6 apps are good at account 204: guessed in a day by a chance of 1 in 910" in found["what"]
    fraudguard("pin", "revoke", "Person 0")
    assert examined(fraudguard)["pins of default"]["what"] == "0 of digits, 5 of an app; a new one gets 6 digits"


ENGLISH = ("en/agent-pass.gsm", "en/auth-incorrect.gsm", "en/cannot-complete-as-dialed.gsm")


@pytest.mark.parametrize(
    ("files", "settings", "missing"),
    [
        (ENGLISH, {}, ""),
        (ENGLISH, {"language": "en_GB"}, ""),
        (ENGLISH, {"language": "de"}, "agent-pass (de), auth-incorrect (de), cannot-complete-as-dialed (de)"),
        (ENGLISH[1:], {}, "agent-pass"),
        ((*ENGLISH[1:], "agent-pass.wav"), {"language": "de"}, "auth-incorrect (de), cannot-complete-as-dialed (de)"),
        ((*ENGLISH[1:], "fr/agent-pass.wav"), {}, ""),
        ((*ENGLISH[1:], "en/custom/pin.ulaw"), {"prompts": {"ask": "custom/pin"}}, ""),
        ((*ENGLISH, "en/pin"), {"prompts": {"ask": "pin"}}, "pin"),
        ((*ENGLISH, "en/pins.gsm"), {"prompts": {"ask": "pin"}}, "pin"),
    ],
)
def test_what_callers_hear_has_to_be_there(tmp_path, files, settings, missing):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (finding,) = pin_findings.prompts(Settings(pin=settings), (tmp_path / "none", tmp_path))
    assert finding.grade is (Grade.WARNING if missing else Grade.OK)
    assert not missing or finding.what == f"not in {tmp_path}: {missing}. Callers hear nothing there"


def test_sounds_by_their_whole_path_and_of_tenants_and_of_no_folder_of_ours(tmp_path):
    (tmp_path / "own.wav").touch()
    own = {"prompts": {name: str(tmp_path / "own") for name in ("ask", "again", "refused")}}
    other = Settings(pin=own, tenants={"acme": {"pin": {"prompts": {"ask": "other"}}}})
    (finding,) = pin_findings.prompts(Settings(pin=own), (tmp_path,))
    assert finding.grade is Grade.OK
    (finding,) = pin_findings.prompts(other, (tmp_path,))
    assert "other, auth-incorrect, cannot-complete-as-dialed. Callers" in finding.what
    (finding,) = pin_findings.prompts(Settings(), (tmp_path / "none",))
    assert (finding.grade, "not on this machine" in finding.what) == (Grade.OK, True)
    (tmp_path / "own.wav").chmod(0o755)
    (finding,) = pin_findings.prompts(Settings(), (tmp_path / "own.wav",))
    assert finding.grade is Grade.OK, "what cannot be looked into is not called missing"


# An Asterisk that is not as it should be


def look(fake: ManagerUser, **sections):
    """Return what is found at a fake Asterisk whose manager has this user."""

    async def work():
        async with FakeAsterisk(users=[fake]) as asterisk:
            ami = {"port": asterisk.manager.port, "secret": "secret"}
            settings = Settings(ami={"asterisk": ami}, trunks={"carrier": {"deck": "x"}}, **sections)
            found = [f async for f in examine(settings, "asterisk", SystemClock(), Path("/nowhere/fraudguard.conf"))]
            return {finding.check: finding for finding in found}

    return asyncio.run(work())


def test_a_user_who_may_too_little_is_a_fault():
    found = look(ManagerUser(write=frozenset({"reporting"})))
    rights = found["ami asterisk: rights"]
    assert rights.grade is Grade.FAULT
    assert "Hangup" in rights.what
    assert "dialplan install" in rights.fix


@pytest.mark.parametrize(
    ("version", "grade"),
    [("22.10.1", "ok"), ("certified/20.7-cert1", "ok"), ("18.20.0", "warning"), ("", "warning"), ("GIT-x", "warning")],
)
def test_old_versions_send_every_event(version, grade):
    assert _version("ami", version).grade == grade


@pytest.mark.parametrize(
    ("text", "grade", "said"),
    [
        ("[general]\nenabled = yes\n", "ok", "are sent"),
        ("[general]\nenabled => yes ; it is\n", "ok", "are sent"),
        ("[general]\n;enabled = yes\n", "warning", "are not sent"),
        ("[general]\nenabled\n", "warning", "are not sent"),
        ("enabled = yes\n", "ok", "cannot be seen"),
        (None, "ok", "cannot be seen"),
    ],
)
def test_whether_records_come_is_read_where_it_stands(tmp_path, text, grade, said):
    path = tmp_path / "cdr_manager.conf"
    if text is not None:
        path.write_text(text)
    finding = _records("ami", {"CoreCDRenabled": "Yes"}, path)
    assert (finding.grade, said in finding.what) == (grade, True)
    assert _records("ami", {"CoreCDRenabled": "No"}, path).grade is Grade.WARNING


@pytest.mark.parametrize(
    ("dial", "endpoint"),
    [
        ("PJSIP/{number}@{trunk}", "carrier"),
        ("PJSIP/{trunk}/sip:{number}@198.51.100.1:5060", None),
        ("PJSIP/{number}@other", "other"),
        ("SIP/{trunk}/{number}", None),
    ],
)
def test_the_endpoint_of_a_trunk_is_read_from_its_dial(dial, endpoint):
    assert _endpoint("carrier", Trunk(deck="x", dial=dial)) == endpoint


@pytest.mark.parametrize(("apart", "grade"), [(0, "ok"), (60, "warning"), (-60, "warning"), (None, "warning")])
async def test_clocks_that_are_apart_are_told(apart, grade):
    clock = SystemClock()

    class Link:
        async def action(self, _):
            stamp = {} if apart is None else {"Timestamp": f"{clock.now() / 1000 + apart:.6f}"}
            return Message(clock.now(), stamp)

    assert (await _clock("ami", Link(), clock)).grade == grade


def answering(what):
    """Listen, answer whoever comes first with these bytes, and return the port and the thread that does it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            link, _ = listener.accept()
        with link:
            link.recv(4096)
            link.sendall(what)

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


@pytest.mark.parametrize(
    ("sent", "grade"), [(b"HTTP/1.1 200 OK", "ok"), (b"HTTP/1.1 503 No", "fault"), (b"x", "warning")]
)
def test_health_is_what_the_service_says_of_itself(sent, grade):
    port, thread = answering(sent + b"\r\nContent-Length: 0\r\n\r\n")
    assert findings.health(Settings(http={"port": port})).grade == grade
    thread.join(5)
    assert findings.health(Settings(http={"port": port})).grade is Grade.WARNING


def test_another_program_on_the_port_is_told():
    port, thread = answering(b"SSH-2.0\r\n")
    (finding,) = findings.service(Settings(agi={"port": port}, http={"enabled": False}))
    thread.join(5)
    assert "is no fraudguard" in finding.what
