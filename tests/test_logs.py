import json
import re
import time

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


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_that_quotes_a_secret_does_not_tell_it(capsys, form):
    configure(Log(format=form))
    error = ConnectionError("https://guard:hunter2@hooks.example/x refused: Authorization: Bearer abc.def")
    structlog.get_logger().error("failed", exc_info=error)
    err = capsys.readouterr().err
    assert "hooks.example" in err
    assert not re.search("hunter2|abc.def", err)


def clean(**event):
    return redact(None, "info", event)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "pin",
            "PIN",
            "secret",
            "ami_secret",
            "password",
            "smtp-password",
            "authorization",
            "Authorization",
            "api_key",
        ),
        *("apiKey", "webhookToken", "token", "tokens", "passwd", "pepper", "FRAUDGUARD_AMI__PBX__SECRET", "caller.pin"),
    ],
)
def test_a_key_that_names_a_secret_hides_its_value(key):
    assert clean(**{key: "48151623"}) == {key: "***"}
    assert clean(**{key: 48151623}) == {key: "***"}
    assert clean(outer={"list": [{key: ["48151623"]}]}) == {"outer": {"list": [{key: "***"}]}}


@pytest.mark.parametrize("key", ["number", "shipping", "spinning", "opinion", "mapping", "keys", "event", "tokenizer"])
def test_other_keys_hide_nothing(key):
    assert clean(**{key: "+44"}) == {key: "+44"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://guard:hunter2@hooks.example/x?y=1", "https://guard:***@hooks.example/x?y=1"),
        ("smtp+tls://:hunter2@mail", "smtp+tls://:***@mail"),
        ("redis://a:p@ss:w0rd@host:6379/0", "redis://a:***@host:6379/0"),
        ("https://hooks.example:8443/a@b", "https://hooks.example:8443/a@b"),
        ("Action: Login\r\nSecret: s3 cret\r\nEvents: on", "Action: Login\r\nSecret: ***\r\nEvents: on"),
        ("authorization: Basic YTpi", "authorization: ***"),
        ("GET /x?token=abc&number=1", "GET /x?token=***&number=1"),
        ("{'pin': '4815', 'number': '+44'}", "{'pin': '***', 'number': '+44'}"),
        ('{"password":"p w", "a": 1}', '{"password":"***", "a": 1}'),
        ('{"password":"cut of', '{"password":"*** of'),
        ("wrong PIN given 3 times", "wrong PIN given 3 times"),
        ("agi://127.0.0.1:4573/outbound,number=1", "agi://127.0.0.1:4573/outbound,number=1"),
    ],
)
def test_a_secret_inside_a_text_is_hidden_and_the_rest_is_kept(text, told):
    assert clean(detail=text) == {"detail": told}
    assert clean(detail=text.encode()) == {"detail": told}
    assert clean(detail=Exception(text)) == {"detail": told}


def test_only_secrets_are_redacted():
    event = {"port": 4573, "up": True, "pinned": None, "trunks": ("a", "b"), "share": 0.5}
    assert clean(**event) == event | {"trunks": ["a", "b"]}


def test_what_is_nested_without_end_is_hidden_and_not_followed():
    knot = {}
    knot["again"] = knot
    assert "***" in str(clean(knot=knot))


def test_a_text_without_end_is_cut():
    told = clean(detail="x" * 1_000_000)["detail"]
    assert len(told) < 9000
    assert "1000000 characters" in told


@pytest.mark.parametrize("hostile", ["a." * 4000, "pin" * 3000, "://:" * 2000, 'pin="' * 1600, "secret: " * 1000])
def test_no_text_makes_a_line_of_the_log_expensive(hostile):
    began = time.process_time()
    clean(detail=hostile)
    assert time.process_time() - began < 0.5
