"""The reference cannot drift: every command, setting, reason, alert, JSON key and wire name has its place in docs/."""

import asyncio
import json
import re
import typing
from pathlib import Path

import pytest
import rich_click as click
from command_line import CommandLine
from policy_cases import facts
from pydantic import BaseModel

from fraudguard.agi.counters import Counters, Failure
from fraudguard.alerts.routes import KINDS
from fraudguard.alerts.text import HEADLINES, render
from fraudguard.cli import INTERRUPTED, cli
from fraudguard.clock import SystemClock
from fraudguard.config import Channel, QuietHours, Route, Settings, Tenant
from fraudguard.config.sections import TenantPins, TenantSpeed, TenantStrict
from fraudguard.decks import Role
from fraudguard.dialplan import names
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.pins import guessing
from fraudguard.policy import Outcome, Reason, Verdict
from fraudguard.policy.alert import SEVERITY, Alert, Delivery
from fraudguard.policy.rules import ORDER
from fraudguard.store import open_writer
from fraudguard.store.calls import save_calls
from fraudguard.store.guesses import note_failure
from fraudguard.store.sources import Source, save_sources
from fraudguard.store.verdicts import attempt_row, store_batch

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def sections(path):
    """Return a page's text by heading."""
    parts = re.split(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text):
    """Return the cells of every table row that begins with a name in backquotes."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def first_cells(text):
    return [cells[0].strip("`") for cells in rows(text)]


# Commands


def commands(group=cli, path=("fraudguard",)):
    for name, command in group.commands.items():
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())
COMMAND_PAGE = sections(REFERENCE / "commands.md")


def test_every_command_has_its_section_and_no_other_has():
    assert sorted(COMMANDS) == sorted(title for title in COMMAND_PAGE if title.startswith("fraudguard "))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_of_a_command_is_in_its_section_and_no_other_is(path):
    options = [param for param in COMMANDS[path].params if isinstance(param, click.Option)]
    spelled = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    told = {name for cells in rows(COMMAND_PAGE[path]) for name in re.findall(r"`(--?[a-z-]+)`", cells[0])}
    assert told == spelled


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_told_as_its_help_tells_it(path):
    text = " ".join(COMMAND_PAGE[path].split())
    assert " ".join(COMMANDS[path].help.split()) in text
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option):
            assert " ".join(param.help.split()) in text
            if param.show_default and param.default not in (None, ()):
                assert f"[default: {param.default}]" in text


def test_the_options_of_fraudguard_itself_are_told():
    spelled = {name for param in cli.params for name in param.opts} | {"-h", "--help"}
    assert spelled <= set(re.findall(r"`(--?[a-z]+)`", COMMAND_PAGE["Commands"]))


def test_every_role_of_a_column_is_told():
    page = sections(ROOT / "docs" / "how-to" / "import-a-price-list.md")["When it guesses wrong"]
    assert sorted(name for row in rows(page) for name in re.findall(r"`([a-z-]+)`", row[0])) == sorted(Role)


# Configuration


def settings():
    """Yield (section heading, key, default as the page writes it)."""
    for key, field in Settings.model_fields.items():
        section = field.annotation
        if typing.get_origin(section) is dict:
            yield from keys_of(f"[{key}.NAME]", typing.get_args(section)[1])
        elif isinstance(section, type) and issubclass(section, BaseModel):
            yield from keys_of(f"[{key}]", section)
        else:
            yield "Top level", key, written(field)
    yield from keys_of("[[alerts.routes]]", Route)
    yield from keys_of("[alerts.quiet]", QuietHours)
    for channel in typing.get_args(typing.get_args(Channel)[0]):
        (type_,) = typing.get_args(channel.model_fields["type"].annotation)
        for title, key, default in keys_of(f'[alerts.channels.NAME], type = "{type_}"', channel):
            if key != "type":
                yield title, key, default


def keys_of(title, section):
    above = {TenantPins: "as in `[pin]`", TenantStrict: "as in `[strict]`", TenantSpeed: "as in `[speed]`"}
    absent = {Tenant: "as in `[numbering]`", **above}.get(section, "none")
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(f"[{title[1:-1]}.{key}]", field.annotation)
        else:
            yield title, key, written(field, "as at the top" if (section, key) == (Tenant, "zone") else absent)


def written(field, absent="none"):
    if field.is_required():
        return "required"
    if field.default is None:
        return absent
    default = field.default
    if isinstance(default, tuple):
        default = list(default)
    return f"`{json.dumps(str(default) if isinstance(default, Path) else default)}`"


def test_every_setting_stands_in_its_section_with_its_default_and_no_other_does():
    page = sections(REFERENCE / "configuration.md")
    told = {(title, row[0].strip("`"), row[1]) for title, text in page.items() for row in rows(text)}
    assert told == set(settings())


# Reasons, alerts, exit status


def test_every_reason_is_told_in_the_order_in_which_it_is_asked():
    told = first_cells(REFERENCE.joinpath("reasons.md").read_text(encoding="utf-8"))
    assert told == [*(reason.value for reason, _ in ORDER), Reason.UNDECIDED.value, "fence"]
    assert set(told) - {"fence"} == set(Reason)


def test_every_kind_of_alert_is_told_with_its_severity():
    page = sections(REFERENCE / "alerts.md")
    told = {row[0].strip("`"): row[1] for row in rows(page["Kinds"])}
    assert told == {kind: SEVERITY.get(kind, "warning") for kind in KINDS}
    for kind in KINDS:  # and in a section of its own what it means and what to do
        assert "**What to do.**" in page[kind], kind


def test_every_kind_of_alert_has_a_headline_and_a_severity():
    assert set(HEADLINES) == {*KINDS} == {*map(str, SEVERITY)} | {reason for reason in Reason if reason in KINDS}


def test_every_key_of_a_message_is_told():
    alert = Alert(1, "test", "notice", 0, 0, 1, "", "", "", "", "", None, None, None, None, None, None, "", "")
    message = render(Delivery(1, alert, "log", 0, 1, 1, 0, 0, "", "", None), "USD")
    assert first_cells(sections(REFERENCE / "alerts.md")["Messages as JSON"]) == list(message.document)


def test_every_exit_status_is_told():
    text = REFERENCE.joinpath("exit-status.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE) == ["0", "1", "2", "3", "4", str(INTERRUPTED)]


# The wire


def test_every_name_on_the_wire_is_told():
    page = REFERENCE.joinpath("dialplan.md").read_text(encoding="utf-8")
    told = {name for cell in re.findall(r"`([^`]+)`", page) for name in (cell, cell.partition("(")[0])}
    for key, value in vars(names).items():
        if not key.isupper():
            continue
        for name in [value] if isinstance(value, str) else value:
            plain = name.format(trunk="TRUNK", plan="PLAN", stage="STAGE")
            assert plain in told or f"/{plain}" in page, key


def test_no_variable_or_context_is_told_that_is_not_on_the_wire():
    pages = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
    told = {name for page in pages for name in re.findall(r"\bFRAUDGUARD_[A-Z]+\b(?!_)", page.read_text("utf-8"))}
    assert told <= {*names.ANSWER, *names.LOCALS, names.PING, names.TENANT, "FRAUDGUARD_CONFIG"}


def test_every_request_failure_and_counter_is_told():
    page = sections(REFERENCE / "agi.md")
    assert set(first_cells(page["Requests"])) == {names.PATH_OUTBOUND, names.PATH_PING}
    assert set(first_cells(page["Failures"])) == set(Failure)
    assert set(first_cells(page["Counters"])) == set(Counters.__dataclass_fields__)


# JSON

JSON_PAGE = sections(REFERENCE / "json.md")


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Print every JSON document there is, of an installation that has one of everything."""
    folder = tmp_path_factory.mktemp("installation")
    fraudguard = CommandLine(folder / "fraudguard.toml")
    fraudguard("init", "--sample")
    fraudguard("limit", "set", "0.1")
    fraudguard("grant", "add", "+53")
    fraudguard("block", "add", "+882")
    fraudguard("pin", "add", "Ann")
    unfinished = folder / "dialplan.conf"
    unfinished.write_text("")
    store_refusal(folder / "fraudguard.db")
    read = {
        "check, attempts": ("check", "0115355551234", "--trunk", "carrier"),
        "attempts --by account": ("attempts", "--by", "account"),
        "calls": ("calls",),
        "sources": ("sources",),
        "store info": ("store", "info"),
        "alerts list": ("alerts", "list"),
        "rates lookup": ("rates", "lookup", "12125550100", "--seconds", "61"),
        "rates decks": ("rates", "decks"),
        "limit list": ("limit", "list"),
        "budget list": ("budget", "list"),
        "explain": ("explain", "c0ffee"),
        "grant list": ("grant", "list"),
        "block list": ("block", "list"),
        "pin list": ("pin", "list"),
        "pin show": ("pin", "show", "Ann"),
        "pin locks": ("pin", "locks"),
        "pin history": ("pin", "history"),
        "dialplan check": ("dialplan", "check", unfinished),
        "doctor": ("doctor",),
    }
    return {title: fraudguard(*words, "--json", status=None).json for title, words in read.items()} | {
        "attempts": fraudguard("attempts", "--json").json
    }


