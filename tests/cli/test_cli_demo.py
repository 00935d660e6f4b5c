"""The demo as a newcomer meets it: a process of its own, without a terminal and in one."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

RUN = [sys.executable, "-c", "from fraudguard.cli import main; main()", "demo"]


@pytest.fixture
def place(tmp_path):
    """Its environment: a temporary folder of its own, and settings that must not reach it."""
    return {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "FRAUDGUARD_STORE__PATH": str(tmp_path / "operator.db"),
        "FRAUDGUARD_CURRENCY": "GBP",
        "COLUMNS": "100",
        "PYTHONUNBUFFERED": "",  # its lines come as things happen all the same
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What it prints without a terminal: (output, what is left in its temporary folder)."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "TMPDIR": str(folder), "FRAUDGUARD_STORE__PATH": str(folder / "operator.db")}
    done = subprocess.run(
        [*RUN, "--speed", "20"], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, list(folder.iterdir())


def test_it_tells_what_the_service_decided(told):
    out, _ = told
    verdicts = re.findall(r"verdict  (\d+)  (\w+) \((\w+)\) +(\S+),", out)
    assert ("202", "allow", "ok", "+442079460123") in verdicts
    supplier = [verdict[1:3] for verdict in verdicts if verdict[3] == "+37167001234"]
    assert supplier == [("nowhere", "over_limit"), ("allow", "ok")], "the grant in between was obeyed"
    thief = [verdict[1:3] for verdict in verdicts if verdict[0] == "207"]
    assert Counter(thief) == {("nowhere", "pin_wrong"): 1, ("nowhere", "over_limit"): 30, ("nowhere", "blocked"): 3}
    assert thief[-3:] == [("nowhere", "blocked")] * 3
    assert re.search(r"call past the guard, 207, \+88213971234", out)


def test_it_ends_with_what_became_of_all(told):
    out, _ = told
    allowed, refused = len(re.findall(r" allow \(", out)), len(re.findall(r" nowhere \(", out))
    assert (allowed, refused) == (8, 35)
    assert f"Let through: {allowed} calls, 4 of them by a PIN, 1 because of a grant." in out
    assert "Beside them 1 to 911, which nobody is asked about." in out
    assert f"Refused: {refused} calls." in out
    assert "before anybody answered" in out
    assert re.search(r"Saved: about [\d,]+\.\d\d USD\. That is an estimate: the 35 refused calls", out)
    assert not re.search(r"disagree|counted other seconds", out)


def test_nothing_stays_behind_and_nothing_of_the_operator_is_touched(told):
    assert told[1] == []


def test_interrupted_it_cleans_up(place, tmp_path):
    process = subprocess.Popen(RUN, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "An ordinary morning" not in process.stdout.readline():
        assert process.poll() is None
    assert list(tmp_path.iterdir())
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint.strip()) == (130, "fraudguard: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_in_a_terminal_it_shows_panels_and_leaves_the_summary(place):
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [*RUN, "--speed", "20"], env={**place, "TERM": "xterm"}, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    seen, deadline = b"", time.monotonic() + 90
    while time.monotonic() < deadline and select.select([terminal], [], [], 30)[0]:
        try:
            seen += os.read(terminal, 65_536)
        except OSError:  # the other side has closed
            break
    os.close(terminal)
    assert process.wait(10) == 0
    screen, _, after = seen.decode().rpartition("\x1b[?1049l")
    for title in ("Verdicts", "Calls now", "Alerts", "cost so far"):
        assert title in screen
    assert "Refused: 35 calls." in after
