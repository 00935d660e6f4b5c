"""`fraudguard alerts`: what a person should know."""

from __future__ import annotations

from functools import partial
from typing import Any

import rich_click as click

from fraudguard.cli.app import (
    IDENTIFIER,
    App,
    examples,
    json_option,
    print_json,
    print_table,
    show_instant,
    show_money,
)
from fraudguard.clock import format_instant
from fraudguard.policy.alert import Alert
from fraudguard.store.alerts import LIST_LIMIT, ack_alert, list_alerts


@click.group(invoke_without_command=True, epilog=examples("alerts", "alerts list --json", "alerts ack 12"))
@click.pass_context
def alerts(context: click.Context) -> None:
    """What a person should know: refusals, folded by account, source and number, with the count of tries.

    Without a verb: list.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


@alerts.command("list", epilog=examples("alerts list", "alerts list --all --json"))
@click.option("--all", "acked", is_flag=True, help="The acknowledged ones too.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=LIST_LIMIT, show_default=True, help="At most so many."
)
@json_option
@click.pass_obj
def list_(app: App, acked: bool, limit: int, as_json: bool) -> None:
    """Show the open alerts, the newest first."""
    found = app.read(partial(list_alerts, acked=acked, limit=limit))
    if as_json:
        print_json([_document(alert, app.settings.currency) for alert in found])
        return
    rows = [
        (
            alert.id,
            show_instant(alert.last_at),
            alert.severity,
            alert.kind,
            alert.tries,
            alert.tenant,
            alert.account,
            alert.source,
            alert.number or alert.dialled,
            alert.destination,
            show_money(alert.per_minute),
            show_money(alert.highest),
        )
        for alert in found
    ]
    columns = (
        *("id", "last", "severity", "kind", "tries", "tenant", "account", "source", "number", "destination"),
        *("a minute", "limit"),
    )
    print_table(columns, rows, empty="no open alerts" if not acked else "no alerts")


@alerts.command(epilog=examples("alerts ack 12"))
@click.argument("alert_id", type=IDENTIFIER, metavar="ID")
@click.pass_obj
def ack(app: App, alert_id: int) -> None:
    """Acknowledge the alert ID: the next refusal of its kind raises a new one."""
    app.write(partial(ack_alert, alert_id=alert_id, author=app.author, now=app.clock.now()))
    click.echo(f"alert {alert_id} acknowledged")


def _document(alert: Alert, currency: str) -> dict[str, Any]:
    return {
        "id": alert.id,
        "kind": alert.kind,
        "severity": alert.severity,
        "first_at": format_instant(alert.first_at),
        "last_at": format_instant(alert.last_at),
        "tries": alert.tries,
        "tenant": alert.tenant,
        "account": alert.account,
        "source": alert.source,
        "trunk": alert.trunk,
        "dialled": alert.dialled,
        "number": alert.number,
        "destination": alert.destination,
        "per_minute": show_money(alert.per_minute),
        "connect_fee": show_money(alert.connect_fee),
        "limit": show_money(alert.highest),
        "limit_scope": alert.limit_scope,
        "currency": currency,
        "reason": alert.reason,
        "call": alert.call,
        "acked_at": None if alert.acked_at is None else format_instant(alert.acked_at),
        "acked_by": alert.acked_by,
    }
