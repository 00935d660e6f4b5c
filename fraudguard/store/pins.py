"""PINs and how they are sealed, what was keyed wrong, and what calls by a PIN have cost. Digits stand nowhere here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from fraudguard.clock import Millis, format_instant
from fraudguard.errors import InputError
from fraudguard.money import Micros, format_amount
from fraudguard.pins.guessing import Failure
from fraudguard.policy.hours import Hours
from fraudguard.policy.pin import Pin, PinKind, Scheme, Seal, Terms, Unlock
from fraudguard.policy.reasons import Outcome
from fraudguard.rating.rate import Rate, cost
from fraudguard.store.calls import UNKNOWN_INCREMENT
from fraudguard.store.database import Writer
from fraudguard.store.edits import note_edit
from fraudguard.store.rows import storable

LIST_LIMIT = 100
"""How many entries of the history are returned unless told otherwise."""

KEPT_MILLIS: Final = 48 * 3_600_000
"""How long failures and unlocks are kept: twice the time in which they count."""

DROPPED_ROWS: Final = 200
"""How many of those that are older are dropped at once: a caller waits for it."""

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


def list_unlocks(connection: sqlite3.Connection, since: Millis) -> tuple[Unlock, ...]:
    """Return the unlocks not before an instant, the oldest first."""
    rows = connection.execute(
        "SELECT at, tenant, account, source FROM pin_unlocks WHERE at >= ? ORDER BY at, id", (since,)
    )
    return tuple(Unlock(*row) for row in rows)


def recent_failures(connection: sqlite3.Connection, since: Millis) -> tuple[Failure, ...]:
    """Return what was keyed and is not known to be right, not before an instant, the oldest first."""
    rows = connection.execute(
        "SELECT at, tenant, account, source FROM pin_failures WHERE at >= ? ORDER BY at, id", (since,)
    )
    return tuple(Failure(*row) for row in rows)


def list_history(
    connection: sqlite3.Connection, *, tenant: str | None = None, limit: int = LIST_LIMIT
) -> tuple[tuple[Millis, str, str], ...]:
    """Return who did what to PINs (when, by whom, what), the newest first. Unlocked addresses are of no tenant."""
    prefix = "" if tenant is None else _of(tenant)
    rows = connection.execute(
        "SELECT at, author, what FROM edits WHERE noun = ? AND substr(what, 1, ?) = ? ORDER BY id DESC LIMIT ?",
        (_NOUN, len(prefix), prefix, limit),
    )
    return tuple((at, author, what) for at, author, what in rows)


def spent(connection: sqlite3.Connection, pin_id: int, since: Millis) -> Micros:
    """Return what calls by this PIN since then have cost, or may yet.

    Calls by the PINs that the same person had before count too: a new PIN is no new money. Legs that have ended count
    what they cost, everything else what its whole lease costs: a call that is up, one that is not yet dialled, and one
    that nobody saw.
    """
    rows = connection.execute(
        "SELECT ifnull(sum(calls.cost), 0), count(calls.call), ifnull(sum(calls.state <> 'ended'), 0),"
        " attempts.per_minute, attempts.connect_fee, attempts.minimum_seconds, attempts.increment_seconds,"
        " attempts.lease_seconds FROM attempts LEFT JOIN calls ON calls.call = attempts.call"
        " WHERE attempts.pin_id IN (SELECT same.id FROM pins AS this JOIN pins AS same"
        " ON same.tenant = this.tenant AND same.name = this.name WHERE this.id = ?)"
        " AND attempts.at >= ? AND attempts.outcome = ? GROUP BY attempts.id",
        (pin_id, since, Outcome.ALLOW.value),
    )
    return sum(ended + _reserved(known, going, *terms) for ended, known, going, *terms in rows)


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


async def add_pin(writer: Writer, pin: Pin, *, author: str, now: Millis) -> Pin:
    """Store a new PIN, sealed by its tenant's scheme, and return it with its id, author and time.

    Raises InputError when the tenant has one of that name, or one of those digits; StoreError.
    """
    (added,) = await add_pins(writer, [pin], author=author, now=now)
    return added


async def add_pins(writer: Writer, pins: Sequence[Pin], *, author: str, now: Millis) -> tuple[Pin, ...]:
    """Store new PINs, all or none of them (see add_pin)."""

    def edit(connection: sqlite3.Connection) -> tuple[Pin, ...]:
        return tuple(_add(connection, pin, "added", author, now) for pin in pins)

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
        note_edit(connection, _NOUN, f"{_of(tenant)}revoked {name} ({which})", author, now)
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
        return _add(connection, replace(old, seal=seal), f"rotated {old.id} to", author, now)

    return await writer.transaction(edit)


async def unlock(writer: Writer, unlock: Unlock, *, author: str, now: Millis) -> None:
    """Take back what wrong PINs have locked. Raises InputError when nothing is named."""
    if not (unlock.tenant or unlock.source) or (unlock.account and not unlock.tenant):
        raise InputError(
            "nothing is named that could be unlocked", fix="name an account and its tenant, a source, or a tenant"
        )

    def edit(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO pin_unlocks (at, tenant, account, source, author) VALUES (?, ?, ?, ?, ?)",
            (unlock.at, unlock.tenant, unlock.account, unlock.source, author),
        )
        _drop_old(connection, "pin_unlocks", now)
        named = [f"account {unlock.account}"] if unlock.account else ["every account"] if unlock.tenant else []
        named += [f"source {unlock.source}"] if unlock.source else []
        prefix = _of(unlock.tenant) if unlock.tenant else ""
        note_edit(connection, _NOUN, f"{prefix}unlocked {' and '.join(named)}", author, now)

    await writer.transaction(edit)


async def note_failure(writer: Writer, failure: Failure) -> int:
    """Note what was keyed as a failure, before it is looked at, and return its id. Raises StoreError."""

    def note(connection: sqlite3.Connection) -> int:
        _drop_old(connection, "pin_failures", failure.at)
        id_ = connection.execute(
            "INSERT INTO pin_failures (at, tenant, account, source) VALUES (?, ?, ?, ?)",
            (failure.at, storable(failure.tenant), storable(failure.account), storable(failure.source)),
        ).lastrowid
        assert id_ is not None
        return id_

    return await writer.transaction(note)


async def forget_failure(writer: Writer, failure_id: int) -> None:
    """Take back a failure: it was right after all. Raises StoreError."""
    statement = "DELETE FROM pin_failures WHERE id = ?"
    await writer.transaction(lambda connection: connection.execute(statement, (failure_id,)).rowcount)


async def use_step(writer: Writer, pin_id: int, step: int) -> bool:
    """Use up an authenticator's code; False when that or a later one was used already. Raises StoreError."""
    statement = (
        "INSERT INTO pin_steps (pin, step) VALUES (?, ?) ON CONFLICT (pin) DO UPDATE SET step = excluded.step"
        " WHERE excluded.step > pin_steps.step"
    )
    return await writer.transaction(lambda connection: connection.execute(statement, (pin_id, step)).rowcount) > 0


