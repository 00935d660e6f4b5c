"""`fraudguard completion`: completion of commands and options in the shell."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

from fraudguard.cli.app import examples


@click.command(
    epilog=examples("completion bash >> ~/.bashrc", "completion fish > ~/.config/fish/completions/fraudguard.fish")
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes fraudguard's commands and options in SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root()
    click.echo(kind(root.command, {}, "fraudguard", "_FRAUDGUARD_COMPLETE").source())
