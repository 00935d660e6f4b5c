"""A list of people as CSV: read into PINs to be made, every bad cell named at once; and written, all but the digits."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fraudguard.cli.app import printable
from fraudguard.cli.person import parse_name
from fraudguard.cli.pin.known import Known
from fraudguard.cli.pin.terms import (
    LIST_COLUMNS,
    TERM_COLUMNS,
    is_expired,
    read_terms,
    split_cell,
    term_texts,
)
from fraudguard.clock import Millis, format_instant
from fraudguard.errors import InputError, UnreachableError
from fraudguard.policy.pin import NewPin, Pin, PinKind, Terms

MAX_ROWS: Final = 10_000
"""People of one file: more than an exchange has, and their PINs are made in some minutes."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of one file: room for MAX_ROWS long ones."""

SHOWN: Final = 100
"""Bad cells that are told; the rest is counted."""

COLUMNS: Final = ("tenant", "name", "kind", "duress", *TERM_COLUMNS, "author", "created")
"""What is exported. `author` and `created` are not read back: whoever imports makes new PINs."""


def export_row(pin: Pin) -> list[str]:
    """Return a PIN's cells, in the order of COLUMNS."""
    cells = {
        "tenant": pin.tenant,
        "name": pin.name,
        "kind": pin.kind.value,
        "duress": "yes" if pin.duress else "no",
        **term_texts(pin.terms),
        "author": pin.author,
        "created": format_instant(pin.created),
    }
    return [printable(cells[column]) for column in COLUMNS]


@dataclass(slots=True)
class Reading:
    """What came of reading a file: PINs to be made, and what a person should know of them."""

    drafts: list[NewPin] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_people(file: Path, before: Known, *, tenant: str, check_tenant: Callable[[str], str], now: Millis) -> Reading:
    """Read a file into PINs that can be made. `tenant` is whose people they are where a row does not say.

    Raises InputError that names every bad cell, and UnreachableError for a file that cannot be read.
    """
    reading = Reading()
    lines: dict[tuple[str, str, bool], int] = {}
    for line, cells in _rows(file):
        where = _Where(file, line)
        draft = _draft(cells, where, reading, tenant=tenant, check_tenant=check_tenant)
        if draft is None:
            continue
        key = (draft.tenant, draft.name, draft.duress)
        what = f"{printable(draft.name)!r} of tenant {draft.tenant}"
        if key in lines:
            fix = "a name stands for one person: remove one, or tell them apart"
            reading.problems.append(
                InputError(f"{what} stands in line {lines[key]} already", where=where("name"), fix=fix)
            )
        elif before.find(draft.tenant, draft.name, duress=draft.duress) is not None:
            fix = "remove the row, or 'fraudguard pin revoke' the PIN there is"
            reading.problems.append(InputError(f"{what} has such a PIN already", where=where("name"), fix=fix))
        else:
            lines[key] = line
            reading.drafts.append(draft)
            if is_expired(draft.terms, now):
                reading.warnings.append(f"{where('until')}: is in the past, so that this PIN will be good for nothing")
    _give_duress_terms(reading, before, lines, file)
    if reading.problems:
        raise _all_of(reading.problems, file)
    if not reading.drafts:
        raise InputError("nobody is in it", where=str(file), fix="a header with 'name', and a line for each person")
    return reading


@dataclass(frozen=True, slots=True)
class _Where:
    """Names a cell: the file, the line, and the column."""

    file: Path
    line: int

    def __call__(self, column: str) -> str:
        return f"{self.file}:{self.line}: {column}"


def _draft(
    cells: Mapping[str, str], where: _Where, reading: Reading, *, tenant: str, check_tenant: Callable[[str], str]
) -> NewPin | None:
    """Read one row; what is wrong with it is added to the reading, and then there is no PIN."""
    problems: list[InputError] = []

    def checked(column: str, read: Callable[[str], str], text: str) -> str:
        try:
            return read(text)
        except InputError as error:
            problems.append(InputError(error.what, where=where(column), fix=error.fix))
            return ""

    whose = checked("tenant", check_tenant, cells.get("tenant") or tenant)
    name = checked("name", lambda text: parse_name(text, where=""), cells.get("name", ""))
    kind = checked("kind", lambda text: _one_of(text, ("digits", "totp")), cells.get("kind") or "digits")
    duress = checked("duress", lambda text: _one_of(text, ("yes", "no")), cells.get("duress") or "no") == "yes"
    texts = {column: _split(column, cells[column]) for column in TERM_COLUMNS if cells.get(column)}
    terms = read_terms(texts, where, problems)
    if kind == "totp" and duress:
        problems.append(
            InputError("a duress PIN is digits", where=where("kind"), fix="write digits, or leave it empty")
        )
    elif kind == "totp" and not terms.accounts and "accounts" not in texts:
        problems.append(
            InputError(
                "the code of an app is only good at accounts that are named",
                where=where("accounts"),
                fix="name them, a semicolon between two",
            )
        )
    reading.problems += problems
    if problems:
        return None
    return NewPin(whose, name, PinKind(kind), duress, terms)


