"""Lists of people with PINs: imported, all or nothing, and exported, all but the digits."""

import base64
import csv
import io
import re
import sqlite3
import stat

import pyotp
import pytest

from fraudguard.cli.pin import people as lists
from fraudguard.pins.digits import Digits
from fraudguard.pins.totp import matching_step
from fraudguard.pins.vault import Key


@pytest.fixture
def fraudguard(tenants):
    return tenants


PEOPLE = """\
name,tenant,kind,duress,regions,prefixes,max_price,per_day,from,until,hours,accounts
Ann Smith,acme,,,GB;fr,+44; 33,0.10,5,2026-01-01,2090-01-01,mon-fri 08:00-18:00,204;205
"=Bob, ""the"" builder",,totp,,,,,,,,,"""

SPECIAL = '"204;""a;b"""'


def test_a_list_of_people_is_imported_and_exported_and_reads_back(fraudguard, tmp_path):
    people, again = tmp_path / "people.csv", tmp_path / "again.csv"
    people.write_text(f"\ufeff{PEOPLE}{SPECIAL}\n\nAnn Smith,acme,digits,yes\n")
    result = fraudguard("pin", "import", people)
    assert "3 PINs made" in result.err
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [(row["name"], row["tenant"], row["duress"]) for row in rows] == [
        ("Ann Smith", "acme", "no"),
        ("Ann Smith", "acme", "yes"),
        ('=Bob, "the" builder', "default", "no"),
    ]
    assert rows[2]["pin"].startswith("otpauth://totp/")
    assert len({row["pin"] for row in rows}) == 3
    first, duress, bob = fraudguard("pin", "list", "--json").json
    assert (first["regions"], first["prefixes"], first["accounts"]) == (["FR", "GB"], ["33", "44"], ["204", "205"])
    assert (first["max_price"], first["per_day"], first["hours"]) == ("0.10", "5.00", "mon-fri 08:00-18:00")
    assert (duress["regions"], duress["duress"]) == (["FR", "GB"], True)
    assert bob["accounts"] == ["204", "a;b"]

    exported = fraudguard("pin", "export").out
    again.write_text(exported)
    for name, tenant in (("Ann Smith", "acme"), ('=Bob, "the" builder', "default")):
        fraudguard("pin", "revoke", name, "--tenant", tenant)
    fraudguard("pin", "import", again)
    strip = re.compile(r",[^,]*$", re.MULTILINE)  # when they were made
    assert strip.sub("", fraudguard("pin", "export").out) == strip.sub("", exported)


