"""PINs as an operator meets them. What a PIN is stands in one place only: where it is shown, once."""

import asyncio
import csv
import io
import json
import os
import pty
import re
import stat
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from policy_cases import attempt, facts, rate

from fraudguard.pins.guessing import Failure
from fraudguard.policy import Outcome, Reason, Verdict
from fraudguard.policy.pin import Keyed
from fraudguard.store import open_writer
from fraudguard.store.guesses import note_failure
from fraudguard.store.pins import list_pins
from fraudguard.store.verdicts import attempt_row, store_batch

SHOWN = re.compile(r"^PIN: ([0-9]+)$", re.MULTILINE)


def shown(result):
    """Return the digits that a command showed."""
    (digits,) = SHOWN.findall(result.out)
    return digits


def write(fraudguard, edit):
    """Do to the database what the service would."""

    async def work():
        async with await open_writer(fraudguard.config.parent / "fraudguard.db") as writer:
            return await edit(writer)

    return asyncio.run(work())


def fail(fraudguard, times, *, account="204", source="198.51.100.7", tenant="default"):
    """Key so many wrong PINs."""
    now = time.time_ns() // 1_000_000

    async def edit(writer):
        for index in range(times):
            await note_failure(writer, Failure(now - times + index, tenant, account, source))

    write(fraudguard, edit)


def call(fraudguard, name, *, reason=Reason.OK, tenant="default"):
    """Place a call for which the PIN of `name` was keyed."""
    now = time.time_ns() // 1_000_000

    async def edit(writer):
        (pin,) = [pin for pin in await writer.transaction(list_pins) if pin.name == name and not pin.duress]
        known = replace(
            facts(price=rate(600_000)),
            attempt=attempt(tenant=tenant, at=now),
            asks=True,
            keyed=Keyed(now, pin, tries=1),
        )
        outcome = Outcome.ALLOW if reason is Reason.OK else Outcome.NOWHERE
        verdict = Verdict("c0ffee", outcome, reason, known, 58 if outcome is Outcome.ALLOW else None)
        await writer.transaction(lambda connection: store_batch([attempt_row(verdict)], connection))

    write(fraudguard, edit)


@pytest.fixture
def fraudguard(tenants):
    return tenants


