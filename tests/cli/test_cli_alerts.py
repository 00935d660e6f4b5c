"""`alerts list` and `alerts test`, and a grant made of an alert, as an operator meets them."""

import asyncio
import json
import subprocess
import sys

import pytest
from policy_cases import number, rate

from fraudguard.numbering import Kind
from fraudguard.policy import Attempt, Facts, Limit, Outcome, Reason, Scope, Verdict
from fraudguard.policy.alert import NewAlert
from fraudguard.store import open_writer
from fraudguard.store.alerts import raise_alerts
from fraudguard.store.outbox import Terms, delivered, due, failed, plan
from fraudguard.store.verdicts import attempt_row, store_batch

NOW = 1_800_000_000_000
HOUR = 3_600_000


@pytest.fixture(autouse=True)
def log_of_tests(monkeypatch):
    """Keep the log of this process as it is: configured once it could not be captured any more."""
    monkeypatch.setattr("fraudguard.logs.configure", lambda _settings: None)


class Everywhere:
    def channels(self, kind, tenant, severity):
        return ("mail", "hook")

    def not_before(self, severity, instant):
        return instant


def store(fraudguard, *functions):
    async def work():
        async with await open_writer(fraudguard.config.parent / "fraudguard.db") as writer:
            for function in functions:
                await writer.transaction(function)

    asyncio.run(work())


def refuse(fraudguard, reason=Reason.OVER_LIMIT, tenant="default", account="204", dialled=None, price=None):
    known = dialled or number("88216000", Kind.SATELLITE)
    asked = Attempt("01188216000", "carrier", account, tenant, "198.51.100.7:5060", NOW)
    made = Facts(asked, known, "carrier", price or rate(3_500_000, 4_000_000), Limit(Scope(), 250_000), None, None)
    row = attempt_row(Verdict("c0ffee", Outcome.NOWHERE, reason, made, None))
    store(fraudguard, lambda connection: store_batch([row], connection))


def channels(fraudguard, text):
    config = fraudguard.config.read_text()
    fraudguard.config.write_text(f"{config}\n{text}\n")


def command(name, code):
    return f'[alerts.channels.{name}]\ntype = "command"\nargv = {json.dumps([sys.executable, "-c", code])}\n'


# alerts list


def test_the_list_says_what_became_of_the_messages(fraudguard):
    channels(fraudguard, command("mail", "") + command("hook", ""))
    refuse(fraudguard)
    refuse(fraudguard, dialled=number("88299", Kind.SATELLITE))
    store(
        fraudguard,
        lambda c: plan(c, NOW, Everywhere(), Terms(180_000, 24 * HOUR)),
        lambda c: [delivered(c, d.id, NOW) for d in due(c, "mail", NOW, 9)],
        lambda c: [failed(c, d.id, NOW, "no route\x1b", NOW + 5000) for d in due(c, "hook", NOW, 9)],
    )
    second, first = fraudguard("alerts", "list", "--json").json
    assert first["deliveries"] == second["deliveries"]
    assert (first["told_with"], second["told_with"]) == (first["id"], first["id"])
    mail, hook = sorted(first["deliveries"], key=lambda one: one["channel"], reverse=True)
    assert (mail["state"], mail["attempts"], mail["delivered_at"]) == ("delivered", 1, "2027-01-15T08:00:00+00:00")
    assert (hook["state"], hook["error"], hook["due_at"]) == ("pending", "no route\ufffd", "2027-01-15T08:00:05+00:00")
    out = fraudguard("alerts").out
    assert "mail delivered" in out
    assert "hook pending (no route\ufffd)" in out
    assert "with 1: " in out


# alerts test


def test_a_test_goes_through_every_channel_and_is_written_down(fraudguard, tmp_path):
    good = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())"
    channels(fraudguard, command("desk", good) + command("pager", "import sys; sys.exit('no answer \\x1b[2J')"))
    result = fraudguard("alerts", "test", status=1)
    desk, pager = result.out.splitlines()
    assert desk.startswith("desk: delivered in ")
    assert pager.endswith("ended with status 1: no answer \\x1b[2J")
    got = json.loads((tmp_path / "got").read_text())
    assert (got["kind"], got["severity"], got["subject"]) == ("test", "notice", "[fraudguard] notice: test message")
    assert fraudguard("alerts").out == "no open alerts\n"  # nobody has to see to a test
    (alert,) = fraudguard("alerts", "list", "--all", "--json").json
    assert [(one["channel"], one["state"]) for one in alert["deliveries"]] == [
        ("desk", "delivered"),
        ("pager", "expired"),
    ]
    assert fraudguard("alerts", "test", "--channel", "desk").out.startswith("desk: delivered")


def test_a_test_without_channels_goes_to_the_log(fraudguard):
    program = (sys.executable, "-c", "from fraudguard.cli import main; main()")
    done = subprocess.run([*program, "--config", fraudguard.config, "alerts", "test"], capture_output=True, check=True)
    assert done.stdout.startswith(b"log: delivered in ")
    line = json.loads(done.stderr)  # as the service writes it where no terminal is
    assert (line["event"], line["kind"], line["level"]) == ("[fraudguard] notice: test message", "test", "info")


