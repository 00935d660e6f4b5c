"""What goes into reading a price list, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from decimal import Decimal
from enum import StrEnum

from fraudguard.clock import Millis
from fraudguard.decks.complaints import Complaint
from fraudguard.money import MICROS_PER_UNIT, Micros
from fraudguard.rating import Rate

DEFAULT_CEILING: Micros = 25 * MICROS_PER_UNIT
"""The highest genuine price seen in a public list is 13.65 a minute; lost decimal points start at 1000."""


class Role(StrEnum):
    """What a column holds. The values are the names that operators map columns by."""

    PREFIX = "prefix"
    COUNTRY_CODE = "country-code"  # the first part of a prefix split in two columns
    AREA_CODE = "area-code"  # the second part
    DESTINATION = "destination"
    PRICE = "price"  # several: the highest counts
    OLD_PRICE = "old-price"  # in force until the date in `effective`, when `price` takes over
    SURCHARGE = "surcharge"  # per minute, added to the price
    CONNECT_FEE = "connect-fee"  # several are added up
    MINIMUM = "minimum"
    INCREMENT = "increment"
    EFFECTIVE = "effective"
    BLOCKED = "blocked"  # yes: the carrier does not carry these calls
    OFFERED = "offered"  # no: the same
    STATUS = "status"  # free text; 'inactive', 'closed', ... mean blocked
    CURRENCY = "currency"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What an operator may say about a price list; everything unsaid is detected or has a safe default.

    `columns` maps a role to one or several columns, comma-separated, each a header name, a letter or a number from
    1; '-' means that the list has no such column, whatever the header looks like.
    `currency` is the one expected (the installation's); a list that states another is refused. '' expects none.
    `unit` is what a price of 1 is worth in currency units (Decimal('0.0001') for ten-thousandths); None: as the
    header says, else 1. `decimal_mark` is '.' or ',' ('': detected).
    `date_format` is 'dmy', 'mdy', 'ymd' or a strptime format ('': only unambiguous dates are read);
    dates without an offset are in `zone`.
    `minimum_seconds`, `increment_seconds` and `connect_fee` hold for rows that do not state them (or state an
    increment of 0), `effective_from` for rows without a date.
    A price or fee above `ceiling` is a bad row. `nanp` says whether six- and three-digit prefixes are North American
    codes without their leading 1 (None: only if the header says so).
    `member` names the file inside a ZIP, `sheet` the one of a spreadsheet (name, or number from 1).
    `skip_bad` imports the good rows of a list with bad ones; otherwise it is all rows or none.
    """

    columns: Mapping[Role, str] = field(default_factory=dict)
    delimiter: str = ""
    encoding: str = ""
    header: bool | None = None
    currency: str = ""
    unit: Decimal | None = None
    decimal_mark: str = ""
    date_format: str = ""
    zone: tzinfo = UTC
    connect_fee: Micros = 0
    minimum_seconds: int = 0
    increment_seconds: int = 1
    effective_from: Millis = 0
    ceiling: Micros = DEFAULT_CEILING
    nanp: bool | None = None
    member: str = ""
    sheet: str = ""
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """How a list was understood: shown to the operator before anything is stored.

    `columns` holds the indices (from 0) of each role found; `names` the header's cells, empty without a header.
    `header_line` is the file's line, None without a header.
    """

    columns: Mapping[Role, tuple[int, ...]]
    names: tuple[str, ...]
    width: int
    header_line: int | None
    decimal_mark: str
    unit: Decimal
    currency: str
    nanp: bool
    encoding: str = ""
    delimiter: str = ""

    def column_name(self, index: int) -> str:
        """Return how a column is called in messages: its header, or its number from 1."""
        name = self.names[index].strip() if index < len(self.names) else ""
        return name or f"column {index + 1}"

    def describe(self) -> list[str]:
        """Return lines such as 'price: column 6 "tariff"', one per role, then the form of the file."""
        lines = [
            f"{role}: " + ", ".join(self._place(index) for index in indices) for role, indices in self.columns.items()
        ]
        header = "no header" if self.header_line is None else f"header in line {self.header_line}"
        form = [header, f"{self.width} columns"]
        if self.delimiter:
            form.append(f"delimiter {_DELIMITER_NAMES.get(self.delimiter, repr(self.delimiter))}")
        if self.encoding:
            form.append(self.encoding)
        if self.decimal_mark == ",":
            form.append("decimal comma")
        if self.unit != 1:
            form.append(f"a price of 1 is {self.unit:f}")
        if self.currency:
            form.append(f"prices in {self.currency}")
        if self.nanp:
            form.append("North American codes, leading 1 added where missing")
        return [*lines, f"form: {', '.join(form)}"]

    def _place(self, index: int) -> str:
        name = self.names[index].strip() if index < len(self.names) else ""
        return f'column {index + 1} "{name}"' if name else f"column {index + 1}"


_DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class ParsedDeck:
    """A price list, read.

    `rows` are sorted by (prefix, effective_from), and no two agree in both. `lines` counts the file's rows of data,
    good and bad; `skipped` the bad ones left out (0 unless asked to). `warnings` and `bad` hold the first of each,
    `warning_count` and `skipped` say how many there were.
    """

    source: str
    rows: Sequence[Rate]
    layout: Layout
    lines: int
    warnings: tuple[Complaint, ...] = ()
    warning_count: int = 0
    bad: tuple[Complaint, ...] = ()
    skipped: int = 0