def _give_duress_terms(reading: Reading, before: Known, lines: Mapping[tuple[str, str, bool], int], file: Path) -> None:
    """Let duress PINs have the terms of the persons' own PINs, in the file or in the database."""
    everybody: list[Pin | NewPin] = [*before.pins, *reading.drafts]
    own = {(pin.tenant, pin.name): pin.terms for pin in everybody if not pin.duress}
    for index, draft in enumerate(reading.drafts):
        if not draft.duress:
            continue
        where = _Where(file, lines[draft.tenant, draft.name, True])
        terms = own.get((draft.tenant, draft.name))
        if terms is None and not reading.problems:  # the row of the person may be a bad one
            fix = "give the person a row without duress too"
            problem = InputError(f"{printable(draft.name)!r} has no PIN beside", where=where("duress"), fix=fix)
            reading.problems.append(problem)
        elif terms is not None and draft.terms not in (Terms(), terms):
            fix = "leave the other columns empty"
            problem = InputError("a duress PIN has the terms of the person's own", where=where("duress"), fix=fix)
            reading.problems.append(problem)
        elif terms is not None:
            reading.drafts[index] = replace(draft, terms=terms)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells by column of each row that is not blank."""
    text = _text(file)
    header, _, _ = text.partition("\n")
    delimiter = ";" if ";" in header and "," not in header else ","
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip().lower() for column in next(reader, [])]
        _check_header(columns, file)
        for count, row in enumerate((row for row in reader if any(cell.strip() for cell in row)), start=1):
            if len(row) > len(columns) or count > MAX_ROWS:
                what = f"more than {MAX_ROWS} rows" if count > MAX_ROWS else "more cells than the header has"
                fix = "split the file" if count > MAX_ROWS else "put quotes around a cell that holds the separator"
                raise InputError(what, where=f"{file}:{reader.line_num}", fix=fix)
            yield reader.line_num, dict(zip(columns, (cell.strip() for cell in row), strict=False))
    except csv.Error as error:
        raise InputError(
            f"is not CSV: {error}", where=f"{file}:{reader.line_num}", fix="see to the quotes in that line"
        ) from None


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreachableError(f"cannot be read: {error.strerror}", where=str(file)) from None
    if len(content) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES // 1024**2} MB", where=str(file), fix="split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not UTF-8 in line {content[: error.start].count(10) + 1}", where=str(file), fix="save it as UTF-8"
        ) from None


def _check_header(columns: Sequence[str], file: Path) -> None:
    where = f"{file}:1"
    known = f"columns are {', '.join(COLUMNS)}"
    for column in columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, n=1)
            fix = f"did you mean {near[0]}? {known}" if near else known
            raise InputError(f"unknown column {printable(column[:40])!r}", where=where, fix=fix)
        if columns.count(column) > 1:
            raise InputError(f"two columns {column}", where=where, fix="leave one")
    if "name" not in columns:
        raise InputError("there is no column 'name'", where=where, fix=f"the first line names the columns; {known}")


def _split(column: str, cell: str) -> list[str]:
    return split_cell(cell) if column in LIST_COLUMNS else [cell]


def _one_of(text: str, known: Sequence[str]) -> str:
    if text.lower() not in known:
        raise InputError(f"{printable(text[:40])!r} will not do", fix=f"write {' or '.join(known)}")
    return text.lower()


def _all_of(problems: Sequence[InputError], file: Path) -> InputError:
    shown = [str(problem) for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        shown.append(f"... and {len(problems) - SHOWN} more")
    count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}, so that nothing was imported:"
    return InputError("\n  ".join([count, *shown]), where=str(file))
