"""`fraudguard pin`: who may dial abroad by keying a PIN, and what wrong ones have locked."""

from __future__ import annotations

import rich_click as click

from fraudguard.cli.pin import add, locks, people, show


@click.group()
def pin() -> None:
    """PINs that callers key before a call abroad: whose they are, what they are good for, what is locked."""


for command in (
    *(add.add, show.list_, show.show, add.rotate, add.revoke),
    *(locks.locks, locks.unlock, show.history, people.export, people.import_),
):
    pin.add_command(command)
