"""Decks in the database: importing a version, activating one, and loading what is in force."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from fraudguard.clock import Millis, format_instant
from fraudguard.errors import InputError
from fraudguard.rating import Deck, PrefixTable, Rate, in_force
from fraudguard.store.database import Reader, Writer
from fraudguard.store.edits import deck_noun, note_edit

PROGRESS_ROWS = 5000
"""Rows between two reports of an import's progress (and between two looks at whether it was cancelled)."""

PAGE_ROWS = 500
"""Rows fetched at once: about a millisecond during which the event loop of the process has to wait."""

_FIELDS = ", ".join(Rate._fields)
_PLACES = ", ".join("?" * len(Rate._fields))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A price list about to be imported: what is known of it beside its rows.

    `currency` is the one its prices are in, `sha256` that of the file as delivered (hexadecimal),
    `effective_from` the instant from which the deck is answered by it.
    """

    deck: str
    currency: str
    source: str
    sha256: str
    author: str
    effective_from: Millis
    note: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import stored. `carried` counts rows taken over from the version before (see import_deck)."""

    version: int
    rows: int
    carried: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a deck. `effective_from` is that of its latest activation, None if it has none."""

    id: int
    deck: str
    currency: str
    imported_at: Millis
    source: str
    sha256: str
    rows: int
    author: str
    note: str
    effective_from: Millis | None
    in_force: bool


async def import_deck(
    writer: Writer,
    delivery: Delivery,
    rates: Iterable[Rate],
    *,
    currency: str,
    now: Millis,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Imported:
    """Store rates (sorted by prefix and effective time, none twice) as a new version: all rows, or none.

    `rates` and `progress` (rows taken so far) are called on the writer's thread. Rows are first put into a
    temporary table; only copying it takes the write lock. `currency` is the installation's.

    Where all rows of a prefix are dated after the version's own start, the price that the version before has
    for it is carried over until then; without one the prefix is not offered until then (see load_deck). A
    price that is not known yet must not turn into the price of a shorter prefix.

    Raises InputError for another currency, for no rows at all, and for rows that no deck may hold; StoreError.
    A cancelled import ends before the cancellation is passed on.
    """
    if delivery.currency != currency:
        raise InputError(
            f"prices are in {delivery.currency}, this installation counts in {currency}",
            where=delivery.source,
            fix="import a list in its currency",
        )
    stop = threading.Event()
    importer = _Importer(delivery, rates, now, progress, stop)
    task = asyncio.ensure_future(writer.run(importer.run))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it is the cancellation that is reported
        raise


async def activate_version(writer: Writer, version: int, *, effective_from: Millis, author: str, now: Millis) -> None:
    """Let a version answer for its deck from an instant on. Raises InputError if there is no such version."""

    def edit(connection: sqlite3.Connection) -> None:
        found = connection.execute(
            "SELECT decks.id, name FROM deck_versions JOIN decks ON decks.id = deck WHERE deck_versions.id = ?",
            (version,),
        ).fetchone()
        if found is None:
            raise InputError(f"there is no version {version}", fix="'fraudguard rates decks' shows those imported")
        deck, name = found
        _Activation(deck, version, effective_from, author, now).store(connection, name)

    await writer.transaction(edit)


def list_versions(connection: sqlite3.Connection, at: Millis, deck: str | None = None) -> tuple[Version, ...]:
    """Return the versions of one deck, or of all, newest first; `in_force` as of the instant `at`."""
    in_force = {
        version
        for (id_,) in connection.execute("SELECT id FROM decks")
        if (version := _version_at(connection, id_, at))
    }
    rows = connection.execute(
        "SELECT v.id, name, currency, imported_at, source, sha256, row_count, v.author, note,"
        " (SELECT effective_from FROM activations AS a WHERE a.deck = v.deck AND a.version = v.id ORDER BY a.id DESC)"
        " FROM deck_versions AS v JOIN decks ON decks.id = v.deck WHERE name = ifnull(?, name)"
        " ORDER BY name, v.id DESC",
        (deck,),
    )
    return tuple(Version(*(*row, row[0] in in_force)) for row in rows)


def load_deck(connection: sqlite3.Connection, name: str, at: Millis, *, digits: str | None = None) -> Deck | None:
    """Load the version of a deck that is in force at an instant; None if there is none.

    With `digits`, only the rows that a lookup of these digits can meet: what one lookup needs, at once.

    For each prefix the latest row with effective_from <= at counts. A prefix whose rows all begin later is in
    the table too, as not offered. `valid_until` is the next instant at which another row or version takes over.
    """
    deck = connection.execute("SELECT id, currency FROM decks WHERE name = ?", (name,)).fetchone()
    version = None if deck is None else _version_at(connection, deck[0], at)
    if version is None:
        return None
    (next_row,) = connection.execute(
        "SELECT min(effective_from) FROM rates WHERE version = ? AND effective_from > ?", (version, at)
    ).fetchone()
    changes = [change for change in (next_row, next_activation(connection, name, at)) if change is not None]
    rows = rates_of(connection, version) if digits is None else _rates_along(connection, version, digits)
    return Deck(name, deck[1], version, PrefixTable(in_force(rows, at)), min(changes, default=None))


def next_activation(connection: sqlite3.Connection, name: str, after: Millis) -> Millis | None:
    """Return the next instant after `after` from which an activation of the deck counts, or None."""
    (instant,) = connection.execute(
        "SELECT min(effective_from) FROM activations WHERE deck = (SELECT id FROM decks WHERE name = ?)"
        " AND effective_from > ?",
        (name, after),
    ).fetchone()
    return instant  # type: ignore[no-any-return]


def rates_of(connection: sqlite3.Connection, version: int) -> Iterator[Rate]:
    """Yield all rows of a version, past and future ones too, sorted by prefix and effective time."""
    page = _page(connection, version, None)
    while page:
        yield from page
        page = _page(connection, version, page[-1])


async def export_rates(reader: Reader, version: int) -> AsyncIterator[list[Rate]]:
    """Yield all rows of a version in pages, sorted by prefix and effective time. Raises StoreError."""
    page = await reader.read(partial(_page, version=version, after=None))
    while page:
        yield page
        page = await reader.read(partial(_page, version=version, after=page[-1]))


def _page(connection: sqlite3.Connection, version: int, after: Rate | None) -> list[Rate]:
    """Return the PAGE_ROWS rows that follow `after`.

    A page is one result row, as JSON: the driver gives the interpreter's lock away at every row it fetches, and
    beside a busy event loop it may take milliseconds to get it back each time.
    """
    prefix, effective_from = ("", -1 << 63) if after is None else (after.prefix, after.effective_from)
    (page,) = connection.execute(
        "SELECT json_group_array(json_array(prefix, destination, per_minute, connect_fee, minimum_seconds,"
        " increment_seconds, effective_from, json(iif(offered, 'true', 'false'))))"
        " FROM (SELECT * FROM rates WHERE version = ? AND (prefix, effective_from) > (?, ?)"
        " ORDER BY prefix, effective_from LIMIT ?)",
        (version, prefix, effective_from, PAGE_ROWS),
    ).fetchone()
    return list(map(Rate._make, json.loads(page)))


def _rates_along(connection: sqlite3.Connection, version: int, digits: str) -> Iterator[Rate]:
    prefixes = [digits[:end] for end in range(len(digits) + 1)]
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM rates WHERE version = ? AND prefix IN ({', '.join('?' * len(prefixes))})"  # noqa: S608
        " ORDER BY prefix, effective_from",
        (version, *prefixes),
    )
    return (Rate(*(*row, bool(offered))) for *row, offered in rows)


def _version_at(connection: sqlite3.Connection, deck: int, at: Millis) -> int | None:
    found = connection.execute(
        "SELECT version FROM activations WHERE deck = ? AND effective_from <= ?"
        " ORDER BY effective_from DESC, id DESC LIMIT 1",
        (deck, at),
    ).fetchone()
    return None if found is None else found[0]


@dataclass(frozen=True, slots=True)
class _Activation:
    deck: int
    version: int
    effective_from: Millis
    author: str
    created_at: Millis

    def store(self, connection: sqlite3.Connection, deck_name: str) -> None:
        connection.execute(
            "INSERT INTO activations (deck, version, effective_from, author, created_at) VALUES (?, ?, ?, ?, ?)",
            (self.deck, self.version, self.effective_from, self.author, self.created_at),
        )
        what = f"version {self.version} from {format_instant(self.effective_from)}"
        note_edit(connection, deck_noun(deck_name), what, self.author, self.created_at)


class _Importer:
    """One import, on the writer's thread."""

    def __init__(
        self,
        delivery: Delivery,
        rates: Iterable[Rate],
        now: Millis,
        progress: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._delivery = delivery
        self._rates = rates
        self._now = now
        self._progress = progress
        self._stop = stop

    def run(self, connection: sqlite3.Connection) -> Imported:
        try:
            connection.executescript(_STAGE)
            rows = self._stage(connection)
            return self._publish(connection, rows)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.executescript(_CLEAN_UP)

    def _stage(self, connection: sqlite3.Connection) -> int:
        """Fill the temporary tables: takes no lock on the database, and every constraint is checked here."""
        taken = 0
        rate: Rate | None = None

        def counted() -> Iterator[Rate]:
            nonlocal taken, rate
            for rate in self._rates:
                if taken % PROGRESS_ROWS == 0:
                    self._look_up(taken)
                taken += 1
                yield rate

        connection.execute("BEGIN")
        try:
            connection.executemany(f"INSERT INTO temp.staged ({_FIELDS}) VALUES ({_PLACES})", counted())  # noqa: S608
        except sqlite3.IntegrityError as error:
            raise InputError(
                f"row {taken}, prefix {rate and rate.prefix!r}: {error}", where=self._delivery.source
            ) from error
        if not taken:
            raise InputError("there are no rates in it", where=self._delivery.source)
        connection.execute(
            "INSERT INTO temp.late SELECT prefix, min(effective_from) FROM temp.staged GROUP BY prefix"
            " HAVING min(effective_from) > ?",
            (self._delivery.effective_from,),
        )
        connection.execute("COMMIT")
        self._look_up(taken)
        return taken

    def _look_up(self, taken: int) -> None:
        if self._stop.is_set():
            raise InputError("the import was cancelled", where=self._delivery.source)
        self._progress(taken)

    def _publish(self, connection: sqlite3.Connection, rows: int) -> Imported:
        delivery = self._delivery
        connection.execute("BEGIN IMMEDIATE")
        deck = self._deck(connection)
        before = _version_at(connection, deck, delivery.effective_from)
        version = connection.execute(
            "INSERT INTO deck_versions (deck, imported_at, source, sha256, row_count, author, note)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (deck, self._now, delivery.source, delivery.sha256, rows, delivery.author, delivery.note),
        ).lastrowid
        assert version is not None
        # The rows met the same constraints on their way in; once more would lengthen the lock by a third.
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(
            f"INSERT INTO rates (version, {_FIELDS}) SELECT ?, {_FIELDS} FROM temp.staged"  # noqa: S608
            " ORDER BY prefix, effective_from",
            (version,),
        )
        connection.execute("PRAGMA ignore_check_constraints = OFF")
        carried = connection.execute(_CARRY_OVER, (version, before, delivery.effective_from)).rowcount
        activation = _Activation(deck, version, delivery.effective_from, delivery.author, self._now)
        activation.store(connection, delivery.deck)
        connection.execute("COMMIT")
        return Imported(version, rows, carried)

    def _deck(self, connection: sqlite3.Connection) -> int:
        """Return the deck's id; its first import makes it and fixes its currency."""
        delivery = self._delivery
        connection.execute(
            "INSERT INTO decks (name, currency) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (delivery.deck, delivery.currency),
        )
        deck, currency = connection.execute(
            "SELECT id, currency FROM decks WHERE name = ?", (delivery.deck,)
        ).fetchone()
        if currency != delivery.currency:
            raise InputError(
                f"deck {delivery.deck} is in {currency}, these prices are in {delivery.currency}",
                where=delivery.source,
                fix="import it as another deck",
            )
        return int(deck)


# The same constraints as those of rates (a test compares them): copying checks them no more.
_STAGE = """
CREATE TEMP TABLE staged (
  prefix            TEXT NOT NULL CHECK (length(prefix) <= 15 AND prefix NOT GLOB '*[^0-9]*'),
  effective_from    INTEGER NOT NULL,
  destination       TEXT NOT NULL,
  per_minute        INTEGER NOT NULL CHECK (per_minute >= 0),
  connect_fee       INTEGER NOT NULL CHECK (connect_fee >= 0),
  minimum_seconds   INTEGER NOT NULL CHECK (minimum_seconds >= 0),
  increment_seconds INTEGER NOT NULL CHECK (increment_seconds >= 1),
  offered           INTEGER NOT NULL CHECK (offered IN (0, 1)),
  PRIMARY KEY (prefix, effective_from)
) STRICT, WITHOUT ROWID;
CREATE TEMP TABLE late (prefix TEXT PRIMARY KEY, first INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_CLEAN_UP = "DROP TABLE IF EXISTS temp.staged; DROP TABLE IF EXISTS temp.late; PRAGMA ignore_check_constraints = OFF;"

# Of the version before: what counts at the new one's start, and its own changes until the new prices begin.
_CARRY_OVER = f"""
INSERT INTO rates (version, {_FIELDS})
SELECT ?1, {", ".join(f"old.{field}" for field in Rate._fields)}
FROM temp.late JOIN rates AS old
  ON old.version = ?2 AND old.prefix = late.prefix AND old.effective_from < late.first
WHERE NOT EXISTS (
  SELECT 1 FROM rates AS newer
  WHERE newer.version = ?2 AND newer.prefix = old.prefix
    AND newer.effective_from > old.effective_from AND newer.effective_from <= ?3
)
"""  # noqa: S608  constants
