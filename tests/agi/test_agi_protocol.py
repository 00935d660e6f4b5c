"""Limits, commands and arguments of the FastAGI protocol; conversations as such are in test_agi_wire.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.agi import protocol
from fraudguard.agi.protocol import Conversation, End, Hangup, ProtocolError, Reply, Request, UnsendableError
from fraudguard.testing import agi_words, application_arguments


def after_request() -> Conversation:
    conversation = Conversation()
    conversation.receive(b"agi_network: yes\nagi_network_script: outbound\n\n")
    assert isinstance(conversation.next_event(), Request)
    return conversation


def environment(*lines: str) -> Request:
    conversation = Conversation()
    conversation.receive("\n".join(["agi_network: yes", *lines, "", ""]).encode("utf-8", "surrogateescape"))
    event = conversation.next_event()
    assert isinstance(event, Request)
    return event


def error_of(data: bytes, step: int) -> str:
    conversation = Conversation()
    with pytest.raises(ProtocolError) as caught:  # noqa: PT012  the error may come with any piece
        for start in range(0, len(data), step):
            conversation.receive(data[start : start + step])
            assert conversation.next_event() is None
    with pytest.raises(ProtocolError, match=str(caught.value)):  # and stays
        conversation.next_event()
    return str(caught.value)


# --- environment ---


@pytest.mark.parametrize("step", [1, 1000, 10**6])
def test_environment_of_more_than_16_kib(step):
    data = b"agi_network: yes\nagi_dnid: ".ljust(protocol.MAX_ENVIRONMENT - 1, b"1") + b"\n\n"
    assert error_of(data, step) == "environment of more than 16384 bytes"


@pytest.mark.parametrize("step", [1, 1000, 10**6])
def test_environment_of_exactly_16_kib(step):
    data = b"agi_network: yes\nagi_dnid: ".ljust(protocol.MAX_ENVIRONMENT - 2, b"1") + b"\n\n"
    conversation = Conversation()
    events = []
    for start in range(0, len(data), step):
        conversation.receive(data[start : start + step])
        events.append(conversation.next_event())
    assert isinstance(events[-1], Request)


def test_environment_without_a_newline():
    assert error_of(b"x" * protocol.MAX_ENVIRONMENT, 4096) == "environment of more than 16384 bytes"


@pytest.mark.parametrize("step", [1, 10**6])
def test_environment_of_more_than_128_lines(step):
    lines = [f"agi_arg_{n}: {n}" for n in range(1, protocol.MAX_ENVIRONMENT_LINES + 1)]
    assert len(environment(*lines[:-1]).arguments) == protocol.MAX_ENVIRONMENT_LINES - 1
    data = "\n".join(["agi_network: yes", *lines, "", ""]).encode()
    assert error_of(data, step) == "environment of more than 128 lines"


def test_environment_in_invalid_utf8_is_kept_by_surrogateescape():
    request = environment("agi_calleridname: Andr\udcc3", "agi_dnid: 1")
    assert request.environment["agi_calleridname"].encode("utf-8", "surrogateescape") == b"Andr\xc3"
    assert request.environment["agi_dnid"] == "1"


def test_duplicate_header_first_wins_and_is_reported():
    request = environment("agi_dnid: 1", "agi_dnid: 2", "agi_network: no", "agi_rdnis: 3")
    assert request.environment["agi_dnid"] == "1"
    assert request.duplicates == ("agi_dnid", "agi_network")


def test_path_with_a_query():
    request = environment("agi_network_script: outbound?number=+1%2B2&trunk=a?b&x")
    assert request.path == "outbound"
    assert request.query == ["number=+1+2", "trunk=a?b", "x"]
    assert request.fields() == ({"number": "+1+2", "trunk": "a?b"}, 1)


def test_path_without_a_script():
    assert environment().path == ""
    assert environment("agi_request: agi://guard:4573/outbound?a=b").path == "outbound"
    assert environment("agi_request: agi://guard:4573").path == ""


def test_arguments_in_any_order_and_with_blanks_before_the_key():
    request = environment("agi_arg_1: trunk=a", "agi_arg_2:  number=1=2", "agi_arg_3: alone")
    assert request.fields() == ({"trunk": "a", "number": "1=2"}, 1)


@pytest.mark.parametrize("script", ["outbound", "outbound?number=1"])
def test_a_key_that_comes_twice_is_an_error(script):
    second = "agi_arg_2: number=3" if script == "outbound" else "agi_arg_2: trunk=a"
    request = environment(f"agi_network_script: {script}", "agi_arg_1:  number=2", second)
    with pytest.raises(ProtocolError, match="argument 'number' comes twice"):
        request.fields()


@pytest.mark.parametrize(
    "lines",
    [
        ("agi_arg_1: a=1", "agi_arg_3: b=2"),
        ("agi_arg_1: a=1", "agi_dnid: 1", "agi_arg_2: b=2"),
        ("agi_arg_1: a=1", "agi_arg_1: a=2"),
        ("agi_calleridname: x", "agi_arg_1: a=1", "agi_dnid: 1", "agi_arg_1: a=2"),
        ("agi_arg_2: a=1", "agi_arg_1: b=2"),
        ("agi_arg_2: a=1",),
    ],
)
def test_arguments_stand_last_and_in_order_or_were_smuggled_in(lines):
    with pytest.raises(ProtocolError, match=r"among the arguments|twice or out of order"):
        environment(*lines).fields()


def test_a_header_that_decides_comes_once():
    request = environment("agi_accountcode: 204", "agi_dnid:", "agi_dnid: 1", "agi_arg_1: a=1")
    assert (request.sole("agi_accountcode"), request.sole("agi_rdnis"), request.headers) == ("204", None, 4)
    with pytest.raises(ProtocolError, match="header 'agi_dnid' comes twice"):
        request.sole("agi_dnid")


# --- replies ---


@pytest.mark.parametrize("step", [1, 1000, 10**6])
def test_a_reply_of_8_kib_and_one_byte_more(step):
    line = b"200 result=1 (".ljust(protocol.MAX_LINE - 2, b"v") + b")\n"
    for data, fits in ((line, True), (line[:-2] + b"v)\n", False)):
        conversation = after_request()
        conversation.ask(b"NOOP\n")
        event = None
        error = ""
        for start in range(0, len(data), step):
            conversation.receive(data[start : start + step])
            try:
                event = conversation.next_event()
            except ProtocolError as caught:
                error = str(caught)
        if fits:
            assert isinstance(event, Reply)
            assert len(event.value or "") == protocol.MAX_LINE - 16
        else:
            assert error == "line of more than 8192 bytes"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", "'' is not a reply"),
        ("200", "'200' is not a reply"),
        ("200 result 1", "'200 result 1' has no result"),
        ("100 Trying", "'100 Trying' has no result"),
        ("200 result=1 (never closed", "does not close its value"),
        ("600 result=1", "is not a reply"),
        ("hangup", "'hangup' is not a reply"),
    ],
)
def test_a_line_that_is_no_reply(line, what):
    conversation = after_request()
    conversation.ask(b"NOOP\n")
    conversation.receive(line.encode() + b"\n")
    with pytest.raises(ProtocolError, match=r".*") as caught:
        conversation.next_event()
    assert what in str(caught.value)


def test_a_reply_that_nobody_asked_for():
    conversation = after_request()
    conversation.receive(b"200 result=1\n")
    with pytest.raises(ProtocolError, match=r"'200 result=\.\.\.' without a command"):
        conversation.next_event()


@pytest.mark.parametrize("line", [b"HANGUP\n", b"100 result=0 Trying...\n"])
def test_a_flood_of_lines_that_nobody_asked_for(line):
    conversation = after_request()
    conversation.ask(b"NOOP\n")
    conversation.receive(line * (protocol.MAX_UNASKED + 1))
    with pytest.raises(ProtocolError, match="more than 16 lines that nobody asked for"):  # noqa: PT012
        for _ in range(protocol.MAX_UNASKED + 1):
            conversation.next_event()


def test_a_refusal_is_not_ok():
    assert Reply(200, "0").ok
    assert not Reply(511, extra="no").ok


def test_a_usage_text_without_end():
    conversation = after_request()
    conversation.ask(b"NOOP\n")
    conversation.receive(b"520-Usage\n" + b"more\n" * protocol.MAX_USAGE)
    with pytest.raises(ProtocolError, match="usage text of more than 16384 characters"):
        conversation.next_event()


def test_a_hangup_before_between_and_after():
    conversation = after_request()
    assert not conversation.hung_up
    conversation.receive(b"HANGUP\n")
    assert conversation.next_event() == Hangup()
    assert conversation.hung_up
    conversation.ask(b"NOOP\n")
    conversation.receive(b"HANGUP\n200 result=0\nHANGUP\n")
    assert [conversation.next_event() for _ in range(4)] == [Hangup(), Reply(200, "0"), Hangup(), None]


def test_the_end_stays_the_end():
    conversation = after_request()
    conversation.receive(b"")
    assert conversation.ended
    assert [conversation.next_event(), conversation.next_event()] == [End(), End()]


def test_one_command_at_a_time():
    conversation = after_request()
    assert conversation.ask(b"NOOP\n") == b"NOOP\n"
    with pytest.raises(RuntimeError, match="has not come yet"):
        conversation.ask(b"NOOP\n")


# --- commands ---


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=30), max_size=5)
)
def test_arguments_arrive_as_they_were(arguments):
    line = protocol.command("EXEC", *arguments).decode()
    assert line.endswith("\n")
    assert agi_words(line[:-1]) == ["EXEC", *arguments]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("FRAUDGUARD_PING", "0.1.0"), b"SET VARIABLE FRAUDGUARD_PING 0.1.0\n"),
        (("A", 'say "no" \\'), b'SET VARIABLE A "say \\"no\\" \\\\"\n'),
        (("A", ""), b'SET VARIABLE A ""\n'),
        (("A", "Andr\udcc3"), b'SET VARIABLE A "Andr\xc3"\n'),
    ],
)
def test_backslash_and_quote_are_quoted(arguments, line):
    assert protocol.command("SET VARIABLE", *arguments) == line


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\ud800"])
def test_cr_lf_and_nul_are_refused(character):
    with pytest.raises(UnsendableError, match=r"line end or NUL|half a character"):
        protocol.command("NOOP", f"a{character}b")
    with pytest.raises(UnsendableError, match=r"line end or NUL|half a character|would not arrive"):
        protocol.set_variables(["A"], [f"a{character}b"])


def test_a_command_is_shorter_than_asterisks_buffer():
    room = protocol.MAX_COMMAND - len("NOOP \n")
    assert len(protocol.command("NOOP", "x" * room)) == protocol.MAX_COMMAND
    assert protocol.MAX_COMMAND < 2048
    with pytest.raises(UnsendableError, match="over 2047 bytes"):
        protocol.command("NOOP", "x" * (room + 1))
    with pytest.raises(UnsendableError, match="over 2047 bytes"):
        protocol.command("NOOP", "ü" * (room // 2))


def test_variables_are_set_in_one_command():
    line = protocol.set_variables(("V", "R", "L"), ("allow", "ok", ""))
    assert line == b'SET VARIABLE ARRAY(V,R,L) "allow,ok,"\n'


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_variables_are_set_to_what_was_meant_or_refused(values):
    names = [f"N{n}" for n in range(len(values))]
    try:
        line = protocol.set_variables(names, values)
    except UnsendableError:
        return
    words = agi_words(line.decode("utf-8", "surrogateescape")[:-1])
    assert words[:2] == ["SET", "VARIABLE"]
    assert words[2] == f"ARRAY({','.join(names)})"
    assert application_arguments(words[3]) == values


@pytest.mark.parametrize("value", [*list(',"\\()[]{}\x1b\n'), "a,b"])
def test_a_value_that_array_would_change_is_refused(value):
    with pytest.raises(UnsendableError, match=r"V,R: .* would not arrive as 2 values of ARRAY\(\)"):
        protocol.set_variables(("V", "R"), ("allow", value))


def test_as_many_values_as_names():
    with pytest.raises(UnsendableError, match="2 names for 1 values"):
        protocol.set_variables(("V", "R"), ("allow",))


def test_the_failure_line_begins_with_failure():
    assert protocol.failure("deadline") == b"failure deadline\n"