def _add(connection: sqlite3.Connection, pin: Pin, verb: str, author: str, now: Millis) -> Pin:
    for condition, value, what in (
        ("name = ? AND duress = ?", (pin.name, pin.duress), f"has a {_called(pin)} of the name {pin.name}"),
        ("seal_index = ?", (pin.seal.index,), f"has a PIN of the digits meant for {pin.name}"),
    ):
        taken = connection.execute(
            f"SELECT 1 FROM pins WHERE tenant = ? AND revoked_at IS NULL AND {condition}",  # noqa: S608  own names
            (pin.tenant, *value),
        ).fetchone()
        if taken:
            fix = "choose others" if "seal" in condition else f"'pin rotate' gives it new digits; {_LIST}"
            raise InputError(f"tenant {pin.tenant} {what}", fix=fix)
    terms = pin.terms
    hours = "" if terms.hours is None else str(terms.hours)
    row = (
        *(pin.tenant, pin.name, pin.kind.value, pin.duress, ",".join(sorted(terms.regions)), ",".join(terms.prefixes)),
        *(terms.highest, terms.per_day, terms.begins, terms.until, hours, json.dumps(sorted(terms.accounts))),
        *(pin.seal.index, pin.seal.proof, author, now),
    )
    stored = connection.execute(
        f"INSERT INTO pins ({_COLUMNS}) VALUES (NULL{', ?' * len(row)}) RETURNING {_COLUMNS}",  # noqa: S608  own names
        row,
    ).fetchone()
    added = _pin(stored)
    what = f"{_of(pin.tenant)}{verb} {pin.name} ({added.id}), {_called(pin)}, {_told(terms)}"
    note_edit(connection, _NOUN, what, author, now)
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


def _drop_old(connection: sqlite3.Connection, table: str, now: Millis) -> None:
    connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE at < ? ORDER BY at LIMIT ?)",  # noqa: S608
        (now - KEPT_MILLIS, DROPPED_ROWS),
    )


def _reserved(known: int, going: int, *terms: Any) -> Micros:
    """Return what legs may yet cost by the attempt's own price: those that go on, or one that is not known."""
    per_minute, connect_fee, minimum, increment, lease = terms
    if per_minute is None or (known and not going):
        return 0
    rate = Rate("", "", per_minute, connect_fee, minimum or 0, increment or UNKNOWN_INCREMENT, 0)
    return max(1, going) * cost(rate, lease or 0)


def _of(tenant: str) -> str:
    """Return how every entry of a tenant's in the history begins."""
    return f"tenant {tenant}: "


def _called(pin: Pin) -> str:
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
