"""Phones whose keys a test presses during a call, when it wants to and not when a scenario file says so."""

from __future__ import annotations

import itertools
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Literal

from asterisk_harness import sipp
from asterisk_harness.sipp import Call, Message
from asterisk_harness.waiting import free_port, udp_port_is_bound, wait_until

# As long as Asterisk wants a tone at least; SIPp leaves a silence of the same length behind each.
TONE_MILLISECONDS = 80
# What SIPp sends before the first key, so that the other side knows the stream; then it is silent for one key.
LEAD_SECONDS = 0.4

# Nobody sends 183 again that a socket had no room for; SIPp's own 64 kB are not enough for 200 calls on a busy machine.
RECEIVE_BYTES = 1_000_000


class Step(Enum):
    """What a phone may do during a call, beside keying digits and waiting some seconds."""

    WAIT_FOR_ANSWER = auto()
    HANG_UP = auto()


By = Literal["rfc4733", "info"]

# SIPp goes on counting its own CSeq from the highest it read.
_order = itertools.count(100)


class Keypad:
    """One call of a phone, from its INVITE on. Everything is possible at any time, before the answer and after it."""

    def __init__(self, dialled: str, index: int, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.dialled = dialled
        self._index = index
        self._process = process
        self._port = port
        self._folder = folder

    @property
    def messages(self) -> list[Message]:
        """What it sent and received until now."""
        return sipp.trace(self._folder, f"\t{self._index}-")

    def _got(self, statuses: str) -> bool:
        return any(m.cseq == "1 INVITE" and re.match(f"SIP/2.0 ({statuses})", m.first) for m in self.messages)

    @property
    def over(self) -> bool:
        """It was refused, gave up, or one side said BYE."""
        return self._got("[3-6]") or any(message.first.startswith("BYE ") for message in self.messages)

    def wait_to_hear(self) -> None:
        """Return when there is early media or an answer, or the call is over."""
        wait_until(lambda: self._got("183|200") or self.over, f"{self.dialled} heard something")

    def wait_answered(self) -> None:
        """Return when the call is answered or over."""
        wait_until(lambda: self._got("200") or self.over, f"{self.dialled} was answered")

    def press(self, digits: str, *, by: By = "rfc4733") -> None:
        """Key digits, and return when all have been sent."""
        press([self], digits, by=by)

    def hang_up(self) -> None:
        """CANCEL before the answer, BYE after it; nothing where the call is over."""
        self.tell("HANGUP")

    def call(self) -> Call:
        """Wait until the call is over, and tell how it went."""
        wait_until(lambda: self.over, f"the call to {self.dialled} was over", 30)
        return sipp.outcome(self.dialled, self.messages)

    def tell(self, method: str, keys: str = "") -> None:
        """Send one of the scenario's own requests, none like another, and return when it was read: SIPp takes equal
        ones for retransmissions, and loses what comes too fast.
        """
        sequence = f"{next(_order)} {method}"
        lines = [
            f"{method} sip:phone@127.0.0.1 SIP/2.0",
            "To: <sip:phone@127.0.0.1>",
            f"Call-ID: {self._index}-{self._process.pid}@127.0.0.1",
            f"CSeq: {sequence}",
            f"Keys: {keys}",
        ]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n", ("127.0.0.1", self._port))
        wait_until(lambda: self.over or any(m.cseq == sequence for m in self.messages), f"{method} was read")


def press(keypads: Sequence[Keypad], digits: str, *, by: By = "rfc4733") -> None:
    """Key the same digits on all, and return when all have been sent."""
    assert re.fullmatch("[0-9A-D*#]+", digits), digits
    spacing = 2 * TONE_MILLISECONDS / 1000
    if by == "rfc4733":
        for keypad in keypads:
            keypad.tell("PRESS", digits)
        time.sleep(LEAD_SECONDS + (1 + len(digits)) * spacing)
        return
    for digit in digits:
        for keypad in keypads:
            keypad.tell("INFORM", digit)
        time.sleep(spacing)


def take(keypads: Sequence[Keypad], steps: Sequence[str | float | Step], *, by: By) -> None:
    """Wait until all hear something, and take the steps that Phones.dial_keying tells of on all of them."""
    for keypad in keypads:
        keypad.wait_to_hear()
    for step in steps:
        if step is Step.WAIT_FOR_ANSWER:
            for keypad in keypads:
                keypad.wait_answered()
        elif step is Step.HANG_UP:
            for keypad in keypads:
                keypad.hang_up()
        elif isinstance(step, str):
            press(keypads, step, by=by)
        else:
            time.sleep(step)


@contextmanager
def dial(target: str, folder: Path, phone: str, numbers: Sequence[str], rate: int) -> Iterator[list[Keypad]]:
    """Dial each number with a phone that is told what to do; see Phones.keypads."""
    folder.mkdir(parents=True)
    (folder / "calls").write_text("SEQUENTIAL\n" + "".join(f"{phone};{number}\n" for number in numbers))
    port = free_port(socket.SOCK_DGRAM)
    count = str(len(numbers))
    command = [*sipp.command(port, "phone-keypad"), "-key", "tone", str(TONE_MILLISECONDS), "-inf", "calls"]
    command += ["-m", count, "-l", count, "-r", str(rate), "-timeout", "60s"]
    command += ["-buff_size", str(RECEIVE_BYTES), target]
    with (folder / "out").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: udp_port_is_bound(port), f"{folder} had its phones")
        yield [Keypad(number, index, process, port, folder) for index, number in enumerate(numbers, start=1)]
        process.wait(40)
    finally:
        process.kill()
        process.wait(5)
