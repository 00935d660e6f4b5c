"""Opening a price list: text, gzip, ZIP or spreadsheet, as rows of cells with their line numbers."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

from fraudguard.decks.records import ImportOptions
from fraudguard.errors import InputError

Progress: TypeAlias = Callable[[int, int], None]
"""Told (done, total) now and then: bytes of the file as it lies on disk, or rows of a spreadsheet."""

Row: TypeAlias = tuple[int, list[str]]
"""A line number (from 1; a spreadsheet's row) and its cells."""

MAX_EXPANDED = 1 << 30
"""Bytes read out of a compressed file; a list of a million rows has 100 MB, a decompression bomb has no end."""

SAMPLE_BYTES = 64 << 10
"""What is looked at to tell encoding and delimiter."""

PROGRESS_EVERY = 4096  # rows

DELIMITERS = ",;\t|"

_SPREADSHEETS = {".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"}
_COMPRESSION_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Table:
    """An open price list. `name` is how messages call it; encoding and delimiter are '' for spreadsheets."""

    name: str
    rows: Iterator[Row]
    encoding: str = ""
    delimiter: str = ""


@contextmanager
def open_table(path: Path, options: ImportOptions, progress: Progress | None = None) -> Iterator[Table]:
    """Open a price list for one pass over its rows; blank ones are left out.

    Raises InputError, here or while iterating: not readable, damaged, ambiguous (which member, which sheet),
    wrong encoding, a quote that never ends.
    """
    report = progress or _no_progress
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            yield _open(path, raw, options, report, stack)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except _COMPRESSION_ERRORS as error:
        raise InputError(f"is damaged: {error}", where=str(path), fix="fetch it again") from error


def _no_progress(_done: int, _total: int) -> None:
    return


def _open(path: Path, raw: IO[bytes], options: ImportOptions, report: Progress, stack: ExitStack) -> Table:
    size = path.stat().st_size
    magic = raw.read(8)
    raw.seek(0)
    if path.suffix.lower() in _SPREADSHEETS:
        return _spreadsheet(path.name, raw, options, report)
    if magic.startswith(b"\x1f\x8b"):
        unpacked = stack.enter_context(gzip.GzipFile(fileobj=raw))
        return _text(path.name, unpacked, options, lambda: report(raw.tell(), size))
    if not magic.startswith(b"PK\x03\x04"):
        return _text(path.name, raw, options, lambda: report(raw.tell(), size))
    archive = stack.enter_context(zipfile.ZipFile(raw))
    member = _choose_member(archive, options.member, path.name)
    if member.flag_bits & 1:
        raise InputError("is encrypted", where=f"{path.name}:{member.filename}", fix="unpack it first")
    name = f"{path.name}:{member.filename}"
    stream = stack.enter_context(archive.open(member))
    if Path(member.filename).suffix.lower() in _SPREADSHEETS:
        content = io.BytesIO(_read_limited(stream, name))
        return _spreadsheet(name, content, options, report)
    return _text(name, stream, options, lambda: report(raw.tell(), size))


def _choose_member(archive: zipfile.ZipFile, wanted: str, where: str) -> zipfile.ZipInfo:
    members = [
        member for member in archive.infolist() if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    ]
    if wanted:
        members = [member for member in members if wanted in (member.filename, Path(member.filename).name)]
    if len(members) == 1:
        return members[0]
    names = ", ".join(sorted(member.filename for member in archive.infolist())[:20])
    what = f"no member {wanted!r}" if wanted else f"holds {len(members)} files"
    raise InputError(what, where=where, fix=f"name one with --member: {names}" if names else "the archive is empty")


def _read_limited(stream: IO[bytes], where: str) -> bytes:
    content = stream.read(MAX_EXPANDED + 1)
    if len(content) > MAX_EXPANDED:
        raise InputError(f"unpacks to more than {MAX_EXPANDED} bytes", where=where)
    return content


# Text


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _text(name: str, stream: _Source, options: ImportOptions, report: Callable[[], None]) -> Table:
    buffered = io.BufferedReader(_Limited(stream, name), buffer_size=1 << 20)
    sample = buffered.peek(SAMPLE_BYTES)[:SAMPLE_BYTES]
    encoding = options.encoding or guess_encoding(sample)
    try:
        decoder = codecs.lookup(encoding)
        preview = decoder.incrementaldecoder("replace").decode(sample)
    except (LookupError, TypeError):
        raise InputError(f"unknown encoding {encoding!r}", where=name, fix="try utf-8, utf-16 or latin-1") from None
    if "\0" in preview:
        raise InputError(
            "is not text: it holds NUL bytes", where=name, fix="give CSV, gzip, ZIP or a spreadsheet with its suffix"
        )
    delimiter = options.delimiter or guess_delimiter(preview)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(f"{delimiter!r} is not a delimiter", where="--delimiter", fix="give one character")
    # Nobody asked for this encoding: a broken name must not stop the list, and a broken prefix or price still will.
    errors = "strict" if options.encoding else "replace"
    text = io.TextIOWrapper(buffered, encoding=encoding, errors=errors, newline="")
    return Table(name, _csv_rows(text, delimiter, name, encoding, report), encoding, delimiter)


class _Limited(io.RawIOBase):
    """Passes a stream on, up to MAX_EXPANDED bytes."""

    def __init__(self, stream: _Source, name: str) -> None:
        super().__init__()
        self._stream = stream
        self._name = name
        self._left = MAX_EXPANDED

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"unpacks to more than {MAX_EXPANDED} bytes", where=self._name)
        buffer[: len(content)] = content
        return len(content)


