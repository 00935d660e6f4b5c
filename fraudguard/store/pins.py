"""PINs, how they are sealed, and what operators did to them. Digits stand nowhere here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from fraudguard.clock import Millis, format_instant
from fraudguard.errors import InputError
from fraudguard.money import format_amount
from fraudguard.policy.hours import Hours
from fraudguard.policy.pin import NewPin, Pin, PinKind, Scheme, Seal, Terms
from fraudguard.store.database import Writer
from fraudguard.store.edits import note_edit

LIST_LIMIT = 100
"""How many entries of the history are returned unless told otherwise."""

_NOUN: Final = "pin"
_TERMS: Final = "regions, prefixes, highest, per_day, begins, until, hours, accounts"
_COLUMNS: Final = f"id, tenant, name, kind, duress, {_TERMS}, seal_index, seal_proof, author, created_at"
_LIST: Final = "'fraudguard pin list' shows those in force"


def list_pins(connection: sqlite3.Connection) -> tuple[Pin, ...]:
    """Return the PINs that were not revoked, expired ones too, by tenant and name."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM pins WHERE revoked_at IS NULL ORDER BY tenant, name, duress"  # noqa: S608  own names
    )
    return tuple(map(_pin, rows))


def list_all_pins(connection: sqlite3.Connection) -> tuple[tuple[Pin, Millis | None, str | None], ...]:
    """Return every PIN there ever was, and when and by whom it was revoked (None: it was not)."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, revoked_at, revoked_by FROM pins ORDER BY tenant, name, duress, id"  # noqa: S608
    )
    return tuple((_pin(row[:-2]), row[-2], row[-1]) for row in rows)


def list_schemes(connection: sqlite3.Connection) -> dict[str, Scheme]:
    """Return by tenant how its PINs are sealed."""
    rows = connection.execute("SELECT tenant, salt, passes, kib, lanes, mark FROM pin_schemes")
    return {tenant: Scheme(*scheme) for tenant, *scheme in rows}


def list_history(
    connection: sqlite3.Connection, *, tenant: str | None = None, name: str | None = None, limit: int = LIST_LIMIT
) -> tuple[tuple[Millis, str, str], ...]:
    """Return who did what to PINs (when, by whom, what), the newest first: of a tenant, and of a person's in it.

    Unlocked addresses are of no tenant.
    """
    rows = connection.execute(
        "SELECT at, author, what FROM edits WHERE noun = :noun AND (:tenant IS NULL OR tenant = :tenant)"
        " AND (:name IS NULL OR about = :name) ORDER BY id DESC LIMIT :limit",
        {"noun": _NOUN, "tenant": tenant, "name": name, "limit": limit},
    )
    return tuple((at, author, what) for at, author, what in rows)


async def settle_scheme(writer: Writer, tenant: str, new: Scheme) -> Scheme:
    """Return how a tenant's PINs are sealed; that is `new` from now on if it has none in force. Raises StoreError.

    So a lost pepper is got over by revoking what was sealed with it.
    """

    def settle(connection: sqlite3.Connection) -> Scheme:
        # One with the same pepper is kept: another may be about to add a PIN that was sealed by it.
        connection.execute(
            "INSERT INTO pin_schemes (tenant, salt, passes, kib, lanes, mark) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (tenant) DO UPDATE SET salt = excluded.salt, passes = excluded.passes, kib = excluded.kib,"
            " lanes = excluded.lanes, mark = excluded.mark WHERE pin_schemes.mark <> excluded.mark AND NOT EXISTS"
            " (SELECT 1 FROM pins WHERE pins.tenant = excluded.tenant AND pins.revoked_at IS NULL)",
            (tenant, new.salt, new.passes, new.kib, new.lanes, new.mark),
        )
        return list_schemes(connection)[tenant]

    return await writer.transaction(settle)


async def add_pin(writer: Writer, new: NewPin, seal: Seal, *, author: str, now: Millis) -> Pin:
    """Store a new PIN, sealed by its tenant's scheme, and return it.

    Raises InputError when the tenant has one of that name, or one of those digits; StoreError.
    """
    (added,) = await add_pins(writer, [(new, seal)], author=author, now=now)
    return added


async def add_pins(
    writer: Writer, sealed: Sequence[tuple[NewPin, Seal]], *, author: str, now: Millis
) -> tuple[Pin, ...]:
    """Store new PINs, all or none of them (see add_pin)."""

    def edit(connection: sqlite3.Connection) -> tuple[Pin, ...]:
        return tuple(_add(connection, new, seal, "added", author, now) for new, seal in sealed)

    return await writer.transaction(edit)


async def revoke_pin(writer: Writer, tenant: str, name: str, *, author: str, now: Millis) -> int:
    """Revoke a person's PIN and duress PIN; return how many that were. Raises InputError if there is none.

    They stay in the database as history.
    """

    def edit(connection: sqlite3.Connection) -> int:
        ids = connection.execute(
            "UPDATE pins SET revoked_at = ?, revoked_by = ? WHERE tenant = ? AND name = ? AND revoked_at IS NULL"
            " RETURNING id",
            (now, author, tenant, name),
        ).fetchall()
        if not ids:
            raise _no_such_pin(tenant, name)
        which = ", ".join(str(id_) for (id_,) in sorted(ids))
        what = f"tenant {tenant}: revoked {name} ({which})"
        note_edit(connection, _NOUN, what, author, now, tenant=tenant, about=name)
        return len(ids)

    return await writer.transaction(edit)


async def rotate_pin(writer: Writer, pin: Pin, seal: Seal, *, author: str, now: Millis) -> Pin:
    """Replace a PIN by one with other digits and the same terms, and return that.

    Raises InputError when it was revoked meanwhile, or when the digits are taken or the same.
    """

    def edit(connection: sqlite3.Connection) -> Pin:
        row = connection.execute(
            f"UPDATE pins SET revoked_at = ?, revoked_by = ? WHERE id = ? AND revoked_at IS NULL RETURNING {_COLUMNS}",  # noqa: S608
            (now, author, pin.id),
        ).fetchone()
        if row is None:
            raise _no_such_pin(pin.tenant, pin.name)
        old = _pin(row)
        if old.seal.index == seal.index:
            raise InputError(f"those are the digits that the PIN of {pin.name} has", fix="choose others")
        new = NewPin(old.tenant, old.name, old.kind, old.duress, old.terms)
        return _add(connection, new, seal, f"rotated {old.id} to", author, now)

    return await writer.transaction(edit)


def _add(connection: sqlite3.Connection, new: NewPin, seal: Seal, verb: str, author: str, now: Millis) -> Pin:
    for condition, value, what in (
        ("name = ? AND duress = ?", (new.name, new.duress), f"has a {_called(new)} of the name {new.name}"),
        ("seal_index = ?", (seal.index,), f"has a PIN of the digits meant for {new.name}"),
    ):
        taken = connection.execute(
            f"SELECT 1 FROM pins WHERE tenant = ? AND revoked_at IS NULL AND {condition}",  # noqa: S608  own names
            (new.tenant, *value),
        ).fetchone()
        if taken:
            fix = "choose others" if "seal" in condition else f"'pin rotate' gives it new digits; {_LIST}"
            raise InputError(f"tenant {new.tenant} {what}", fix=fix)
    terms = new.terms
    hours = "" if terms.hours is None else str(terms.hours)
    row = (
        *(new.tenant, new.name, new.kind.value, new.duress, ",".join(sorted(terms.regions)), ",".join(terms.prefixes)),
        *(terms.highest, terms.per_day, terms.begins, terms.until, hours, json.dumps(sorted(terms.accounts))),
        *(seal.index, seal.proof, author, now),
    )
    stored = connection.execute(
        f"INSERT INTO pins ({_COLUMNS}) VALUES (NULL{', ?' * len(row)}) RETURNING {_COLUMNS}",  # noqa: S608  own names
        row,
    ).fetchone()
    added = _pin(stored)
    what = f"tenant {new.tenant}: {verb} {new.name} ({added.id}), {_called(new)}, {_told(terms)}"
    note_edit(connection, _NOUN, what, author, now, tenant=new.tenant, about=new.name)
    return added


def _pin(row: Sequence[Any]) -> Pin:
    id_, tenant, name, kind, duress, regions, prefixes, *rest = row
    highest, per_day, begins, until, hours, accounts, index, proof, author, created = rest
    terms = Terms(
        regions=frozenset(filter(None, regions.split(","))),
        prefixes=tuple(filter(None, prefixes.split(","))),
        highest=highest,
        per_day=per_day,
        begins=begins,
        until=until,
        hours=Hours.parse(hours, where=f"PIN {id_}") if hours else None,
        accounts=frozenset(json.loads(accounts)),
    )
    return Pin(id_, tenant, name, PinKind(kind), bool(duress), terms, Seal(index, proof), author, created)


def _no_such_pin(tenant: str, name: str) -> InputError:
    return InputError(f"tenant {tenant} has no PIN of the name {name}", fix=_LIST)


def _called(pin: NewPin) -> str:
    kind = "authenticator" if pin.kind is PinKind.TOTP else "PIN"
    return f"duress {kind}" if pin.duress else kind


def _told(terms: Terms) -> str:
    parts = [
        ",".join((*sorted(terms.regions), *(f"+{prefix}" for prefix in terms.prefixes))) or "any number",
        "any price" if terms.highest is None else f"up to {format_amount(terms.highest)}",
        "any amount" if terms.per_day is None else f"{format_amount(terms.per_day)} a day",
        *([] if terms.begins is None else [f"from {format_instant(terms.begins)}"]),
        "for good" if terms.until is None else f"until {format_instant(terms.until)}",
        "at any time" if terms.hours is None else str(terms.hours),
        f"at {', '.join(sorted(terms.accounts))}" if terms.accounts else "at any account",
    ]
    return ", ".join(parts)
