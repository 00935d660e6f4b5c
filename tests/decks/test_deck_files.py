"""Opening price lists of every form, and surviving what is none."""

from __future__ import annotations

import builtins
import gzip
import io
import sys
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudguard.decks import ImportOptions, files, read_deck
from fraudguard.errors import InputError

CSV = b"prefix,name,rate\n44,UK,0.01\n"
MARKUP = "http://schemas.openxmlformats.org/"


def write(tmp_path, content, name="list.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def workbook(**sheets):
    """Make an XLSX of the given rows; numbers stay numbers, as spreadsheets have them."""
    names = list(sheets)
    entries = "".join(f'<sheet name="{name}" sheetId="{place}" r:id="r{place}"/>' for place, name in enumerate(names))
    kinds = f'xmlns="{MARKUP}spreadsheetml/2006/main" xmlns:r="{MARKUP}officeDocument/2006/relationships"'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("_rels/.rels", relations(officeDocument=["xl/workbook.xml"]))
        archive.writestr("xl/workbook.xml", f"<workbook {kinds}><sheets>{entries}</sheets></workbook>")
        archive.writestr(
            "xl/_rels/workbook.xml.rels", relations(worksheet=[f"{place}.xml" for place in range(len(names))])
        )
        for place, name in enumerate(names):
            lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in sheets[name])
            archive.writestr(f"xl/{place}.xml", f"<worksheet {kinds}><sheetData>{lines}</sheetData></worksheet>")
    return buffer.getvalue()


def relations(**targets):
    entries = "".join(
        f'<Relationship Id="r{place}" Type="{MARKUP}officeDocument/2006/relationships/{kind}" Target="{target}"/>'
        for kind, named in targets.items()
        for place, target in enumerate(named)
    )
    return f'<Relationships xmlns="{MARKUP}package/2006/relationships">{entries}</Relationships>'


def cell(value):
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    return f"<c><v>{value}</v></c>"


ROWS = [
    ["Prefix", "Destination", "Rate", "Effective", "Blocked"],
    [44.0, "UK", 0.01, 45747, False],
    ["93; 94", "two", 5e-05, "", True],
]


def test_gzip(tmp_path):
    deck = read_deck(write(tmp_path, gzip.compress(CSV), "list.csv.gz"))
    assert (deck.source, deck.rows[0].prefix) == ("list.csv.gz", "44")


def test_zip_with_one_member(tmp_path):
    deck = read_deck(write(tmp_path, zipped(rates_csv=CSV), "list.zip"))
    assert deck.source == "list.zip:rates.csv"


def test_zip_with_several_members_asks_which(tmp_path):
    path = write(tmp_path, zipped(a_csv=CSV, b_csv=CSV.replace(b"44", b"33")), "list.zip")
    with pytest.raises(InputError, match=r"list.zip: holds 2 files \(name one with --member: a.csv, b.csv\)"):
        read_deck(path)
    assert read_deck(path, ImportOptions(member="b.csv")).rows[0].prefix == "33"
    with pytest.raises(InputError, match=r"no member 'c\.csv'"):
        read_deck(path, ImportOptions(member="c.csv"))


def test_empty_zip(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("folder")
    with pytest.raises(InputError, match="holds 0 files"):
        read_deck(write(tmp_path, buffer.getvalue(), "list.zip"))


def test_encrypted_zip(tmp_path):
    content = bytearray(zipped(a_csv=CSV))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InputError, match="is encrypted"):
        read_deck(write(tmp_path, bytes(content), "list.zip"))


def test_spreadsheet(tmp_path):
    deck = read_deck(write(tmp_path, workbook(rates=ROWS), "list.xlsx"))
    assert [(rate.prefix, rate.per_minute, rate.offered) for rate in deck.rows] == [
        ("44", 10_000, True),
        ("93", 50, False),
        ("94", 50, False),
    ]
    assert deck.source == "list.xlsx"
    assert deck.layout.describe()[-1] == "form: header in line 1, 5 columns"


def test_spreadsheet_inside_a_zip(tmp_path):
    path = write(tmp_path, zipped(rates_xlsx=workbook(rates=ROWS)), "list.zip")
    assert len(read_deck(path).rows) == 3