@pytest.fixture
def line(monkeypatch):
    """Let the command find a line on its standard input."""

    def give(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return give


# Adding


def test_a_pin_is_made_up_and_shown_once(fraudguard):
    added = fraudguard("pin", "add", "Ann Smith", "--region", "gb", "--prefix", "+33", "--max-price", "0.10")
    digits = shown(added)
    assert len(digits) == 6
    assert added.out == (
        f"pin 1: Ann Smith of tenant default: to GB, +33; up to 0.10 USD a minute and per call\nPIN: {digits}\n"
    )
    assert "shown this once" in added.err
    assert "pin rotate" in added.err
    (document,) = fraudguard("pin", "list", "--json").json
    assert (document["name"], document["regions"], document["prefixes"]) == ("Ann Smith", ["GB"], ["33"])


def test_a_pin_without_terms_says_so(fraudguard):
    assert "pin 1: Ann of tenant default: no restriction\n" in fraudguard("pin", "add", "Ann").out


def test_every_term_is_kept_and_told(fraudguard):
    fraudguard(
        *("pin", "add", "Ann", "--tenant", "acme", "--region", "GB", "--region", "FR", "--prefix", "8821"),
        *("--account", "204", "--account", "205", "--max-price", "0.5", "--per-day", "5"),
        *("--from", "2026-01-01", "--until", "2090-01-01T00:00:00+01:00", "--hours", "fri-mon 22:00-06:00"),
    )
    (document,) = fraudguard("pin", "list", "--json").json
    assert {key: document[key] for key in list(document)[1:14]} == {
        "tenant": "acme",
        "name": "Ann",
        "kind": "digits",
        "duress": False,
        "regions": ["FR", "GB"],
        "prefixes": ["8821"],
        "max_price": "0.50",
        "per_day": "5.00",
        "from": "2026-01-01T00:00:00+00:00",
        "until": "2089-12-31T23:00:00+00:00",
        "expired": False,
        "hours": "mon,fri-sun 22:00-06:00",
        "accounts": ["204", "205"],
    }
    told = fraudguard("pin", "show", "Ann", "--tenant", "acme").out
    for words in (
        "to FR, GB, +8821",
        "up to 0.50 USD a minute and per call",
        "at most 5.00 USD a day",
        "from 2026-01-01T00:00:00+00:00",
        "until 2089-12-31T23:00:00+00:00",
        "mon,fri-sun 22:00-06:00 (Europe/Berlin)",
        "at account 204, 205",
    ):
        assert words in told


def test_hours_that_are_always_are_no_restriction(fraudguard):
    assert "no restriction" in fraudguard("pin", "add", "Ann", "--hours", "mon-sun").out


def test_digits_can_be_more(fraudguard):
    assert len(shown(fraudguard("pin", "add", "Ann", "--digits", 12))) == 12


def test_too_few_digits_for_so_many_are_told_with_the_chance(fraudguard):
    result = fraudguard("pin", "add", "Ann", "--digits", 4)
    assert len(shown(result)) == 4
    assert re.search(
        r"warning: 4 digits are few for 1 PIN in tenant default: who guesses all day hits one with a chance of"
        r" 1 in \d\d\d?; with 6 digits it is below 1 in 1,000",
        result.err,
    )
    assert "warning" not in fraudguard("pin", "add", "Bob").err


def test_more_pins_get_more_digits(fraudguard, tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("name\n" + "".join(f"person {index}\n" for index in range(20)))
    made = list(csv.DictReader(io.StringIO(fraudguard("pin", "import", people).out)))
    assert {len(row["pin"]) for row in made} == {7}
    assert len({row["pin"] for row in made}) == 20


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["add", ""], "NAME: '' is no name for a PIN"),
        (["add", "a" * 81], "is no name for a PIN"),
        (["add", " Ann"], "' Ann' is no name for a PIN"),
        (["add", "A\x1b[2J"], r"'A\\x1b[2J' is no name for a PIN"),
        (["add", "Ann", "--tenant", "acmee"], "--tenant: unknown tenant 'acmee'"),
        (["add", "Ann", "--region", "UK"], "--region: 'UK' is no region"),
        (["add", "Ann", "--prefix", "0044"], "--prefix: '0044' is not an E.164 prefix"),
        (["add", "Ann", "--prefix", ""], "--prefix: an empty prefix"),
        (["add", "Ann", "--account", ""], "--account: '' is no account"),
        (["add", "Ann", "--max-price", "dear"], "--max-price: 'dear' is not an amount"),
        (["add", "Ann", "--per-day", "-1"], "--per-day: '-1' is negative"),
        (["add", "Ann", "--until", "2020-01-01"], "--until: '2020-01-01' is in the past"),
        (["add", "Ann", "--until", "soon"], "--until: 'soon' is not a time"),
        (["add", "Ann", "--from", "2091-01-01", "--until", "2090-01-01"], "--until: it ends before it begins"),
        (["add", "Ann", "--hours", "mon-fry"], "--hours: 'mon-fry' are no weekdays"),
        (["add", "Ann", "--digits", "3"], "how many digits: 4 to 12"),
        (["add", "Ann", "--digits", "6", "--choose"], "--digits: digits of one's own are as many as they are"),
        (["add", "Ann", "--totp"], "--totp: a code is six digits"),
        (
            ["add", "Ann", "--totp", "--account", "204", "--digits", "8"],
            "the digits of an authenticator app are its own",
        ),
        (["add", "Ann", "--duress"], "NAME: tenant default has no PIN of 'Ann'"),
        (["add", "Bob"], "NAME: 'Bob' has a PIN already"),
        (["add", "Bob", "--duress", "--region", "GB"], "--duress: a duress PIN has the terms of the person's own PIN"),
        (["add", "Bob", "--duress", "--totp"], "--duress: a duress PIN is digits that one has in mind"),
        (["add", "Bob", *(f"--account={index}" for index in range(251))], "--account: 251 of them"),
        (["show", "Ann"], "NAME: tenant default has no PIN of 'Ann'"),
        (["show", "Bob", "--tenant", "acme"], "NAME: tenant acme has no PIN of 'Bob'"),
        (["show", "Bob", "--tenant", "acmee"], "--tenant: unknown tenant 'acmee'"),
        (["list", "--tenant", "acmee"], "--tenant: unknown tenant 'acmee'"),
        (["rotate", "Ann"], "NAME: tenant default has no PIN of 'Ann'"),
        (["rotate", "Bob", "--duress"], "NAME: tenant default has no duress PIN of 'Bob'"),
        (["revoke", "Ann"], "tenant default has no PIN of the name Ann"),
        (["unlock"], "--account, --tenant or --source: what is to be unlocked?"),
        (["unlock", "--source", "pbx"], "--source: 'pbx' is not an address"),
        (["unlock", "--account", ""], "--account: '' is no account"),
        (["history", "Ann", "--tenant", "acmee"], "--tenant: unknown tenant 'acmee'"),
    ],
)
def test_wrong_input_is_named_with_a_way_out(fraudguard, arguments, what):
    fraudguard("pin", "add", "Bob")
    before = fraudguard("pin", "list", "--json").out
    result = fraudguard("pin", *arguments, status=2)
    assert what in result.err
    assert "(" in result.err, "the way out"
    assert result.out == ""
    assert fraudguard("pin", "list", "--json").out == before


