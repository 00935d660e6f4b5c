"""`fraudguard grant`: an operator's lasting permission."""

from __future__ import annotations

import sqlite3
from functools import partial

import rich_click as click

from fraudguard.alerts.ways import can_be_granted, is_for_want_of_a_pin, refusal_of_grant
from fraudguard.cli.app import IDENTIFIER, App, examples, json_option, scope_options
from fraudguard.cli.lasting import lasting_options, parse_prefix, print_lasting, show_prefix, show_until
from fraudguard.errors import InputError
from fraudguard.money import format_amount, parse_amount
from fraudguard.policy import EVERYBODY, Grant
from fraudguard.policy.alert import Alert
from fraudguard.store import policies
from fraudguard.store.alerts import find_alert


@click.group()
def grant() -> None:
    """Lasting permissions: destinations that may cost more than the limit, and are called without a PIN."""


@grant.command(
    epilog=examples(
        "grant add +8821 --account 204 --max-price 5.00 --until 2026-12-31 --reason 'ship at sea'",
        "grant add +44207946 --account fax1 --max-price 0.10 --until 2026-12-31 --reason 'fax to London'",
        "grant add +53 --tenant acme --max-price 0.90 --ask-pin",
        "grant add --from-alert 12 --until 2026-12-31",
    )
)
@click.argument("prefix", default="")
@scope_options
@click.option("--max-price", metavar="AMOUNT", help="The dearest per-minute price and connect fee it permits.")
@click.option("--ask-pin", is_flag=True, help="Lift the limit only: a PIN is asked for as ever.")
@click.option("--from-alert", type=IDENTIFIER, metavar="ID", help="Permit exactly what the alert ID was about.")
@lasting_options
@click.pass_obj
def add(
    app: App,
    prefix: str,
    tenant: str | None,
    account: str | None,
    max_price: str | None,
    ask_pin: bool,
    from_alert: int | None,
    until: str | None,
    reason: str,
) -> None:
    """Permit calls to PREFIX (E.164, such as +8821) above the limit and without a PIN, for one scope.

    Without PREFIX any number; then a tenant or an account must be named. Without --max-price any known price
    is permitted. Blocks outrank a grant, and a number without a price stays refused.

    Calls that a grant reaches need no PIN: so fax machines, alarm panels and forwarded calls get through, where nobody
    could key one. With --ask-pin they need one nevertheless.

    With --from-alert: the account that was refused, the number that it dialled, up to the price it had.
    """
    if from_alert is not None:
        if prefix or tenant is not None or account is not None or max_price is not None:
            raise InputError(
                "the alert says whom, what and how dear",
                where="--from-alert",
                fix="leave PREFIX, --tenant, --account and --max-price out; --until and --reason are yours",
            )
        refused = app.read(partial(_grantable, alert_id=from_alert, ask_pin=ask_pin))
        prefix, tenant, account = refused.number or "", refused.tenant, refused.account
        max_price = format_amount(max(refused.per_minute or 0, refused.connect_fee or 0))
        reason = reason or f"alert {from_alert}"
    scope = app.scope(tenant, account)
    digits = parse_prefix(prefix)
    if not digits and scope == EVERYBODY:
        raise InputError(
            "a grant for everybody to everywhere would switch the limit off",
            where="PREFIX",
            fix="name a prefix, --tenant or --account, or raise the limit with 'limit set'",
        )
    highest = None if max_price is None else parse_amount(max_price, where="--max-price")
    add_grant = partial(
        policies.add_grant,
        scope=scope,
        prefix=digits,
        highest=highest,
        until=app.future(until, "--until"),
        reason=reason,
        author=app.author,
        now=app.clock.now(),
        asks_pin=ask_pin,
    )
    added = app.write(add_grant)
    click.echo(f"grant {added.id}: {_sentence(added, app.settings.currency)}")


@grant.command("list", epilog=examples("grant list", "grant list --json"))
@json_option
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """Show the grants that were not removed, the expired ones too."""
    print_lasting(
        app,
        app.read(policies.list_grants),
        ("max price", "max_price", _highest),
        ("asks PIN", "asks_pin", lambda entry: entry.asks_pin),
        as_json=as_json,
    )


@grant.command(epilog=examples("grant remove 7"))
@click.argument("grant_id", type=IDENTIFIER, metavar="ID")
@click.pass_obj
def remove(app: App, grant_id: int) -> None:
    """Remove the grant ID."""
    app.write(partial(policies.remove_grant, grant_id=grant_id, author=app.author, now=app.clock.now()))
    click.echo(f"grant {grant_id} removed")


def _grantable(connection: sqlite3.Connection, alert_id: int, *, ask_pin: bool) -> Alert:
    """Return the alert. Raises InputError for one that no such grant lifts, with the way out."""
    alert = find_alert(connection, alert_id)
    if not can_be_granted(alert):
        what, fix = refusal_of_grant(alert)
        raise InputError(what, where="--from-alert", fix=fix)
    if ask_pin and is_for_want_of_a_pin(alert):
        raise InputError(
            f"alert {alert_id} is {alert.kind}: what it was refused for is a PIN",
            where="--ask-pin",
            fix="leave it out: such a grant would be no help",
        )
    return alert


def _highest(entry: Grant) -> str | None:
    return None if entry.highest is None else format_amount(entry.highest)


def _sentence(entry: Grant, currency: str) -> str:
    price = "at any known price" if entry.highest is None else f"up to {format_amount(entry.highest)} {currency}"
    pin = "a PIN is asked for as ever" if entry.asks_pin else "no PIN is asked for"
    return f"{show_prefix(entry.prefix)} {price} ({entry.scope}){show_until(entry)}; {pin}"
