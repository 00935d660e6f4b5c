"""The command line: `fraudguard [--config FILE] NOUN VERB`, one module per noun."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path

import rich_click as click

from fraudguard import __version__
from fraudguard.cli.app import App, printable
from fraudguard.cli.nouns import Nouns
from fraudguard.config import locate
from fraudguard.errors import FraudguardError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


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


cli.commands = Nouns()


def main() -> None:
    """Run the command line; ends the process with the exit status that the contract promises."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what was dialled must not fail for want of a letter
    try:
        # Not click's standalone mode: its statuses are others than ours, and 1 means "the answer is no" here.
        ended = cli(prog_name="fraudguard", standalone_mode=False)
        sys.stdout.flush()
        status = ended if isinstance(ended, int) else 0
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # click's answer to it is 1
            raise
        status = _reader_gone()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the outermost frame)
        status = _status_of(error)
    sys.exit(status)


def _status_of(error: BaseException) -> int:
    """Tell the operator what went wrong, and return the exit status that goes with it."""
    match error:
        case FraudguardError():
            _complain(str(error))
            status = error.exit_status
        case click.UsageError():
            hint = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
            _complain(f"{error.format_message()}{hint}")
            status = 2
        case click.FileError():
            _complain(error.format_message())
            status = 3
        case click.Abort() | KeyboardInterrupt():
            _complain("interrupted")
            status = INTERRUPTED
        case BrokenPipeError():
            status = _reader_gone()
        case OSError() if error.errno in (errno.ENOSPC, errno.EIO):  # all other I/O is wrapped where it is done
            _complain(f"standard output: {error.strerror}")
            status = 3
        case _:
            traceback.print_exception(error)
            _complain("inner error; please report it with the lines above")
            status = 4
    return status


def _complain(text: str) -> None:
    click.echo(f"fraudguard: {printable(text, lines=True)}", err=True)


def _reader_gone() -> int:
    """Go quietly when the reader of a pipe has gone (`fraudguard attempts | head`): that is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains when it flushes at the end
    return 0
