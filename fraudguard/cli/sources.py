"""`fraudguard sources`: who connects, from where."""

from __future__ import annotations

from functools import partial
from typing import Any

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, print_table, show_instant
from fraudguard.clock import format_instant, parse_instant
from fraudguard.store.sources import LIST_LIMIT, Filter, Order, Source, list_sources


@click.command(
    epilog=examples(
        "sources",
        "sources --failing --sort failed",
        "sources --account 204 --since 2026-11-22 --json",
        "sources --address 198.51.100.7",
    )
)
@click.option("--failing", is_flag=True, help="Only those that failed at least once.")
@click.option("--account", metavar="ACCOUNT", help="Only this account, as it was presented.")
@click.option("--address", metavar="IP", help="Only this address.")
@click.option("--since", metavar="TIME", help="Only those seen from this instant on.")
@click.option(
    "--sort",
    type=click.Choice([order.value for order in Order]),
    default=Order.LAST.value,
    show_default=True,
    help="By what to sort, the highest first.",
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=LIST_LIMIT, show_default=True, help="At most so many."
)
@json_option
@click.pass_obj
def sources(
    app: App,
    failing: bool,
    account: str | None,
    address: str | None,
    since: str | None,
    sort: str,
    limit: int,
    as_json: bool,
) -> None:
    """Show who connects, from where, since when, and how often that succeeded and failed.

    Accounts that do not exist are counted together, as the account "". Logins are only known of an Asterisk that is
    followed over AMI.
    """
    instant = None if since is None else parse_instant(since, where="--since")
    wanted = Filter(account, address, instant, failing)
    found = app.read(partial(list_sources, wanted=wanted, order=Order(sort), limit=limit))
    if as_json:
        print_json([_document(source) for source in found])
        return
    columns = ("account", "address", "asterisk", "first", "last", "succeeded", "calls", "failed", "how")
    print_table(
        columns, [_cells(source) for source in found], empty="nobody yet", spare=("asterisk", "first", "succeeded")
    )


def _cells(source: Source) -> tuple[object, ...]:
    return (
        source.account or '""',
        source.address,
        source.asterisk,
        show_instant(source.first_at),
        show_instant(source.last_at),
        source.succeeded,
        source.called,
        source.failed,
        ", ".join(f"{name} {count}" for name, count in _failures(source).items() if count),
    )


def _failures(source: Source) -> dict[str, int]:
    return {
        "invalid_password": source.invalid_password,
        "invalid_account": source.invalid_account,
        "failed_challenge": source.failed_challenge,
        "failed_acl": source.failed_acl,
    }


def _document(source: Source) -> dict[str, Any]:
    return {
        "asterisk": source.asterisk,
        "account": source.account,
        "address": source.address,
        "first_at": format_instant(source.first_at),
        "last_at": format_instant(source.last_at),
        "succeeded": source.succeeded,
        "called": source.called,
        "failed": source.failed,
        **_failures(source),
    }
