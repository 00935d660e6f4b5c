"""PINs on a real Asterisk: keyed by SIPp, asked for by the real service; who keys none goes nowhere."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from asterisk_harness.keypad import By, Keypad, press
from asterisk_harness.prompts import Prompts
from asterisk_harness.service import Service
from asterisk_harness.sipp import Call
from asterisk_harness.waiting import wait_until

from fraudguard.dialplan.render import render
from fraudguard.pins.guessing import FREE, Scope

DOMESTIC = "912025550123"  # nobody is asked
BRITAIN = "901144207946"  # and four digits; 0.02 a minute
WRONG = "830511794"  # longer than any PIN here
LONG_WRONG = "715038264937"  # no other digits are like it by chance

ASK, AGAIN, REFUSED = "beep", "beeperr", "goodbye"  # less than a second each
SETTINGS = f"""
[pin]
prompts = {{ ask = "{ASK}", again = "{AGAIN}", refused = "{REFUSED}" }}

[tenants.acme.pin]
remember_minutes = 10

[tenants.spoken.pin]
prompts = {{}} # Asterisk's own

[tenants.answered.pin]
answer = "answered"

[tenants.hasty.pin]
timeout_seconds = 1

[tenants.patient.pin]
timeout_seconds = 60
"""

IN_THREE_DAYS = f"{datetime.now(UTC) + timedelta(days=3):%a}".lower()
PEOPLE = f"""
tenant,name,duress,kind,regions,max_price,per_day,hours,accounts
,Ann,,,,,,,
,Ann,yes,,,,,,
,Cheap,,,,0.01,,,
,Paris,,,FR,,,,
,Later,,,,,,{IN_THREE_DAYS},
,Elsewhere,,,,,,,204
,Spender,,,,,0.06,,
,App,,totp,,,,,rita
acme,Bob,,,,,,,
spoken,Sam,,,,,,,
answered,Olga,,,,,,,
patient,Pat,,,,,,,
hasty,Hugo,,,,,,,
""".lstrip()


@pytest.fixture(scope="module")
def prepared(running_site, tmp_path_factory):
    """A folder with configuration, database, prices and PINs, and the PINs (of authenticators their keys)."""
    folder = tmp_path_factory.mktemp("pins")
    service = Service(folder, running_site.guard_port)
    service.prepare()
    service.configure("\n[pin]\nask = []\n", SETTINGS)
    (folder / "people.csv").write_text(PEOPLE)
    service.cli("pin", "import", "people.csv", "--output", "pins.csv")
    with (folder / "pins.csv").open() as made:
        pins = {f"{row['name']}{' forced' * (row['duress'] == 'yes')}": row["pin"] for row in csv.DictReader(made)}
    (folder / "pins.csv").unlink()
    return folder, pins


@pytest.fixture(scope="module")
def pins(prepared):
    return prepared[1]


@pytest.fixture(scope="class")
def in_memory(tmp_path_factory):
    """A folder that no disk is behind, where there can be one: a sync that takes 10 s is the end of every dialogue."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory)) if os.access(memory, os.W_OK) else tmp_path_factory.mktemp("own")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="class")
def service(request, running_site, prepared, in_memory):
    """One service for the tests of a class, with the configuration that the class changes by CHANGES."""
    folder = shutil.copytree(prepared[0], in_memory / "service")
    service = Service(folder, running_site.guard_port)
    for old, new in request.cls.CHANGES:
        service.configure(old, new.replace("{port}", str(running_site.ami_port)))
    (folder / "ami.secret").touch(0o600)
    service.secret(running_site.ami_secret)
    running_site.asterisk.load_dialplan(render(running_site.settings()))
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="class")
def prompts(running_site):
    with Prompts(running_site.asterisk) as prompts:
        yield prompts


@dataclass(frozen=True)
class Story:
    """What a caller keys, `keys` at each prompt in turn, and what comes of it. A name in braces stands for that
    person's PIN; with an exclamation mark at the end the caller hangs up then.
    """

    phone: str
    keys: tuple[str, ...]
    reason: str
    tries: int
    pin: str | None = None
    sounds: tuple[str, ...] = (ASK,)
    by: By = "rfc4733"
    status: int = 503


