import re
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

from fraudguard.cli import cli


def commands(group=cli, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(("path", "command"), [pytest.param(*pair, id=" ".join(pair[0])) for pair in commands()])
def test_every_help_text_explains_and_has_an_example(path, command):
    assert command.help
    assert re.search(rf"fraudguard (--config \\S+ )?{' '.join(path)}", command.epilog)
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


WITHOUT_JSON = {
    *{
        ("init",),
        ("demo",),
        ("run",),
        ("completion",),
        ("limit", "set"),
        ("limit", "remove"),
        ("alerts", "ack"),
        ("alerts", "test"),
    },
    *{(noun, verb) for noun in ("grant", "block") for verb in ("add", "remove")},
    *{("pin", verb) for verb in ("add", "rotate", "revoke", "unlock", "export", "import")},
    *{("rates", verb) for verb in ("import", "activate", "export")},
    *{("dialplan", verb) for verb in ("render", "install")},
    *{("budget", verb) for verb in ("set", "remove")},
    ("store", "compact"),
}


def test_every_command_that_reads_takes_json():
    without = {path for path, command in commands() if all(p.name != "as_json" for p in command.params)}
    assert without == WITHOUT_JSON


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(fresh, shell):
    assert "_FRAUDGUARD_COMPLETE" in fresh("completion", shell).out


def test_an_inner_error_ends_with_4(fresh, monkeypatch):
    def broken(_):
        raise RuntimeError("ours")

    monkeypatch.setattr("fraudguard.config.load", broken)
    assert "inner error" in fresh("limit", "list", status=4).err


@pytest.mark.parametrize("command", ["rates export --deck carrier", "attempts --json", "--help"])
def test_a_reader_that_stops_reading_is_no_error(fraudguard, prices, tmp_path, command):
    rows = "".join(f"{prefix},Somewhere,0.10\n" for prefix in range(200_000, 220_000))
    prices.write_text("prefix,destination,per_minute\n" + rows)
    fraudguard("rates", "import", prices, "--deck", "carrier")
    script = f"{sys.executable} -c 'from fraudguard.cli import main; main()' --config {fraudguard.config} {command}"
    shell = f"{script} | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_file_that_cannot_be_written_is_not_the_answer_no(fraudguard):
    assert "/nonexistent" in fraudguard("rates", "export", "--output", "/nonexistent/x.csv", status=3).err


def test_an_interrupted_command_ends_like_an_interrupted_command(fresh, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fraudguard.config.load", interrupted)
    assert "interrupted" in fresh("limit", "list", status=130).err


def test_a_full_disk_behind_standard_output_is_no_defect_of_ours():
    command = [sys.executable, "-c", "from fraudguard.cli import main; main()", "--help"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert ended.returncode == 3
    assert b"No space left" in ended.stderr
