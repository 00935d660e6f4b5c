import subprocess
import sys

import pytest
import rich_click as click

from fraudguard.cli import cli


def commands(group=cli, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_help_text_explains_and_has_an_example(path, command):
    assert command.help
    assert f"fraudguard {' '.join(path)}" in command.epilog or " ".join(path) in command.epilog
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_every_command_that_reads_takes_json():
    reading = {path for path, command in commands() if any(p.name == "as_json" for p in command.params)}
    assert reading >= {
        *{("limit", "list"), ("grant", "list"), ("block", "list"), ("rates", "decks"), ("rates", "lookup")},
        *{("check",), ("attempts",), ("alerts", "list")},
    }


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(fresh, shell):
    assert "_FRAUDGUARD_COMPLETE" in fresh("completion", shell).out


def test_an_inner_error_ends_with_4(fresh, monkeypatch):
    def broken(_):
        raise RuntimeError("ours")

    monkeypatch.setattr("fraudguard.config.load", broken)
    assert "inner error" in fresh("limit", "list", status=4).err


def test_a_reader_that_stops_reading_is_no_error():
    shell = f"{sys.executable} -c 'from fraudguard.cli import main; main()' --help | head -1; exit ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", shell], capture_output=True, timeout=30, check=False).stderr == b""
