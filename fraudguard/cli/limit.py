"""`fraudguard limit`: the highest per-minute price that goes through without a grant."""

from __future__ import annotations

from functools import partial

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, print_table, scope_options
from fraudguard.money import format_amount, parse_amount
from fraudguard.policy import DEFAULT_LIMIT, EVERYBODY, Limit
from fraudguard.store import policies


@click.group()
def limit() -> None:
    """The highest per-minute price that goes through without a grant. The narrowest scope wins."""


@limit.command("set", epilog=examples("limit set 0.25", "limit set 0.10 --tenant acme", "limit set 0 --account 204"))
@click.argument("amount")
@scope_options
@click.pass_obj
def set_(app: App, amount: str, tenant: str | None, account: str | None) -> None:
    """Set the limit to AMOUNT a minute. Equal to the limit goes, above it does not."""
    scope = app.scope(tenant, account)
    per_minute = parse_amount(amount, where="AMOUNT")
    app.write(partial(policies.set_limit, scope=scope, per_minute=per_minute, author=app.author, now=app.clock.now()))
    click.echo(f"limit: {format_amount(per_minute)} {app.settings.currency} a minute ({scope})")


@limit.command("list", epilog=examples("limit list", "limit list --json"))
@json_option
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """Show every limit that is set, the global one first."""
    limits = app.read(policies.list_limits)
    if not any(entry.scope == EVERYBODY for entry in limits):
        limits = (Limit(EVERYBODY, DEFAULT_LIMIT), *limits)
    currency = app.settings.currency
    if as_json:
        print_json(
            [
                {
                    "tenant": entry.scope.tenant,
                    "account": entry.scope.account,
                    "per_minute": format_amount(entry.per_minute),
                    "currency": currency,
                }
                for entry in limits
            ]
        )
        return
    rows = [(entry.scope, f"{format_amount(entry.per_minute)} {currency}") for entry in limits]
    print_table(("scope", "a minute"), rows, empty="")


@limit.command(epilog=examples("limit remove --tenant acme", "limit remove --tenant acme --account 204"))
@scope_options
@click.pass_obj
def remove(app: App, tenant: str | None, account: str | None) -> None:
    """Remove the limit of a scope, so that the next wider one holds; globally the default of 0.25."""
    scope = app.scope(tenant, account)
    app.write(partial(policies.remove_limit, scope=scope, author=app.author, now=app.clock.now()))
    click.echo(f"limit removed ({scope})")
