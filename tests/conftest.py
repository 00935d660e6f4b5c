"""What holds for every test."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("fraudguard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fraudguard")

# Whether it is night where the tests run is no matter of theirs: those about strict times say when it is.
os.environ["FRAUDGUARD_STRICT__HOURS"] = "[]"

# A shell's background job has Ctrl-C ignored; the commands that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say out loud that no Asterisk ran. Here, because only this file is read where the tests run elsewhere."""
    skipped = [one for one in terminalreporter.stats.get("skipped", ()) if one.nodeid.startswith("tests/asterisk/")]
    for reason in dict.fromkeys(one.longrepr[2] for one in skipped):
        terminalreporter.section("NOT TESTED: the real Asterisk", red=True, bold=True)
        terminalreporter.write_line("Tests under tests/asterisk were skipped: nothing here proves the dialplan.")
        terminalreporter.write_line(reason)
