"""What the commands about PINs begin with: whose person it is, and what the database knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import rich_click as click

from fraudguard.cli.app import App, printable
from fraudguard.errors import InputError
from fraudguard.policy import DEFAULT_TENANT
from fraudguard.policy.pin import Pin, Scheme
from fraudguard.store import pins as store

TENANT = click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, metavar="TENANT", help="Whose person it is."
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows at one moment: the PINs not revoked, and how each tenant's are sealed."""

    pins: tuple[Pin, ...]
    schemes: Mapping[str, Scheme]

    def of(self, tenant: str) -> tuple[Pin, ...]:
        """Return the PINs of a tenant."""
        return tuple(pin for pin in self.pins if pin.tenant == tenant)

    @property
    def schemes_in_force(self) -> tuple[Scheme, ...]:
        """How the PINs there are were sealed: what sealed those revoked long ago may be lost."""
        return tuple(self.schemes[tenant] for tenant in {pin.tenant for pin in self.pins})

    def tenant(self, app: App, name: str) -> str:
        """Return the tenant's name. Raises InputError for one that neither has a PIN nor is configured: PINs of a
        tenant that was taken out of the configuration can still be seen, and revoked.
        """
        return name if self.of(name) else app.tenant(name)

    def taken(self, tenant: str) -> set[bytes]:
        """Return the indexes of the tenant's seals: a new one must be none of them."""
        return {pin.seal.index for pin in self.of(tenant)}

    def find(self, tenant: str, name: str, *, duress: bool = False) -> Pin | None:
        """Return a person's PIN, or the duress PIN."""
        wanted = (tenant, name, duress)
        return next((pin for pin in self.pins if (pin.tenant, pin.name, pin.duress) == wanted), None)

    def get(self, tenant: str, name: str, *, duress: bool = False) -> Pin:
        """As `find`. Raises InputError when there is none."""
        pin = self.find(tenant, name, duress=duress)
        if pin is None:
            what = "duress PIN" if duress else "PIN"
            raise InputError(
                f"tenant {tenant} has no {what} of {printable(name)!r}",
                where="NAME",
                fix="'fraudguard pin list' shows those there are; --tenant names another tenant",
            )
        return pin


def known(connection: sqlite3.Connection) -> Known:
    """Read the PINs and schemes."""
    return Known(store.list_pins(connection), store.list_schemes(connection))
