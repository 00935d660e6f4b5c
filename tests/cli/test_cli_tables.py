import pytest
from rich.console import Console

from fraudguard.cli.tables import Column, empty_table, fit

COLUMNS = [
    Column("id", ["7"]),
    Column("last", ["2026-11-22T20:00:49Z"]),
    Column("severity", ["critical"]),
    Column("kind", ["unguarded_call"]),
    Column("tries", ["2"]),
    Column("tenant", ["default"]),
    Column("account", ["erin-204"]),
    Column("source", [""]),
    Column("number", ["+88212345678"]),
    Column("destination", ["International networks"]),
    Column("a minute", ["4.85"]),
    Column("limit", ["0.25"]),
]
SPARE = ("limit", "tenant", "severity", "tries")


def shown(width):
    columns, widths = fit(COLUMNS, width, spare=SPARE)
    table = empty_table(columns, widths)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return [column.heading for column in columns], capture.get()


def test_with_room_a_row_is_a_line():
    headings, text = shown(200)
    assert headings == [column.heading for column in COLUMNS]
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    ("width", "gone"), [(120, ["source"]), (80, ["severity", "tries", "tenant", "source", "limit"])]
)
def test_a_narrow_terminal_breaks_no_word(width, gone):
    headings, text = shown(width)
    assert [column.heading for column in COLUMNS if column.heading not in headings] == gone
    assert all(len(line) <= width for line in text.splitlines())
    for word in ("2026-11-22", "20:00:49Z", "unguarded_call", "erin-204", "+88212345678", "International"):
        assert word in text.split()


def test_words_that_cannot_fit_are_broken_and_not_lost():
    text = shown(40)[1]
    assert all(len(line) <= 40 for line in text.splitlines())
    assert "…" not in text
