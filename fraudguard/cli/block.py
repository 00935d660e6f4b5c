"""`fraudguard block`: an operator's lasting refusal."""

from __future__ import annotations

import ipaddress
from functools import partial

import rich_click as click

from fraudguard.cli.app import IDENTIFIER, App, examples, json_option, scope_options
from fraudguard.cli.lasting import lasting_options, parse_prefix, print_lasting, show_prefix, show_until
from fraudguard.errors import InputError
from fraudguard.policy import EVERYBODY, Block
from fraudguard.store import policies


@click.group()
def block() -> None:
    """Lasting refusals: of a destination, an account, a tenant or a source address."""


@block.command(
    epilog=examples(
        "block add +882 --reason 'never needed'",
        "block add --account 204 --until 2026-12-31",
        "block add --source 198.51.100.0/24",
    )
)
@click.argument("prefix", default="")
@scope_options
@click.option("--source", metavar="ADDRESS", default="", help="An address or network that calls come from.")
@lasting_options
@click.pass_obj
def add(
    app: App, prefix: str, tenant: str | None, account: str | None, source: str, until: str | None, reason: str
) -> None:
    """Refuse calls to PREFIX (E.164), of a tenant or account, or from a source; all that is named must match.

    A block outranks every grant. Emergency calls go nevertheless.
    """
    scope = app.scope(tenant, account)
    digits = parse_prefix(prefix)
    network = _network(source)
    if not digits and not network and scope == EVERYBODY:
        raise InputError(
            "that would refuse every call of everybody",
            where="PREFIX",
            fix="name a prefix, --tenant, --account or --source",
        )
    ends = app.future(until, "--until")

    add_block = partial(
        policies.add_block,
        scope=scope,
        prefix=digits,
        source=network,
        until=ends,
        reason=reason,
        author=app.author,
        now=app.clock.now(),
    )
    added = app.write(add_block)
    click.echo(f"block {added.id}: {_sentence(added)}")


@block.command("list", epilog=examples("block list", "block list --json"))
@json_option
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """Show the blocks that were not removed, the expired ones too."""
    print_lasting(
        app, app.read(policies.list_blocks), ("source", "source", lambda entry: entry.source), as_json=as_json
    )


@block.command(epilog=examples("block remove 3"))
@click.argument("block_id", type=IDENTIFIER, metavar="ID")
@click.pass_obj
def remove(app: App, block_id: int) -> None:
    """Remove the block ID."""
    app.write(partial(policies.remove_block, block_id=block_id, author=app.author, now=app.clock.now()))
    click.echo(f"block {block_id} removed")


def _network(source: str) -> str:
    if not source:
        return ""
    try:
        network = ipaddress.ip_network(source, strict=False)
    except ValueError:
        raise InputError(
            f"{source!r} is not an address or network", where="--source", fix="such as 198.51.100.7 or 198.51.100.0/24"
        ) from None
    if network.prefixlen == 0:
        raise InputError(f"{source!r} is every address there is", where="--source", fix="name a smaller network")
    return str(network)


def _sentence(entry: Block) -> str:
    origin = f" from {entry.source}" if entry.source else ""
    return f"{show_prefix(entry.prefix)}{origin} ({entry.scope}){show_until(entry)}"
