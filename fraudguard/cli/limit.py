"""`fraudguard limit`: the highest per-minute price that goes through without a grant."""

from __future__ import annotations

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, print_table, run_async, scope_options
from fraudguard.money import Micros, format_amount, parse_amount
from fraudguard.policy import DEFAULT_LIMIT, EVERYBODY, Limit, Scope
from fraudguard.store import open_reader, open_writer, policies


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
    run_async(_set(app, scope, per_minute))
    click.echo(f"limit: {format_amount(per_minute)} {app.settings.currency} a minute ({scope})")


@limit.command("list", epilog=examples("limit list", "limit list --json"))
@json_option
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """Show every limit that is set, the global one first."""
    limits = run_async(_list(app))
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
    run_async(_remove(app, scope))
    click.echo(f"limit removed ({scope})")


async def _set(app: App, scope: Scope, per_minute: Micros) -> None:
    async with await open_writer(app.settings.database) as writer:
        await policies.set_limit(writer, scope, per_minute, author=app.author, now=app.clock.now())


async def _list(app: App) -> tuple[Limit, ...]:
    async with await open_reader(app.settings.database) as reader:
        return await reader.read(policies.list_limits)


async def _remove(app: App, scope: Scope) -> None:
    async with await open_writer(app.settings.database) as writer:
        await policies.remove_limit(writer, scope, author=app.author, now=app.clock.now())
