"""A corpus of price lists, one quirk each, with what must come of it beside the sample."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fraudguard.clock import parse_instant
from fraudguard.decks import BadRowsError, ImportOptions, Role, read_deck, reader
from fraudguard.errors import InputError


def read(tmp_path, content, name="list.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_deck(path, ImportOptions(**options))


def prices(deck):
    return {rate.prefix: rate.per_minute if rate.offered else None for rate in deck.rows}


# (what the list is like, its bytes, prefix -> micro-units a minute, None where refused)
READ = [
    (
        "plain",
        "prefix,destination,rate\n93,Afghanistan,0.25\n9370,Afghanistan mobile,0.3\n",
        {"93": 250_000, "9370": 300_000},
    ),
    ("byte order mark and CRLF", b"\xef\xbb\xbfPrefix;Country;Price\r\n44;UK;0.01\r\n", {"44": 10_000}),
    ("UTF-16", "prefix\tname\trate\n33\tFrance\t0.02\n".encode("utf-16"), {"33": 20_000}),
    ("Latin-1", "prefix,name,rate\n225,C\xf4te d'Ivoire,0.2\n".encode("latin-1"), {"225": 200_000}),
    (
        "no last line end, blank lines",
        "prefix|name|rate\n\n49|Germany|0.01\n\n43|Austria|0.02",
        {"49": 10_000, "43": 20_000},
    ),
    ("no header", "UK,44,0.01\nFrance,33,0.02\nSpain,34,0.03\n", {"44": 10_000, "33": 20_000, "34": 30_000}),
    (
        "title lines above the header",
        "Carrier Ltd,,\nRates valid this month,,\n,,\nCode,Destination,Rate/min\n44,UK,0.01\n",
        {"44": 10_000},
    ),
    ("header repeated", "code,name,rate\n44,UK,0.01\ncode,name,rate\n33,France,0.02\n", {"44": 10_000, "33": 20_000}),
    ("blank before a quote", 'prefix, name, rate\n44, "London, UK", "0.01"\n', {"44": 10_000}),
    (
        "decimal comma",
        "Vorwahl;Ziel;Preis\n43;\xd6sterreich;0,0125\n49;Deutschland;1,250\n",
        {"43": 12_500, "49": 1_250_000},
    ),
    (
        "currency in the cell",
        "prefix,name,price\n44,UK,$0.01\n33,France,0.02 USD\n34,Spain,USD 0.03\n",
        {"44": 10_000, "33": 20_000, "34": 30_000},
    ),
    ("Spanish header", "Prefijo;Destino;Precio\n52;M\xe9xico;0.02\n", {"52": 20_000}),
    (
        "free and empty and refused",
        "prefix,name,rate\n1800,free,0.0000\n93,unknown,\n94,unknown,n/a\n95,unknown,-\n",
        {"1800": 0, "93": None, "94": None, "95": None},
    ),
    ("finer than a micro-unit", "prefix,name,rate\n44,UK,0.00000001\n", {"44": 1}),
    (
        "plus, 00, 011, pattern",
        "prefix,name,rate\n+93,a,0.1\n0094,b,0.1\n01195,c,0.1\n^96.*,d,0.1\n",
        dict.fromkeys(["93", "94", "95", "96"], 100_000),
    ),
    (
        "country and area code",
        'Country Code,Area Code,Country,Rate\n44,20,UK London,0.01\n44,,UK,0.02\n44,"161; 121",UK,0.03\n',
        {"4420": 10_000, "44": 20_000, "44161": 30_000, "44121": 30_000},
    ),
    (
        "country code repeated in the code",
        "country code,code,destination,rate\n44,4420,London,0.01\n93,9370,Mobile,0.2\n",
        {"4420": 10_000, "9370": 200_000},
    ),
    (
        "NPA and NXX",
        "NPA,NXX,state name,rate\n201,200,NJ,0.01\n201,202,NJ,0.02\n",
        {"1201200": 10_000, "1201202": 20_000},
    ),
    (
        "NPANXX with and without 1",
        "npanxx,name,rate\n201200,NJ,0.01\n1201202,NJ,0.02\n",
        {"1201200": 10_000, "1201202": 20_000},
    ),
    ("current rate without a newer one", "prefix,name,current rate\n44,UK,0.01\n", {"44": 10_000}),
    ("whole and split prefix side by side", "code,country code,area code,rate\n4420,44,20,0.01\n", {"4420": 10_000}),
    ("surplus empty cells, stray separators", "prefix,name,rate\n44;;45;,UK,0.01,,\n", {"44": 10_000, "45": 10_000}),
    ("dollars in the header", "prefix,name,price ($)\n44,UK,0.01\n", {"44": 10_000}),
    ("range", "prefix,name,rate\n1201-1203,US,0.01\n", dict.fromkeys(["1201", "1202", "1203"], 10_000)),
    (
        "several codes in a cell",
        'prefix,name,rate\n"1809, 1829,1849",DR,0.05\n9370;9371,Afghanistan,0.2\n1-876,Jamaica,0.3\n',
        dict.fromkeys(["1809", "1829", "1849"], 50_000) | {"9370": 200_000, "9371": 200_000, "1876": 300_000},
    ),
    ("catch-all", "prefix,name,rate\n0,Rest,9.5\n44,UK,0.1\n", {"": 9_500_000, "44": 100_000}),
    (
        "highest of several prices",
        "prefix,name,interstate,intrastate,indeterminate\n1201,NJ,0.01,0.03,0.02\n",
        {"1201": 30_000},
    ),
    ("one of several prices unknown", "prefix,name,peak,off-peak\n44,UK,0.01,\n", {"44": None}),
    ("surcharge a minute", "prefix,name,rate,surcharge\n44,UK,0.01,0.02\n", {"44": 30_000}),
    ("cents by the header", "prefix,name,rate in cents\n44,UK,1.5\n", {"44": 15_000}),
    ("blocked", "prefix,name,rate,blocked\n44,UK,0.01,N\n93,Afghanistan,0.02,Y\n", {"44": 10_000, "93": None}),
    ("not offered", "prefix,name,rate,offered\n44,UK,0.01,yes\n93,Afghanistan,0.02,no\n", {"44": 10_000, "93": None}),
    (
        "status",
        "prefix,name,rate,status\n44,UK,0.01,Active\n93,Afghanistan,0.02,Discontinued\n",
        {"44": 10_000, "93": None},
    ),
    ("same prefix twice", "prefix,name,rate\n44,UK,0.01\n44,UK,0.03\n44,UK,0.02\n", {"44": 30_000}),
    ("blocked stays blocked when repeated", "prefix,name,rate,blocked\n44,UK,0.01,Y\n44,UK,0.03,N\n", {"44": None}),
    ("spaces around everything", "prefix , name , rate\n 44 , UK , 0.01 \n", {"44": 10_000}),
]


@pytest.mark.parametrize(("content", "expected"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_is_read(tmp_path, content, expected):
    assert prices(read(tmp_path, content)) == expected


# (what is wrong, the list, part of the message)
BAD_ROWS = [
    ("negative", "prefix,name,rate\n44,UK,-0.10\n", '{}:2: rate: "-0.10" is negative (give a price of 0 or more)'),
    ("garbage price", "prefix,name,rate\n44,UK,abc\n", '{}:2: rate: "abc" is not a price'),
    ("letters in the prefix", "prefix,name,rate\nOntario,UK,0.1\n", '{}:2: prefix: "Ontario" is not a prefix'),
    ("empty prefix", "prefix,name,rate\n,UK,0.1\n44,UK,0.1\n", "{}:2: prefix: empty"),
    ("national prefix", "prefix,name,rate\n0330,UK,0.1\n", '{}:2: prefix: "0330" begins with 0'),
    ("too long", "prefix,name,rate\n1234567890123456,UK,0.1\n", "has more than 15 digits"),
    ("scientific", "prefix,name,rate\n1.2012E+06,US,0.1\n", "is in scientific notation"),
    ("lost decimal point", "prefix,name,rate\n44,UK,1200\n", '"1200" is above the ceiling of 25.00'),
    (
        "shifted by an unquoted comma",
        "prefix,name,rate\n44,London, UK,0.1\n",
        "{}:2: row: has 4 cells, the list has 3 columns",
    ),
    ("cells missing", "prefix,name,rate\n44,UK\n33,France,0.1\n", "{}:2: row: has 2 cells"),
    ("another currency", "prefix,name,rate\n44,UK,\u20ac0.10\n", '"\u20ac0.10" is not in USD'),
    (
        "another currency in its column",
        "prefix,name,rate,currency\n44,UK,0.1,EUR\n",
        '{}:2: currency: "EUR" is not USD',
    ),
    (
        "ambiguous date",
        "prefix,name,rate,effective\n44,UK,0.1,05/06/2014\n",
        "may be day or month first (say --date-format dmy or mdy)",
    ),
    ("no date", "prefix,name,rate,effective\n44,UK,0.1,soon\n", '{}:2: effective: "soon" is not a date'),
    ("ambiguous gaps", "prefix,name,rate\n1 876,Jamaica,0.1\n", "may be several prefixes or one with gaps"),
    ("grouped digits", 'prefix,name,rate\n"1,201,200",NJ,0.1\n', "may be several prefixes or one with gaps"),
    ("huge range", "prefix,name,rate\n100000-999999,US,0.1\n", "is a range of more than 10000 prefixes"),
    ("too many codes", "prefix,name,rate\n2000-8999;20000-29999,x,0.1\n", "stands for 17000 prefixes"),
    ("odd range", "prefix,name,rate\n1209-12,US,0.1\n", "is not a range of prefixes"),
    ("odd country code", "country code,area code,rate\n4x,20,0.1\n44,21,0.1\n", '"4x" is not a country code'),
    ("odd symbol", "prefix,name,rate\n44,UK,#0.1\n", '"#0.1" is not a price'),
    ("two points", "prefix,name,rate\n44,UK,1.2.3\n", '"1.2.3" is not a price'),
    ("increments as minimum", "prefix,rate,minimum\n44,0.1,30/6\n", '"30/6" is not a number of seconds'),
    ("thousand or decimal", 'prefix,name,rate\n44,UK,0.5\n33,France,"0,125"\n', "does not fit the decimal mark '.'"),
    ("no flag", "prefix,name,rate,blocked\n44,UK,0.1,perhaps\n", '"perhaps" is neither yes nor no'),
    ("increment in words", "prefix,name,rate,increment\n44,UK,0.1,often\n", '"often" is not a billing increment'),
    (
        "two prices without a date",
        "prefix,name,current rate,new rate,effective\n44,UK,0.1,0.2,\n",
        "does not say when the new price begins",
    ),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in BAD_ROWS], ids=[case[0] for case in BAD_ROWS])
def test_is_a_bad_row(tmp_path, content, message):
    with pytest.raises(BadRowsError) as caught:
        read(tmp_path, content, currency="USD")
    assert message.format("list.csv") in str(caught.value)
    assert caught.value.exit_status == 2


# (what is wrong with the whole file, its bytes, part of the message)
REFUSED = [
    ("empty", b"", "list.csv: is empty"),
    ("header only", "prefix,name,rate\n", "holds no prices"),
    ("names only", "destination,rate\nAfghanistan,0.3\n", "no prefix column: its columns are destination, rate"),
    ("no price", "prefix,name\n44,UK\n", "no price column"),
    ("mobile network codes", "Country,MCC,MNC,Rate\nGermany,262,01,0.2\n", "MCC and MNC are codes of mobile networks"),
    ("spread over files", "#Id,Prefix\nDST_UK,44\n", "is one of several files of a tariff plan"),
    ("open quote", 'prefix,name,rate\n44,"UK,0.1\n33,France,0.1\n', "list.csv:2: is not readable from this line on"),
    ("binary", bytes(range(256)), "it holds NUL bytes"),
    ("header in another currency", "prefix,name,rate (EUR)\n44,UK,0.1\n", "states EUR ('rate (EUR)'), expected USD"),
    ("title in another currency", "All prices in EUR,,\nprefix,name,rate\n44,UK,0.1\n", "list.csv:1: states EUR"),
    (
        "bare NPANXX",
        "prefix,name,rate\n" + "201200,NJ,0.01\n" * 30,
        "look like North American codes without their leading 1",
    ),
    ("no header, two prices", "UK,44,0.01,0.02\nFrance,33,0.02,0.03\n", "may all be the price"),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_is_refused_as_a_whole(tmp_path, content, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, content, currency="USD")
    assert not isinstance(caught.value, BadRowsError)
    assert message in str(caught.value)


def test_fees_minimum_and_increments(tmp_path):
    deck = read(
        tmp_path,
        "prefix,rate,connection fee,setup cost,minimum,increment\n44,0.01,0.1,0.2,5,60/60\n"
        '33,0.01,0,,30,6\n34,0.01,,,,"30,6"\n35,0.01,,,,0\n36,0.01,,,,1s\n',
        minimum_seconds=2,
        increment_seconds=3,
        connect_fee=7,
    )
    assert [(rate.prefix, *rate[3:6]) for rate in deck.rows] == [
        ("33", 7, 30, 6),
        ("34", 7, 30, 6),
        ("35", 7, 2, 3),
        ("36", 7, 2, 1),
        ("44", 300_000, 60, 60),
    ]


@pytest.mark.parametrize(
    ("text", "date_format", "expected"),
    [
        ("2022-02-15 14:30:55.477103", "", "2022-02-15T14:30:55.477"),
        ("2025/3/1", "", "2025-03-01"),
        ("20250331", "", "2025-03-31"),
        ("3/31/25", "", "2025-03-31"),
        ("31.03.2025", "", "2025-03-31"),
        ("05/05/2014 10:30", "", "2014-05-05T10:30"),
        ("05/06/2014", "dmy", "2014-06-05"),
        ("05/06/2014", "mdy", "2014-05-06"),
        ("06.2014.05", "%m.%Y.%d", "2014-06-05"),
        ("01-Mar-2025", "", "2025-03-01"),
        ("45747", "", "2025-03-31"),
        ("45747.5", "", "2025-03-31T12:00"),
        ("immediately", "", "2001-01-01"),
        ("2025-03-31T00:00:00+02:00", "", "2025-03-30T22:00"),
    ],
)
def test_dates(tmp_path, text, date_format, expected):
    deck = read(
        tmp_path,
        f"prefix;rate;effective\n44;0.1;{text}\n",
        date_format=date_format,
        effective_from=parse_instant("2001-01-01"),
    )
    assert deck.rows[0].effective_from == parse_instant(expected)


@pytest.mark.parametrize(
    ("text", "date_format"), [("31/31/2025", ""), ("1/2/2025", "ymd"), ("13/13/13", "dmy"), ("xx", "%Y")]
)
def test_dates_that_are_none(tmp_path, text, date_format):
    with pytest.raises(BadRowsError, match="is not a date"):
        read(tmp_path, f"prefix;rate;effective\n44;0.1;{text}\n", date_format=date_format)


def test_old_and_new_price_become_two_rows_and_the_new_one_does_not_apply_early(tmp_path):
    deck = read(
        tmp_path,
        "prefix,current rate,new rate,effective date\n44,0.01,0.05,2030-01-01\n"
        "33,0.02,0.02,\n34,0.03,,\n35,0.01,0.5,2020-01-01\n",
        effective_from=parse_instant("2026-01-01"),
    )
    assert [(rate.prefix, rate.per_minute, rate.effective_from) for rate in deck.rows] == [
        ("33", 20_000, parse_instant("2026-01-01")),
        ("34", 30_000, parse_instant("2026-01-01")),
        ("35", 500_000, parse_instant("2020-01-01")),
        ("44", 10_000, parse_instant("2026-01-01")),
        ("44", 50_000, parse_instant("2030-01-01")),
    ]


def test_versions_of_a_prefix_are_kept_apart_by_date(tmp_path):
    deck = read(tmp_path, "prefix,rate,effective\n44,0.03,2030-01-01\n44,0.01,2020-01-01\n44,0.04,2030-01-01\n")
    assert [rate.per_minute for rate in deck.rows] == [10_000, 40_000]
    assert deck.warning_count == 1


def test_a_repeated_prefix_is_warned_about_with_both_lines(tmp_path):
    deck = read(tmp_path, "prefix,rate\n44,0.03\n33,1\n44,0.01\n")
    assert [str(warning) for warning in deck.warnings] == [
        "list.csv:4: prefix: 44 is also in line 2; the higher price counts: 0.03"
    ]


def test_an_unknown_price_is_expensive_and_warned_about(tmp_path):
    deck = read(tmp_path, "prefix,rate\n44,\n33,\n")
    assert [(rate.per_minute, rate.offered) for rate in deck.rows] == [(25_000_000, False)] * 2
    assert deck.warning_count == 2
    assert 'list.csv:2: rate: "" is no price: kept as not offered' in str(deck.warnings[0])


def test_bad_rows_are_all_told_and_can_be_left_out(tmp_path):
    content = "prefix,rate\n" + "x,0.1\n" * 1500 + "y,-1\n44,0.1\n"
    with pytest.raises(BadRowsError) as caught:
        read(tmp_path, content)
    assert (caught.value.bad_rows, caught.value.total, len(caught.value.complaints)) == (1501, 1502, 1000)
    assert str(caught.value).count("\n") == 21
    assert "... and 1482 more\nlist.csv: 1501 of 1502 rows are bad" in str(caught.value)
    deck = read(tmp_path, content, skip_bad=True)
    assert (len(deck.rows), deck.skipped, len(deck.bad), deck.lines) == (1, 1501, 1000, 1502)


def test_the_operator_maps_columns_by_name_number_and_letter(tmp_path):
    content = "a;b;c;d\nUK;44;1;9\n"
    by = {Role.PREFIX: "B", Role.PRICE: "3, d", Role.DESTINATION: "a"}
    deck = read(tmp_path, content, columns=by, header=True, unit=Decimal("0.0001"))
    assert deck.rows[0][:3] == ("44", "UK", 900)
    assert deck.layout.describe() == [
        'prefix: column 2 "b"',
        'destination: column 1 "a"',
        'price: column 3 "c", column 4 "d"',
        "form: header in line 1, 4 columns, delimiter semicolon, utf-8-sig, a price of 1 is 0.0001",
    ]


def test_the_operator_overrules_what_was_detected(tmp_path):
    content = "prefix,name,rate,cost,blocked\n44,UK,0.5,0.01,Y\n"
    deck = read(tmp_path, content, columns={Role.PRICE: "cost", Role.BLOCKED: "-"})
    assert prices(deck) == {"44": 10_000}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({Role.PRICE: "tariff"}, "no column 'tariff' for price (name one of: prefix, rate)"),
        ({Role.PREFIX: "1,2"}, "prefix takes one column"),
        ({Role.PRICE: "0"}, "no column '0'"),
        ({Role.PREFIX: "-"}, "no prefix column"),
        ({Role.PRICE: "XX"}, "no column 'XX'"),
    ],
)
def test_a_column_that_does_not_exist_is_an_error(tmp_path, columns, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, "prefix,rate\n44,0.1\n", columns=columns)
    assert message in str(caught.value)


def test_thousands_and_sub_units(tmp_path):
    deck = read(tmp_path, 'prefix,rate\n44,"1,234.50"\n33,12.25\n', unit=Decimal("0.0001"))
    assert prices(deck) == {"44": 123_450, "33": 1_225}


def test_the_layout_tells_everything_it_found_out(tmp_path):
    deck = read(tmp_path, "npanxx;cents (USD)\n201200;0,5\n")
    assert prices(deck) == {"1201200": 5_000}
    assert deck.layout.describe()[-1] == (
        "form: header in line 1, 2 columns, delimiter semicolon, utf-8-sig, decimal comma, a price of 1 is 0.01, "
        "prices in USD, North American codes, leading 1 added where missing"
    )
    assert read(tmp_path, "44;0.1;x\n").layout.column_name(1) == "column 2"


def test_more_combinations_of_prices_than_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_CACHED_TERMS", 3)
    deck = read(tmp_path, "prefix,rate\n" + "".join(f"{code},0.{code}\n" for code in range(100, 120)))
    assert prices(deck) == {str(code): code * 1000 for code in range(100, 120)}


def test_options_say_what_the_file_does_not(tmp_path):
    bare = "prefix,rate\n" + "\n".join(f"{npa}{nxx},0.01" for npa in (201, 202, 203) for nxx in range(200, 210))
    assert next(iter(prices(read(tmp_path, bare, nanp=True)))).startswith("1201")
    assert next(iter(prices(read(tmp_path, bare, nanp=False)))).startswith("201")
    assert prices(
        read(
            tmp_path,
            "44~30\n33~40\n",
            delimiter="~",
            header=False,
            columns={Role.PREFIX: "A", Role.PRICE: "B"},
            ceiling=10**9,
        )
    ) == {"44": 30_000_000, "33": 40_000_000}
    assert prices(read(tmp_path, "prefix;rate\n44;1,250\n", decimal_mark=",")) == {"44": 1_250_000}
    with pytest.raises(InputError, match="is not a delimiter"):
        read(tmp_path, "x", delimiter=";;")


def test_a_country_column_that_sometimes_is_part_of_the_prefix_must_be_explained(tmp_path):
    content = "country code,prefix,rate\n44,4420,0.1\n93,70,0.1\n"
    with pytest.raises(InputError, match="cannot tell whether the country code column is part of the prefix"):
        read(tmp_path, content)
    joined = read(tmp_path, content, columns={Role.COUNTRY_CODE: "country code"})
    assert sorted(prices(joined)) == ["444420", "9370"]


def test_a_country_column_of_iso_codes_is_no_part_of_the_prefix(tmp_path):
    assert prices(read(tmp_path, "country code,prefix,rate\nGB,44,0.1\nAF,93,0.1\n")) == {"44": 100_000, "93": 100_000}


def test_a_list_that_breaks_off_is_warned_about(tmp_path):
    names = [f"{letter}{number:04d}" for letter in "abcdefghijklm" for number in range(100)]
    rows = "".join(f"{name},{10000 + place},0.1\n" for place, name in enumerate(names))
    deck = read(tmp_path, f"destination,prefix,rate\n{rows}")
    assert [str(warning) for warning in deck.warnings] == [
        'list.csv: ends with "m0099": the rest of the alphabet is missing (fetch it again)'
    ]
    assert not read(tmp_path, f"destination,prefix,rate\n{rows}Zimbabwe,263,0.1\n").warnings


@pytest.mark.parametrize("rows", [65_535, 65_536])
def test_a_list_as_long_as_a_spreadsheet_is_warned_about(tmp_path, rows):
    deck = read(tmp_path, "prefix,rate\n" + "".join(f"{prefix},0.1\n" for prefix in range(100_000, 100_000 + rows)))
    assert "a spreadsheet may have cut it off" in str(deck.warnings[0])


def test_shifted_columns_that_leave_a_price_as_name_are_warned_about(tmp_path):
    deck = read(tmp_path, "prefix,destination,rate\n44,24.9999,0.0\n")
    assert "looks like a price: are the columns shifted?" in str(deck.warnings[0])