def test_a_pin_given_as_an_argument_is_not_shown_again(fraudguard):
    result = fraudguard("pin", "add", "Ann", "--digits", "482713", status=2)
    assert "never given as an argument" in result.err
    assert "482713" not in result.err


# One's own digits


def test_a_person_chooses_through_a_pipe(fraudguard, line):
    line("482713\n")
    added = fraudguard("pin", "add", "Ann", "--choose")
    assert "482713" not in added.out + added.err
    line("482713\n")
    again = fraudguard("pin", "add", "Bob", "--choose", status=2)
    assert "--choose: somebody has a PIN of these digits (choose others)" in again.err
    line("482713")
    fraudguard("pin", "add", "Bob", "--choose", "--tenant", "acme")  # another tenant, other PINs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a PIN has 4 to 12 digits, and nothing else"),
        ("12 34 56\n", "a PIN has 4 to 12 digits, and nothing else"),
        ("3" * 500, "a PIN has 4 to 12 digits, and nothing else"),
        ("777777\n", "its digits are all the same"),
        ("456789\n", "its digits count up or down"),
        ("1987\n", "it is a year"),
        ("2041\n", "it is the account's own number, or that backwards"),
    ],
)
def test_weak_digits_are_refused_with_the_reason(fraudguard, line, text, why):
    line(text)
    refused = fraudguard("pin", "add", "Ann", "--account", "2041", "--choose", status=2)
    assert f"--choose: the PIN is refused: {why}" in refused.err
    assert fraudguard("pin", "list").out == "no PINs: 'fraudguard pin add NAME' makes one\n"


def test_few_digits_of_ones_own_are_told(fraudguard, line):
    line("4827\n")
    result = fraudguard("pin", "add", "Ann", "--choose")
    assert "warning: 4 digits are few" in result.err
    assert "4827" not in result.err


