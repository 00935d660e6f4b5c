"""What is wrong with a price list, row by row: all of it in one go, the first of it in words."""

from __future__ import annotations

from dataclasses import dataclass

from fraudguard.errors import InputError

MAX_KEPT = 1000
"""Complaints kept in words, of each sort; a list of a million bad rows must not fill the memory. All are counted."""

MAX_SHOWN = 20
"""Complaints printed in an error's text; who wants more reads `complaints`."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong in one cell: 'rates.csv:12: price: "-0.10" is negative (give 0 or more)'.

    `line` counts from 1 (spreadsheets: the row); None means the list as a whole.
    """

    source: str
    line: int | None
    column: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        text = f"{place}: {self.column}: {self.what}" if self.column else f"{place}: {self.what}"
        return f"{text} ({self.fix})" if self.fix else text


class BadRowsError(InputError):
    """A price list has bad rows: nothing was imported.

    `complaints` are the first of what is wrong and `total` counts all of it; `bad_rows` of `rows` are bad, and one
    row may have several faults.
    """

    def __init__(self, source: str, found: Complaints, bad_rows: int, rows: int) -> None:
        self.complaints = tuple(found.kept)
        self.total = found.total
        self.bad_rows = bad_rows
        self.rows = rows
        super().__init__(
            f"{bad_rows} of {rows} rows {'is' if bad_rows == 1 else 'are'} bad",
            where=source,
            fix="nothing was imported: mend them, or leave bad rows out with --skip-bad",
        )

    def __str__(self) -> str:
        shown = [str(complaint) for complaint in self.complaints[:MAX_SHOWN]]
        if self.total > len(shown):
            shown.append(f"... and {self.total - len(shown)} more")
        return "\n".join([*shown, super().__str__()])


class Complaints:
    """Collects complaints of one sort: keeps the first MAX_KEPT, counts the rest."""

    def __init__(self) -> None:
        self.kept: list[Complaint] = []
        self.total = 0

    def add(self, complaint: Complaint) -> None:
        """Take note of one more."""
        self.total += 1
        if len(self.kept) < MAX_KEPT:
            self.kept.append(complaint)