@dataclass(frozen=True)
class Told:
    """How a story went."""

    call: Call
    sounds: list[str]
    reached: bool


def e164(dialled: str) -> str:
    """What an American office and a British one call abroad by."""
    return "+" + dialled.removeprefix("9011" if dialled.startswith("9") else "00")


class Stage:
    """Plays stories, each with a number of its own, several at once."""

    def __init__(self, site, prompts: Prompts, pins: dict[str, str]) -> None:
        self.site = site
        self.prompts = prompts
        self.pins = pins

    def play(self, dialled: str, phone: str, *keys: str, by: By = "rfc4733") -> Told:
        """Dial, key something at each prompt until that is decided, and when the carrier has answered hang up."""
        mark = self.site.carrier.mark()
        assert self.prompts.played(dialled) == [], "each call has a number of its own"
        with self.site.phones.keypad(dialled, phone=phone) as keypad:
            self.key(keypad, *keys, by=by)
            wait_until(lambda: self.decided(keypad), f"{dialled} was decided", 40)
            if not keypad.over:
                keypad.wait_answered()
                wait_until(lambda: e164(dialled) in self.site.carrier.dialled_since(mark), "the carrier was reached")
                keypad.hang_up()
            call = keypad.call()
        return Told(call, self.prompts.played(dialled), e164(dialled) in self.site.carrier.dialled_since(mark))

    def decided(self, keypad: Keypad) -> bool:
        return self.prompts.called(e164(keypad.dialled)) or keypad.over

    def key(self, keypad: Keypad, *keys: str, by: By = "rfc4733") -> None:
        for count, digits in enumerate(keys, start=1):
            if not self.asked(keypad, count):
                return
            keypad.wait_to_hear()  # Asterisk plays a moment before the phone knows its side of the dialogue
            if digits != "!":
                keypad.press(digits.rstrip("!").format(**self.pins), by=by)
            if digits.endswith("!"):
                keypad.hang_up()

    def asked(self, keypad: Keypad, count: int) -> bool:
        """Wait for a prompt; False when it was decided without."""

        def prompted() -> bool:
            return len(self.prompts.played(keypad.dialled)) >= count

        wait_until(lambda: prompted() or self.decided(keypad), f"{keypad.dialled} was asked or decided", 20)
        return prompted()


@pytest.fixture(scope="class")
def stage(running_site, prompts, pins):
    return Stage(running_site, prompts, pins)


def attempt(service: Service, dialled: str) -> dict[str, Any]:
    """Wait for the one attempt at a number."""
    (found,) = wait_until(lambda: attempts(service, dialled), f"the attempt at {dialled} was recorded")
    return found


def attempts(service: Service, dialled: str) -> list[dict[str, Any]]:
    return [one for one in service.read("attempts", "--limit", "1000") if one["dialled"] == dialled]


def alerts(service: Service, kind: str) -> list[dict[str, Any]]:
    return [alert for alert in service.read("alerts", "list") if alert["kind"] == kind]


def edit(service: Service, *arguments: str) -> str:
    """Run a command that edits, and return when the service has obeyed it, which takes a second at most."""
    obeyed = service.log.count('"snapshot"')
    printed = service.cli(*arguments)
    wait_until(lambda: service.log.count('"snapshot"') > obeyed, f"{arguments} was obeyed", 3)
    return printed


