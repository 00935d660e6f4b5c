"""`fraudguard budget`: the most money in an hour, a day or a month."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, print_table
from fraudguard.cli.budget_rows import COLUMNS, SHOWN, SPARE, document, held, table_rows
from fraudguard.cli.budget_scope import check_scope, read_scope, which_options
from fraudguard.errors import InputError
from fraudguard.house import build_house
from fraudguard.money import Micros, format_amount, parse_amount
from fraudguard.policy.budget import DEFAULT_BUDGETS, EACH, Budget, BudgetScope, Period, in_force
from fraudguard.store import budgets as store
from fraudguard.store.pins import list_pins


@click.group()
def budget() -> None:
    """The most money that may be spent in an hour, a day or a month: by everybody, a tenant, an account, a person."""


@budget.command(
    "set",
    epilog=examples(
        "budget set 20 --per day --account 204",
        "budget set 300 --per month --tenant acme --non-domestic",
        "budget set 5 --per day --each account --strict",
        "budget set 10 --per hour --rolling --region CU",
        "budget set none --per day --each account --tenant acme",
    ),
)
@click.argument("amount")
@which_options
@click.option("--rolling", is_flag=True, help="The last 60 minutes, 24 hours or 31 days, whatever the calendar says.")
@click.option("--non-domestic", is_flag=True, help="Domestic calls cost nothing of it, and go when it is spent.")
@click.pass_obj
def set_(
    app: App, /, amount: str, period: str, strict: bool, rolling: bool, non_domestic: bool, **scope_given: Any
) -> None:
    """Let at most AMOUNT be spent in the time of --per; 'none' for no end. It replaces the one set before.

    Every scope that is named must match, and a call pays from each budget that matches it. Of several for the same kind
    of scope only the closest holds: the one for an account, not that for each account. So 'none' lifts a default.

    Hours, days and months are those of the calendar in the tenant's zone, unless --rolling. A budget of strict times
    (--strict) holds beside the others, and counts what is spent at such times.
    """
    scope = read_scope(**scope_given)
    check_scope(app, scope, app.read(list_pins) if scope.pin not in (None, EACH) else ())
    new = Budget(
        scope,
        Period(period),
        None if amount.strip().lower() == "none" else parse_amount(amount, where="AMOUNT"),
        rolling=rolling,
        domestic=not non_domestic,
        strict=strict,
    )
    app.write(partial(store.set_budget, budget=new, author=app.author, now=app.clock.now()))
    click.echo(f"budget: {_told(new, app.settings.currency)}")


@budget.command(
    epilog=examples("budget remove --per day --account 204", "budget remove --per day --each account --strict")
)
@which_options
@click.pass_obj
def remove(app: App, /, period: str, strict: bool, **scope_given: Any) -> None:
    """Remove a budget that was set, so that the default holds again where there is one, or a wider one."""
    scope, per = read_scope(**scope_given), Period(period)
    which = Budget(scope, per, None, strict=strict)
    if not _is_among(app.read(store.list_budgets), which):
        check_scope(app, scope, app.read(list_pins))  # a misspelt name is told as such
        if _is_among(DEFAULT_BUDGETS, which):
            raise InputError(f"{which} is a default that nobody has set", fix="'budget set none' lifts it")
    edit = partial(store.remove_budget, scope=scope, period=per, strict=strict, author=app.author, now=app.clock.now())
    app.write(edit)
    click.echo(f"budget removed ({which}){_what_holds(which, app.read(store.list_budgets), app.settings.currency)}")


@budget.command("list", epilog=examples("budget list", "budget list --tenant acme --all", "budget list --json"))
@click.option("--all", "all_pots", is_flag=True, help="Everybody who spent of a budget for each, not only ten.")
@click.option("--tenant", metavar="TENANT", help="Only what bounds calls of this tenant.")
@click.option("--account", metavar="ACCOUNT", help="Only what bounds calls of this account of the tenant.")
@json_option
@click.pass_obj
def list_(app: App, all_pots: bool, tenant: str | None, account: str | None, as_json: bool) -> None:
    """Show every budget in force, what is spent of it and what is set aside for calls that may yet spend it.

    The money of a call is set aside before it is dialled, as far as it is allowed to last, and what it did not use
    returns when it has ended. A budget for each of several has a line for the rule, and below it one for each of those
    who spent of it: the ten with least left, or with --all or --json all of them.
    """
    wanted = app.scope(tenant, account)
    house, now, currency = build_house(app.settings), app.clock.now(), app.settings.currency
    found = app.read(partial(held, app=app, house=house, now=now))
    lines = [line for line in found if line.bounds(wanted.tenant, wanted.account)]
    if as_json:
        print_json([document(line, now, currency) for line in lines])
        return
    rows = table_rows(lines, now, most=None if all_pots else SHOWN)
    print_table(COLUMNS, rows, empty="no budgets", spare=SPARE)


def _told(new: Budget, currency: str) -> str:
    amount = _amount(new.amount, currency)
    rolling, strict = "rolling " * new.rolling, ", at strict times" * new.strict
    domestic = "" if new.domestic else ", domestic calls not counted"
    return f"{amount} per {rolling}{new.period}{strict}{domestic} ({new.scope})"


def _amount(amount: Micros | None, currency: str) -> str:
    return "no end" if amount is None else f"{format_amount(amount)} {currency}"


def _is_among(budgets: Iterable[Budget], which: Budget) -> bool:
    return any((one.scope, one.period, one.strict) == (which.scope, which.period, which.strict) for one in budgets)


def _what_holds(removed: Budget, left: tuple[Budget, ...], currency: str) -> str:
    """Say which budget takes the place of one that was removed, '' if none does."""
    alike = [
        one
        for one in in_force(left)
        if (one.scope.shape, one.period, one.strict) == (removed.scope.shape, removed.period, removed.strict)
        and _covers(one.scope, removed.scope)
    ]
    if not alike:
        return ""
    closest = min(alike, key=lambda one: [value == EACH for value in one.scope])
    kind = "default" if closest in DEFAULT_BUDGETS else "one"
    whose = "" if closest.scope == removed.scope else f" of {closest.scope}"
    return f"; the {kind}{whose} holds: {_amount(closest.amount, currency)}"


def _covers(wide: BudgetScope, narrow: BudgetScope) -> bool:
    return all(mine in (EACH, theirs) for mine, theirs in zip(wide, narrow, strict=True))
