"""Tables that fit the terminal: what can be done without goes, and lines break between words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.table import Table

GAP: Final = 2
"""Cells between two columns: enough to tell them apart."""

_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\dZ)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column to be: its heading, its cells as they will be shown, and whether it holds numbers."""

    heading: str
    cells: Sequence[str]
    right: bool = False

    @property
    def whole(self) -> int:
        """The width at which no cell has a second line."""
        return max(cell_len(text) for text in (self.heading, *self.cells))

    @property
    def least(self) -> int:
        """The width at which no word is broken, nor the heading."""
        words = (word for text in self.cells for word in text.split(" "))
        return max(cell_len(word) for word in (self.heading, *words))


def fit(columns: Sequence[Column], room: int, *, spare: Sequence[str]) -> tuple[list[Column], list[int]]:
    """Return the columns that have room, and their widths. Where it is scarce, times break after the day, empty columns
    go, and then the `spare` ones, by heading, in this order.
    """
    if _sum(column.whole for column in columns) <= room:
        return list(columns), [column.whole for column in columns]
    kept = [_breakable(column) for column in columns if any(column.cells)]
    for heading in spare:
        if _sum(column.least for column in kept) <= room:
            break
        kept = [column for column in kept if column.heading != heading]
    return kept, _shrink([column.whole for column in kept], [column.least for column in kept], room)


def fit_lines(
    columns: Sequence[Column], room: int, *, spare: Sequence[str], cut: Collection[str]
) -> tuple[list[Column], list[int]]:
    """As `fit`, with one line a row: instead of breaking lines, the columns in `cut` may be cut short."""

    def least(column: Column) -> int:
        return cell_len(column.heading) if column.heading in cut else column.whole

    kept = list(columns)
    for heading in spare:
        if _sum(least(column) for column in kept) <= room:
            break
        kept = [column for column in kept if column.heading != heading]
    return kept, _shrink([column.whole for column in kept], [least(column) for column in kept], room)


def empty_table(columns: Sequence[Column], widths: Sequence[int], *, one_line: bool = False) -> Table:
    """Return the table with its headings and without rows."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            column.heading,
            width=width,
            justify="right" if column.right else "left",
            no_wrap=one_line,
            overflow="ellipsis" if one_line else "fold",
        )
    return table


def _breakable(column: Column) -> Column:
    return Column(column.heading, [_INSTANT.sub(r"\1 \2", cell) for cell in column.cells], column.right)


def _sum(widths: Iterable[int]) -> int:
    listed = list(widths)
    return sum(listed) + GAP * max(0, len(listed) - 1)


def _shrink(widths: list[int], least: Sequence[int], room: int) -> list[int]:
    """Take from the column that has most to give until all fit. Where they cannot, words are broken."""
    while _sum(widths) > room:
        slack = [width - low for width, low in zip(widths, least, strict=True)]
        if not slack or max(slack) <= 0:
            widest = widths.index(max(widths)) if widths else 0
            if not widths or widths[widest] <= 1:
                break
            widths[widest] -= 1
        else:
            widths[slack.index(max(slack))] -= 1
    return widths