def test_a_test_says_what_is_wrong_with_the_configuration(fraudguard):
    assert (
        "unknown channel 'pager' (configured: log)" in fraudguard("alerts", "test", "--channel", "pager", status=2).err
    )
    channels(fraudguard, command("pager", "") + '[[alerts.routes]]\nchannels = ["pagr"]')
    error = fraudguard("alerts", "test", status=2).err
    assert "alerts.routes.0.channels: unknown channel 'pagr' (did you mean pager?)" in error


# grant add --from-alert


def test_a_grant_of_an_alert_is_exactly_what_was_refused(fraudguard):
    refuse(fraudguard)
    fraudguard("alerts", "ack", 1)  # it may be acknowledged before
    assert fraudguard("grant", "add", "--from-alert", 1, "--until", "2100-01-01").out == (
        "grant 1: +88216000 up to 4.00 USD (account 204 of tenant default), until 2100-01-01T00:00:00+00:00;"
        " no PIN is asked for\n"
    )
    (grant,) = fraudguard("grant", "list", "--json").json
    assert (grant["prefix"], grant["max_price"], grant["reason"]) == ("88216000", "4.00", "alert 1")
    fraudguard("grant", "add", "--from-alert", 1, "--reason", "asked by phone")
    assert fraudguard("grant", "list", "--json").json[1]["reason"] == "asked by phone"


def test_after_such_a_grant_the_call_goes(fraudguard):
    call = ("check", "01188216000", "--trunk", "carrier", "--account", "204")
    fraudguard(*call, status=1)
    refuse(fraudguard)
    fraudguard("grant", "add", "--from-alert", 1)
    fraudguard(*call)
    fraudguard(*call[:-1], "205", status=1)
    fraudguard("check", "01188217000", *call[2:], status=1)


@pytest.mark.parametrize(
    ("reason", "way"),
    [
        (Reason.BLOCKED, "'block remove ID' lifts it: fraudguard check --trunk carrier --account 204"),
        (Reason.NO_RATE, "complete the price list"),
        (Reason.BAD_NUMBER, "it is no number"),
        (Reason.UNDECIDED, "a defect of fraudguard"),
        (Reason.PIN_REGION, "fraudguard pin list"),
    ],
)
def test_what_a_grant_cannot_lift_is_refused_with_the_way_out(fraudguard, reason, way):
    refuse(fraudguard, reason)
    error = fraudguard("grant", "add", "--from-alert", 1, status=2).err
    assert f"--from-alert: alert 1 is {reason}: a grant helps against the limit and a missing PIN only" in error
    assert way in error
    assert fraudguard("grant", "list", "--json").json == []


def test_an_alert_without_account_or_of_a_short_code_is_refused_with_the_way_out(fraudguard):
    refuse(fraudguard, account="")
    error = fraudguard("grant", "add", "--from-alert", 1, status=2).err
    assert "fraudguard grant add +88216000 --tenant default --max-price 4.00" in error
    refuse(fraudguard, dialled=number("411", Kind.SERVICE))
    error = fraudguard("grant", "add", "--from-alert", 2, status=2).err
    assert "fraudguard limit set 4.00 --tenant default --account 204" in error
    store(fraudguard, lambda c: raise_alerts(c, [NewAlert("login_failures", NOW, "x", account="204")]))
    assert "see what docs/reference/alerts.md says" in fraudguard("grant", "add", "--from-alert", 3, status=2).err


@pytest.mark.parametrize("reason", [Reason.PIN_FORWARDED, Reason.PIN_REQUIRED])
def test_a_grant_gets_over_a_pin_that_nobody_could_key(fraudguard, reason):
    call = ("check", "011442079460000", "--trunk", "carrier", "--account", "204")
    fraudguard(*call, status=1)
    refuse(fraudguard, reason, dialled=number("442079460000", Kind.INTERNATIONAL), price=rate(20_000))
    assert "would be no help" in fraudguard("grant", "add", "--from-alert", 1, "--ask-pin", status=2).err
    fraudguard("grant", "add", "--from-alert", 1)
    (grant,) = fraudguard("grant", "list", "--json").json
    assert (grant["prefix"], grant["account"], grant["max_price"]) == ("442079460000", "204", "0.02")
    fraudguard(*call)


def test_a_grant_above_the_limit_may_ask_for_the_pin(fraudguard):
    refuse(fraudguard)
    fraudguard("grant", "add", "--from-alert", 1, "--ask-pin")
    assert fraudguard("grant", "list", "--json").json[0]["asks_pin"] is True


def test_a_tenant_that_is_gone_gets_no_grant(fraudguard):
    refuse(fraudguard, tenant="gone")
    assert "unknown tenant 'gone'" in fraudguard("grant", "add", "--from-alert", 1, status=2).err


@pytest.mark.parametrize("more", [["+53"], ["--tenant", "default"], ["--account", "205"], ["--max-price", "9"]])
def test_what_the_alert_says_is_not_said_again(fraudguard, more):
    refuse(fraudguard)
    assert "the alert says whom" in fraudguard("grant", "add", "--from-alert", 1, *more, status=2).err


def test_there_has_to_be_such_an_alert(fraudguard):
    assert "there is no alert 7" in fraudguard("grant", "add", "--from-alert", 7, status=2).err