def guess_encoding(sample: bytes) -> str:
    """Tell UTF-8 and UTF-16 by their byte order mark or validity; everything else reads as Latin-1."""
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(sample)  # not final: the sample may end inside a character
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def guess_delimiter(text: str) -> str:
    """Return the delimiter that cuts most lines of the sample into the same number of cells, at least two."""
    lines = [line for line in text.splitlines()[:200] if line.strip()]
    if len(lines) > 1:
        lines.pop()  # may be cut short
    best, best_score = DELIMITERS[0], 0
    for delimiter in DELIMITERS:
        widths = Counter(_width(line, delimiter) for line in lines)
        del widths[1]
        if not widths:
            continue
        _, score = widths.most_common(1)[0]
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _width(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), ()))
    except csv.Error:
        return 1


def _csv_rows(
    text: io.TextIOWrapper, delimiter: str, name: str, encoding: str, report: Callable[[], None]
) -> Iterator[Row]:
    # strict: a quote that is never closed would otherwise swallow the rest of the list without a word
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for count, cells in enumerate(reader):
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
            if not count % PROGRESS_EVERY:
                report()
    except csv.Error as error:
        raise InputError(
            f"is not readable from this line on: {error}", where=f"{name}:{line}", fix="mend the quotes"
        ) from None
    except UnicodeError as error:
        raise InputError(
            f"is not {encoding} near this line: {error}", where=f"{name}:{line}", fix="name it with --encoding"
        ) from None
    report()


# Spreadsheets


def _spreadsheet(name: str, stream: IO[bytes], options: ImportOptions, report: Progress) -> Table:
    try:
        import python_calamine  # noqa: PLC0415 - an extra, needed for spreadsheets only
    except ImportError:
        raise InputError(
            "is a spreadsheet and the reader for those is not installed",
            where=name,
            fix="pip install 'fraudguard[spreadsheets]', or save it as CSV",
        ) from None
    try:
        book = python_calamine.load_workbook(stream)
        sheets = list(book.sheet_names)
        sheet = _choose_sheet(sheets, options.sheet, name)
        content: list[list[Any]] = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise InputError(f"is not a readable spreadsheet: {error}", where=name, fix="save it as CSV") from None
    return Table(name if len(sheets) == 1 else f"{name}[{sheet}]", _sheet_rows(content, report))


def _choose_sheet(sheets: list[str], wanted: str, where: str) -> str:
    if not wanted and len(sheets) == 1:
        return sheets[0]
    if wanted in sheets:
        return wanted
    if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted[:9]) <= len(sheets):
        return sheets[int(wanted) - 1]
    what = f"no sheet {wanted!r}" if wanted else f"has {len(sheets)} sheets"
    raise InputError(what, where=where, fix=f"name one with --sheet: {', '.join(sheets)[:500]}")


def _sheet_rows(content: list[list[Any]], report: Progress) -> Iterator[Row]:
    for line, values in enumerate(content, 1):
        cells = [_cell_text(value) for value in values]
        if any(cells):
            yield line, cells
        if not line % PROGRESS_EVERY:
            report(line, len(content))
    report(len(content), len(content))


def _cell_text(value: Any) -> str:
    """Write a spreadsheet's value as a CSV cell would hold it: a whole float is a code that lost its type."""
    match value:
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 10**15 else f"{Decimal(repr(value)):f}"
        case datetime() | date() | time():
            return value.isoformat()
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return str(int(value.total_seconds()))
        case _:
            return str(value)
