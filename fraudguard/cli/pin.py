"""`fraudguard pin`: who may dial abroad by keying a PIN, and what wrong ones have locked."""

from __future__ import annotations

import rich_click as click

from fraudguard.cli.pin_add import add, revoke, rotate
from fraudguard.cli.pin_csv import export, import_
from fraudguard.cli.pin_list import history, list_, show
from fraudguard.cli.pin_locks import locks, unlock


@click.group()
def pin() -> None:
    """PINs that callers key before a call abroad: whose they are, what they are good for, what is locked."""


for command in (add, list_, show, rotate, revoke, locks, unlock, history, export, import_):
    pin.add_command(command)
