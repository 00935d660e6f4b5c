"""`fraudguard check`: the verdict a call would get now, and why."""

from __future__ import annotations

import sqlite3

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, printable
from fraudguard.clock import parse_instant
from fraudguard.errors import InputError
from fraudguard.guard import judge
from fraudguard.house import build_house, refuse_other_currency
from fraudguard.numbering import BadNumber
from fraudguard.policy import DEFAULT_TENANT, Attempt, PolicyIndex, Reason, Ruling, Snapshot, explain, flatten
from fraudguard.policy.pin import Keyed
from fraudguard.policy.ruling import as_json as ruling_json
from fraudguard.store import policies
from fraudguard.store.pins import list_pins
from fraudguard.store.rates import load_deck


@click.command(
    epilog=examples(
        "check 011882160000 --trunk carrier",
        "check 00442079460000 --trunk carrier --tenant acme --account 204 --json",
        "check +5355551234 --trunk carrier --source 198.51.100.7 --at 2027-01-01",
    )
)
@click.argument("number")
@click.option("--trunk", required=True, metavar="TRUNK", help="The trunk it would leave by.")
@click.option("--account", default="", metavar="ACCOUNT", help="Who dials.")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, metavar="TENANT", help="Whose phone it is.")
@click.option("--source", default="", metavar="ADDRESS", help="Where the call comes from.")
@click.option("--at", metavar="TIME", help="When, by the price lists and grants known now. [default: now]")
@json_option
@click.pass_context
def check(
    context: click.Context,
    number: str,
    trunk: str,
    account: str,
    tenant: str,
    source: str,
    at: str | None,
    as_json: bool,
) -> None:
    """Show the verdict that NUMBER, as dialled, would get, with every step that led to it. Changes nothing.

    Ends with status 0 when the call would go and 1 when it would not.
    """
    app: App = context.obj
    settings = app.settings
    if trunk not in settings.trunks:
        known = ", ".join(sorted(settings.trunks)) or "none"
        raise InputError(f"unknown trunk {trunk!r}", where="--trunk", fix=f"configured: {known}")
    app.scope(tenant, account or None)
    instant = app.clock.now() if at is None else parse_instant(at, where="--at")
    attempt = Attempt(number, trunk, account, tenant, source, instant)
    ruling = _judge(app, attempt)
    if as_json:
        print_json(ruling_json(ruling, settings.currency))
    else:
        for step in explain(ruling, settings.currency):
            click.echo(printable(step))
    context.exit(0 if ruling.outcome == "allow" else 1)


def _judge(app: App, attempt: Attempt) -> Ruling:
    house = build_house(app.settings)
    deck = house.trunks[attempt.trunk]
    number = house.tenancy_of(attempt.tenant).normaliser.normalise(attempt.number)
    digits = "" if isinstance(number, BadNumber) else number.digits

    def snapshot(connection: sqlite3.Connection) -> Snapshot:
        found = load_deck(connection, deck, attempt.at, digits=digits)
        refuse_other_currency(app.settings, () if found is None else (found,))
        return Snapshot(
            decks={} if found is None else {deck: found},
            limits=policies.list_limits(connection),
            grants=policies.list_grants(connection),
            blocks=policies.list_blocks(connection),
            pins=list_pins(connection),
        )

    policy = PolicyIndex(app.read(snapshot))
    verdict = judge(house, policy, attempt)
    if verdict.reason is Reason.PIN_REQUIRED and policy.can_key(attempt.tenant, attempt.account):
        verdict = judge(house, policy, attempt, keyed=Keyed(attempt.at, assumed=True))
    return flatten(verdict)
