"""SIPp as phones and as carrier. What happened is read from its own message trace, not from its exit status."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asterisk_harness.waiting import free_port, udp_port_is_bound, wait_until

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


def _trace(path: Path) -> list[Message]:
    if not path.exists():
        return []
    found = (_LINE.match(line) for line in path.read_text(errors="replace").splitlines())
    return [Message(float(m["at"]), m["way"] == "R", m["call"], m["cseq"], m["first"]) for m in found if m]


class Carrier:
    """Answers every call and remembers the number of each INVITE that reached it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self._folder = folder
        self._trace = folder / "carrier.trace"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir()
        with (self._folder / "out").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(*_sipp(self.port), "-sf", SCENARIOS / "carrier.xml"),
                    *("-trace_shortmsg", "-shortmessage_file", self._trace),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
            )
        wait_until(lambda: udp_port_is_bound(self.port), "the carrier listened")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)

    def mark(self) -> int:
        """Remember how many INVITEs there were."""
        return len(self._invites())

    def dialled_since(self, mark: int) -> list[str]:
        """Return the numbers of the INVITEs since a mark, in order of arrival."""
        return self._invites()[mark:]

    def _invites(self) -> list[str]:
        requests = (message.first for message in _trace(self._trace) if message.received)
        return [first.removeprefix("INVITE sip:").partition("@")[0] for first in requests if first.startswith("INVITE")]


class Phones:
    """Places calls as any of the endpoints in pjsip.conf, and tells how they went."""

    def __init__(self, asterisk_port: int, folder: Path) -> None:
        self._target = f"127.0.0.1:{asterisk_port}"
        self._folder = folder
        self._runs = 0

    @contextmanager
    def calling(self, number: str, *, phone: str = "alice") -> Iterator[None]:
        """Place a call that lasts until the other side ends it, which has to be before the `with` block ends."""
        with ThreadPoolExecutor() as pool:
            call = pool.submit(self.dial, number, phone=phone, scenario="phone-held")
            yield
            call.result()

    def dial(self, number: str, *, phone: str = "alice", scenario: str = "phone", milliseconds: int = 200) -> Call:
        """Place one call."""
        return self.dial_all([number], phone=phone, scenario=scenario, milliseconds=milliseconds)[0]

    def dial_all(
        self,
        numbers: Sequence[str],
        *,
        phone: str = "alice",
        rate: int = 20,
        scenario: str = "phone",
        milliseconds: int = 200,
    ) -> list[Call]:
        """Place a call for each number (as it stands in the SIP URI), `rate` per second, and wait for all."""
        self._runs += 1
        folder = self._folder / f"run{self._runs}"
        folder.mkdir(parents=True)
        (folder / "calls").write_text("SEQUENTIAL\n" + "".join(f"{phone};{number}\n" for number in numbers))
        command = [*_sipp(free_port(socket.SOCK_DGRAM)), "-sf", str(SCENARIOS / f"{scenario}.xml")]
        command += ["-inf", "calls", "-m", str(len(numbers)), "-r", str(rate), "-d", str(milliseconds)]
        command += ["-timeout", "40s"]
        command += ["-trace_shortmsg", "-shortmessage_file", "trace", self._target]
        subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        calls: dict[int, list[Message]] = {}
        for message in _trace(folder / "trace"):
            calls.setdefault(int(message.call.partition("-")[0]), []).append(message)
        assert len(calls) == len(numbers), f"{len(calls)} of {len(numbers)} calls were placed, see {folder}"
        return [_outcome(number, calls[index]) for index, number in enumerate(numbers, start=1)]


def _outcome(dialled: str, messages: list[Message]) -> Call:
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


def _sipp(port: int) -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "sipp", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
