"""A frozen loop ends its process in time; each case is a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

PROGRAM = """
import asyncio, ctypes, sys, time
from fraudguard.agi.watchdog import Watchdog

async def main():
    watchdog = Watchdog(0.6)
    watchdog.start()
    await asyncio.sleep(0.8)
    print("ticking", flush=True)
    {action}
    await asyncio.sleep(0.8)
    print("survived", flush=True)

asyncio.run(main())
"""

HOLDS_GIL = "ctypes.PyDLL(None).sleep(20)"  # PyDLL keeps the GIL during the call


def run(action: str) -> tuple[subprocess.CompletedProcess[str], float]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(action=action)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ticking\n"
    began = time.monotonic()
    out, err = process.communicate(timeout=15)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err), time.monotonic() - began


@pytest.mark.parametrize("action", ["time.sleep(20)", HOLDS_GIL], ids=["blocked loop", "GIL held"])
def test_a_frozen_loop_is_killed_and_shows_where_it_stood(action):
    ended, seconds = run(action)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Timeout" in ended.stderr
    assert seconds < 3  # 0.6 s and what a busy machine adds


@pytest.mark.parametrize("action", ["pass", "watchdog.stop(); time.sleep(0.8)"], ids=["ticking", "stopped"])
def test_a_loop_that_ticks_or_is_not_watched_lives(action):
    ended, _ = run(action)
    assert (ended.returncode, ended.stdout) == (0, "survived\n")