STORIES = {
    "a right PIN": Story("alice", ("{Ann}#",), "ok", 1, "Ann", status=200),
    "by SIP INFO": Story("ida", ("{Ann}#",), "ok", 1, "Ann", by="info", status=200),
    "after an answer": Story("olga", ("{Olga}#",), "ok", 1, "Olga", status=200),
    "a wrong PIN after an answer": Story("olga", (WRONG + "#", "!"), "pin_wrong", 1, None, (ASK, AGAIN), status=200),
    "three wrong ones": Story(
        "carol", (WRONG + "#",) * 3, "pin_wrong", 3, None, (ASK, AGAIN, AGAIN, REFUSED), by="info"
    ),
    "three wrong ones, Asterisk's own words": Story(
        *("sam", (WRONG + "#", WRONG + "#", WRONG + "#"), "pin_wrong", 3, None),
        ("agent-pass", "auth-incorrect", "auth-incorrect", "cannot-complete-as-dialed"),
    ),
    "a wrong one, then the right one": Story(
        "quinn", (WRONG + "#", "{Ann}#"), "ok", 2, "Ann", (ASK, AGAIN), status=200
    ),
    "nothing": Story("hugo", (), "pin_timeout", 0, None, (ASK, ASK, ASK, REFUSED)),
    "a hangup at the prompt": Story("oscar", ("!",), "pin_hangup", 0, None, status=487),
    "a hangup after a wrong one": Story("oscar", (WRONG + "#", "!"), "pin_wrong", 1, None, (ASK, AGAIN), status=487),
    "a hangup amid the keys": Story("nina", ("12!",), "pin_hangup", 0, None, status=487),
    "nothing but the hash": Story("paul", ("#", "{Ann}#"), "ok", 1, "Ann", (ASK, ASK), status=200),
    "a hash too early": Story("paul", ("12#", "{Ann}#"), "ok", 2, "Ann", (ASK, AGAIN), status=200),
    "no hash": Story("paul", ("{Ann}",), "ok", 1, "Ann", status=200),
    "too dear": Story("alice", ("{Cheap}#",), "pin_price", 1, "Cheap", (ASK, REFUSED)),
    "out of its region": Story("alice", ("{Paris}#",), "pin_region", 1, "Paris", (ASK, REFUSED)),
    "out of hours": Story("alice", ("{Later}#",), "pin_time", 1, "Later", (ASK, REFUSED)),
    "at another account": Story(
        "nina", ("{Elsewhere}#", "#", "#"), "pin_account", 1, "Elsewhere", (ASK, AGAIN, AGAIN, REFUSED)
    ),
    "another tenant's": Story("erin", ("{Bob}#", "#", "#"), "pin_wrong", 1, None, (ASK, AGAIN, AGAIN, REFUSED)),
    "under threat": Story("erin", ("{Ann forced}#",), "ok", 1, "Ann", status=200),
}
NUMBERS = {name: f"{BRITAIN}{index:04d}" for index, name in enumerate(STORIES)}
SPENDERS = [f"{BRITAIN}{index}" for index in range(1001, 1004)]
CODES = [f"{BRITAIN}{index}" for index in range(1011, 1013)]


@pytest.fixture(scope="class")
def played(service, stage, pins):
    """Play all stories at once. `result()` of one tells of it, or raises what went wrong."""
    code = pyotp.parse_uri(pins["App"]).now()
    with ThreadPoolExecutor(len(STORIES) + len(SPENDERS) + len(CODES)) as pool:
        playing = {
            NUMBERS[name]: pool.submit(stage.play, NUMBERS[name], story.phone, *story.keys, by=story.by)
            for name, story in STORIES.items()
        }
        playing |= {number: pool.submit(stage.play, number, "quinn", "{Spender}#") for number in SPENDERS}
        playing |= {number: pool.submit(stage.play, number, "rita", f"{code}#", "#", "#") for number in CODES}
    return playing


@pytest.fixture(scope="class")
def recorded(service, played):
    told = {number for number, playing in played.items() if playing.exception() is None}

    def all_of_them():
        found = {one["dialled"]: one for one in service.read("attempts", "--limit", "1000")}
        return found if found.keys() >= told else None

    return wait_until(all_of_them, "all attempts were recorded")


@pytest.fixture(scope="class")
def granted(service):
    """Numbers that begin so want no PIN."""
    edit(service, "grant", "add", "+4420794631", "--tenant", "default", "--reason", "the London office")
    return f"{BRITAIN[:-2]}4631"


PASSED_ON = ["a 302", "the caller", "the called"]


