"""Cutting bytes into messages: the annotated transcripts of tests/wire/ami, whole and cut, and any bytes at all."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraudguard.ami.framing import MAX_BANNER, MAX_MESSAGE, Framer, FramingError

FOLDER = Path(__file__).parents[1] / "wire" / "ami"
TRANSCRIPTS = sorted(FOLDER.glob("*.txt"))
# What is said of a peer that is no Asterisk depends on how much of it has come.
CUTTABLE = [path for path in TRANSCRIPTS if path.stem != "not-asterisk"]
BANNER = b"Asterisk Call Manager/11.0.0\r\n"


def read_transcript(path: Path) -> tuple[bytes, frozenset[str], bool, list[str]]:
    """Return the bytes, the events wanted, whether an answer is due, and what is expected."""
    data, wanted, due, expected = b"", frozenset[str](), False, []
    for line in path.read_text(encoding="ascii").splitlines():
        mark, _, text = line.partition(" ")
        if mark in {">", ">|"}:
            data += text.encode("ascii").decode("unicode_escape").encode("latin-1") + b"\r\n" * (mark == ">")
        elif mark == "=":
            expected.append(text)
        elif line == "? answers due":
            due = True
        elif line.startswith("? wanted "):
            wanted = frozenset(line.split()[2:])
        else:
            assert mark.startswith("#"), f"{path.name}: {line!r}"
    return data, wanted, due, expected


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def played(chunks: list[bytes], wanted: frozenset[str], *, due: bool, limit: int = MAX_MESSAGE) -> list[str]:
    framer = Framer(wanted, limit=limit)
    framer.answers_due = int(due)
    shown: list[str] = []
    for chunk in chunks:
        try:
            shown += [ascii(text)[1:-1].replace("\\r\\n", " | ") for text in framer.receive(chunk)]
        except FramingError as error:
            shown.append(f"FramingError {error}")
            break
    counts = f"read={framer.read} skipped={framer.skipped} lost={framer.lost} version={framer.version}"
    return [*shown, f"counts {counts}"]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript_whole_and_cut_at_every_byte(path):
    data, wanted, due, expected = read_transcript(path)
    assert played([data], wanted, due=due) == expected
    if path not in CUTTABLE:
        return
    assert played(cut(data, list(range(len(data)))), wanted, due=due) == expected
    for place in range(1, len(data)):
        assert played(cut(data, [place]), wanted, due=due) == expected


@settings(max_examples=200)
@given(st.data())
def test_transcript_cut_at_random(data):
    received, wanted, due, expected = read_transcript(data.draw(st.sampled_from(CUTTABLE)))
    places = data.draw(st.lists(st.integers(0, len(received)), max_size=12))
    assert played(cut(received, places), wanted, due=due) == expected


FRAGMENTS = st.sampled_from(
    [
        *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"Event: ", b"Event: Hangup\r\n", b"Event: VarSet\r\n", b"ActionID: 1"),
        *(b"Response: Success\r\n", b"\xff", b"\xc3\xa9", b": ", b"x" * 40, b"x" * 300),
    ]
)


@settings(max_examples=500)
@example([b"Event: ", b"x" * 40, b"\0" * 5, b"Event: Hangup\r\n", b"\r\n"], [], False)
@given(
    st.lists(FRAGMENTS | st.binary(max_size=9), max_size=40), st.lists(st.integers(0, 900), max_size=8), st.booleans()
)
def test_any_bytes_give_the_same_messages_however_they_are_cut(parts, places, due):
    data = BANNER + b"".join(parts)
    whole = played([data], frozenset({"Hangup"}), due=due, limit=64)
    assert played(cut(data, places), frozenset({"Hangup"}), due=due, limit=64) == whole
    assert played(cut(data, list(range(len(data)))), frozenset({"Hangup"}), due=due, limit=64) == whole
    assert all(len(text) <= 64 * 6 for text in whole[:-1])  # '\udcff' is six characters of one byte


@pytest.mark.parametrize("size", [MAX_BANNER - 1, MAX_BANNER, MAX_BANNER + 1])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_greeting_is_bounded(size, step):
    line = BANNER[:-2].ljust(size - 2, b"x") + b"\r\n"
    framer = Framer(frozenset())
    chunks = [line[start : start + step] for start in range(0, len(line), step)]
    if size <= MAX_BANNER:
        assert [framer.receive(chunk) for chunk in chunks][-1] == []
        assert framer.version is not None
    else:
        with pytest.raises(FramingError, match="no Asterisk manager"):
            [framer.receive(chunk) for chunk in chunks]


@pytest.mark.parametrize("step", [1000, 65_536, 10_000_000])
def test_a_message_of_256_kib_passes_and_a_longer_one_is_thrown_away_and_counted(step):
    wanted = b"Event: Hangup\r\nChannel: " + b"x" * MAX_MESSAGE
    longest, longer = wanted[:MAX_MESSAGE], wanted[: MAX_MESSAGE + 1]
    unwanted = b"Event: VarSet\r\nValue: " + b"x" * 2 * MAX_MESSAGE
    data = BANNER + b"\r\n\r\n".join([longest, longer, unwanted, b"Event: Hangup\r\nChannel: last", b""])
    framer = Framer(frozenset({"Hangup"}))
    messages, held = [], 0
    for start in range(0, len(data), step):
        messages += framer.receive(data[start : start + step])
        held = max(held, len(framer._held))
    assert [len(message) for message in messages] == [MAX_MESSAGE, len("Event: Hangup\r\nChannel: last")]
    assert (framer.read, framer.lost, framer.skipped) == (4, 1, 1)
    assert held <= MAX_MESSAGE + step
