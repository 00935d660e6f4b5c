"""Which column is what: by the header's words, by what the cells look like, or as the operator says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NoReturn

from fraudguard.decks.files import Row, Table
from fraudguard.decks.records import ImportOptions, Layout, Role
from fraudguard.decks.words import NANP_HEADERS, SUBUNIT, SUBUNITS, currencies_in, header_role, header_words
from fraudguard.errors import InputError

SAMPLE_ROWS = 500
"""Rows looked at before the first is read; a header and its title lines stand within MAX_TITLE_ROWS."""

MAX_TITLE_ROWS = 40

_MOSTLY = 0.9
"""Share of the sample that must look like prefixes or prices: real lists have some broken rows."""

_SEVERAL = frozenset({Role.PRICE, Role.CONNECT_FEE})

_DIGITS = re.compile(r"'?\+?[0-9]{1,15}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{0,4}[.,][0-9]+", re.ASCII)
_COMMA_DECIMAL = re.compile(r"[^\d.,]*(?:[0-9]*,(?:[0-9]{1,2}|[0-9]{4,})|0,[0-9]+|[0-9.]+\.[0-9]{3},[0-9]+)\D*")
_POINT_DECIMAL = re.compile(r"[^\d.,]*(?:[0-9]*\.(?:[0-9]{1,2}|[0-9]{4,})|0\.[0-9]+|[0-9,]+,[0-9]{3}\.[0-9]+)\D*")
_NPANXX_WITHOUT_ONE = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{2}", re.ASCII)
_NPANXX_ROWS = 20

_SPREAD_OVER_FILES = frozenset({"#id", "#tenant"})


def detect_layout(table: Table, sample: Sequence[Row], options: ImportOptions) -> Layout:
    """Work out the layout from the first rows. Raises InputError when there is no prefix or price column, or when
    more than one answer is possible: the message says which option decides.
    """
    where = table.name
    header = _find_header(sample, options.header)
    names = tuple(sample[header][1]) if header is not None else ()
    data = [cells for _, cells in sample[(0 if header is None else header + 1) :]]
    width = max((len(cells) for cells in (names, *data)), default=0)
    mapped = {role: _resolve(role, text, names, width, where) for role, text in options.columns.items()}
    found = _columns_by_header(names) if names else _columns_by_content(data, mapped, where)
    columns = {role: indices for role, indices in found.items() if role not in mapped}
    columns = _without_clashes(columns, mapped)
    columns |= {role: indices for role, indices in mapped.items() if indices}
    columns = _settle_split_prefix(columns, data, where, chosen=frozenset(mapped))
    _require(columns, names, where)
    prices = [index for role in (Role.PRICE, Role.OLD_PRICE) for index in columns.get(role, ())]
    titles = sample[: header or 0]
    nanp = options.nanp if options.nanp is not None else _says_nanp(columns, names)
    if options.nanp is None and not nanp:
        _refuse_bare_npanxx(columns, data, where)
    return Layout(
        columns={role: columns[role] for role in Role if role in columns},
        names=names,
        width=len(names) or _usual_width(data),
        header_line=None if header is None else sample[header][0],
        decimal_mark=options.decimal_mark or _decimal_mark(data, prices),
        unit=options.unit or _unit(names, prices),
        currency=_stated_currency(titles, names, prices, options.currency, where),
        nanp=nanp,
        encoding=table.encoding,
        delimiter=table.delimiter,
    )


# Header


def _find_header(sample: Sequence[Row], wanted: bool | None) -> int | None:
    """Return the position of the header in the sample: of the first rows, the one with the most known words."""
    if wanted is False or not sample:
        return None
    best, best_score = (0 if wanted else None), 0
    for position, (_, cells) in enumerate(sample[:MAX_TITLE_ROWS]):
        filled = [cell for cell in cells if cell.strip()]
        if len(filled) < 2 or any(_looks_numeric(cell) for cell in filled):
            continue
        roles = {header_role(cell)[0] for cell in filled} - {None}
        known = {Role.PRICE, Role.PREFIX, Role.COUNTRY_CODE, Role.OLD_PRICE}
        if roles & known and len(roles) > best_score:
            best, best_score = position, len(roles)
    return best


def _looks_numeric(text: str) -> bool:
    plain = text.strip()
    return bool(_DIGITS.fullmatch(plain) or _DECIMAL.fullmatch(plain))


def _columns_by_header(names: Sequence[str]) -> dict[Role, tuple[int, ...]]:
    found: dict[Role, list[tuple[int, int]]] = {}
    for index, name in enumerate(names):
        role, rank = header_role(name)
        if role is not None:
            found.setdefault(role, []).append((rank, index))
    columns = {
        role: tuple(index for _, index in places) if role in _SEVERAL else (min(places)[1],)
        for role, places in found.items()
    }
    if Role.OLD_PRICE in columns and not (Role.PRICE in columns and Role.EFFECTIVE in columns):
        # "current rate" beside nothing newer is simply the rate
        columns[Role.PRICE] = columns.pop(Role.OLD_PRICE) + columns.get(Role.PRICE, ())
    return columns


def _resolve(role: Role, text: str, names: Sequence[str], width: int, where: str) -> tuple[int, ...]:
    """Turn an operator's 'tariff', 'F' or '6' into column indices; '-' into none."""
    if text.strip() == "-":
        return ()
    known = {name.strip().casefold(): index for index, name in reversed(list(enumerate(names)))}
    indices = []
    for part in [text] if text.strip().casefold() in known else text.split(","):
        wanted = part.strip()
        if wanted.casefold() in known:
            indices.append(known[wanted.casefold()])
        elif (index := _position(wanted)) is not None and index < width:
            indices.append(index)
        else:
            listed = ", ".join(name.strip() for name in names if name.strip()) or f"1 to {width}"
            raise InputError(f"no column {wanted!r} for {role}", where=where, fix=f"name one of: {listed[:500]}")
    if len(indices) > 1 and role not in _SEVERAL:
        raise InputError(f"{role} takes one column, not {text!r}", where=where, fix="name one")
    return tuple(indices)


