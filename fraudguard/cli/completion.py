"""`fraudguard completion`: completion of commands and options in the shell."""

from __future__ import annotations

import click.shell_completion
import rich_click as click

from fraudguard.cli.app import examples


@click.command(
    epilog=examples("completion bash >> ~/.bashrc", "completion fish > ~/.config/fish/completions/fraudguard.fish")
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes fraudguard's commands and options in SHELL."""
    kind = click.shell_completion.get_completion_class(shell)
    assert kind is not None
    root = context.find_root()
    click.echo(kind(root.command, {}, "fraudguard", "_FRAUDGUARD_COMPLETE").source())
