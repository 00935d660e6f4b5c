"""Running SIPp, and reading from its own message trace, not from its exit status, what happened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCENARIOS = Path(__file__).parent.parent / "asterisk" / "sipp"

# date, time, epoch, direction, call id, CSeq, first line
_LINE = re.compile(
    r"^[^\t]*\t[^\t]*\t(?P<at>[0-9.]+)\t(?P<way>[SR])\t(?P<call>[^\t]*)\tCSeq:(?P<cseq>[^\t]*)\t(?P<first>.*)$"
)


@dataclass(frozen=True)
class Message:
    at: float
    received: bool
    call: str
    cseq: str
    first: str

    @property
    def index(self) -> int:
        """Which of the process's calls, from 1."""
        return int(self.call.partition("-")[0])


@dataclass(frozen=True)
class Call:
    """How one call went for the phone: its final SIP status, the seconds it was up (None: never answered), and the
    seconds until it rang (None: it did not).
    """

    dialled: str
    status: int
    seconds: float | None
    ring_seconds: float | None = None

    @property
    def answered(self) -> bool:
        return self.status == 200


def command(port: int, scenario: str) -> list[str]:
    """Return how to start SIPp at a port with a scenario and its trace in the current folder; options may follow."""
    start = ["setpriv", "--pdeathsig", "KILL", "sipp", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
    return [*start, "-sf", str(SCENARIOS / f"{scenario}.xml"), "-trace_shortmsg", "-shortmessage_file", "trace"]


def trace(folder: Path, holding: str = "") -> list[Message]:
    """Return the messages until now of a process that runs, or ran, in a folder; those whose line holds a text."""
    path = folder / "trace"
    if not path.exists():
        return []
    lines = (line for line in path.read_text(errors="replace").splitlines() if holding in line)
    found = (_LINE.match(line) for line in lines)
    return [Message(float(m["at"]), m["way"] == "R", m["call"], m["cseq"], m["first"]) for m in found if m]


def outcome(dialled: str, messages: Sequence[Message]) -> Call:
    """Tell how a call went from its messages."""
    finals = [
        (message.at, int(message.first.split()[1]))
        for message in messages
        if message.received and message.cseq == "1 INVITE" and re.match(r"SIP/2.0 [2-6]", message.first)
    ]
    assert finals, f"{dialled!r} got no final answer"
    at, status = finals[0]
    ends = [message.at for message in messages if message.first.startswith("BYE ")]
    asked = next(message.at for message in messages if message.first.startswith("INVITE "))
    rang = next((message.at - asked for message in messages if message.first.startswith("SIP/2.0 180")), None)
    return Call(dialled, status, ends[0] - at if status == 200 and ends else None, rang)
