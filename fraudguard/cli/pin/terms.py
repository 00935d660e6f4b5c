"""What a PIN is good for: read from options or from the columns of a file, and told in words, tables and JSON."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar

import rich_click as click
from phonenumbers import SUPPORTED_REGIONS

from fraudguard.agi.protocol import MAX_TEXT
from fraudguard.cli.app import printable, show_instant, show_money
from fraudguard.cli.lasting import parse_prefix
from fraudguard.clock import Millis, format_instant, parse_instant
from fraudguard.errors import InputError
from fraudguard.money import format_amount, parse_amount
from fraudguard.policy.hours import Hours
from fraudguard.policy.pin import Pin, Terms

MAX_ENTRIES: Final = 250
"""Regions, prefixes or accounts of one PIN: all regions there are, and no table that a lookup would feel."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def terms_options(command: _Command) -> _Command:
    """Add the options that say what a PIN is good for; `given_terms` reads what came of them."""
    for option in (
        click.option("--hours", metavar="HOURS", help="When in a week: 'mon-fri 08:00-18:00'. [default: always]"),
        click.option("--until", metavar="TIME", help="The first instant at which it is not. [default: never]"),
        click.option("--from", "begins", metavar="TIME", help="The first instant at which it is good. [default: now]"),
        click.option("--per-day", metavar="AMOUNT", help="The most that calls by it may cost in a day."),
        click.option("--max-price", metavar="AMOUNT", help="The dearest per-minute price and connect fee."),
        click.option(
            "--account", "accounts", multiple=True, metavar="ACCOUNT", help="Only keyed there. [default: anywhere]"
        ),
        click.option(
            "--prefix",
            "prefixes",
            multiple=True,
            metavar="PREFIX",
            help="Only numbers that begin so, or are of a --region.",
        ),
        click.option(
            "--region", "regions", multiple=True, metavar="REGION", help="Only numbers there: GB. [default: any]"
        ),
    ):
        command = option(command)
    return command


def given_terms(given: Mapping[str, Any]) -> Terms:
    """Read the options of `terms_options`. Raises InputError for the first that is wrong."""
    texts = {
        column: list(value) if isinstance(value, tuple) else [value]
        for column, value in ((_COLUMN_OF[field], given[field]) for field in _COLUMN_OF if field in given)
        if value not in (None, ())
    }
    problems: list[InputError] = []
    terms = read_terms(texts, _OPTION.__getitem__, problems)
    if problems:
        raise problems[0]
    return terms


def read_terms(texts: Mapping[str, Sequence[str]], where: Callable[[str], str], problems: list[InputError]) -> Terms:
    """Read the texts of each column that has any; what is wrong is appended to `problems`.

    `where` says what a column is called where the texts come from.
    """
    values: dict[str, Any] = {}
    for column, given in texts.items():
        name, read = _READERS[column]
        try:
            values[name] = read(given, where(column))
        except InputError as error:
            problems.append(error)
    begins, until = values.get("begins"), values.get("until")
    if begins is not None and until is not None and until <= begins:
        problems.append(
            InputError("it ends before it begins", where=where("until"), fix=f"give a time after {where('from')}")
        )
    return Terms(**values)


def show_name(pin: Pin) -> str:
    """Write whose PIN it is; a duress PIN goes by the same name."""
    return f"{pin.name} (duress)" if pin.duress else pin.name


def words(terms: Terms, *, currency: str, zone: str) -> list[str]:
    """Tell the terms as clauses, each standing for itself; none where there is no restriction."""
    told = []
    if terms.regions or terms.prefixes:
        told.append("to " + ", ".join([*sorted(terms.regions), *(f"+{prefix}" for prefix in terms.prefixes)]))
    if terms.highest is not None:
        told.append(f"up to {format_amount(terms.highest)} {currency} a minute and per call")
    if terms.per_day is not None:
        told.append(f"at most {format_amount(terms.per_day)} {currency} a day")
    if terms.begins is not None:
        told.append(f"from {format_instant(terms.begins)}")
    if terms.until is not None:
        told.append(f"until {format_instant(terms.until)}")
    if terms.hours is not None:
        told.append(f"{terms.hours} ({zone})")
    if terms.accounts:
        told.append("at account " + ", ".join(map(printable, sorted(terms.accounts))))
    return told


def sentence(pin: Pin, *, currency: str, zone: str) -> str:
    """Write a PIN and its terms in one line."""
    told = "; ".join(words(pin.terms, currency=currency, zone=zone)) or "no restriction"
    return f"{printable(show_name(pin))} of tenant {pin.tenant}: {told}"


CELL_HEADINGS: Final = ("to", "max price", "a day", "from", "until", "hours", "accounts")
"""The columns of a table that `term_cells` fills."""


def term_cells(terms: Terms, now: Millis) -> tuple[object, ...]:
    """Return the terms as the cells of a table."""
    return (
        " ".join([*sorted(terms.regions), *(f"+{prefix}" for prefix in terms.prefixes)]) or "anywhere",
        show_money(terms.highest),
        show_money(terms.per_day),
        show_instant(terms.begins),
        show_instant(terms.until) + (" (expired)" if is_expired(terms, now) else ""),
        terms.hours,
        " ".join(sorted(terms.accounts)) or "any",
    )


