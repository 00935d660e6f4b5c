"""`fraudguard grant`: an operator's lasting permission."""

from __future__ import annotations

from functools import partial

import rich_click as click

from fraudguard.cli.app import IDENTIFIER, App, examples, json_option, scope_options
from fraudguard.cli.lasting import lasting_options, parse_prefix, print_lasting, show_prefix, show_until
from fraudguard.errors import InputError
from fraudguard.money import format_amount, parse_amount
from fraudguard.policy import EVERYBODY, Grant
from fraudguard.store import policies


@click.group()
def grant() -> None:
    """Lasting permissions: destinations that may cost more than the limit."""


@grant.command(
    epilog=examples(
        "grant add +8821 --account 204 --max-price 5.00 --until 2026-12-31 --reason 'ship at sea'",
        "grant add +53 --tenant acme --max-price 0.90",
    )
)
@click.argument("prefix", default="")
@scope_options
@click.option("--max-price", metavar="AMOUNT", help="The dearest per-minute price and connect fee it permits.")
@lasting_options
@click.pass_obj
def add(
    app: App,
    prefix: str,
    tenant: str | None,
    account: str | None,
    max_price: str | None,
    until: str | None,
    reason: str,
) -> None:
    """Permit calls to PREFIX (E.164, such as +8821) above the limit, for one scope.

    Without PREFIX any number; then a tenant or an account must be named. Without --max-price any known price
    is permitted. A grant lifts the limit only: blocks outrank it, and a number without a price stays refused.
    """
    scope = app.scope(tenant, account)
    digits = parse_prefix(prefix)
    if not digits and scope == EVERYBODY:
        raise InputError(
            "a grant for everybody to everywhere would switch the limit off",
            where="PREFIX",
            fix="name a prefix, --tenant or --account, or raise the limit with 'limit set'",
        )
    highest = None if max_price is None else parse_amount(max_price, where="--max-price")
    ends = app.future(until, "--until")

    add_grant = partial(
        policies.add_grant,
        scope=scope,
        prefix=digits,
        highest=highest,
        until=ends,
        reason=reason,
        author=app.author,
        now=app.clock.now(),
    )
    added = app.write(add_grant)
    click.echo(f"grant {added.id}: {_sentence(added, app.settings.currency)}")


@grant.command("list", epilog=examples("grant list", "grant list --json"))
@json_option
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """Show the grants that were not removed, the expired ones too."""
    print_lasting(app, app.read(policies.list_grants), ("max price", "max_price", _highest), as_json=as_json)


@grant.command(epilog=examples("grant remove 7"))
@click.argument("grant_id", type=IDENTIFIER, metavar="ID")
@click.pass_obj
def remove(app: App, grant_id: int) -> None:
    """Remove the grant ID."""
    app.write(partial(policies.remove_grant, grant_id=grant_id, author=app.author, now=app.clock.now()))
    click.echo(f"grant {grant_id} removed")


def _highest(entry: Grant) -> str | None:
    return None if entry.highest is None else format_amount(entry.highest)


def _sentence(entry: Grant, currency: str) -> str:
    price = "at any known price" if entry.highest is None else f"up to {format_amount(entry.highest)} {currency}"
    return f"{show_prefix(entry.prefix)} {price} ({entry.scope}){show_until(entry)}"