def store_refusal(database):
    """Put a refused attempt and its alert, a call, a source and wrong PINs into the database, as the service would."""

    async def store():
        async with await open_writer(database) as writer:
            verdict = Verdict("c0ffee", Outcome.NOWHERE, Reason.OVER_LIMIT, facts(), None)
            await writer.transaction(lambda connection: store_batch([attempt_row(verdict)], connection))
            leg = Leg("pbx1", "1", "1", "PJSIP/carrier-1")
            texts = ("", "", "unguarded", "default", "", "", "carrier", "+53")
            call = Call(leg, *texts, rate=None, lease_seconds=None, state=State.RINGING, began_at=1)
            await writer.transaction(lambda connection: save_calls(connection, [call]))
            source = Source("pbx1", "204", "198.51.100.7", 1, 1)
            await writer.transaction(lambda connection: save_sources(connection, [source]))
            wrong = guessing.Failure(SystemClock().now(), "default", "204", "")
            for _ in range(guessing.FREE[guessing.Scope.ACCOUNT] + 1):  # as many as lock an account
                await note_failure(writer, wrong)

    asyncio.run(store())


def keys(document):
    (first, *_) = document if isinstance(document, list) else [document]
    return list(first)


@pytest.mark.parametrize("title", [title for title in JSON_PAGE if title != "JSON"])
def test_every_key_is_told_in_its_order(documents, title):
    assert keys(documents[title]) == first_cells(JSON_PAGE[title])


def test_attempts_have_the_keys_of_check(documents):
    assert [*keys(documents["attempts"]), "most"] == keys(documents["check, attempts"])
