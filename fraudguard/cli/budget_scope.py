"""Whose spending a budget bounds, as the options of `fraudguard budget` say it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Final, TypeVar

import rich_click as click
from phonenumbers import SUPPORTED_REGIONS

from fraudguard.cli.app import App, printable
from fraudguard.cli.person import parse_name
from fraudguard.errors import InputError
from fraudguard.policy import DEFAULT_TENANT
from fraudguard.policy.budget import EACH, NO_REGION, BudgetScope, Period
from fraudguard.policy.pin import Pin

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FIELDS: Final = {"tenant": "tenant", "account": "account", "person": "pin", "trunk": "trunk", "region": "region"}
"""What --each takes, and the field of a scope that it is about."""


def which_options(command: _Command) -> _Command:
    """Add the options that say which budget is meant: its scope, period and strictness."""
    for option in (
        click.option(
            "--each",
            type=click.Choice(list(_FIELDS)),
            multiple=True,
            help="Each of them has a budget of its own. May be given again.",
        ),
        click.option("--region", metavar="REGION", help="Calls there: GB; 001 for numbers of no country (satellites)."),
        click.option("--trunk", metavar="TRUNK", help="Calls by one trunk."),
        click.option("--pin", metavar="NAME", help="Calls by the PIN of one person of the tenant."),
        click.option("--account", metavar="ACCOUNT", help="One account of the tenant."),
        click.option("--tenant", metavar="TENANT", help="One tenant. [default: everybody]"),
        click.option("--strict", is_flag=True, help="The budget of strict times: nights, weekends, holidays."),
        click.option(
            "--per",
            "period",
            type=click.Choice([period.value for period in Period]),
            required=True,
            help="How long the money has to last.",
        ),
    ):
        command = option(command)
    return command


def read_scope(
    *,
    tenant: str | None,
    account: str | None,
    pin: str | None,
    trunk: str | None,
    region: str | None,
    each: Sequence[str],
) -> BudgetScope:
    """Make a scope of the options, whether or not what they name is known.

    An account or a person without --tenant is of the default tenant; each account or person of every tenant. Raises
    InputError for what contradicts itself.
    """
    region = None if region is None else region.strip().upper()
    pin = None if pin is None else parse_name(pin, where="--pin")
    values = {"tenant": tenant, "account": account, "pin": pin, "trunk": trunk, "region": region}
    for word in each:
        field = _FIELDS[word]
        if values[field] is not None:
            raise InputError(
                f"--{field} names one {word}, and --each {word} means all of them",
                where="--each",
                fix="leave out one of the two",
            )
    for field, value in values.items():
        if value == EACH:
            word = next(word for word, about in _FIELDS.items() if about == field)
            raise InputError(f"{EACH!r} is no {word}", where=f"--{field}", fix=f"for each of them: --each {word}")
    named = account is not None or pin is not None
    values |= dict.fromkeys((_FIELDS[word] for word in each), EACH)
    if values["tenant"] is None and (named or "account" in each or "person" in each):
        values["tenant"] = DEFAULT_TENANT if named else EACH
    return BudgetScope(**values)


def check_scope(app: App, scope: BudgetScope, pins: Iterable[Pin]) -> None:
    """Raise InputError for a name that is not known: a budget for a misspelt one would silently bound nobody."""
    tenant = None if scope.tenant == EACH else scope.tenant
    account = None if scope.account == EACH else scope.account
    app.scope(tenant, account)
    if scope.pin not in (None, EACH):
        _check_person(scope, pins)
    if scope.trunk not in (None, EACH, *app.settings.trunks):
        known = ", ".join(sorted(app.settings.trunks)) or "none"
        raise InputError(f"unknown trunk {scope.trunk!r}", where="--trunk", fix=f"configured: {known}")
    if scope.region not in (None, EACH, NO_REGION, *SUPPORTED_REGIONS):
        raise InputError(
            f"{printable(str(scope.region)[:40])!r} is no region",
            where="--region",
            fix=f"a country's two letters in ISO 3166-1, such as GB; {NO_REGION} for numbers of no country",
        )


def _check_person(scope: BudgetScope, pins: Iterable[Pin]) -> None:
    tenants: Container[str] = {pin.tenant for pin in pins if pin.name == scope.pin}
    if tenants if scope.tenant == EACH else scope.tenant in tenants:
        return
    whose = "no tenant" if scope.tenant == EACH else f"tenant {scope.tenant}"
    has = "has a" if scope.tenant == EACH else "has no"
    raise InputError(
        f"{whose} {has} PIN of {printable(str(scope.pin))!r}",
        where="--pin",
        fix="'fraudguard pin list' shows those there are; --tenant names another tenant",
    )