def _position(text: str) -> int | None:
    """Read '6' or 'F' as a position from 0."""
    if re.fullmatch(r"[1-9][0-9]{0,4}", text):
        return int(text) - 1
    if not re.fullmatch(r"[A-Za-z]{1,2}", text):
        return None
    index = 0
    for letter in text.upper():
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1


def _without_clashes(
    found: dict[Role, tuple[int, ...]], mapped: dict[Role, tuple[int, ...]]
) -> dict[Role, tuple[int, ...]]:
    """Take columns that the operator gave a role out of the roles they were detected for."""
    taken = {index for indices in mapped.values() for index in indices}
    left = {role: tuple(index for index in indices if index not in taken) for role, indices in found.items()}
    return {role: indices for role, indices in left.items() if indices}


# Content


def _columns_by_content(
    data: Sequence[list[str]], mapped: dict[Role, tuple[int, ...]], where: str
) -> dict[Role, tuple[int, ...]]:
    """Find prefix, price and destination in a list without a header."""
    taken = {index for indices in mapped.values() for index in indices}
    cells = {
        index: column
        for index in range(_usual_width(data))
        if index not in taken and (column := [row[index].strip() for row in data if index < len(row)])
    }
    prices = [index for index, column in cells.items() if _share(_DECIMAL, column) >= _MOSTLY]
    codes = [
        index
        for index, column in cells.items()
        if _share(_DIGITS, column) >= _MOSTLY and len(set(column)) > len(column) / 2
    ]
    names = [index for index, column in cells.items() if sum(map(_is_name, column)) >= _MOSTLY * len(column)]
    found: dict[Role, tuple[int, ...]] = {}
    for role, candidates in ((Role.PREFIX, codes), (Role.PRICE, prices)):
        if len(candidates) > 1 and role not in mapped:
            listed = " and ".join(f"column {index + 1} ({cells[index][0]!r})" for index in candidates[:4])
            raise InputError(
                f"no header, and {listed} may all be the {role}",
                where=where,
                fix=f"say which with --column {role}=NUMBER",
            )
        if candidates:
            found[role] = (candidates[0],)
    if names:
        found[Role.DESTINATION] = (names[0],)
    return found


def _share(pattern: re.Pattern[str], column: Sequence[str]) -> float:
    return sum(1 for cell in column if pattern.fullmatch(cell)) / len(column)


def _is_name(text: str) -> bool:
    return any(character.isalpha() for character in text) and len(text) > 1


def _usual_width(data: Sequence[list[str]]) -> int:
    widths = [len(row) for row in data]
    return max(set(widths), key=widths.count, default=0)


# Prefix columns