class TestAsking:
    """One service for all."""

    CHANGES = ()

    @pytest.mark.parametrize("name", STORIES)
    def test_what_comes_of_keying(self, played, recorded, name):
        story, told, record = STORIES[name], played[NUMBERS[name]].result(), recorded[NUMBERS[name]]
        assert (record["reason"], record["pin"], record["pin_tries"]) == (story.reason, story.pin, story.tries)
        assert (record["verdict"], told.reached) == (("allow", True) if story.reason == "ok" else ("nowhere", False))
        assert (told.call.status, tuple(told.sounds)) == (story.status, story.sounds)
        assert record["pin_required"]

    def test_what_was_wrong_is_counted_and_nothing_else(self, service, recorded):
        with closing(sqlite3.connect(f"file:{service.folder}/fraudguard.db?mode=ro", uri=True)) as database:
            counted = dict(database.execute("SELECT account, count(*) FROM pin_failures GROUP BY account"))
        once = dict.fromkeys(("olga", "quinn", "oscar", "paul", "nina", "erin-204", "rita"), 1)
        assert counted == {"carol": 3, "sam": 3, **once}

    def test_three_failures_of_an_account_are_told(self, service, recorded):
        told = {alert["account"]: alert for alert in alerts(service, "pin_failures")}
        assert told.keys() == {"carol", "sam"}
        alert = told["carol"]
        assert (alert["dialled"], alert["severity"]) == (NUMBERS["three wrong ones"], "warning")
        assert alert["number"].startswith("+")
        assert alert["source"].startswith("127.0.0.1")
        assert alert["details"]["failures"] == "3"

    def test_neither_silence_nor_a_single_mistake_is_an_alert(self, service, recorded):
        kinds = {alert["kind"] for alert in service.read("alerts", "list")}
        assert kinds == {"pin_failures", "pin_duress", "pin_price", "pin_region", "pin_time", "pin_money"}

    def test_a_duress_pin_is_told_at_the_highest_severity(self, service, recorded):
        (alert,) = alerts(service, "pin_duress")
        assert (alert["severity"], alert["account"]) == ("critical", "erin-204")
        assert alert["number"] == e164(NUMBERS["under threat"])

    def test_the_money_of_a_day_is_not_spent_twice_at_once(self, played, recorded):
        """0.06 pay for a lease of nearly two minutes (0.04), and for nearly a minute more."""
        leases = sorted((recorded[number]["lease_seconds"] or 0, recorded[number]["reason"]) for number in SPENDERS)
        assert leases == [(0, "pin_money"), (58, "ok"), (118, "ok")]
        assert sum(played[number].result().reached for number in SPENDERS) == 2

    def test_the_code_of_an_app_is_good_once(self, played, recorded):
        assert sorted(recorded[number]["reason"] for number in CODES) == ["ok", "pin_wrong"]
        assert sum(played[number].result().reached for number in CODES) == 1

    def test_attempts_can_be_asked_for_by_the_name(self, service, recorded):
        found = service.read("attempts", "--pin", "Cheap")
        assert [one["dialled"] for one in found] == [NUMBERS["too dear"]]

    def test_a_pin_that_is_revoked_at_the_prompt_is_wrong(self, site, service, stage):
        pin = service.cli("pin", "add", "Leaver", "--tenant", "patient").split("PIN: ")[1].split()[0]
        dialled = f"{BRITAIN}2001"
        with site.phones.keypad(dialled, phone="pat") as phone:
            stage.prompts.wait(dialled)
            edit(service, "pin", "revoke", "Leaver", "--tenant", "patient")
            phone.press(f"{pin}#")
            assert stage.prompts.wait(dialled, 2) == [ASK, AGAIN]
            phone.hang_up()
        assert attempt(service, dialled)["pin_tries"] == 1

    def test_a_region_is_remembered_for_the_device(self, service, stage):
        washington, seattle, paris = "0012025550171", "0012065550172", "0033140205050"
        first = stage.play(washington, "bob", "{Bob}#")
        assert (first.reached, first.sounds) == (True, [ASK])
        again = stage.play(seattle, "bob")
        assert (again.reached, again.sounds) == (True, [])
        elsewhere = stage.play(paris, "bob", "!")
        assert (elsewhere.reached, elsewhere.sounds) == (False, [ASK])
        record = attempt(service, seattle)
        assert (record["reason"], record["pin"], record["pin_tries"]) == ("ok", "Bob", 0)

    @pytest.mark.parametrize("by", PASSED_ON)
    def test_a_call_passed_on_abroad_goes_nowhere_unless_granted(self, site, service, granted, reached, by):
        refused, goes = f"{BRITAIN}300{PASSED_ON.index(by)}", f"{granted}0{PASSED_ON.index(by)}"
        mark = site.asterisk.mark()
        pass_on(site, refused, by, lambda: "@fraudguard-nowhere:" in "".join(site.asterisk.logged_since(mark)))
        assert reached() == []
        pass_on(site, goes, by, reached)
        assert reached() == [e164(goes)]
        why = [
            (attempt(service, dialled)["reason"], attempt(service, dialled)["pin_tries"]) for dialled in (refused, goes)
        ]
        assert why == [("pin_forwarded", None), ("ok", None)]
        assert refused in [alert["dialled"] for alert in alerts(service, "pin_forwarded")]

    def test_a_call_forwarded_at_home_goes(self, site, service, reached):
        assert pass_on(site, DOMESTIC, "a 302", reached).answered
        assert reached() == ["+12025550123"]

    def test_a_crowd_that_keys_the_right_pin_at_once_locks_nobody_out(self, site, service, stage, pins, reached):
        numbers = [f"{BRITAIN}40{index:02d}" for index in range(4 * FREE[Scope.ACCOUNT])]
        with site.phones.keypads(numbers, rate=100) as crowd:
            for number in numbers:
                stage.prompts.wait(number)
            press(crowd, f"{pins['Ann']}#")
            wait_until(lambda: len(reached()) == len(numbers), "all reached the carrier")
            for phone in crowd:
                phone.wait_answered()
                phone.hang_up()
        assert sorted(reached()) == [e164(number) for number in numbers]

    def test_200_callers_at_the_prompt_hinder_nobody(self, site, service, stage):
        numbers = [f"{BRITAIN}{index}" for index in range(5000, 5200)]
        before = threads(service)
        with site.phones.keypads(numbers, phone="pat", rate=100) as waiting:
            for number in numbers:
                stage.prompts.wait(number)
            domestic = site.phones.dial_all([f"91202555{index:04d}" for index in range(100, 160)], rate=20)
            assert threads(service) == before
            assert not any(one.over for one in waiting[::20])
            for phone in waiting:
                phone.hang_up()
            assert {phone.call().status for phone in waiting} == {487}
        assert [call.status for call in domestic] == [200] * 60
        assert max(call.ring_seconds for call in domestic) < 2
        found = [one["reason"] for one in service.read("attempts", "--tenant", "patient", "--limit", "1000")]
        assert found.count("pin_hangup") >= 200
        assert threads(service) == before


