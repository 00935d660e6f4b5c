"""What one cell of a price list means. Every parser returns values or raises BadCellError with the reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

from fraudguard.clock import Millis
from fraudguard.decks.words import CATCH_ALL, CLOSED, CURRENCIES, NO, NO_DATE, NO_PRICE, OPEN, SYMBOLS, YES
from fraudguard.rating.prefixes import MAX_DIGITS

MAX_CODES = 10_000
"""Prefixes that one cell may stand for; a range of more is a slip of the keyboard."""

_MAX_SHOWN = 40


class BadCellError(Exception):
    """A cell cannot be read: what is wrong with it, and how to mend it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


def shown(text: str) -> str:
    """Quote a cell for a message, cut short and without control characters."""
    cut = text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
    return '"' + "".join(character if character.isprintable() else "?" for character in cut) + '"'


# Prefixes

_CODE = re.compile(r"['_^]*(?:\+|\(\+\))?([0-9]+)(?:\.0|\.|%|[.]?\*)?\$?", re.ASCII)
_SCIENTIFIC = re.compile(r"[0-9]+(?:[.,][0-9]*)?[eE][+-]?[0-9]+", re.ASCII)
_RANGE = re.compile(r"([0-9]+)\s*(?:-|\u2013|\.\.|:|to)\s*\+?([0-9]+)", re.ASCII)
_STRONG_SEPARATOR = re.compile(r"\s*[;/|\n]\s*")
_WEAK_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_INTERNATIONAL = re.compile(r"(?:011|00)(?=[1-9])")


def parse_codes(text: str, *, country: str = "", nanp: bool = False) -> list[str]:
    """Read a prefix cell into prefixes of E.164 digits: usually one, '' for a catch-all.

    `country` is what stands in a country code column beside it. `nanp` puts the leading 1 before North American
    codes that lack it. Raises BadCellError.
    """
    lead = _country_digits(country)
    if lead and nanp:
        lead = _with_leading_one(lead)
    stripped = text.strip().strip("'\"").strip()
    if not stripped and lead:
        return [_checked(lead)]
    if not stripped:
        raise BadCellError("empty", "give digits, or 0 for a catch-all")
    if _SCIENTIFIC.fullmatch(stripped):
        raise BadCellError(
            f"{shown(stripped)} is in scientific notation: a spreadsheet has lost its last digits",
            "format the column as text or as whole numbers and save again",
        )
    if not lead and stripped.lower() in CATCH_ALL:
        return [""]
    codes: list[str] = []
    for part in _STRONG_SEPARATOR.split(stripped):
        if part:
            codes += _weakly_separated(part, trusted=bool(lead))
    if len(codes) > MAX_CODES:
        raise BadCellError(f"{shown(stripped)} stands for {len(codes)} prefixes", f"at most {MAX_CODES} fit one row")
    if lead:
        return [_checked(lead + code) for code in codes]
    return [_checked(_with_leading_one(code) if nanp else _without_dialling_prefix(code)) for code in codes]


def _country_digits(text: str) -> str:
    if not text.strip():
        return ""
    match = _CODE.fullmatch(text.strip())
    if not match:
        raise BadCellError(f"{shown(text)} is not a country code", "give digits such as 44")
    return _without_dialling_prefix(match[1])


def _weakly_separated(text: str, *, trusted: bool) -> list[str]:
    """Split codes at commas and blanks, which also group the digits of a single number."""
    if match := _RANGE.fullmatch(text):
        return _expand(match[1], match[2], text)
    parts = [part for part in _WEAK_SEPARATOR.split(text) if part]
    if len(parts) == 1:
        return [_one_code(text)]
    codes = [code for part in parts for code in _range_or_code(part)]
    alike = len({code[:2] for code in codes}) == 1 or ("," in text and len({len(code) for code in codes}) == 1)
    if not (trusted or alike):
        raise BadCellError(
            f"{shown(text)} may be several prefixes or one with gaps",
            "separate several with semicolons, close the gaps of one",
        )
    return codes


def _range_or_code(text: str) -> list[str]:
    match = _RANGE.fullmatch(text)
    return _expand(match[1], match[2], text) if match else [_one_code(text)]


def _one_code(text: str) -> str:
    match = _CODE.fullmatch(text)
    if not match:
        raise BadCellError(f"{shown(text)} is not a prefix", "a prefix is digits, such as 4420")
    return match[1]


def _expand(first: str, last: str, text: str) -> list[str]:
    if first == "1" and len(last) in (3, 6, 7) and last[0] in "23456789":
        return [first + last]  # 1-876: the North American way of writing 1876
    if len(first) != len(last) or first > last:
        raise BadCellError(
            f"{shown(text)} is not a range of prefixes", "write both ends with all their digits: 1201-1209"
        )
    if int(last) - int(first) >= MAX_CODES:
        raise BadCellError(f"{shown(text)} is a range of more than {MAX_CODES} prefixes", "give shorter prefixes")
    return [str(code).zfill(len(first)) for code in range(int(first), int(last) + 1)]


