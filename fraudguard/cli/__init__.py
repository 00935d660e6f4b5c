"""The command line: `fraudguard [--config FILE] NOUN VERB`, one module per noun."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import rich_click as click

from fraudguard import __version__
from fraudguard.cli.alerts import alerts
from fraudguard.cli.app import App
from fraudguard.cli.attempts import attempts
from fraudguard.cli.block import block
from fraudguard.cli.check import check
from fraudguard.cli.completion import completion
from fraudguard.cli.dialplan import dialplan
from fraudguard.cli.grant import grant
from fraudguard.cli.init import init
from fraudguard.cli.limit import limit
from fraudguard.cli.rates import rates
from fraudguard.cli.run import run
from fraudguard.config import locate
from fraudguard.errors import FraudguardError


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start here: fraudguard init && fraudguard run",
)
@click.version_option(__version__, prog_name="fraudguard")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file. [default: $FRAUDGUARD_CONFIG or ./fraudguard.toml]",
)
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """A call firewall for Asterisk: every call is priced before it is placed.

    Every command that reads takes --json. Exit status: 0 done, 1 the answer is no, 2 wrong usage or input,
    3 something needed cannot be reached, 4 inner error.
    """
    context.obj = App(locate(config))


for command in (init, run, rates, limit, grant, block, check, attempts, alerts, dialplan, completion):
    cli.add_command(command)


def main() -> None:
    """Run the command line; ends the process with the exit status that the contract promises."""
    try:
        cli(prog_name="fraudguard")  # click ends with 0, with 2 on wrong usage, or as a command says
    except FraudguardError as error:
        click.echo(f"fraudguard: {error}", err=True)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # the reader of a pipe has gone (`fraudguard attempts | head`): not an error, but nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:  # noqa: BLE001  (the outermost frame: status 4 is the contract for our own defects)
        traceback.print_exc()
        click.echo("fraudguard: inner error; please report it with the lines above", err=True)
        sys.exit(4)