def pass_on(site, dialled: str, by: str, decided: Callable[[], object]) -> Call:
    """Call fiona, and have somebody pass that call on to a number. When that was `decided` all hang up."""
    callee, phone, number = {
        "a 302": ("called-forward", "phone-held", "201"),
        "the caller": ("called", "phone-transfer", f"201;{dialled}"),
        "the called": ("called-transfer", "phone-held", "201"),
    }[by]
    with ThreadPoolExecutor(1) as pool, site.phones.callee(site.asterisk.callee_port, callee, to=dialled):
        call = pool.submit(site.phones.dial, number, scenario=phone)
        wait_until(decided, f"the call to {dialled} was decided")
        site.asterisk.command("channel request hangup all")
        return call.result()


def threads(service: Service) -> int:
    (line,) = (line for line in Path(f"/proc/{service.pid}/status").read_text().splitlines() if "Threads:" in line)
    return int(line.split()[1])


class TestGuessing:
    """One try per call, so that a call is over at the first wrong PIN."""

    CHANGES = (("[pin]\n", "[pin]\ntries = 1\n"),)

    def test_a_lock_counts_all_channels_outlives_a_kill_and_is_lifted_by_hand(self, service, stage, reached):
        free = FREE[Scope.ACCOUNT]
        more = [f"{BRITAIN}61{index:02d}" for index in range(4)]
        crowd = [f"{BRITAIN}60{index:02d}" for index in range(free + 3)]
        with ThreadPoolExecutor(len(crowd)) as pool:
            told = list(pool.map(lambda number: stage.play(number, "alice", f"{WRONG}#"), crowd))
        reasons = sorted(one["reason"] for one in service.read("attempts"))
        assert reasons == ["pin_locked"] * 2 + ["pin_wrong"] * (free + 1)
        assert {(one.call.status, tuple(one.sounds)) for one in told} == {(503, (ASK, REFUSED))}
        assert [alert["details"]["failures"] for alert in alerts(service, "pin_failures")] == ["3"]
        (alert,) = alerts(service, "pin_locked_out")
        assert (alert["account"], alert["details"]["locked"]) == ("alice", "account alice")

        with ThreadPoolExecutor(2) as pool:
            locked, other = pool.map(
                lambda number, phone: stage.play(number, phone, "{Ann}#"), [more[0], more[1]], ["alice", "carol"]
            )
        assert (locked.call.status, locked.sounds, locked.reached) == (503, [ASK, REFUSED], False)
        assert (other.reached, other.sounds) == (True, [ASK])
        (lock,) = service.read("pin", "locks")
        assert (lock["scope"], lock["account"], lock["failures"]) == ("account", "alice", free + 1)

        service.kill()
        service.start()
        assert service.read("pin", "locks") == [lock]
        again = stage.play(more[2], "alice", "{Ann}#")
        assert (again.sounds, again.reached) == ([ASK, REFUSED], False)
        assert service.read("attempts")[0]["reason"] == "pin_locked"

        edit(service, "pin", "unlock", "--account", "alice")
        freed = stage.play(more[3], "alice", "{Ann}#")
        assert (freed.call.status, freed.reached) == (200, True)
        assert service.read("pin", "locks") == []

    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_without_the_service_whoever_is_at_the_prompt_goes_nowhere(self, site, service, stage, reached, how):
        dialled = f"{BRITAIN}7{len(how):03d}"
        if not alive(service):
            service.start()
        with site.phones.keypad(dialled, phone="pat") as phone:
            stage.prompts.wait(dialled)
            getattr(service, how)()
            assert phone.call().status == 503
        assert site.phones.dial(DOMESTIC).answered
        assert not site.phones.dial(dialled).answered
        assert reached() == ["+12025550123"]


