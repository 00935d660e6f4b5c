"""The guard's part of manager.conf: as few rights as it says, one secret, and nothing that Asterisk misreads."""

import os
import re
import stat
from pathlib import Path

import pytest
import structlog
from command_line import CommandLine

from fraudguard.ami.events import EVENTS
from fraudguard.config import Ami, load
from fraudguard.dialplan import manager
from fraudguard.dialplan.install import MANAGER, install
from fraudguard.dialplan.render import digest
from fraudguard.errors import ConfigError, InputError, UnreachableError
from fraudguard.secretfile import make_secret


@pytest.fixture
def fraudguard(tmp_path) -> CommandLine:
    command = CommandLine(tmp_path / "fraudguard.toml")
    command("init")
    return command


def rendered(secret="s3cret", permit=("192.0.2.1/32",), **ami):
    return manager.render(Ami(secret=secret, **ami), secret, permit=permit, events=EVENTS)


def settings_of(make_settings, **ami):
    return make_settings(ami={"asterisk": {"secret": "x", **ami}}, dialplan={"guard": "192.0.2.9:4573"})


def test_it_holds_the_secret_the_rights_and_each_event_once():
    text = rendered()
    header, body = text.split("\n", 1)
    assert header.endswith(f"sha256={digest(body)}")
    assert manager.is_ours(text)
    assert "\n[fraudguard]\nsecret = s3cret\n" in body
    assert body.index("deny = 0.0.0.0/0.0.0.0") < body.index("permit = 192.0.2.1/32")
    assert "\nread = call,cdr,security\nwrite = call,reporting\n" in body
    filters = re.findall(r"^eventfilter\(action\(include\),name\((\w+)\)\) =$", body, re.MULTILINE)
    assert filters == sorted(EVENTS)


@pytest.mark.parametrize("secret", ["", "a;b", "a b", "a\nread = all", "é", "x" * 201])
def test_a_secret_that_asterisk_would_misread_is_refused_and_not_shown(secret):
    with pytest.raises(ConfigError) as error:
        manager.render(Ami(secret="x"), secret, permit=["::1/128"], events=EVENTS)
    assert not secret or secret not in str(error.value)


def test_nothing_else_gets_into_the_file():
    with pytest.raises(ConfigError, match="cannot stand in a manager"):
        rendered(permit=["::1\nread = all"])


@pytest.mark.parametrize(
    ("host", "networks"),
    [
        ("localhost", ["127.0.0.1/32", "::1/128"]),
        ("127.0.0.1", ["127.0.0.1/32", "::1/128"]),
        ("::1", ["127.0.0.1/32", "::1/128"]),
        ("pbx.example", ["192.0.2.9/32"]),
        ("192.0.2.8", ["192.0.2.9/32"]),
    ],
)
def test_the_guard_comes_from_where_asterisk_reaches_it(make_settings, host, networks):
    settings = settings_of(make_settings, host=host)
    assert manager.guard_addresses(settings, settings.ami["asterisk"]) == networks


@pytest.mark.parametrize("guard", ["guard.example:4573", "127.0.0.1:4573"])
def test_an_address_that_cannot_be_told_is_asked_for(make_settings, guard):
    settings = make_settings(ami={"asterisk": {"secret": "x", "host": "192.0.2.8"}}, dialplan={"guard": guard})
    with pytest.raises(InputError, match="--permit"):
        manager.guard_addresses(settings, settings.ami["asterisk"])


