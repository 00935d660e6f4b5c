"""`fraudguard attempts`: what happened, and who keeps being refused."""

from __future__ import annotations

from functools import partial

import rich_click as click

from fraudguard.cli.app import (
    App,
    examples,
    json_option,
    print_json,
    print_table,
    scope_options,
    show_instant,
    show_money,
)
from fraudguard.cli.person import parse_name
from fraudguard.clock import format_instant, parse_instant
from fraudguard.policy import Ruling
from fraudguard.policy.ruling import as_json as ruling_json
from fraudguard.store.attempts import LIST_LIMIT, Filter, Refusals, list_attempts, list_refusals


@click.command(
    epilog=examples(
        "attempts",
        "attempts --refused --since 2026-11-20 --json",
        "attempts --refused --by account",
        "attempts --tenant acme --account 204 --limit 10",
        "attempts --pin 'Ann Smith' --since 2026-11-01",
    )
)
@click.option("--refused", is_flag=True, help="Only those that went nowhere.")
@click.option("--by", type=click.Choice(["account"]), help="Count refusals by account, number and reason instead.")
@click.option("--pin", "name", metavar="NAME", help="Only those at which the PIN of NAME was keyed.")
@click.option("--since", metavar="TIME", help="Only from this instant on.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=LIST_LIMIT, show_default=True, help="At most so many."
)
@scope_options
@json_option
@click.pass_obj
def attempts(
    app: App,
    refused: bool,
    by: str | None,
    name: str | None,
    since: str | None,
    limit: int,
    tenant: str | None,
    account: str | None,
    as_json: bool,
) -> None:
    """Show what was dialled and what became of it, the newest first."""
    scope = app.scope(tenant, account)
    instant = None if since is None else parse_instant(since, where="--since")
    person = None if name is None else parse_name(name, where="--pin")
    wanted = Filter(scope.tenant, scope.account, instant, refused, person)
    if by is None:
        _show_attempts(app, app.read(partial(list_attempts, wanted=wanted, limit=limit)), as_json=as_json)
    else:
        _show_refusals(app, app.read(partial(list_refusals, wanted=wanted, limit=limit)), as_json=as_json)


def _show_attempts(app: App, rulings: tuple[Ruling, ...], *, as_json: bool) -> None:
    if as_json:
        print_json([ruling_json(ruling, app.settings.currency) for ruling in rulings])
        return
    with_pin = any(ruling.pin is not None for ruling in rulings)
    rows = [
        (
            show_instant(ruling.at),
            ruling.tenant,
            ruling.account,
            ruling.source,
            ruling.dialled,
            ruling.number,
            ruling.destination,
            show_money(ruling.per_minute),
            *((ruling.pin,) if with_pin else ()),
            ruling.outcome,
            ruling.reason,
        )
        for ruling in rulings
    ]
    columns = (
        *("at", "tenant", "account", "source", "dialled", "number", "destination", "a minute"),
        *(("pin",) if with_pin else ()),
        *("verdict", "reason"),
    )
    print_table(columns, rows, empty="no attempts", spare=("tenant", "dialled", "source"))


def _show_refusals(app: App, refusals: tuple[Refusals, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "tenant": entry.tenant,
                    "account": entry.account,
                    "number": entry.number,
                    "destination": entry.destination,
                    "per_minute": show_money(entry.per_minute),
                    "currency": app.settings.currency,
                    "reason": entry.reason,
                    "tries": entry.tries,
                    "first_at": format_instant(entry.first_at),
                    "last_at": format_instant(entry.last_at),
                }
                for entry in refusals
            ]
        )
        return
    rows = [
        (
            entry.tries,
            entry.tenant,
            entry.account,
            entry.number,
            entry.destination,
            show_money(entry.per_minute),
            entry.reason,
            show_instant(entry.last_at),
        )
        for entry in refusals
    ]
    columns = ("tries", "tenant", "account", "number", "destination", "a minute", "reason", "last")
    print_table(columns, rows, empty="nothing was refused", spare=("tenant",))