def test_spreadsheet_with_several_sheets_asks_which(tmp_path):
    path = write(tmp_path, workbook(cover=[["hello"]], rates=ROWS), "list.xlsx")
    with pytest.raises(InputError, match=r"list.xlsx: has 2 sheets \(name one with --sheet: cover, rates\)"):
        read_deck(path)
    for sheet in ("rates", "2"):
        assert read_deck(path, ImportOptions(sheet=sheet)).source == "list.xlsx[rates]"
    with pytest.raises(InputError, match="no sheet '3'"):
        read_deck(path, ImportOptions(sheet="3"))


def test_spreadsheet_without_the_reader_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_calamine(name, *args, **kwargs):
        if name == "python_calamine":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "python_calamine", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_calamine)
    with pytest.raises(InputError, match=r"fraudguard\[spreadsheets\]"):
        read_deck(write(tmp_path, b"PK\x03\x04", "list.xlsx"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.xlsx", b"nonsense", "is not a readable spreadsheet"),
        ("list.csv.gz", gzip.compress(CSV * 9)[:-12], "is damaged"),
        ("list.zip", zipped(a_csv=CSV)[:40], "is damaged"),
    ],
    ids=["xlsx", "gz", "zip"],  # the bytes would do, but there is the time of day in them
)
def test_damaged_files(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_deck(write(tmp_path, content, name))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.csv: cannot be read: No such file"):
        read_deck(tmp_path / "nowhere.csv")


def test_a_decompression_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_EXPANDED", 1000)
    with pytest.raises(InputError, match="unpacks to more than 1000 bytes"):
        read_deck(write(tmp_path, gzip.compress(CSV * 100), "list.csv.gz"))
    with pytest.raises(InputError, match="unpacks to more than 1000 bytes"):
        read_deck(write(tmp_path, zipped(a_xlsx=b"0" * 2000), "list.zip"))


def test_encodings(tmp_path):
    broken_late = b"prefix,name,rate\n" + b"44,UK,0.01\n" * 10_000 + b"225,C\xf4te,0.2\n"
    deck = read_deck(write(tmp_path, broken_late))
    assert deck.rows[0].destination == "C\ufffdte"
    with pytest.raises(InputError, match="is not utf-8 near this line"):
        read_deck(write(tmp_path, broken_late), ImportOptions(encoding="utf-8"))
    with pytest.raises(InputError, match="unknown encoding 'klingon'"):
        read_deck(write(tmp_path, CSV), ImportOptions(encoding="klingon"))


def test_progress_runs_to_the_end(tmp_path):
    content = CSV + b"".join(b"%d,x,0.1\n" % prefix for prefix in range(10_000, 20_000))
    for path in (write(tmp_path, content), write(tmp_path, gzip.compress(content), "list.csv.gz")):
        seen = []
        read_deck(path, progress=lambda done, total, seen=seen: seen.append((done, total)))
        assert len(seen) >= 3
        assert seen == sorted(seen)
        assert seen[-1] == (path.stat().st_size,) * 2
    seen = []
    read_deck(write(tmp_path, workbook(rates=ROWS), "list.xlsx"), progress=lambda *place: seen.append(place))
    assert seen == [(3, 3)]


line = st.lists(st.text('0123456789+-.,/ ;"aeEnN€$\t', max_size=8), max_size=5).map(",".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=100).map(lambda tail: CSV + tail),
        st.lists(line, max_size=8).map(
            lambda lines: ("prefix,rate,name,effective,increment\n" + "\n".join(lines)).encode()
        ),
        st.lists(line, max_size=8).map(lambda lines: "\n".join(lines).encode()),
        st.binary(max_size=60).map(lambda tail: b"\x1f\x8b\x08" + tail),
        st.binary(max_size=60).map(lambda tail: b"PK\x03\x04" + tail),
        st.integers(0, 200).map(lambda place: zipped(a_csv=CSV)[:place] + b"?" + zipped(a_csv=CSV)[place + 1 :]),
    ),
    st.sampled_from(["list.csv", "list.xlsx", "list.ods", "list.xls"]),
    st.booleans(),
)
def test_any_bytes_give_a_deck_or_an_input_error(tmp_path, content, name, skip_bad):
    try:
        rows = read_deck(write(tmp_path, content, name), ImportOptions(skip_bad=skip_bad)).rows
    except InputError:
        return
    assert rows
    assert all(rate.per_minute >= 0 and rate.increment_seconds >= 1 for rate in rows)
    keys = [(rate.prefix, rate.effective_from) for rate in rows]
    assert keys == sorted(set(keys))
