"""The annotated transcripts of tests/wire/agi: whole, cut at every byte, byte by byte, and at random."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.agi.protocol import Conversation, ProtocolError, Reply, Request

FOLDER = Path(__file__).parents[1] / "wire" / "agi"
TRANSCRIPTS = sorted(FOLDER.glob("*.txt"))


def read_transcript(path: Path) -> tuple[bytes, bool, list[str]]:
    """Return the bytes, whether the connection ends after them, and the expected events."""
    data, expected, ended = b"", [], False
    for line in path.read_text(encoding="ascii").splitlines():
        mark, _, text = line.partition(" ")
        if mark in {">", ">|"}:
            data += text.encode("ascii").decode("unicode_escape").encode("latin-1") + b"\n" * (mark == ">")
        elif mark == "=":
            expected.append(text)
        elif line == "! end":
            ended = True
        else:
            assert mark.startswith("#"), f"{path.name}: {line!r}"
    return data, ended, expected


def shown(event: object) -> str:
    if isinstance(event, Request):
        return (
            f"Request path={event.path!r} arguments={tuple(event.arguments)!r} query={tuple(event.query)!r}"
            f" headers={len(event.environment)} duplicates={event.duplicates!r}"
        )
    if isinstance(event, Reply):
        return f"Reply {event.code} {event.result!r} {event.value!r} {event.extra!r}"
    return type(event).__name__


def played(chunks: list[bytes], *, ended: bool) -> list[str]:
    """Feed the chunks as a server would, asking for more after the request and after each reply."""
    conversation = Conversation()
    events: list[str] = []
    for chunk in chunks + [b""] * ended:
        conversation.receive(chunk)
        try:
            while event := conversation.next_event():
                events.append(shown(event))
                if isinstance(event, Request | Reply):
                    conversation.ask(b"NOOP\n")
                if events[-1] == "End":
                    break
        except ProtocolError as error:
            events.append(f"ProtocolError {error}")
            break
    return events


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript_whole_and_cut_at_every_byte(path):
    data, ended, expected = read_transcript(path)
    assert played(cut(data, []), ended=ended) == expected
    assert played(cut(data, list(range(len(data)))), ended=ended) == expected
    for place in range(1, len(data)):
        assert played(cut(data, [place]), ended=ended) == expected


@settings(max_examples=100)
@given(st.data())
def test_transcript_cut_at_random(data):
    received, ended, expected = read_transcript(data.draw(st.sampled_from(TRANSCRIPTS)))
    places = data.draw(st.lists(st.integers(0, len(received)), max_size=8))
    assert played(cut(received, places), ended=ended) == expected


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_end_of_file_at_every_byte(path):
    data, _, expected = read_transcript(path)
    for place in range(len(data)):
        events = played(cut(data[:place], []), ended=True)
        last = events.pop()
        assert last == "End" or last.startswith("ProtocolError")
        assert events == expected[: len(events)]


FRAGMENTS = st.sampled_from(
    (
        "agi_network: yes\n|agi_network_script: a?b\n|\n|\n\n|: |\r\n|\0|\xff|200 result=1\n|200 result= (x) y\n"
        "|200 result=(|100 result=0 Trying\n|511 no\n|520-a\n|520 b\n|HANGUP\n"
    )
    .encode("latin-1")
    .split(b"|")
)


@settings(max_examples=300)
@given(
    st.lists(FRAGMENTS | st.binary(max_size=20), max_size=30), st.lists(st.integers(0, 400), max_size=6), st.booleans()
)
def test_any_bytes_give_events_or_the_promised_error_however_they_are_cut(parts, places, ended):
    data = b"".join(parts)
    inside = [place for place in places if place < len(data)]
    assert played(cut(data, inside), ended=ended) == played(cut(data, []), ended=ended)
