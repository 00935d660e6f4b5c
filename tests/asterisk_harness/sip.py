"""SIPp as phones and as carrier."""

from __future__ import annotations

import itertools
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from asterisk_harness import keypad, sipp
from asterisk_harness.keypad import Keypad, Step
from asterisk_harness.sipp import Call, Message
from asterisk_harness.waiting import free_port, udp_port_is_bound, wait_until


class _Answering:
    """A SIPp process that waits for calls, with one scenario for all of them."""

    def __init__(self, port: int, folder: Path, scenario: str, *options: str) -> None:
        self.port = port
        self._folder = folder
        self._command = [*sipp.command(port, scenario), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "out").open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder
            )
        wait_until(lambda: udp_port_is_bound(self.port), f"{self._folder.name} listened")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)

    @property
    def requests(self) -> list[Message]:
        """What it was asked until now, in order of arrival."""
        return [m for m in sipp.trace(self._folder) if m.received and not m.first.startswith("SIP/2.0 ")]


class Carrier(_Answering):
    """Answers every call and remembers the number of each INVITE that reached it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(free_port(socket.SOCK_DGRAM), folder, "carrier")

    def mark(self) -> int:
        """Remember how many INVITEs there were."""
        return len(self._invites())

    def dialled_since(self, mark: int) -> list[str]:
        """Return the numbers of the INVITEs since a mark, in order of arrival."""
        return self._invites()[mark:]

    def _invites(self) -> list[str]:
        requests = (message.first for message in self.requests)
        return [first.removeprefix("INVITE sip:").partition("@")[0] for first in requests if first.startswith("INVITE")]


class Callee(_Answering):
    """The phone that can be called, fiona, while the `with` block runs: 201 dials her."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Phones:
    """Places calls as any of the endpoints in pjsip.conf, and tells how they went."""

    def __init__(self, asterisk_port: int, folder: Path) -> None:
        self._target = f"127.0.0.1:{asterisk_port}"
        self._folder = folder
        self._runs = itertools.count(1)  # calls are placed by several threads

    def _next_folder(self) -> Path:
        return self._folder / f"run{next(self._runs)}"

    @contextmanager
    def calling(self, number: str, *, phone: str = "alice") -> Iterator[None]:
        """Place a call that lasts until the other side ends it, which has to be before the `with` block ends."""
        with ThreadPoolExecutor() as pool:
            call = pool.submit(self.dial, number, phone=phone, scenario="phone-held")
            yield
            call.result()

    @contextmanager
    def keypad(self, number: str, *, phone: str = "alice") -> Iterator[Keypad]:
        """Place a call and press keys, hang up or stay silent during it. Without `hang_up` it lasts until the other
        side ends it; the block waits for that.
        """
        with self.keypads([number], phone=phone) as (one,):
            yield one

    @contextmanager
    def keypads(self, numbers: Sequence[str], *, phone: str = "alice", rate: int = 20) -> Iterator[list[Keypad]]:
        """The same for many calls at once, `rate` per second."""
        with keypad.dial(self._target, self._next_folder(), phone, numbers, rate) as all_of_them:
            yield all_of_them

    def dial_keying(
        self, number: str, *steps: str | float | Step, phone: str = "alice", by: keypad.By = "rfc4733"
    ) -> Call:
        """Place one call, and when there is early media or an answer take `steps`: key digits, be silent for some
        seconds, or a Step. Without Step.HANG_UP the call lasts until the other side ends it.
        """
        with self.keypad(number, phone=phone) as one:
            keypad.take([one], steps, by=by)
            return one.call()

    def dial_all_keying(
        self,
        numbers: Sequence[str],
        *steps: str | float | Step,
        phone: str = "alice",
        by: keypad.By = "rfc4733",
        rate: int = 100,
    ) -> list[Call]:
        """Place a call for each number; when all are heard, all take the same steps at the same time."""
        with self.keypads(numbers, phone=phone, rate=rate) as all_of_them:
            keypad.take(all_of_them, steps, by=by)
            return [one.call() for one in all_of_them]

    def callee(self, port: int, scenario: str = "called", *, to: str = "") -> Callee:
        """Answer the calls to a port until the `with` block ends: "called" talks until it is hung up on,
        "called-forward" forwards to the number `to` (302), "called-transfer" talks for a moment and transfers the
        caller blindly to `to` (REFER).
        """
        return Callee(port, self._next_folder(), scenario, "-key", "to", to, "-d", "300")

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
        folder = self._next_folder()
        folder.mkdir(parents=True)
        (folder / "calls").write_text("SEQUENTIAL\n" + "".join(f"{phone};{number}\n" for number in numbers))
        command = [*sipp.command(free_port(socket.SOCK_DGRAM), scenario), "-inf", "calls", "-timeout", "40s"]
        command += ["-m", str(len(numbers)), "-r", str(rate), "-d", str(milliseconds), self._target]
        subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        calls: dict[int, list[Message]] = {}
        for message in sipp.trace(folder):
            calls.setdefault(message.index, []).append(message)
        assert len(calls) == len(numbers), f"{len(calls)} of {len(numbers)} calls were placed, see {folder}"
        return [sipp.outcome(number, calls[index]) for index, number in enumerate(numbers, start=1)]