def _without_dialling_prefix(code: str) -> str:
    return _INTERNATIONAL.sub("", code, count=1)


def _with_leading_one(code: str) -> str:
    return code if code.startswith("1") else "1" + code


def _checked(code: str) -> str:
    if code.startswith("0"):
        raise BadCellError(
            f"{shown(code)} begins with 0: no country code does", "give the prefix in international form"
        )
    if len(code) > MAX_DIGITS:
        raise BadCellError(f"{shown(code)} has more than {MAX_DIGITS} digits", "E.164 has no longer numbers")
    return code


# Prices

_CURRENCY_MARK = r"[^\W\d]{3}|US\$|[^\w\s.,+-]"
_NUMBER = r"[+-]?(?:[0-9][0-9.,' \u00a0\u202f]*|[.,][0-9]+)(?:[eE]-?[0-9]{1,2})?"
_AMOUNT = re.compile(
    rf"(?P<before>{_CURRENCY_MARK})?\s*(?P<number>{_NUMBER})\s*(?P<after>{_CURRENCY_MARK})?"
    r"(?:\s*(?:/|per)\s*min(?:ute)?\.?)?"
)
_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,20})?", re.ASCII)
_EXPONENT = re.compile(r"[+-]?(?:[0-9]{1,12}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE]-?[0-9]{1,2})?", re.ASCII)
_NOT_MONEY = "a price is a number such as 0.0125"


def parse_price(text: str, decimal_mark: str, currency: str = "") -> Decimal | None:
    """Read a price; None where the cell says that there is none. Raises BadCellError.

    `decimal_mark` is how this list writes decimals. `currency` is the one expected ('': any); a cell that states
    another is refused.
    """
    stripped = text.strip()
    if decimal_mark == "." and _PLAIN.fullmatch(stripped):
        return Decimal(stripped)
    if stripped.lower() in NO_PRICE:
        return None
    match = _AMOUNT.fullmatch(stripped)
    if not match:
        raise BadCellError(f"{shown(stripped)} is not a price", _NOT_MONEY)
    for mark in (match["before"], match["after"]):
        _check_currency(mark, currency, stripped)
    amount = _parse_number(match["number"], decimal_mark, stripped)
    if amount < 0:
        raise BadCellError(f"{shown(stripped)} is negative", "give a price of 0 or more")
    return amount


def _check_currency(mark: str | None, expected: str, text: str) -> None:
    if not mark:
        return
    meant = SYMBOLS.get(mark) or CURRENCIES & {mark.upper()}
    if not meant:
        raise BadCellError(f"{shown(text)} is not a price", _NOT_MONEY)
    if expected and expected not in meant:
        raise BadCellError(
            f"{shown(text)} is not in {expected}", "import each currency's prices converted to the one used here"
        )


def _parse_number(number: str, decimal_mark: str, text: str) -> Decimal:
    group = "," if decimal_mark == "." else "."
    whole, _, decimals = (
        number.replace(" ", "").replace("\u00a0", "").replace("\u202f", "").replace("'", "").partition(decimal_mark)
    )
    if group in whole:
        first, *groups = whole.split(group)
        # 0,125 is a decimal in the other style, 1,250 is a thousand: only full groups after a number are taken
        if not all(len(part) == 3 for part in groups) or first.lstrip("+-") in ("", "0"):
            style = "--decimal-mark ," if decimal_mark == "." else "--decimal-mark ."
            raise BadCellError(
                f"{shown(text)} does not fit the decimal mark {decimal_mark!r} of this list", f"say {style}"
            )
        whole = first + "".join(groups)
    plain = f"{whole}.{decimals}" if decimals else whole
    if not _EXPONENT.fullmatch(plain):
        raise BadCellError(f"{shown(text)} is not a price", _NOT_MONEY)
    return Decimal(plain)


# Seconds

_SECONDS = r"([0-9]{1,5})\s*(?:s|sec|secs|seconds?)?"
_INCREMENTS = re.compile(rf"{_SECONDS}(?:\s*[/+:,;-]\s*{_SECONDS})?", re.ASCII | re.IGNORECASE)


MAX_INCREMENT = 600
"""Seconds: no published list bills by more than ten minutes, and a limit per minute says nothing about a call that is
billed by the day."""


