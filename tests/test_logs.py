import json

import pytest
import structlog

from fraudguard.config import Log
from fraudguard.logs import configure, redact


@pytest.fixture(autouse=True)
def _restore():
    yield
    structlog.reset_defaults()


def test_lines_are_json_when_not_a_terminal(capsys):
    configure(Log())
    structlog.get_logger().info("listening", port=4573)
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["port"], entry["level"]) == ("listening", 4573, "info")


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_reach_no_line_not_even_by_a_traceback(capsys, form):
    configure(Log(format=form))
    pin = "48151623"
    try:
        int("broken")
    except ValueError:
        structlog.get_logger().exception("failed", pin=pin)
    err = capsys.readouterr().err
    assert "ValueError" in err
    assert pin not in err


def test_the_level_is_obeyed(capsys):
    configure(Log(level="warning"))
    structlog.get_logger().info("quiet")
    assert capsys.readouterr().err == ""


def test_only_secrets_are_redacted():
    assert redact(None, "info", {"PIN": "1234", "number": "+44"}) == {"PIN": "***", "number": "+44"}
