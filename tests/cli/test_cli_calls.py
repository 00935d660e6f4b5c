import asyncio
import dataclasses
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from fraudguard.cli.calls import live_view, summary
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.rating import Rate
from fraudguard.store import open_writer
from fraudguard.store.calls import save_calls

NOW = 1_800_000_000_000
PRICE = Rate("53", "Cuba", 6_000_000, 10_000, 0, 1, 0)


def call(uniqueid, **changes):
    made = Call(
        leg=Leg("pbx1", uniqueid, f"{uniqueid}.l", f"PJSIP/carrier-{uniqueid}"),
        caller="PJSIP/204-1",
        call="c1",
        why="ok",
        tenant="default",
        account="204",
        source="198.51.100.7",
        trunk="carrier",
        number="+5355512345",
        rate=PRICE,
        lease_seconds=600,
        state=State.UP,
        began_at=NOW,
        answered_at=NOW + 1000,
    )
    return dataclasses.replace(made, **changes)


RINGING = {"state": State.RINGING, "answered_at": None}
ENDED = {"state": State.ENDED, "ended_at": NOW + 11_000, "seconds": 10, "cost": 1_010_000, "cause": 16}


@pytest.fixture
def stored(fraudguard):
    def store(*calls):
        async def save():
            async with await open_writer(fraudguard.config.with_name("fraudguard.db")) as writer:
                await writer.transaction(lambda connection: save_calls(connection, calls))

        asyncio.run(save())
        return fraudguard

    return store


def test_calls_are_listed_with_what_they_cost(stored):
    fraudguard = stored(call("1", **ENDED), call("2", began_at=NOW + 1, **RINGING), call("3", account="205", **ENDED))
    listed = fraudguard("calls", "--account", "204", "--json").json
    assert [(each["uniqueid"], each["state"], each["seconds"], each["cost"]) for each in listed] == [
        ("2", "ringing", 0, "0.00"),
        ("1", "ended", 10, "1.01"),
    ]
    assert fraudguard("calls", "--account", "204").out.count("+5355512345") == 2
    assert len(fraudguard("calls", "--since", "2090-01-01", "--json").json) == 0
    assert len(fraudguard("calls", "--limit", "1", "--json").json) == 1


def test_who_pays_for_a_call_and_why_it_was_cut_are_told(stored):
    whole = {"region": "CU", "pin": "Ann", "cut": "account 204 of tenant default, per day"}
    fraudguard = stored(call("1", **ENDED), call("2", began_at=NOW + 1, domestic=True, **whole, **ENDED))
    keys = ("region", "pin", "domestic", "cut")
    assert [tuple(each[key] for key in keys) for each in fraudguard("calls", "--json").json] == [
        ("CU", "Ann", True, "account 204 of tenant default, per day"),
        (None, None, False, ""),
    ]
    heading, cut, whole = fraudguard("calls").out.splitlines()
    assert heading.split()[-1] == "cut"
    assert cut.rstrip().endswith("ok   account 204 of tenant default, per day")
    assert whole.split()[-1] == "ok"


def test_the_live_table_tells_what_is_being_cut_only_where_something_is():
    assert "cut" not in shown([call("1")])
    assert "blocked" in shown([call("1", cut="blocked")])


def test_live_prints_once_where_there_is_no_terminal(stored):
    fraudguard = stored(call("1", **ENDED), call("2"))
    assert [each["uniqueid"] for each in fraudguard("calls", "--live", "--json").json] == ["2"]
    out = fraudguard("calls", "--live").out
    assert "1 live, 1 up, " in out
    assert "0.10 USD a second" in out


def test_nothing_to_show_is_said(fraudguard):
    assert fraudguard("calls").out == "no calls\n"
    assert fraudguard("calls", "--live").out == "no live calls\n"


def test_the_cost_ticks_and_ringing_is_free():
    calls = [call("1"), call("2", **RINGING), call("3", rate=None)]
    assert summary(calls, NOW + 1000, "USD") == "3 live, 2 up, 0.01 USD so far, 0.10 USD a second"
    assert summary(calls, NOW + 31_000, "USD") == "3 live, 2 up, 3.01 USD so far, 0.10 USD a second"


def shown(calls, lines=40, width=200):
    console = Console(width=width, height=lines, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(live_view(calls, NOW + 31_000, "USD", lines=lines, width=width))
    return capture.get()


def test_the_live_table_shows_the_dearest_and_fits_the_terminal():
    calls = [call(str(n), account=f"a{n:02}", answered_at=NOW + n) for n in range(30)]
    text = shown(calls, lines=10)
    assert "30 live" in text
    assert "and 25 more" in text
    assert [line.split()[3] for line in text.splitlines()[2:7]] == ["a00", "a01", "a02", "a03", "a04"]
    assert len(text.splitlines()) < 10


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_keeps_what_matters_of_a_live_call_whole(width):
    rate = PRICE._replace(destination="International networks, satellite")
    text = shown([call("1", account="erin-204", number="+8821234567890", rate=rate)], width=width)
    heading, row = text.splitlines()[1:3]
    assert "…" not in heading
    for kept in ("up", "erin-204", "+8821234567890", "6.00", "30", "3.01", "ok"):
        assert kept in row.split()


def test_what_callers_chose_cannot_command_the_terminal(stored):
    text = shown([call("1", account="\x1b[2J[red]:boom:")])
    assert "\x1b" not in text
    assert "\\x1b[2J[red]:boom:" in text
    fraudguard = stored(call("1", number="\x1b[2J"))
    assert "\x1b" not in fraudguard("calls").out


def test_the_live_table_goes_on_until_interrupted(stored):
    fraudguard = stored(call("1"))
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from fraudguard.cli import main; main()",
            "--config",
            fraudguard.config,
            *("calls", "--live"),
        ],
        stdout=end,
        stderr=end,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200", "LINES": "40"},
    )
    os.close(end)
    try:
        read_until(terminal, b"1 live")
        stored(call("2"))
        read_until(terminal, b"2 live")
        process.send_signal(signal.SIGINT)
        read_until(terminal, None)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_until(terminal, text):
    """Read what a terminal shows until the text comes, or with None until it is closed."""
    seen = b""
    deadline = time.monotonic() + 20
    while text is None or text not in seen:
        assert time.monotonic() < deadline, seen
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            assert text is None, seen
            return
