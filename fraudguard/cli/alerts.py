"""`fraudguard alerts`: what a person should know."""

from __future__ import annotations

import secrets
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import rich_click as click

from fraudguard import logs
from fraudguard.alerts.build import build_channels
from fraudguard.alerts.channel import Channel, NotDeliveredError
from fraudguard.alerts.outbox import send
from fraudguard.alerts.routes import build_routes
from fraudguard.alerts.text import render
from fraudguard.cli.app import (
    IDENTIFIER,
    App,
    examples,
    json_option,
    print_json,
    print_table,
    printable,
    show_instant,
    show_money,
)
from fraudguard.clock import format_instant
from fraudguard.errors import InputError
from fraudguard.policy.alert import Alert, AlertKind, Delivery, NewAlert
from fraudguard.store import Writer
from fraudguard.store.alerts import LIST_LIMIT, ack_alert, list_alerts
from fraudguard.store.outbox import Stand, add_test, delivered, failed, stands

_SPARE = ("limit", "tenant", "severity", "told", "source", "tries")
"""What a narrow terminal is spared in the list, in this order."""


@click.group(
    invoke_without_command=True, epilog=examples("alerts", "alerts list --json", "alerts ack 12", "alerts test")
)
@click.pass_context
def alerts(context: click.Context) -> None:
    """What a person should know: alike ones counted together, and whom they were told to.

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
    """Show the open alerts, the newest first, and what became of the messages about them."""

    def look(connection: sqlite3.Connection) -> tuple[tuple[Alert, ...], Mapping[int, list[Stand]]]:
        found = list_alerts(connection, acked=acked, limit=limit)
        return found, stands(connection, found)

    found, told = app.read(look)
    if as_json:
        print_json([_document(alert, told[alert.id], app.settings.currency) for alert in found])
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
            *([_told(alert, told[alert.id])] if app.settings.alerts.channels else []),
        )
        for alert in found
    ]
    columns = (
        *("id", "last", "severity", "kind", "tries", "tenant", "account", "source", "number", "destination"),
        *("a minute", "limit"),
        *(["told"] if app.settings.alerts.channels else []),  # the log alone is no news
    )
    print_table(columns, rows, empty="no open alerts" if not acked else "no alerts", spare=_SPARE)


@alerts.command(epilog=examples("alerts ack 12"))
@click.argument("alert_id", type=IDENTIFIER, metavar="ID")
@click.pass_obj
def ack(app: App, alert_id: int) -> None:
    """Acknowledge the alert ID: the next one like it is a new one."""
    app.write(partial(ack_alert, alert_id=alert_id, author=app.author, now=app.clock.now()))
    click.echo(f"alert {alert_id} acknowledged")


@alerts.command(epilog=examples("alerts test", "alerts test --channel mail"))
@click.option("--channel", metavar="NAME", help="Only this one. [default: every channel]")
@click.pass_context
def test(context: click.Context, channel: str | None) -> None:
    """Send a test message to every channel, now, and say what became of it.

    The channels are those of the configuration file, as the service would use them. Ends with status 1 if one failed.
    """
    app: App = context.obj
    logs.configure(app.settings.log)  # for a channel that is the log, and for warnings about secrets
    build_routes(app.settings)
    failures = app.write(partial(_test, app, channel))
    context.exit(1 if failures else 0)


async def _test(app: App, only: str | None, writer: Writer) -> int:
    """Store a test alert, send it, and write down what happened; return how many channels failed."""
    channels = build_channels(app.settings, app.clock)
    if only is not None and only not in channels:
        raise InputError(f"unknown channel {only!r}", where="--channel", fix=f"configured: {', '.join(channels)}")
    wanted = list(channels) if only is None else [only]
    now = app.clock.now()
    details = {"sent by": app.author, "host": socket.gethostname()}
    alert = NewAlert(AlertKind.TEST, now, fold=secrets.token_hex(8), reason="alerts test", details=details)
    deliveries = await writer.transaction(lambda connection: add_test(connection, alert, wanted, now))
    try:
        failures = [await _send(app, writer, channels[delivery.channel], delivery) for delivery in deliveries]
    finally:
        for one in channels.values():
            await one.close()
    await ack_alert(writer, deliveries[0].alert.id, author=app.author, now=app.clock.now())
    return sum(failures)


async def _send(app: App, writer: Writer, channel: Channel, delivery: Delivery) -> bool:
    """Send one test message and tell what happened; return whether it failed."""
    began = app.clock.monotonic()
    try:
        note = await send(channel, partial(render, delivery, app.settings.currency))
    except NotDeliveredError as error:
        why = str(error)
        await writer.transaction(lambda c: failed(c, delivery.id, app.clock.now(), why, app.clock.now()))
        click.echo(f"{delivery.channel}: failed: {printable(why)}")
        return True
    await writer.transaction(lambda c: delivered(c, delivery.id, app.clock.now(), note))
    spent = app.clock.monotonic() - began
    click.echo(f"{delivery.channel}: delivered in {spent:.2f} s" + (f" ({printable(note)})" if note else ""))
    return False


def _told(alert: Alert, told: Sequence[Stand]) -> str:
    """Write what became of an alert's latest message to each channel."""
    latest = {stand.channel: stand for stand in told}
    parts = [
        f"{stand.channel} {stand.state}" + (f" ({stand.error})" if stand.error else "") for stand in latest.values()
    ]
    together = f"with {alert.leader}: " if alert.leader not in (None, alert.id) else ""
    return f"{together}{', '.join(parts)}" if parts else ""


def _document(alert: Alert, told: Sequence[Stand], currency: str) -> dict[str, Any]:
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
        "details": dict(alert.details),
        "told_with": alert.leader,
        "deliveries": [
            {
                "channel": stand.channel,
                "part": stand.part,
                "state": stand.state,
                "tries": stand.tries,
                "attempts": stand.attempts,
                "due_at": format_instant(stand.due_at) if stand.state == "pending" else None,
                "delivered_at": None if stand.delivered_at is None else format_instant(stand.delivered_at),
                "error": stand.error,
            }
            for stand in told
        ],
    }