def test_an_imported_app_takes_the_uri(fraudguard, tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("name,kind,accounts\nBob,totp,204\n")
    (row,) = csv.DictReader(io.StringIO(fraudguard("pin", "import", people).out))
    secret = re.search(r"secret=([A-Z2-7]+)", row["pin"])[1]
    code = Digits(pyotp.TOTP(secret).at(1_800_000_000))
    assert matching_step(Key(base64.b32decode(secret)), code, 1_800_000_000_000) is not None


def test_pins_go_into_a_file_that_nobody_else_reads(fraudguard, tmp_path):
    people, output = tmp_path / "people.csv", tmp_path / "pins.csv"
    people.write_text("name;regions\nAnn;GB\n")
    result = fraudguard("pin", "import", people, "--output", output, "--tenant", "acme", "--digits", 8)
    assert result.out == ""
    assert result.err == f"1 PINs made, written to {output}\n"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    (row,) = csv.DictReader(io.StringIO(output.read_text()))
    assert (row["tenant"], len(row["pin"])) == ("acme", 8)
    people.write_text("name\nBob\n")
    assert f"{output}: exists already" in fraudguard("pin", "import", people, "--output", output, status=2).err
    assert "cannot be written" in fraudguard("pin", "import", people, "--output", "/nonexistent/x", status=3).err
    assert len(fraudguard("pin", "list", "--json").json) == 1


def test_a_file_of_pins_that_were_not_stored_is_removed(fraudguard, tmp_path, monkeypatch):
    people, output = tmp_path / "people.csv", tmp_path / "pins.csv"
    people.write_text("name\nAnn\n")

    async def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(lists.store, "add_pins", full)
    fraudguard("pin", "import", people, "--output", output, status=None)
    assert not output.exists()


def test_every_bad_cell_is_told_at_once_and_nothing_is_imported(fraudguard, tmp_path):
    fraudguard("pin", "add", "Bob")
    people = tmp_path / "people.csv"
    people.write_text(
        "name,tenant,kind,duress,regions,prefixes,max_price,per_day,from,until,hours,accounts\n"
        "Ann,acmee,app,perhaps,UK,0044,dear,-1,soon,later,never,\n"
        "Bob\n"
        "Carl\n"
        "Carl\n"
        ",\n"
        "Dora,,,yes\n"
        "Eve,,totp\n"
        "Fred,,totp,yes,,,,,,,,204\n"
        "Gina,,,,,,,,2091-01-01,2090-01-01\n"
        "Carl,,,yes,GB\n"
        'Hal,,,,,,,,,,,"a\nb"\n'
        "last\n"
    )
    told = fraudguard("pin", "import", people, status=2).err
    for what in (
        "2: tenant: unknown tenant 'acmee'",
        "2: kind: 'app' will not do (write digits or totp)",
        "2: duress: 'perhaps' will not do (write yes or no)",
        "2: regions: 'UK' is no region",
        "2: prefixes: '0044' is not an E.164 prefix",
        "2: max_price: 'dear' is not an amount",
        "2: per_day: '-1' is negative",
        "2: from: 'soon' is not a time",
        "2: until: 'later' is not a time",
        "2: hours: 'never' are no hours",
        "3: name: 'Bob' of tenant default has such a PIN already",
        "5: name: 'Carl' of tenant default stands in line 4 already",
        "8: accounts: the code of an app is only good at accounts that are named",
        "9: kind: a duress PIN is digits",
        "10: until: it ends before it begins",
        "11: duress: a duress PIN has the terms of the person's own",
        r"13: accounts: 'a\\nb' is no account",
    ):
        assert f"{people}:{what}" in told
    assert f"{people}: 17 mistakes, so that nothing was imported:" in told
    assert [entry["name"] for entry in fraudguard("pin", "list", "--json").json] == ["Bob"]
    people.write_text("name,duress\nDora,yes\n")
    assert f"{people}:2: duress: 'Dora' has no PIN beside" in fraudguard("pin", "import", people, status=2).err
    people.write_text("name\n" + "\x07\n" * 200)
    assert "... and 100 more" in fraudguard("pin", "import", people, status=2).err


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "1: there is no column 'name'"),
        (b"name\n\n", ": nobody is in it"),
        (b"nome\nAnn\n", "1: unknown column 'nome' (did you mean name?"),
        (b"name,name\nAnn,Ann\n", "1: two columns name"),
        (b"tenant\nacme\n", "1: there is no column 'name'"),
        (b"name,pin\nAnn,482713\n", "1: unknown column 'pin'"),
        (b"name\nAnn,Bob\n", "2: more cells than the header has"),
        (b'name\n"Ann" Smith\n', "2: is not CSV"),
        (b"name\nAnn\n\xff\n", ": is not UTF-8 in line 3"),
        (b"name\n" + b"Ann\n" * 10_001, ": more than 10000 rows"),
        (b"name\n" + b" " * 17_000_000, ": is larger than 16 MB"),
    ],
)
def test_a_file_that_is_no_list_of_people_is_told(fraudguard, tmp_path, content, what):
    people = tmp_path / "people.csv"
    people.write_bytes(content)
    result = fraudguard("pin", "import", people, status=2)
    assert what in result.err
    assert result.out == ""
    assert fraudguard("pin", "import", tmp_path / "none.csv", status=3).err.endswith("No such file or directory\n")


def test_who_is_imported_too_late_is_told(fraudguard, tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("name,until\nAnn,2020-01-01\n")
    assert f"{people}:2: until: is in the past" in fraudguard("pin", "import", people).err
    assert "(expired)" in fraudguard("pin", "list").out
    assert "expired:      yes" in fraudguard("pin", "show", "Ann").out


def test_many_pins_are_announced_and_none_is_drawn_twice(fraudguard, tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("name\n" + "".join(f"person {index}\n" for index in range(120)))
    result = fraudguard("pin", "import", people, "--digits", 4)
    assert "making 120 PINs\n" in result.err
    assert "warning: 4 digits are few for 120 PINs" in result.err
    assert len({row["pin"] for row in csv.DictReader(io.StringIO(result.out))}) == 120


def test_an_export_goes_into_a_file(fraudguard, tmp_path):
    fraudguard("pin", "add", "Ann", "--from", "2026-01-01T00:00:00.250")
    assert fraudguard("pin", "export", tmp_path / "people.csv").out == ""
    text = (tmp_path / "people.csv").read_text()
    assert text.splitlines()[0] == (
        "tenant,name,kind,duress,regions,prefixes,max_price,per_day,from,until,hours,accounts,author,created"
    )
    assert "2026-01-01T00:00:00.250+00:00" in text
    assert "/nonexistent/people.csv" in fraudguard("pin", "export", "/nonexistent/people.csv", status=3).err
