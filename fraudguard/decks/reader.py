"""From a carrier's file to rates: all rows or none, every bad row named."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path

from fraudguard.clock import Millis
from fraudguard.decks import cells
from fraudguard.decks.cells import BadCellError
from fraudguard.decks.complaints import BadRowsError, Complaint, Complaints
from fraudguard.decks.files import Progress, Row, open_table
from fraudguard.decks.layout import SAMPLE_ROWS, detect_layout
from fraudguard.decks.records import ImportOptions, Layout, ParsedDeck, Role
from fraudguard.decks.terms import Terms, TermsReader
from fraudguard.errors import InputError
from fraudguard.money import Micros, format_amount
from fraudguard.rating import Rate
from fraudguard.rating.prefixes import MAX_DIGITS

MAX_DESTINATION = 120  # characters kept of a destination's name

SPREADSHEET_LIMITS = frozenset({65_536, 1_048_576})
"""Rows at which old and new spreadsheets cut a list off without a word."""

_CACHED_TERMS = 50_000
"""Distinct combinations of price cells remembered; most lists have a few thousand."""

_ALPHABET_ROWS = 1000
_LAST_INITIAL = "t"
"""A list of that many destinations from A on ends with Uruguay, Yemen, Zimbabwe; one that ends before T was cut."""


def read_deck(path: Path, options: ImportOptions | None = None, progress: Progress | None = None) -> ParsedDeck:
    """Read a price list.

    Raises BadRowsError, which names all bad rows, or InputError when the file as a whole cannot be understood:
    unreadable, no prefix column, another currency, several members to choose from.
    `progress` is told (done, total) now and then.
    """
    chosen = options or ImportOptions()
    with open_table(path, chosen, progress) as table:
        sample = list(islice(table.rows, SAMPLE_ROWS))
        if not sample:
            raise InputError("is empty", where=table.name, fix="give a price list")
        layout = detect_layout(table, sample, chosen)
        reading = _Reading(table.name, layout, chosen)
        reading.take(chain(sample, table.rows))
        return reading.finish()


class _Reading:
    """One pass over the rows of one list."""

    def __init__(self, source: str, layout: Layout, options: ImportOptions) -> None:
        self._source = source
        self._layout = layout
        self._options = options
        self._bad, self._warnings = Complaints(), Complaints()
        self._rows: list[Rate] = []
        self._lines = array("L")  # of each of _rows, for the warning about the next one with the same prefix
        self._places: dict[str, int] = {}  # prefix -> its first position in _rows
        self._versions: dict[tuple[str, Millis], int] = {}  # further positions, of prefixes with several dates
        self._terms: dict[tuple[str, ...], list[Terms]] = {}
        self._read, self._bad_rows = 0, 0
        self._ascent = _Ascent()
        self._terms_reader = TermsReader(layout, options)
        self._unknown: Terms = (
            options.ceiling,
            options.connect_fee,
            options.minimum_seconds,
            options.increment_seconds,
            options.effective_from,
            False,
        )

    def take(self, rows: Iterable[Row]) -> None:
        """Read all rows behind the header."""
        layout = self._layout
        (prefix_column,) = layout.columns[Role.PREFIX]
        (name_column,) = layout.columns.get(Role.DESTINATION, (-1,))
        apart = {prefix_column, name_column, *layout.columns.get(Role.COUNTRY_CODE, ())}
        term_columns = sorted({index for indices in layout.columns.values() for index in indices} - apart)
        needed = 1 + max(prefix_column, *layout.columns[Role.PRICE])
        reach = 1 + max(*term_columns, prefix_column, name_column)
        header = layout.names[prefix_column] if prefix_column < len(layout.names) else None
        for line, row in rows:
            if layout.header_line is not None and line <= layout.header_line:
                continue
            if header is not None and prefix_column < len(row) and row[prefix_column] == header:
                continue  # a header repeated, as lists glued together have it
            self._read += 1
            if len(row) != layout.width and not self._width_is_fine(line, row, needed):
                continue
            cells_of_row = row if len(row) >= reach else row + [""] * (reach - len(row))
            destination = cells_of_row[name_column].strip()[:MAX_DESTINATION] if name_column >= 0 else ""
            terms = self._terms_of(line, cells_of_row, term_columns)
            codes = self._codes_of(line, cells_of_row, prefix_column)
            if terms is None or codes is None:
                self._bad_rows += 1
                # Left out under --skip-bad, a prefix must not fall to the price of a shorter one.
                terms = [self._unknown]
            if codes is None:
                continue
            for code in codes:
                for term in terms:
                    self._keep(line, Rate(code, destination, *term))
            self._ascent.note(destination)
            if "." in destination and destination.replace(".", "", 1).isdecimal():
                what = f"{cells.shown(destination)} looks like a price: are the columns shifted?"
                self._warn(line, Role.DESTINATION, what, "compare the row with the header")

    def finish(self) -> ParsedDeck:
        """Return what was read. Raises BadRowsError, and InputError when nothing was."""
        if self._bad_rows and not self._options.skip_bad:
            raise BadRowsError(self._source, self._bad, self._bad_rows, self._read)
        if not self._rows:
            raise InputError("holds no prices", where=self._source, fix="give a list with at least one row")
        if self._read in SPREADSHEET_LIMITS or self._read + 1 in SPREADSHEET_LIMITS:
            what = f"has {self._read} rows: a spreadsheet may have cut it off"
            self._warn(None, "", what, "compare with the carrier's file")
        if last := self._ascent.cut_short():
            what = f"ends with {cells.shown(last)}: the rest of the alphabet is missing"
            self._warn(None, "", what, "fetch it again")
        # one date for each prefix is the rule, and comparing text alone is much faster
        self._rows.sort(key=itemgetter(0, 6) if self._versions else itemgetter(0))
        return ParsedDeck(
            source=self._source,
            rows=self._rows,
            layout=self._layout,
            lines=self._read,
            warnings=tuple(self._warnings.kept),
            warning_count=self._warnings.total,
            bad=tuple(self._bad.kept),
            skipped=self._bad_rows,
        )

    def _width_is_fine(self, line: int, row: list[str], needed: int) -> bool:
        if len(row) < needed:
            what, fix = f"has {len(row)} cells, the list has {self._layout.width} columns", "is a delimiter missing?"
        elif any(map(str.strip, row[self._layout.width :])):
            what = f"has {len(row)} cells, the list has {self._layout.width} columns"
            fix = "put the cell that holds the delimiter into quotes"
        else:
            return True
        self._bad_rows += 1
        self._bad.add(Complaint(self._source, line, "row", what, fix))
        return False

    def _codes_of(self, line: int, row: list[str], column: int) -> list[str] | None:
        text = row[column]
        country_column = self._layout.columns.get(Role.COUNTRY_CODE)
        country = row[country_column[0]] if country_column and country_column[0] < len(row) else ""
        plain = text.isdigit() and text.isascii() and text[0] != "0" and len(text) <= MAX_DIGITS
        if plain and not country and not self._layout.nanp:
            return [text]
        try:
            codes = cells.parse_codes(text, country=country, nanp=self._layout.nanp)
        except BadCellError as error:
            self._complain(line, column, error)
            return None
        if "" in codes:
            self._warn(line, self._layout.column_name(column), "prices every number that no other prefix matches", "")
        return codes

    def _terms_of(self, line: int, row: list[str], columns: Sequence[int]) -> list[Terms] | None:
        key = tuple([row[index] for index in columns])
        if (known := self._terms.get(key)) is not None:
            return known
        reading = self._terms_reader.read(row)
        for column, error in reading.bad:
            self._complain(line, column, error)
        if reading.bad:
            return None
        for column, what in reading.warnings:
            self._warn(line, self._layout.column_name(column), what, "give a price, or leave it refused")
        if reading.warnings:
            return reading.terms  # not remembered: each such row is warned about
        if len(self._terms) >= _CACHED_TERMS:
            self._terms.clear()
        self._terms[key] = reading.terms
        return reading.terms

    def _keep(self, line: int, rate: Rate) -> None:
        place = self._places.setdefault(rate.prefix, len(self._rows))
        if place < len(self._rows) and self._rows[place].effective_from != rate.effective_from:
            place = self._versions.setdefault((rate.prefix, rate.effective_from), len(self._rows))
        if place == len(self._rows):
            self._rows.append(rate)
            self._lines.append(line)
            return
        other = self._rows[place]
        first = self._lines[place]
        if _dearness(rate) > _dearness(other):
            self._rows[place], self._lines[place] = rate, line
        kept = self._rows[place]
        price = format_amount(kept.per_minute) if kept.offered else "not offered"
        what = f"{rate.prefix or 'the catch-all'} is also in line {first}; the higher price counts: {price}"
        self._warn(line, Role.PREFIX, what, "")

    def _complain(self, line: int, column: int, error: BadCellError) -> None:
        self._bad.add(Complaint(self._source, line, self._layout.column_name(column), error.what, error.fix))

    def _warn(self, line: int | None, column: str, what: str, fix: str) -> None:
        self._warnings.add(Complaint(self._source, line, column, what, fix))


def _dearness(rate: Rate) -> tuple[bool, Micros, Micros, int, int]:
    """Order the rates of one prefix: not offered is dearest, for an unknown price is an expensive price."""
    return (not rate.offered, rate.per_minute, rate.connect_fee, rate.minimum_seconds, rate.increment_seconds)


class _Ascent:
    """Watches whether the destinations run through the alphabet, as the lists that break off in its middle do."""

    def __init__(self) -> None:
        self._first = self._last = ""
        self._count = self._descents = 0

    def note(self, destination: str) -> None:
        """Take note of the next row's destination."""
        initial = destination[:1].lower()
        if not self._count:
            self._first = initial
        elif initial < self._last[:1].lower():
            self._descents += 1
        self._last = destination
        self._count += 1

    def cut_short(self) -> str:
        """Return the last destination if it comes too early in the alphabet to be the last, else ''."""
        sorted_from_a = self._first == "a" and self._descents * 50 <= self._count
        whole = self._count < _ALPHABET_ROWS or self._last[:1].lower() >= _LAST_INITIAL
        return self._last if sorted_from_a and not whole else ""
