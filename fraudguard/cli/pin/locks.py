"""`fraudguard pin locks` and `unlock`: what wrong PINs have locked, and taking that back."""

from __future__ import annotations

import ipaddress
from functools import partial

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, print_table, printable, show_instant
from fraudguard.clock import format_instant
from fraudguard.errors import InputError
from fraudguard.pins.guessing import Lock, Scope
from fraudguard.policy.index import host_of
from fraudguard.policy.pin import Unlock
from fraudguard.store.guesses import stored_guesses
from fraudguard.store.guesses import unlock as store_unlock


@click.command(epilog=examples("pin locks", "pin locks --json"))
@json_option
@click.pass_obj
def locks(app: App, as_json: bool) -> None:
    """Show for whom no PIN is looked at now, because of too many wrong ones, and until when.

    A caller there hears the same prompt and the same refusal as ever.
    """
    now = app.clock.now()
    found = app.read(partial(stored_guesses, now=now)).locks(now)
    if as_json:
        print_json([lock_document(lock) for lock in found])
        return
    rows = [
        (lock.scope, lock.tenant, lock.account, lock.source, lock.failures, show_instant(lock.until)) for lock in found
    ]
    print_table(("locked", "tenant", "account", "source", "failures", "until"), rows, empty="nothing is locked")


@click.command(
    epilog=examples("pin unlock --account 204", "pin unlock --tenant acme", "pin unlock --source 198.51.100.7")
)
@click.option("--tenant", metavar="TENANT", help="Whose account; by itself the tenant with all its accounts.")
@click.option("--account", metavar="ACCOUNT", help="One account of the tenant.")
@click.option("--source", metavar="ADDRESS", help="An address that calls come from.")
@click.pass_obj
def unlock(app: App, tenant: str | None, account: str | None, source: str | None) -> None:
    """Let PINs be looked at again: of an account, of a tenant with all its accounts, or from a source address.

    What was keyed wrong before no longer counts for it. With --account and --source both are unlocked.
    """
    if tenant is None and account is None and source is None:
        raise InputError(
            "what is to be unlocked?",
            where="--account, --tenant or --source",
            fix="name at least one; 'fraudguard pin locks' shows what is locked",
        )
    now = app.clock.now()
    address = "" if source is None else _address(source)
    scope = app.scope(tenant, account)
    wanted = Unlock(now, scope.tenant or "", scope.account or "", address)
    before = app.read(partial(stored_guesses, now=now)).locks(now)
    app.write(partial(store_unlock, unlock=wanted, author=app.author, now=now))
    after = app.read(partial(stored_guesses, now=now)).locks(now)
    still = {_whom(lock) for lock in after}
    freed = [_whom(lock) for lock in before if _whom(lock) not in still]
    for whom in freed:
        click.echo(f"unlocked: {whom}")
    if not freed:
        click.echo("it was not locked; what was keyed wrong before no longer counts")
    for lock in after:
        if lock.scope is Scope.TENANT and lock.tenant == scope.tenant:
            click.echo(f"still locked: {lock_sentence(lock)}", err=True)


def lock_sentence(lock: Lock) -> str:
    """Write a lock in one line."""
    return f"{_whom(lock)}, after {lock.failures} wrong PINs, until {show_instant(lock.until)}"


def lock_document(lock: Lock) -> dict[str, object]:
    """Return a lock as an object of JSON."""
    return {
        "scope": lock.scope.value,
        "tenant": lock.tenant or None,
        "account": lock.account if lock.scope is Scope.ACCOUNT else None,
        "source": lock.source or None,
        "failures": lock.failures,
        "until": format_instant(lock.until),
    }


def _whom(lock: Lock) -> str:
    if lock.scope is Scope.SOURCE:
        return f"source {printable(lock.source)}"
    if lock.scope is Scope.ACCOUNT:
        return f"account {printable(lock.account) or '(none)'} of tenant {printable(lock.tenant)}"
    return f"tenant {printable(lock.tenant)}"


def _address(text: str) -> str:
    try:
        return host_of(str(ipaddress.ip_address(text.strip())))  # as failures are counted under it
    except ValueError:
        raise InputError(
            f"{printable(text[:60])!r} is not an address", where="--source", fix="such as 198.51.100.7, without a port"
        ) from None
