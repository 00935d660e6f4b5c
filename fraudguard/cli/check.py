"""`fraudguard check`: the verdict a call would get now, and why."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Final

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, printable, show_money
from fraudguard.cli.person import parse_name
from fraudguard.clock import Millis, parse_instant
from fraudguard.config import Settings
from fraudguard.errors import InputError
from fraudguard.guard import judge
from fraudguard.house import build_house, refuse_other_currency
from fraudguard.ledger import Ledger
from fraudguard.ledger.tempo import caller_of
from fraudguard.money import Micros, format_amount
from fraudguard.numbering import BadNumber
from fraudguard.policy import DEFAULT_TENANT, Attempt, Facts, PolicyIndex, Reason, Snapshot, Verdict, flatten
from fraudguard.policy.pin import Keyed, Pin
from fraudguard.policy.records import Standing
from fraudguard.policy.ruling import as_json as ruling_json
from fraudguard.rating.rate import Rate, most
from fraudguard.store import policies
from fraudguard.store.budgets import list_budgets
from fraudguard.store.calls import followed_until
from fraudguard.store.ledger import stored_ledger
from fraudguard.store.pins import list_pins
from fraudguard.store.rates import load_deck
from fraudguard.store.tempo import stored_tempo

FOLLOWED_MILLIS: Final = 20_000
"""A service that follows an Asterisk notes it every 5 s; only while it does, calls at once are counted."""


@click.command(
    epilog=examples(
        "check 011882160000 --trunk carrier",
        "check 00442079460000 --trunk carrier --tenant acme --account 204 --json",
        "check 011442079460000 --trunk carrier --account 204 --pin 'Ann Smith'",
        "check +5355551234 --trunk carrier --source 198.51.100.7 --at 2027-01-01",
    )
)
@click.argument("number")
@click.option("--trunk", required=True, metavar="TRUNK", help="The trunk it would leave by.")
@click.option("--account", default="", metavar="ACCOUNT", help="Who dials.")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, metavar="TENANT", help="Whose phone it is.")
@click.option("--source", default="", metavar="ADDRESS", help="Where the call comes from.")
@click.option("--pin", "name", metavar="NAME", help="Whose PIN is keyed if one is wanted. [default: a good one]")
@click.option(
    "--at", metavar="TIME", help="When, by price lists and grants known now, budgets as they stand now. [default: now]"
)
@json_option
@click.pass_context
def check(
    context: click.Context,
    number: str,
    trunk: str,
    account: str,
    tenant: str,
    source: str,
    name: str | None,
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
    person = None if name is None else _person(app, tenant, parse_name(name, where="--pin"))
    verdict = _judge(app, attempt, person)
    ruling = flatten(verdict)
    document = ruling_json(ruling, settings.currency)
    most = None if verdict.lease_seconds is None else most_of(verdict.facts.rate, verdict.lease_seconds)
    if verdict.lease_seconds is not None:
        document["explain"].insert(-1, _lease_step(verdict.lease_seconds, most, settings))
    if as_json:
        print_json(document | {"most": show_money(most)})
    else:
        for step in document["explain"]:
            click.echo(printable(step))
    context.exit(0 if verdict.allowed else 1)


def _judge(app: App, attempt: Attempt, person: Pin | None) -> Verdict:
    house = build_house(app.settings)
    deck = house.trunks[attempt.trunk]
    number = house.tenancy_of(attempt.tenant).normaliser.normalise(attempt.number)
    digits = "" if isinstance(number, BadNumber) else number.digits
    now = app.clock.now()

    def gathered(connection: sqlite3.Connection) -> tuple[PolicyIndex, _Standing]:
        found = load_deck(connection, deck, attempt.at, digits=digits)
        refuse_other_currency(app.settings, () if found is None else (found,))
        snapshot = Snapshot(
            decks={} if found is None else {deck: found},
            limits=policies.list_limits(connection),
            grants=policies.list_grants(connection),
            blocks=policies.list_blocks(connection),
            pins=list_pins(connection),
            budgets=list_budgets(connection),
        )
        policy = PolicyIndex(snapshot)
        tempo = stored_tempo(connection, house, now, only=(attempt.tenant, attempt.account))
        asterisks = tuple(app.settings.ami)
        ledger = stored_ledger(connection, house, policy, now, asterisks=asterisks, tempo=tempo)
        followed = any(now - until < FOLLOWED_MILLIS for until in followed_until(connection).values())
        return policy, _Standing(ledger, now, followed=followed)

    policy, standing = app.read(gathered)
    verdict = judge(house, policy, attempt, standing=standing)
    if verdict.reason is Reason.PIN_REQUIRED:
        if person is not None:
            refusal = None if person.usable_from(attempt.account) else Reason.PIN_ACCOUNT
            keyed = Keyed(attempt.at, person, refusal, tries=1)
        elif policy.can_key(attempt.tenant, attempt.account):
            keyed = Keyed(attempt.at, assumed=True)
        else:
            return verdict
        verdict = judge(house, policy, attempt, keyed=keyed, standing=standing)
    return verdict


def _person(app: App, tenant: str, name: str) -> Pin:
    """Return a person's PIN. Raises InputError when there is none."""
    for pin in app.read(list_pins):
        if (pin.tenant, pin.name, pin.duress) == (tenant, name, False):
            return pin
    raise InputError(
        f"tenant {tenant} has no PIN of {printable(name)!r}",
        where="--pin",
        fix="'fraudguard pin list' shows those there are; --tenant names another tenant",
    )


class _Standing:
    """How things stand in the ledger now, whenever the attempt is."""

    def __init__(self, ledger: Ledger, now: Millis, *, followed: bool) -> None:
        self._ledger = ledger
        self._now = now
        self._followed = followed

    def __call__(self, facts: Facts) -> Standing:
        standing = self._ledger.standing(replace(facts, attempt=replace(facts.attempt, at=self._now)))
        # The ledger of a command follows nothing itself; whether a service does is in the database.
        too_many = self._ledger.tempo.too_many(caller_of(facts)) if self._followed else ""
        return replace(standing, too_many=too_many)


def _lease_step(lease: int, most: Micros | None, settings: Settings) -> str:
    """Say how long such a call lives, and what it may cost until somebody has to look again."""
    price = "without a price" if most is None else f"at most {format_amount(most)} {settings.currency}"
    longest = settings.policy.call_seconds
    if lease >= longest:
        return f"lease: {span(lease)}, {price}"
    if not settings.ami:
        return f"lease: {span(lease)}, {price}; not renewed, because no Asterisk is followed"
    return f"lease: {span(lease)} at first, {price}; renewed while money remains, up to {span(longest)}"


def most_of(rate: Rate | None, lease_seconds: int) -> Micros | None:
    """Return what a call can cost at most within a lease; None without a price."""
    return None if rate is None else most(rate, lease_seconds)


def span(seconds: int) -> str:
    """Write a time for people: '9 min 58 s', '4 h'."""
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"