def parse_increments(text: str) -> tuple[int, int]:
    """Read '60', '60/60' or '30,6' into (minimum, increment) seconds; a single one is the increment; 0: not stated."""
    stripped = text.strip()
    if not stripped or stripped.lower() in NO_PRICE:
        return 0, 0
    match = _INCREMENTS.fullmatch(stripped.removesuffix(".0"))
    if not match:
        raise BadCellError(f"{shown(stripped)} is not a billing increment", "give seconds, such as 60 or 30/6")
    minimum, increment = (int(match[1]), int(match[2])) if match[2] else (0, int(match[1]))
    if max(minimum, increment) > MAX_INCREMENT:
        raise BadCellError(
            f"{shown(stripped)} is longer than any carrier bills at once", f"give at most {MAX_INCREMENT} seconds"
        )
    return minimum, increment


def parse_seconds(text: str) -> int:
    """Read a number of seconds; an empty cell is 0. Raises BadCellError."""
    minimum, increment = parse_increments(text)
    if minimum:
        raise BadCellError(f"{shown(text.strip())} is not a number of seconds", "give whole seconds, such as 30")
    return increment


# Dates

_SERIAL = re.compile(r"([2-7][0-9]{4})(?:[.,]([0-9]+))?", re.ASCII)
_SERIAL_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
"""Day 0 of spreadsheets; serials 20000 to 79999 are the years 1954 to 2118."""

_NUMERIC_DATE = re.compile(r"([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4}|[0-9]{2})(?:[ T]+(.+))?", re.ASCII)
_YEAR_FIRST = re.compile(r"([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})(.*)", re.ASCII)
_NAMED_MONTHS = ("%d-%b-%Y", "%d %b %Y", "%d-%b-%y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%b %d, %Y", "%B %d, %Y")


def parse_date(text: str, date_format: str, zone: tzinfo) -> Millis | None:
    """Read the time from which a row holds, in `zone` unless it has an offset; None where none is stated.

    An order of day and month that the cell does not prove is refused unless `date_format` says it
    ('dmy', 'mdy', 'ymd' or a strptime format). Raises BadCellError.
    """
    stripped = text.strip()
    if stripped.lower() in NO_DATE:
        return None
    try:
        moment = _read_date(stripped, date_format)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return max(0, int(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise BadCellError(
            f"{shown(stripped)} is not a date", "write 2026-12-31, or name the form with --date-format"
        ) from None


def _read_date(text: str, date_format: str) -> datetime:
    if "%" in date_format:
        return datetime.strptime(text, date_format)  # noqa: DTZ007 - the caller adds the zone
    if match := _SERIAL.fullmatch(text):
        days = float(f"{match[1]}.{match[2] or 0}")
        return (_SERIAL_EPOCH + timedelta(seconds=round(days * 86_400))).replace(tzinfo=None)
    if match := _NUMERIC_DATE.fullmatch(text):
        return _numeric_date(match, date_format, text)
    if match := _YEAR_FIRST.fullmatch(text):
        text = f"{match[1]}-{match[2]:0>2}-{match[3]:0>2}{match[4]}"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _named_month(text)


def _numeric_date(match: re.Match[str], date_format: str, text: str) -> datetime:
    first, second, year = int(match[1]), int(match[2]), int(match[3])
    year += 2000 if year < 100 else 0
    if date_format == "ymd":
        raise ValueError(text)
    if not date_format and first <= 12 and second <= 12 and first != second:
        raise BadCellError(f"{shown(text)} may be day or month first", "say --date-format dmy or mdy")
    month_first = date_format == "mdy" or (not date_format and second > 12)
    month, day = (first, second) if month_first else (second, first)
    clock = datetime.fromisoformat(f"2000-01-01T{match[4].strip()}") if match[4] else datetime(2000, 1, 1)  # noqa: DTZ001
    return clock.replace(year=year, month=month, day=day)


def _named_month(text: str) -> datetime:
    for form in _NAMED_MONTHS:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - the caller adds the zone
        except ValueError:
            continue
    raise ValueError(text)


# Flags

_STATUS_BLOCKED = re.compile(
    r"block|barr|inactiv|clos|not offered|unavailab|not available|disabl|delet|remov|discontinu|suspend|withdraw"
    r"|gesperrt|bloq"
)


def parse_blocked(text: str) -> bool:
    """Read a cell that says whether a prefix is blocked; empty: it is not. Raises BadCellError."""
    return _flag(text, yes=YES | CLOSED, no=NO | OPEN)


def parse_offered(text: str) -> bool:
    """Read a cell that says whether a prefix is offered; empty: it is not. Raises BadCellError."""
    return _flag(text, yes=YES | OPEN, no=NO | CLOSED)


def _flag(text: str, yes: frozenset[str], no: frozenset[str]) -> bool:
    word = text.strip().lower()
    if word not in yes | no:
        raise BadCellError(f"{shown(text.strip())} is neither yes nor no", "give Y or N")
    return word in yes


def status_is_blocked(text: str) -> bool:
    """Say whether a free-text status means that calls are not carried."""
    return _STATUS_BLOCKED.search(text.lower()) is not None
