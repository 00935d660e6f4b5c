"""Which modules a command costs: an operator, and a script that asks a thousand times, wait for each."""

import subprocess
import sys

import pytest
import rich_click as click

from fraudguard.cli import nouns

HEAVY = {"aiosmtplib", "apprise", "httpx", "jinja2", "panoramisk", "prometheus_client", "structlog", "uvloop"}


def imported(noun):
    """Return the modules that a new process has imported when it has found the command."""
    code = f"import sys; from fraudguard.cli import cli; cli.commands[{noun!r}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("noun", ["limit", "budget", "check", "attempts", "explain"])
def test_a_command_does_not_wait_for_what_only_others_need(noun):
    modules = imported(noun)
    assert f"fraudguard.cli.{noun}" in modules
    assert not modules & HEAVY
    assert not [module for module in modules if module.startswith("fraudguard.service")]


def test_every_noun_is_the_command_of_its_name():
    assert [command.name for command in nouns.Nouns().values()] == list(nouns.NOUNS)


def test_commands_can_be_added_and_removed_as_in_any_group():
    commands = nouns.Nouns()
    commands["more"] = click.Command("more")
    assert list(commands)[-1] == "more"
    del commands["more"]
    assert "more" not in commands
    assert len(commands) == len(nouns.NOUNS)
