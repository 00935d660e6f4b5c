"""`fraudguard pin add`, `rotate` and `revoke`: a person's PIN comes, changes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import rich_click as click

from fraudguard.cli.app import App, examples, printable
from fraudguard.cli.person import parse_name
from fraudguard.cli.pin.known import TENANT, Known, known
from fraudguard.cli.pin.secrets import (
    COUNT,
    Wish,
    make_pin,
    show_authenticator,
    show_digits,
    vault_of,
    warn_of_authenticators,
    warn_of_guesses,
    wish,
)
from fraudguard.cli.pin.terms import given_terms, sentence, terms_options
from fraudguard.errors import InputError
from fraudguard.pins.digits import Digits
from fraudguard.pins.guessing import digits_for
from fraudguard.pins.vault import Vault
from fraudguard.policy.pin import NewPin, Pin, PinKind, Terms
from fraudguard.store import Writer
from fraudguard.store import pins as store


@click.command(
    epilog=examples(
        "pin add 'Ann Smith' --region GB --region FR --max-price 0.10 --per-day 5",
        "pin add 'night shift' --tenant acme --account 204 --hours 'mon-fri 22:00-06:00' --digits 8",
        "pin add 'Bob Jones' --account 204 --totp",
        "pin add 'Ann Smith' --duress",
    )
)
@click.argument("name")
@TENANT
@click.option("--digits", type=COUNT, metavar="N", help="How many. [default: as many as guessing makes necessary]")
@click.option("--choose", is_flag=True, help="Take the person's own: asked for, or a line of standard input.")
@click.option("--totp", is_flag=True, help="A code of an authenticator app instead, good for one call.")
@click.option("--duress", is_flag=True, help="A second PIN for NAME, to be used under threat.")
@terms_options
@click.pass_obj
def add(
    app: App, /, name: str, tenant: str, digits: int | None, choose: bool, totp: bool, duress: bool, **given: Any
) -> None:
    """Give NAME a PIN, which is shown this once. Without further options it is good for any call that asks for one.

    The digits are made up, unless --choose. With --totp a code for an authenticator app is shown instead; the accounts
    it is keyed at must be named, because a code is six digits: those of many people would be good at once, and easily
    guessed.

    With --duress NAME, who has a PIN, gets a second one with the same terms. Its calls go like those of the first, and
    a critical alert goes with them: whoever stands beside the caller hears and sees no difference.
    """
    now = app.clock.now()
    tenant, name = app.tenant(tenant), parse_name(name, where="NAME")
    terms = given_terms(given)
    if terms.until is not None and terms.until <= now:
        raise InputError(f"{given['until']!r} is in the past", where="--until", fix="give a time to come")
    before = app.read(known)
    if duress:
        terms = _terms_of_duress(before.get(tenant, name), terms, totp=totp)
    if before.find(tenant, name, duress=duress) is not None:
        raise InputError(
            f"{printable(name)!r} has a {'duress ' * duress}PIN already",
            where="NAME",
            fix=f"'fraudguard pin rotate{' --duress' * duress}' gives another, 'fraudguard pin revoke' takes it",
        )
    if not app.settings.wants_pins(tenant):
        click.echo(f"warning: no call of tenant {tenant} wants a PIN: pin.ask in {app.config_path} is empty", err=True)
    new = NewPin(tenant, name, PinKind.TOTP if totp else PinKind.DIGITS, duress, terms)
    vault = vault_of(app, before)
    wanted = _wish(new, before.of(tenant), digits=digits, choose=choose)
    edit = partial(
        make_pin, new=new, wanted=wanted, vault=vault, taken=before.taken(tenant), author=app.author, now=now
    )
    _show(app, before, vault, *app.write(edit))


@click.command(
    epilog=examples(
        "pin rotate 'Ann Smith'", "pin rotate 'Ann Smith' --tenant acme --choose", "pin rotate Ann --duress"
    )
)
@click.argument("name")
@TENANT
@click.option("--digits", type=COUNT, metavar="N", help="How many. [default: as many as guessing makes necessary]")
@click.option("--choose", is_flag=True, help="Take the person's own: asked for, or a line of standard input.")
@click.option("--duress", is_flag=True, help="The duress PIN.")
@click.pass_obj
def rotate(app: App, name: str, tenant: str, digits: int | None, choose: bool, duress: bool) -> None:
    """Give NAME another PIN in place of the one there is, with the same terms. It is shown this once.

    The old one is good for nothing from then on. What was spent with it today counts for the new one too.
    """
    now, author = app.clock.now(), app.author
    tenant, name = app.tenant(tenant), parse_name(name, where="NAME")
    before = app.read(known)
    old = before.get(tenant, name, duress=duress)
    vault = vault_of(app, before)
    others = [pin for pin in before.of(tenant) if pin.id != old.id]
    wanted = _wish(old, others, digits=digits, choose=choose)

    async def edit(writer: Writer) -> tuple[Pin, Digits | None]:
        keyed, seal = wanted.seal(vault, before.schemes[tenant], tenant, before.taken(tenant))
        return await store.rotate_pin(writer, old, seal, author=author, now=now), keyed

    _show(app, before, vault, *app.write(edit))


@click.command(epilog=examples("pin revoke 'Ann Smith'", "pin revoke 'Ann Smith' --tenant acme"))
@click.argument("name")
@TENANT
@click.pass_obj
def revoke(app: App, name: str, tenant: str) -> None:
    """Take the PIN of NAME away, and the duress PIN with it. A call that is up goes on."""
    tenant, name = app.read(known).tenant(app, tenant), parse_name(name, where="NAME")
    count = app.write(partial(store.revoke_pin, tenant=tenant, name=name, author=app.author, now=app.clock.now()))
    click.echo(f"{'PIN and duress PIN' if count > 1 else 'PIN'} of {printable(name)} (tenant {tenant}) revoked")


def _terms_of_duress(of: Pin, given: Terms, *, totp: bool) -> Terms:
    """Return the terms that a duress PIN has: those of the person's own, so that nobody sees a difference."""
    if given != Terms():
        raise InputError(
            "a duress PIN has the terms of the person's own PIN, or whoever is there would see a difference",
            where="--duress",
            fix="leave the other options out, but for --digits and --choose",
        )
    if totp:
        raise InputError(
            "a duress PIN is digits that one has in mind, no code of an app", where="--duress", fix="leave --totp out"
        )
    return of.terms