def test_a_person_chooses_at_a_terminal_unseen_and_twice(fraudguard):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from fraudguard.cli import main; main()", "--config", str(fraudguard.config)]
    process = subprocess.Popen(
        [*command, "pin", "add", "Ann", "--choose"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = ""
    try:
        for question in ("PIN: ", "PIN again: "):
            while not seen.endswith(question):
                seen += os.read(ours, 1024).decode()
            os.write(ours, b"482713\n")
        assert process.wait(20) == 0
        seen += os.read(ours, 4096).decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "pin 1: Ann of tenant default" in seen
    assert "482713" not in seen


# Authenticator apps


def test_an_app_is_told_its_key_by_a_qr_code_and_as_text(fraudguard):
    added = fraudguard("pin", "add", "Bob", "--totp", "--account", "204")
    assert added.out.startswith("pin 1: Bob of tenant default: at account 204\n")
    assert len([row for row in added.out.splitlines() if set(row) <= set(" ▀▄█") and len(row) > 30]) > 15
    assert re.search(r"^key: [A-Z2-7]{32}$", added.out, re.MULTILINE)
    assert "authenticator app" in added.err
    assert not SHOWN.findall(added.out)
    rotated = fraudguard("pin", "rotate", "Bob")
    (before,), (after,) = (re.findall(r"^key: (.+)$", result.out, re.MULTILINE) for result in (added, rotated))
    assert before != after
    for text in (before, after):
        for command in ("list --json", "show Bob", "show Bob --json", "history", "export"):
            assert text not in fraudguard("pin", *command.split()).out


def test_too_many_apps_at_one_account_are_told(fraudguard, tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("name,kind,accounts\n" + "".join(f"person {index},totp,204\n" for index in range(8)))
    fraudguard("pin", "import", people)
    assert "warning" not in fraudguard("pin", "add", "Ann", "--totp", "--account", "205").err
    told = fraudguard("pin", "add", "Bob", "--totp", "--account", "204").err
    assert "warning: the codes of 9 apps are good at account 204" in told


# Duress


def test_a_duress_pin_has_the_terms_of_the_persons_own(fraudguard):
    own = shown(fraudguard("pin", "add", "Ann", "--region", "GB", "--per-day", "5"))
    added = fraudguard("pin", "add", "Ann", "--duress")
    assert added.out.startswith("pin 2: Ann (duress) of tenant default: to GB; at most 5.00 USD a day\n")
    assert shown(added) != own
    first, second = fraudguard("pin", "list", "--json").json
    assert (first["duress"], second["duress"]) == (False, True)
    assert "Ann (duress)" in fraudguard("pin", "list").out
    assert fraudguard("pin", "show", "Ann", "--json").json["has_duress"]
    assert "has a duress PIN already" in fraudguard("pin", "add", "Ann", "--duress", status=2).err
    assert fraudguard("pin", "rotate", "Ann", "--duress").out.startswith("pin 3: Ann (duress) of tenant default")
    assert fraudguard("pin", "revoke", "Ann").out == "PIN and duress PIN of Ann (tenant default) revoked\n"
    assert fraudguard("pin", "list", "--json").json == []


def test_who_has_an_app_may_have_duress_digits(fraudguard):
    fraudguard("pin", "add", "Bob", "--totp", "--account", "204")
    assert shown(fraudguard("pin", "add", "Bob", "--duress"))


# Rotating and revoking


def test_a_rotated_pin_has_other_digits_and_the_same_terms(fraudguard, line):
    old = shown(fraudguard("pin", "add", "Ann", "--region", "GB"))
    new = shown(fraudguard("pin", "rotate", "Ann"))
    assert old != new
    assert len(shown(fraudguard("pin", "rotate", "Ann", "--digits", 9))) == 9
    line("482713")
    assert fraudguard("pin", "rotate", "Ann", "--choose").out == "pin 4: Ann of tenant default: to GB\n"
    line("482713")
    assert "somebody has a PIN of these digits" in fraudguard("pin", "rotate", "Ann", "--choose", status=2).err
    (document,) = fraudguard("pin", "list", "--json").json
    assert (document["id"], document["regions"], document["revoked_at"]) == (4, ["GB"], None)
    entries = fraudguard("pin", "list", "--revoked", "--json").json
    assert [entry["id"] for entry in entries if entry["revoked_at"]] == [1, 2, 3]
    assert f"by {entries[0]['revoked_by']}" in fraudguard("pin", "list", "--revoked").out


def test_an_app_has_no_digits_to_choose(fraudguard):
    fraudguard("pin", "add", "Bob", "--totp", "--account", "204")
    told = fraudguard("pin", "rotate", "Bob", "--choose", status=2).err
    assert "--digits/--choose: the digits of an authenticator app are its own" in told


def test_a_revoked_name_is_free_again(fraudguard):
    fraudguard("pin", "add", "Ann")
    assert fraudguard("pin", "revoke", "Ann").out == "PIN of Ann (tenant default) revoked\n"
    assert fraudguard("pin", "add", "Ann").out.startswith("pin 2: Ann")


def test_pins_of_a_tenant_that_is_gone_can_be_seen_and_revoked(fraudguard):
    fraudguard("pin", "add", "Ann", "--tenant", "globex")
    fraudguard.config.write_text(fraudguard.config.read_text().replace("[tenants.globex]", ""))
    assert "Ann" in fraudguard("pin", "list", "--tenant", "globex").out
    assert "Ann" in fraudguard("pin", "show", "Ann", "--tenant", "globex").out
    fraudguard("pin", "revoke", "Ann", "--tenant", "globex")
    assert "unknown tenant" in fraudguard("pin", "add", "Ann", "--tenant", "globex", status=2).err


def test_the_same_name_in_two_ways_of_writing_is_one_person(fraudguard):
    fraudguard("pin", "add", "Zo\u0065\u0308")
    assert "has a PIN already" in fraudguard("pin", "add", "Zo\u00eb", status=2).err


# Showing


def test_use_and_spending_are_shown(fraudguard):
    fraudguard("pin", "add", "Ann", "--tenant", "acme", "--per-day", "5")
    assert fraudguard("pin", "show", "Ann", "--tenant", "acme", "--json").json["last_used_at"] is None
    call(fraudguard, "Ann", tenant="acme")
    call(fraudguard, "Ann", tenant="acme", reason=Reason.PIN_MONEY)
    fraudguard("pin", "rotate", "Ann", "--tenant", "acme")
    document = fraudguard("pin", "show", "Ann", "--tenant", "acme", "--json").json
    assert (document["attempts"], document["calls"], document["spent_today"]) == (2, 1, "0.60")
    assert document["last_used_at"] is not None
    told = fraudguard("pin", "show", "Ann", "--tenant", "acme").out
    assert "1 of 2 attempts" in told
    assert "0.60 USD" in told


def test_attempts_of_a_pin_are_found_by_its_name(fraudguard):
    fraudguard("pin", "add", "Ann", "--tenant", "acme")
    fraudguard("pin", "add", "Bob", "--tenant", "acme")
    call(fraudguard, "Ann", tenant="acme")
    call(fraudguard, "Bob", tenant="acme", reason=Reason.PIN_TIME)
    (document,) = fraudguard("attempts", "--pin", "Ann", "--json").json
    assert document["pin"] == "Ann"
    assert "Bob" in fraudguard("attempts").out
    assert "Bob" not in fraudguard("attempts", "--pin", "Ann").out
    (refused,) = fraudguard("attempts", "--pin", "Bob", "--by", "account", "--json").json
    assert refused["reason"] == "pin_time"
    assert fraudguard("attempts", "--pin", "Bob", "--tenant", "globex").out == "no attempts\n"
    assert "--pin: '' is no name for a PIN" in fraudguard("attempts", "--pin", "", status=2).err


def test_the_history_tells_who_did_what(fraudguard):
    fraudguard("pin", "add", "Ann")
    fraudguard("pin", "add", "Ann B (3)")
    fraudguard("pin", "add", "Ann", "--tenant", "acme")
    fraudguard("pin", "rotate", "Ann")
    fraudguard("pin", "revoke", "Ann")
    fraudguard("pin", "unlock", "--account", "204")
    everything = fraudguard("pin", "history", "--json").json
    assert len(everything) == 6
    assert all(entry["author"] for entry in everything)
    ann = [entry["what"] for entry in fraudguard("pin", "history", "Ann", "--json").json]
    assert [what.split()[2] for what in ann] == ["revoked", "rotated", "added"]
    assert len(fraudguard("pin", "history", "Ann", "--limit", 1, "--json").json) == 1
    assert len(fraudguard("pin", "history", "--tenant", "acme", "--json").json) == 1
    assert len(fraudguard("pin", "history", "Ann", "--tenant", "acme", "--json").json) == 1
    assert fraudguard("pin", "history", "Nobody").out == "nothing was done yet\n"
    assert "unlocked account 204" in fraudguard("pin", "history").out


def test_digits_stand_nowhere_but_where_they_are_shown(fraudguard, tmp_path, line):
    people = tmp_path / "people.csv"
    people.write_text("name\nCarl\n")
    secrets = [
        shown(fraudguard("pin", "add", "Ann", "--digits", 12)),
        shown(fraudguard("pin", "add", "Ann", "--duress", "--digits", 12)),
        shown(fraudguard("pin", "rotate", "Ann", "--digits", 12)),
        fraudguard("pin", "import", people, "--digits", 12).out.splitlines()[1].split(",")[1],
        "482713905516",
    ]
    line(secrets[-1])
    fraudguard("pin", "add", "Bob", "--choose")
    outputs = [fraudguard("pin", *words.split()).out for words in _READING]
    outputs += [file.read_bytes().decode("latin-1") for file in fraudguard.config.parent.iterdir() if file.is_file()]
    for secret in secrets:
        assert not any(secret in output for output in outputs)


_READING = (
    "list",
    "list --revoked --json",
    "show Ann",
    "show Ann --json",
    "history",
    "history --json",
    "export",
    "locks",
)


# Locks


def test_what_is_locked_is_shown_and_unlocked(fraudguard):
    assert fraudguard("pin", "locks").out == "nothing is locked\n"
    assert "it was not locked" in fraudguard("pin", "unlock", "--account", "204").out
    fraudguard("pin", "add", "Ann", "--account", "204")
    fail(fraudguard, 6)
    (document,) = fraudguard("pin", "locks", "--json").json
    assert (document["scope"], document["tenant"], document["account"]) == ("account", "default", "204")
    assert (document["source"], document["failures"]) == (None, 6)
    assert "204" in fraudguard("pin", "locks").out
    assert "locked:" in fraudguard("pin", "show", "Ann").out
    assert fraudguard("pin", "show", "Ann", "--json").json["locks"] == [document]
    assert fraudguard("pin", "unlock", "--account", "204").out == "unlocked: account 204 of tenant default\n"
    assert fraudguard("pin", "locks", "--json").json == []


def test_locks_that_are_not_the_persons_are_not_shown_with_it(fraudguard):
    fraudguard("pin", "add", "Ann", "--account", "205")
    fail(fraudguard, 6)
    fail(fraudguard, 6, tenant="acme", account="205", source="")
    assert fraudguard("pin", "show", "Ann", "--json").json["locks"] == []


def test_an_account_is_unlocked_and_what_else_is_locked_is_told(fraudguard):
    fail(fraudguard, 51)
    scopes = [entry["scope"] for entry in fraudguard("pin", "locks", "--json").json]
    assert scopes == ["account", "source", "tenant"]
    result = fraudguard("pin", "unlock", "--account", "204")
    assert result.out == "unlocked: account 204 of tenant default\n"
    assert "still locked: tenant default, after 51 wrong PINs, until " in result.err
    result = fraudguard("pin", "unlock", "--tenant", "default", "--source", "198.51.100.7")
    assert result.out == "unlocked: source 198.51.100.7\nunlocked: tenant default\n"
    assert fraudguard("pin", "locks").out == "nothing is locked\n"


def test_an_address_is_unlocked_however_it_is_written(fraudguard):
    fail(fraudguard, 21)
    assert "source 198.51.100.7\n" in fraudguard("pin", "unlock", "--source", "::ffff:198.51.100.7").out


def test_a_tenant_is_unlocked_with_its_accounts_and_no_other(fraudguard):
    fail(fraudguard, 6)
    fail(fraudguard, 6, tenant="acme", account="", source="")
    assert fraudguard("pin", "unlock", "--tenant", "acme").out == "unlocked: account (none) of tenant acme\n"
    (left,) = fraudguard("pin", "locks", "--json").json
    assert left["tenant"] == "default"


# The pepper


def test_the_pepper_is_its_owners_alone_and_made_where_there_is_none(fraudguard):
    pepper = fraudguard.config.parent / "pin.pepper"
    pepper.unlink()
    fraudguard("pin", "add", "Ann")
    assert stat.S_IMODE(pepper.stat().st_mode) == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", pepper.read_text())


@pytest.mark.parametrize("command", [["add", "Bob"], ["rotate", "Ann"], ["add", "Bob", "--tenant", "acme"]])
def test_a_lost_pepper_is_told_with_the_way_out(fraudguard, command):
    pepper = fraudguard.config.parent / "pin.pepper"
    fraudguard("pin", "add", "Ann")
    pepper.unlink()
    told = fraudguard("pin", *command, status=2).err
    assert (
        "pin.pepper: is not there, and the stored PINs are worth nothing without it (restore it from the backup" in told
    )
    assert not pepper.exists()
    pepper.write_text("00" * 32)
    told = fraudguard("pin", *command, status=2).err
    assert "pin.pepper: is not what the stored PINs were sealed with (restore it from the backup" in told
    pepper.write_text("nonsense")
    assert "pin.pepper: the pepper is not 64 hexadecimal digits" in fraudguard("pin", *command, status=2).err


def test_the_way_out_of_a_lost_pepper_leads_out(fraudguard, tmp_path):
    pepper, people = fraudguard.config.parent / "pin.pepper", tmp_path / "people.csv"
    fraudguard("pin", "add", "Ann", "--region", "GB")
    pepper.unlink()
    fraudguard("pin", "export", people)
    fraudguard("pin", "revoke", "Ann")
    assert fraudguard("pin", "import", people).out.startswith("name,pin,tenant,duress\nAnn,")
    assert fraudguard("pin", "list", "--json").json[0]["regions"] == ["GB"]


def test_a_tenant_that_asks_for_none_is_told(fraudguard):
    fraudguard.config.write_text(fraudguard.config.read_text() + "\n[tenants.globex.pin]\nask = []\n")
    assert "no call of tenant globex wants a PIN" in fraudguard("pin", "add", "Ann", "--tenant", "globex").err


def test_json_of_nothing_is_an_empty_list(fraudguard):
    for words in ("list", "locks", "history"):
        assert json.loads(fraudguard("pin", words, "--json").out) == []