def alive(service: Service) -> bool:
    try:
        return Path(f"/proc/{service.pid}").exists()
    except AssertionError:
        return False


LOUD = """
[log]
level = "debug"

[ami.asterisk]
port = {port}
secret_file = "ami.secret"

[dialplan]
"""


# What happens to the database while a caller is at the prompt, and how that ends.
TROUBLES = {
    "a lock that is not let go": ("BEGIN IMMEDIATE", "ROLLBACK"),
    "a table that is not there": (
        "ALTER TABLE pin_failures RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO pin_failures",
    ),
    "argon2 that cannot work": ("UPDATE pin_schemes SET lanes = 5000", "UPDATE pin_schemes SET lanes = 1"),
}


class TestSecrecy:
    """What was keyed is found nowhere, however much is written down. Asterisk's own events of each single key go only
    to those who may read the class dtmf, which the guard's user may not.
    """

    CHANGES = (("\n[dialplan]\n", LOUD),)

    @pytest.fixture
    def right(self, service):
        """A PIN of 12 digits: no other digits are like it by chance."""
        made = service.cli("pin", "add", "Long", "--digits", "12").split("PIN: ")[1].split()[0]
        yield made
        service.cli("pin", "revoke", "Long")

    def test_nothing_that_is_written_sent_or_shown_holds_what_was_keyed(self, site, service, stage, right):
        mark = site.asterisk.mark()
        early, info = f"{BRITAIN}8001", f"{BRITAIN}8002"
        with site.manager() as everything, site.manager("fraudguard") as guards:
            with ThreadPoolExecutor(1) as pool, site.phones.keypad(early) as phone:
                three = pool.submit(stage.play, info, "ida", *[f"{LONG_WRONG}#"] * 3, by="info")
                stage.key(phone, f"{LONG_WRONG}#", f"{right}#")
                phone.wait_answered()
                shown = processes()
                channels = [event.raw for event in everything.action("Status", AllVariables="true")]
                names = [event["Channel"] for event in everything.action("CoreShowChannels")[1:-1]]
                channels += [site.asterisk.command(f"core show channel {name}") for name in names]
                phone.hang_up()
                three.result()
            everything.wait_for("its CDR", lambda event: (event["Event"], event["Destination"]) == ("Cdr", early))
        assert [one["reason"] for one in (attempt(service, early), attempt(service, info))] == ["ok", "pin_wrong"]
        keyed = "".join(event["Digit"] for event in everything.events if event["Event"] == "DTMFEnd")
        assert keyed.count("#") == 5, "what was looked for was not there to be found"
        assert any("GET DATA" in event.raw for event in everything.events)
        assert any("FRAUDGUARD_CALL" in text for text in channels)
        told = [event.raw for event in everything.messages if not event["Event"].startswith("DTMF")]
        places = {
            "the guard's events": "".join(message.raw for message in guards.messages),
            "all events but of keys": "".join(told),
            "channels": "".join(channels),
            "Asterisk's log": "\n".join(site.asterisk.logged_since(mark)),
            "commands": "".join(
                service.cli(*command)
                for command in (["alerts", "list", "--json"], ["attempts", "--json"], ["pin", "show", "Long"])
            ),
            **shown,
            **processes(),
            **files(service),
        }
        assert {"fraudguard.db", "fraudguard.db-wal", "log"} <= places.keys()
        assert alerts(service, "pin_failures")
        assert leaks(parts(right, LONG_WRONG), places) == []

    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_an_error_while_a_pin_is_looked_at_quotes_none_and_lets_nobody_out(
        self, site, service, stage, right, reached, trouble
    ):
        dialled, later = (f"{BRITAIN}81{which}{list(TROUBLES).index(trouble)}" for which in range(2))
        begin, end = TROUBLES[trouble]
        database = sqlite3.connect(service.folder / "fraudguard.db", isolation_level=None)
        with closing(database), site.phones.keypad(dialled) as phone:
            stage.prompts.wait(dialled)
            database.execute(begin)
            if "argon2" in trouble:
                edit(service, "limit", "set", "0.30")  # so that it reads its schemes again
            phone.press(f"{right}#")
            call = phone.call()
            database.execute(end)
        assert (call.status, reached()) == (503, [])
        assert attempts(service, dialled) == []
        assert leaks(parts(right), files(service)) == []
        assert ("Traceback" in service.log) is ("argon2" in trouble)
        edit(service, "limit", "set", "0.31")
        assert stage.play(later, "erin", f"{right}#").reached


def parts(*keyed: str) -> set[str]:
    """Return what must be found nowhere: parts that are long enough to be nothing else by chance."""
    return {digits[start : start + 10] for digits in keyed for start in range(len(digits) - 9)}


def leaks(secrets: set[str], places: dict[str, str | bytes]) -> list[str]:
    """Name the places that hold one of the secrets."""
    texts = {place: text if isinstance(text, bytes) else text.encode() for place, text in places.items()}
    return [place for place, text in texts.items() if any(secret.encode() in text for secret in secrets)]


def processes() -> dict[str, bytes]:
    """What every process of the machine shows of itself to others."""
    shown = {}
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with suppress(OSError):  # it has ended
                shown[f"{process}/{name}"] = (process / name).read_bytes()
    return shown


def files(service: Service) -> dict[str, bytes]:
    """The database and its journal, the log, and the rest of the folder."""
    return {file.name: file.read_bytes() for file in service.folder.rglob("*") if file.is_file()}