def _wish(pin: Pin | NewPin, others: Sequence[Pin], *, digits: int | None, choose: bool) -> Wish:
    """Say how the digits of a PIN come about, beside the `others` of its tenant. Asks where the person chooses."""
    if pin.kind is PinKind.TOTP:
        if digits is not None or choose:
            raise InputError(
                "the digits of an authenticator app are its own", where="--digits/--choose", fix="leave the option out"
            )
        if not pin.terms.accounts:
            raise InputError(
                "a code is six digits: those of everybody's apps would be good at once, and easily guessed",
                where="--totp",
                fix="name the accounts that it is keyed at with --account",
            )
        return Wish()
    count = 1 + sum(other.kind is PinKind.DIGITS for other in others)
    made = wish(digits=digits, choose=choose, least=digits_for(count), names={pin.name, *pin.terms.accounts})
    warn_of_guesses(count, len(made.chosen) if made.chosen is not None else made.count, pin.tenant)
    return made


def _show(app: App, before: Known, vault: Vault, pin: Pin, keyed: Digits | None) -> None:
    """Tell about a new PIN, and show once what is to be kept in mind or in an app."""
    told = sentence(pin, currency=app.settings.currency, zone=app.settings.zone_of(pin.tenant))
    click.echo(f"pin {pin.id}: {told}")
    if pin.kind is PinKind.TOTP:
        there = [*(one for one in before.of(pin.tenant) if one.name != pin.name), pin]
        for account in sorted(pin.terms.accounts):
            warn_of_authenticators(sum(one.kind is PinKind.TOTP and one.usable_from(account) for one in there), account)
        show_authenticator(pin, vault)
    elif keyed is not None:
        show_digits(pin, keyed)