def test_a_secret_is_random_the_owners_alone_and_kept(tmp_path):
    paths = [tmp_path / name for name in ("one", "two")]
    assert [make_secret(path, owner=tmp_path) for path in paths] == [True, True]
    one, two = (path.read_text() for path in paths)
    assert one != two
    assert len(one.strip()) == 32
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o600
    assert not make_secret(paths[0], owner=tmp_path)
    assert paths[0].read_text() == one
    with pytest.raises(UnreachableError, match="cannot be written"):
        make_secret(tmp_path / "absent" / "x", owner=tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_makes_the_secret_for_the_databases_owner(tmp_path):
    database = tmp_path / "db"
    database.touch()
    os.chown(database, 12345, 12346)
    make_secret(tmp_path / "secret", owner=database)
    made = (tmp_path / "secret").stat()
    assert (made.st_uid, made.st_gid) == (12345, 12346)


def test_a_secret_comes_from_its_file_or_the_environment(make_settings, fraudguard, tmp_path):
    settings = load(fraudguard.config)
    (tmp_path / "ami.secret").write_text("  from-file\n")
    assert manager.read_secret(settings, "asterisk") == "from-file"
    (tmp_path / "ami.secret").unlink()
    with pytest.raises(ConfigError, match=r"ami\.asterisk\.secret_file.*dialplan install"):
        manager.read_secret(settings, "asterisk")
    assert manager.read_secret(settings_of(make_settings), "asterisk") == "x"


def test_the_snippet_is_for_asterisk_alone_and_never_at_anothers_expense(tmp_path):
    path = tmp_path / "fraudguard.conf"
    assert install(rendered(), path, MANAGER).changed
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    other = rendered(secret="other")
    assert install(other, path, MANAGER).previous == path.with_name("fraudguard.conf.previous")
    assert stat.S_IMODE(path.with_name("fraudguard.conf.previous").stat().st_mode) == 0o640
    path.write_text("[admin]\nsecret = x\n")
    with pytest.raises(InputError, match="left alone"):
        install(other, path, MANAGER)


def test_install_writes_into_debians_folder_or_beside_the_dialplan(fraudguard, tmp_path):
    said = fraudguard("dialplan", "install", tmp_path / "fraudguard.conf").out
    assert f"wrote {tmp_path}/fraudguard-manager.conf" in said
    assert f"#include {tmp_path}/fraudguard-manager.conf" in said
    (tmp_path / "manager.d").mkdir()
    said = fraudguard("dialplan", "install", tmp_path / "fraudguard.conf").out
    assert f"wrote {tmp_path}/manager.d/fraudguard.conf\nThen:  asterisk -rx 'manager reload'\n" in said
    secret = (tmp_path / "ami.secret").read_text().strip()
    assert f"secret = {secret}\n" in (tmp_path / "manager.d" / "fraudguard.conf").read_text()
    assert secret not in said


def test_install_makes_a_secret_where_there_is_none_and_obeys_its_options(fraudguard, tmp_path):
    (tmp_path / "ami.secret").unlink()
    snippet = tmp_path / "elsewhere.conf"
    arguments = ("dialplan", "install", tmp_path / "fraudguard.conf", "--manager", snippet, "--permit", "10.1.2.3/16")
    assert f"made the secret {tmp_path}/ami.secret" in fraudguard(*arguments).out
    assert "permit = 10.1.0.0/16\n" in snippet.read_text()
    assert "--permit: 'x' does not" in fraudguard(*arguments, "--permit", "x", status=2).err


def test_render_shows_it_without_the_secret(fraudguard, tmp_path):
    shown = fraudguard("dialplan", "render", "--manager").out
    assert (tmp_path / "ami.secret").read_text().strip() not in shown
    assert "secret = ********\n" in shown
    assert "--output" in fraudguard("dialplan", "render", "--manager", "--output", tmp_path / "x", status=2).err


def test_without_a_section_there_is_no_snippet(fraudguard, tmp_path):
    text = fraudguard.config.read_text()
    fraudguard.config.write_text(text[: text.index("[ami.asterisk]")])
    said = fraudguard("dialplan", "install", tmp_path / "fraudguard.conf").out
    assert "No [ami.asterisk] section" in said
    assert not (tmp_path / "fraudguard-manager.conf").exists()
    assert "no [ami.asterisk] section" in fraudguard("dialplan", "render", "--manager", status=2).err


def test_the_reference_names_the_events_rights_and_actions():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "manager.md").read_text()
    _, _, rest = page.partition("\n## Events\n")
    events, _, actions = rest.partition("\n## Actions\n")
    first_cells = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)

    def named(text):
        return {name for cell in first_cells.findall(text) for name in re.findall(r"`(\w+)`", cell)}

    assert named(events) == EVENTS
    assert named(actions) >= set(manager.ACTIONS)
    for line in (f"read = {','.join(manager.READ)}", f"write = {','.join(manager.WRITE)}"):
        assert f"| `{line}` |" in page


def test_a_secret_that_everybody_may_read_is_told(fraudguard, tmp_path, monkeypatch):
    # A logger of its own: the module's may have been bound for good by whoever logged before.
    monkeypatch.setattr("fraudguard.secretfile.log", structlog.wrap_logger(structlog.PrintLogger()))
    settings = load(fraudguard.config)
    (tmp_path / "ami.secret").write_text("from-file\n")
    (tmp_path / "ami.secret").chmod(0o644)
    with structlog.testing.capture_logs() as said:
        assert manager.read_secret(settings, "asterisk") == "from-file"
    assert [line["event"] for line in said] == ["secret is readable by everybody"]