def _settle_split_prefix(
    columns: dict[Role, tuple[int, ...]], data: Sequence[list[str]], where: str, chosen: frozenset[Role]
) -> dict[Role, tuple[int, ...]]:
    """Decide whether a country code column is a part of the prefix or only repeats its beginning."""
    settled = dict(columns)
    if Role.PREFIX in settled and Role.AREA_CODE in settled:
        del settled[Role.AREA_CODE]  # a whole prefix needs no parts
        if Role.COUNTRY_CODE not in chosen:
            settled.pop(Role.COUNTRY_CODE, None)
    if Role.PREFIX not in settled:
        for part in (Role.AREA_CODE, Role.COUNTRY_CODE):
            if part in settled:
                settled[Role.PREFIX] = settled.pop(part)
                break
    if Role.COUNTRY_CODE not in settled or Role.COUNTRY_CODE in chosen or Role.PREFIX not in settled:
        return settled
    (country,), (prefix,) = settled[Role.COUNTRY_CODE], settled[Role.PREFIX]
    pairs = [(row[country].strip(), row[prefix].strip()) for row in data if len(row) > max(country, prefix)]
    pairs = [(code.lstrip("+0"), whole.lstrip("+0")) for code, whole in pairs if _DIGITS.fullmatch(code) and whole]
    if not pairs:  # not dialling codes but names or ISO codes
        del settled[Role.COUNTRY_CODE]
        return settled
    repeated = sum(1 for code, whole in pairs if whole.startswith(code)) / len(pairs)
    if repeated >= _MOSTLY:
        del settled[Role.COUNTRY_CODE]
    elif repeated > 1 - _MOSTLY and Role.PREFIX in columns:
        raise InputError(
            "cannot tell whether the country code column is part of the prefix",
            where=where,
            fix="say --column country-code=NAME to join it with the prefix, or --column country-code=- to leave it out",
        )
    return settled


def _says_nanp(columns: dict[Role, tuple[int, ...]], names: Sequence[str]) -> bool:
    (prefix,) = columns[Role.PREFIX]
    words = header_words(names[prefix]) if prefix < len(names) else ""
    return any(f" {phrase} " in f" {words} " for phrase in NANP_HEADERS)


def _refuse_bare_npanxx(columns: dict[Role, tuple[int, ...]], data: Sequence[list[str]], where: str) -> None:
    """201200 is New Jersey in a North American list and Egypt in any other: nobody should find out by the bill."""
    (prefix,) = columns[Role.PREFIX]
    codes = [row[prefix].strip() for row in data if prefix < len(row)]
    if Role.COUNTRY_CODE in columns or len(codes) < _NPANXX_ROWS:
        return
    if _share(_NPANXX_WITHOUT_ONE, codes) >= _MOSTLY:
        raise InputError(
            f"prefixes such as {codes[0]} look like North American codes without their leading 1",
            where=where,
            fix="say --nanp to add it, or --no-nanp to take them as they are",
        )


# What must be there


def _require(columns: dict[Role, tuple[int, ...]], names: Sequence[str], where: str) -> None:
    listed = ", ".join(name.strip() for name in names if name.strip())[:500]
    seen = f"its columns are {listed}" if listed else "it has no header"
    if names and names[0].strip().casefold() in _SPREAD_OVER_FILES and not {Role.PREFIX, Role.PRICE} <= columns.keys():
        raise InputError(
            f"is one of several files of a tariff plan: {seen}",
            where=where,
            fix="join prefixes and prices into one list first",
        )
    if Role.PREFIX not in columns:
        _refuse(Role.PREFIX, "no prefix column", seen, names, where)
    if Role.PRICE not in columns:
        _refuse(Role.PRICE, "no price column", seen, names, where)


def _refuse(role: Role, what: str, seen: str, names: Sequence[str], where: str) -> NoReturn:
    example = "NAME" if names else "NUMBER"
    fix = f"name it with --column {role}={example}"
    if role is Role.PREFIX:
        fix += "; a list of names alone cannot price a dialled number"
        if any(header_words(name) in ("mcc", "mnc", "mccmnc", "plmn") for name in names):
            fix += ", and MCC and MNC are codes of mobile networks, not what is dialled"
    raise InputError(f"{what}: {seen}", where=where, fix=fix)


# How prices are written


def _decimal_mark(data: Sequence[list[str]], prices: Sequence[int]) -> str:
    cells = [row[index].strip() for row in data for index in prices if index < len(row)]
    commas = any(_COMMA_DECIMAL.fullmatch(cell) for cell in cells)
    points = any(_POINT_DECIMAL.fullmatch(cell) for cell in cells)
    return "," if commas and not points else "."


def _unit(names: Sequence[str], prices: Sequence[int]) -> Decimal:
    words = {word for index in prices if index < len(names) for word in header_words(names[index]).split()}
    return SUBUNIT if words & SUBUNITS else Decimal(1)


def _stated_currency(
    titles: Sequence[Row], names: Sequence[str], prices: Sequence[int], expected: str, where: str
) -> str:
    """Return the currency that the title lines or a price's header name; '' when none does. Raises InputError."""
    places: list[tuple[int | None, str]] = [(line, cell) for line, cells in titles for cell in cells]
    places += [(None, names[index]) for index in prices if index < len(names)]
    stated = ""
    for line, text in places:
        meant = currencies_in(text)
        if expected and meant and expected not in meant:
            raise InputError(
                f"states {' or '.join(sorted(meant))} ({text.strip()[:60]!r}), expected {expected}",
                where=where if line is None else f"{where}:{line}",
                fix="import a list in the installation's currency",
            )
        if len(meant) == 1:
            (stated,) = meant
    return stated
