"""What a row says about its price: per minute, per call, increments, from when, whether offered at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, TypeVar

from fraudguard.clock import Millis
from fraudguard.decks import cells
from fraudguard.decks.cells import BadCellError
from fraudguard.decks.records import ImportOptions, Layout, Role
from fraudguard.decks.words import currencies_in
from fraudguard.money import MICROS_PER_UNIT, Micros, ceil_amount, format_amount

Terms: TypeAlias = tuple[Micros, Micros, int, int, Millis, bool]
"""The fields of a Rate after prefix and destination."""

_T = TypeVar("_T")

_CACHED_CELLS = 20_000


@dataclass(slots=True)
class TermsReading:
    """One row's terms (two, if it holds an old and a new price), or what is wrong with which column."""

    terms: list[Terms] = field(default_factory=list)
    bad: list[tuple[int, BadCellError]] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)


class TermsReader:
    """Reads the cells of a row other than prefix and destination. The row must reach to the last mapped column."""

    def __init__(self, layout: Layout, options: ImportOptions) -> None:
        self._layout = layout
        self._options = options
        self._columns = layout.columns
        # one text, one meaning: lists repeat their prices and dates, in ever new combinations
        self._parse_price = lru_cache(_CACHED_CELLS)(self._parse_price_cell)
        self._parse_date = lru_cache(_CACHED_CELLS)(self._parse_date_cell)

    def read(self, row: list[str]) -> TermsReading:
        """Read one row; everything that is wrong with it is told at once."""
        reading = TermsReading()
        columns, options = self._columns, self._options
        self._check_currency(row, reading)
        prices = [self._price(row, column, reading) for column in columns[Role.PRICE]]
        old = self._first(Role.OLD_PRICE, lambda column: self._price(row, column, reading))
        extra = self._first(Role.SURCHARGE, lambda column: self._price(row, column, reading)) or 0
        fees = [self._price(row, column, reading) or 0 for column in columns.get(Role.CONNECT_FEE, ())]
        minimum, increment = self._increments(row, reading)
        effective = self._first(
            Role.EFFECTIVE,
            lambda column: self._cell(reading, column, lambda: self._parse_date(row[column])),
        )
        offered = self._is_offered(row, reading)
        if reading.bad:
            return reading
        price = None if None in prices else max(price for price in prices if price is not None)
        fee = sum(fees) or options.connect_fee

        def terms(per_minute: Micros | None, start: Millis) -> Terms:
            # Without a price the ceiling stands in: code that forgets to ask `offered` still sees an expensive one.
            amount = options.ceiling if per_minute is None else per_minute + extra
            return amount, fee, minimum, increment, start, offered and per_minute is not None

        if old is None or effective is None:
            reading.terms.append(terms(self._only_price(row, price, old, reading), effective or options.effective_from))
        else:
            if effective > options.effective_from:
                reading.terms.append(terms(old, options.effective_from))
            reading.terms.append(terms(price, effective))
        if offered and not reading.bad and not reading.terms[-1][-1]:
            column = columns[Role.PRICE][prices.index(None)]
            reading.warnings.append((column, f"{cells.shown(row[column])} is no price: kept as not offered"))
        return reading

    def _only_price(
        self, row: list[str], price: Micros | None, old: Micros | None, reading: TermsReading
    ) -> Micros | None:
        """Choose between an old and a new price without a date between them; an empty new one means no change."""
        if old is None or price == old:
            return price
        if price is None:
            return old
        (column,) = self._columns[Role.EFFECTIVE]
        error = BadCellError(f"{cells.shown(row[column])} does not say when the new price begins", "give the date")
        reading.bad.append((column, error))
        return None

    def _first(self, role: Role, read: Callable[[int], _T]) -> _T | None:
        columns = self._columns.get(role)
        return read(columns[0]) if columns else None

    def _cell(self, reading: TermsReading, column: int, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except BadCellError as error:
            reading.bad.append((column, error))
            return None

    def _price(self, row: list[str], column: int, reading: TermsReading) -> Micros | None:
        return self._cell(reading, column, lambda: self._parse_price(row[column]))

    def _parse_date_cell(self, text: str) -> Millis | None:
        return cells.parse_date(text, self._options.date_format, self._options.zone)

    def _parse_price_cell(self, text: str) -> Micros | None:
        amount = cells.parse_price(text, self._layout.decimal_mark, self._options.currency)
        if amount is None:
            return None
        amount *= self._layout.unit
        if amount * MICROS_PER_UNIT > self._options.ceiling:
            raise BadCellError(
                f"{cells.shown(text.strip())} is above the ceiling of {format_amount(self._options.ceiling)}",
                "a lost decimal point, or shifted columns? if it is right, raise --ceiling",
            )
        return ceil_amount(amount)

    def _increments(self, row: list[str], reading: TermsReading) -> tuple[int, int]:
        both = self._first(
            Role.INCREMENT, lambda column: self._cell(reading, column, lambda: cells.parse_increments(row[column]))
        )
        first, increment = both or (0, 0)
        minimum = self._first(
            Role.MINIMUM, lambda column: self._cell(reading, column, lambda: cells.parse_seconds(row[column]))
        )
        options = self._options
        return max(first, minimum or 0) or options.minimum_seconds, increment or options.increment_seconds

    def _is_offered(self, row: list[str], reading: TermsReading) -> bool:
        blocked = self._first(
            Role.BLOCKED, lambda column: self._cell(reading, column, lambda: cells.parse_blocked(row[column]))
        )
        offered = self._first(
            Role.OFFERED, lambda column: self._cell(reading, column, lambda: cells.parse_offered(row[column]))
        )
        status = self._first(Role.STATUS, lambda column: cells.status_is_blocked(row[column]))
        return not blocked and offered is not False and not status

    def _check_currency(self, row: list[str], reading: TermsReading) -> None:
        columns, expected = self._columns.get(Role.CURRENCY), self._options.currency
        text = row[columns[0]].strip() if columns else ""
        if columns and text and expected and expected not in currencies_in(text.upper()):
            error = BadCellError(
                f"{cells.shown(text)} is not {expected}", "import a list in the installation's currency"
            )
            reading.bad.append((columns[0], error))
