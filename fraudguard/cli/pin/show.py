"""`fraudguard pin list`, `show` and `history`: who has a PIN, what it is good for, and who did what."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, print_table, printable, show_instant, show_money
from fraudguard.cli.person import parse_name
from fraudguard.cli.pin.known import TENANT, Known, known
from fraudguard.cli.pin.locks import lock_document, lock_sentence
from fraudguard.cli.pin.terms import (
    CELL_HEADINGS,
    is_expired,
    show_name,
    term_cells,
    term_document,
    words,
)
from fraudguard.clock import Millis, day_began, format_instant
from fraudguard.money import Micros
from fraudguard.pins.guessing import Lock, Scope
from fraudguard.policy import DEFAULT_TENANT
from fraudguard.policy.pin import Pin, PinKind
from fraudguard.store import pins as store
from fraudguard.store.guesses import stored_guesses
from fraudguard.store.pin_usage import Usage, spent, usage


@click.command("list", epilog=examples("pin list", "pin list --tenant acme --revoked", "pin list --json"))
@click.option("--tenant", metavar="TENANT", help="One tenant. [default: all]")
@click.option("--revoked", is_flag=True, help="Also those that were revoked or rotated.")
@json_option
@click.pass_obj
def list_(app: App, tenant: str | None, revoked: bool, as_json: bool) -> None:
    """Show who has a PIN and what it is good for, the expired ones too. Never the digits."""
    now = app.clock.now()
    wanted = None if tenant is None else app.read(known).tenant(app, tenant)
    entries = [
        (pin, at, by)
        for pin, at, by in app.read(store.list_all_pins)
        if wanted in (None, pin.tenant) and (revoked or at is None)
    ]
    if as_json:
        print_json([_document(pin, now) | _revocation(at, by) for pin, at, by in entries])
        return
    rows = [
        (
            pin.id,
            pin.tenant,
            show_name(pin),
            pin.kind,
            *term_cells(pin.terms, now),
            pin.author,
            show_instant(pin.created),
            f"{show_instant(at)} by {by}" if at is not None else "",
        )
        for pin, at, by in entries
    ]
    columns = ("id", "tenant", "name", "kind", *CELL_HEADINGS, "author", "added", *(("revoked",) if revoked else ()))
    rows = rows if revoked else [row[:-1] for row in rows]
    spare = ("added", "author", "from", "id", "tenant")
    print_table(columns, rows, empty="no PINs: 'fraudguard pin add NAME' makes one", spare=spare)


@dataclass(frozen=True, slots=True)
class _Person:
    """What is told of one person: the PIN, whether there is a duress PIN, how they were used, and what is locked."""

    pin: Pin
    has_duress: bool
    usage: Usage
    spent: Micros
    locks: tuple[Lock, ...]


@click.command(epilog=examples("pin show 'Ann Smith'", "pin show 'Ann Smith' --tenant acme --json"))
@click.argument("name")
@TENANT
@json_option
@click.pass_obj
def show(app: App, name: str, tenant: str, as_json: bool) -> None:
    """Show what the PIN of NAME is good for, how it was used, what it spent today, and what is locked for it."""
    now = app.clock.now()
    tenant, name = app.read(known).tenant(app, tenant), parse_name(name, where="NAME")
    zone = app.settings.zone_of(tenant)
    person = app.read(partial(_look_up, tenant=tenant, name=name, now=now, today=day_began(now, ZoneInfo(zone))))
    pin, used = person.pin, person.usage
    if as_json:
        print_json(
            _document(pin, now)
            | {
                "has_duress": person.has_duress,
                "attempts": used.attempts,
                "calls": used.calls,
                "last_used_at": None if used.last_at is None else format_instant(used.last_at),
                "spent_today": show_money(person.spent),
                "currency": app.settings.currency,
                "locks": [lock_document(lock) for lock in person.locks],
            }
        )
        return
    currency = app.settings.currency
    lines = [
        ("name", pin.name),
        ("tenant", pin.tenant),
        ("kind", "code of an authenticator app" if pin.kind is PinKind.TOTP else "digits"),
        *(("good", clause) for clause in words(pin.terms, currency=currency, zone=zone) or ["without restriction"]),
        *([("expired", "yes")] if is_expired(pin.terms, now) else []),
        ("duress PIN", "yes" if person.has_duress else "no"),
        ("last used", show_instant(used.last_at) or "never"),
        ("calls", f"{used.calls} of {used.attempts} attempts"),
        ("spent today", f"{show_money(person.spent)} {currency}, what may yet come included"),
        ("added", f"{show_instant(pin.created)} by {pin.author}"),
        *(("locked", lock_sentence(lock)) for lock in person.locks),
    ]
    for key, value in lines:
        click.echo(f"{key + ':':13} {printable(str(value))}")


@click.command(epilog=examples("pin history", "pin history 'Ann Smith' --tenant acme", "pin history --json"))
@click.argument("name", default="")
@click.option("--tenant", metavar="TENANT", help="One tenant. [default: all; with NAME: default]")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=store.LIST_LIMIT, show_default=True, help="At most so many."
)
@json_option
@click.pass_obj
def history(app: App, name: str, tenant: str | None, limit: int, as_json: bool) -> None:
    """Show who did what to PINs and locks, the newest first; with NAME what was done to the PINs of that person.

    Entries are never removed.
    """
    whose = None if tenant is None else app.read(known).tenant(app, tenant)
    person = None
    if name:
        whose, person = whose or DEFAULT_TENANT, parse_name(name, where="NAME")
    entries = app.read(partial(store.list_history, tenant=whose, name=person, limit=limit))
    if as_json:
        print_json([{"at": format_instant(at), "author": author, "what": what} for at, author, what in entries])
        return
    rows = [(show_instant(at), author, what) for at, author, what in entries]
    print_table(("at", "by", "what"), rows, empty="nothing was done yet")


def _look_up(connection: sqlite3.Connection, *, tenant: str, name: str, now: Millis, today: Millis) -> _Person:
    there: Known = known(connection)
    pin = there.get(tenant, name)
    locks = tuple(
        lock
        for lock in stored_guesses(connection, now).locks(now)
        if lock.tenant == tenant and (lock.scope is Scope.TENANT or pin.usable_from(lock.account))
    )
    return _Person(
        pin,
        there.find(tenant, name, duress=True) is not None,
        usage(connection, tenant, name),
        spent(connection, pin.id, today),
        locks,
    )


def _document(pin: Pin, now: Millis) -> dict[str, object]:
    return {
        "id": pin.id,
        "tenant": pin.tenant,
        "name": pin.name,
        "kind": pin.kind.value,
        "duress": pin.duress,
        **term_document(pin.terms, now),
        "author": pin.author,
        "created": format_instant(pin.created),
    }


def _revocation(at: Millis | None, by: str | None) -> dict[str, object]:
    return {"revoked_at": None if at is None else format_instant(at), "revoked_by": by}