def term_document(terms: Terms, now: Millis) -> dict[str, object]:
    """Return the terms as keys of a JSON document."""
    return {
        "regions": sorted(terms.regions),
        "prefixes": list(terms.prefixes),
        "max_price": show_money(terms.highest),
        "per_day": show_money(terms.per_day),
        "from": None if terms.begins is None else format_instant(terms.begins),
        "until": None if terms.until is None else format_instant(terms.until),
        "expired": is_expired(terms, now),
        "hours": None if terms.hours is None else str(terms.hours),
        "accounts": sorted(terms.accounts),
    }


def term_texts(terms: Terms) -> dict[str, str]:
    """Return the terms as the cells of a file, by column; `read_terms` of `split_cell` reads them back."""
    return {
        "regions": join_cell(sorted(terms.regions)),
        "prefixes": join_cell(terms.prefixes),
        "max_price": show_money(terms.highest) or "",
        "per_day": show_money(terms.per_day) or "",
        "from": "" if terms.begins is None else _exact_instant(terms.begins),
        "until": "" if terms.until is None else _exact_instant(terms.until),
        "hours": "" if terms.hours is None else str(terms.hours),
        "accounts": join_cell(sorted(terms.accounts)),
    }


def is_expired(terms: Terms, now: Millis) -> bool:
    """Say whether a PIN's time is over."""
    return terms.until is not None and terms.until <= now


def join_cell(texts: Sequence[str]) -> str:
    """Write several texts into one cell, a semicolon between them; a text that has one is quoted as in CSV."""
    return ";".join(_quoted(text) for text in texts)


def split_cell(text: str) -> list[str]:
    """Read what `join_cell` wrote, or a person did."""
    if not text.isprintable():  # whatever it is to be, it is refused; and a line break ends a row
        return [text]
    parts = next(csv.reader([text], delimiter=";", skipinitialspace=True), [])
    return [part.strip() for part in parts if part.strip()]


def _quoted(text: str) -> str:
    if text and not any(c in text for c in '";'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _exact_instant(instant: Millis) -> str:
    """Write an instant so that no millisecond of it is lost."""
    text = format_instant(instant)
    return f"{text[:19]}.{instant % 1000:03}{text[19:]}" if instant % 1000 else text


def _region(text: str, where: str) -> str:
    region = text.strip().upper()
    if region not in SUPPORTED_REGIONS:
        raise InputError(
            f"{printable(text[:40])!r} is no region",
            where=where,
            fix="a country's two letters in ISO 3166-1: GB for the United Kingdom",
        )
    return region


def _prefix(text: str, where: str) -> str:
    try:
        digits = parse_prefix(text)
    except InputError as error:
        raise InputError(error.what, where=where, fix=error.fix) from None
    if not digits:
        raise InputError("an empty prefix", where=where, fix="leave it out for any number")
    return digits


def _account(text: str, where: str) -> str:
    if not (text.isprintable() and 0 < len(text) <= MAX_TEXT and text == text.strip()):
        raise InputError(
            f"{printable(text[:40])!r} is no account",
            where=where,
            fix=f"1 to {MAX_TEXT} printable characters without blanks around them",
        )
    return text


def _hours(text: str, where: str) -> Hours | None:
    hours = Hours.parse(text, where=where)
    return None if hours == Hours() else hours  # always: no restriction


def _several(read: Callable[[str, str], str]) -> Callable[[Sequence[str], str], tuple[str, ...]]:
    def read_all(texts: Sequence[str], where: str) -> tuple[str, ...]:
        if len(texts) > MAX_ENTRIES:
            raise InputError(f"{len(texts)} of them", where=where, fix=f"at most {MAX_ENTRIES}")
        return tuple(sorted({read(text, where) for text in texts}))

    return read_all


def _one(read: Callable[..., Any]) -> Callable[[Sequence[str], str], Any]:
    return lambda texts, where: read(texts[0], where=where)


def _set(read: Callable[[str, str], str]) -> Callable[[Sequence[str], str], frozenset[str]]:
    several = _several(read)
    return lambda texts, where: frozenset(several(texts, where))


# A file's column: the field of Terms that it fills, and how. The options have the same names but for their hyphens.
_READERS: Final[Mapping[str, tuple[str, Callable[[Sequence[str], str], Any]]]] = {
    "regions": ("regions", _set(_region)),
    "prefixes": ("prefixes", _several(_prefix)),
    "max_price": ("highest", _one(parse_amount)),
    "per_day": ("per_day", _one(parse_amount)),
    "from": ("begins", _one(parse_instant)),
    "until": ("until", _one(parse_instant)),
    "hours": ("hours", _one(_hours)),
    "accounts": ("accounts", _set(_account)),
}
TERM_COLUMNS: Final = tuple(_READERS)
LIST_COLUMNS: Final = frozenset({"regions", "prefixes", "accounts"})
assert {name for name, _ in _READERS.values()} == {field.name for field in fields(Terms)}

_OPTION: Final = {
    "regions": "--region",
    "prefixes": "--prefix",
    "max_price": "--max-price",
    "per_day": "--per-day",
    "from": "--from",
    "until": "--until",
    "hours": "--hours",
    "accounts": "--account",
}
# A parameter of the command (see terms_options): the column it goes by.
_COLUMN_OF: Final = {"begins": "from"} | {name: name for name in TERM_COLUMNS if name != "from"}
