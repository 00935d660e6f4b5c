"""Phones and carriers in Python, for what a SIPp scenario cannot follow: legs that are held, transferred and parked
when a test wants it, and the instants of each leg's answer and end by its own side's clock.
"""

from __future__ import annotations

import itertools
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import quote

from asterisk_harness.waiting import free_port, wait_until

# Nobody sends again what a socket had no room for.
_RECEIVE_BYTES = 4_000_000

_TONES = 101
"""The payload type of keys."""
_MEDIA = {"active": "sendrecv", "held": "sendonly"}


@dataclass(eq=False)
class Leg:
    """One dialogue of a party, whichever side began it. Instants are time.monotonic()."""

    party: Party
    call_id: str
    number: str
    """Who was called: the user of the request's address."""
    user: str
    """Who called: the user of the From header."""
    local: str
    remote: str
    target: str
    """Where requests go to."""
    invite: str = ""
    """The request that began it, where the other side did."""
    began: float = field(default_factory=time.monotonic)
    status: int = 0
    """The final answer's."""
    answered: float | None = None
    """When 200 was sent (a call that came in), or received."""
    ended: float | None = None
    """When BYE was received, or sent."""
    hung_up_here: bool = False
    crossed: bool = False
    """It was answered here when the other side had given up already: CANCEL crossed 200."""
    rang: float | None = None
    responses: dict[int, int] = field(default_factory=dict)
    """The final answers to its own requests, by CSeq."""
    notified: list[str] = field(default_factory=list)
    """What NOTIFY told of a transfer: 'SIP/2.0 200 OK' and the like."""
    invite_branch: str = ""
    order: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def up(self) -> bool:
        return self.answered is not None and self.ended is None

    @property
    def over(self) -> bool:
        """It was refused, given up, or one side said BYE."""
        return self.ended is not None or self.status >= 300

    @property
    def seconds(self) -> float:
        """How long it was up, by this party's clock; 0 if it never was, until now if it still is."""
        if self.answered is None:
            return 0.0
        return (time.monotonic() if self.ended is None else self.ended) - self.answered

    def wait_answered(self, seconds: float = 10) -> Self:
        wait_until(lambda: self.answered is not None or self.over, f"{self.number} was answered", seconds)
        return self

    def wait_over(self, seconds: float = 30) -> Self:
        wait_until(lambda: self.over, f"the call to {self.number} was over", seconds)
        return self

    def hang_up(self) -> None:
        """CANCEL before the answer, BYE after it; nothing where it is over."""
        if self.over:
            return
        if self.answered is None:
            self.party.cancel(self)
            return
        self.ended, self.hung_up_here = time.monotonic(), True
        self.ask("BYE", wait=False)

    def hold(self) -> None:
        """Put the other side on hold (re-INVITE)."""
        self.ask("INVITE", body=self.party.session("held"))

    def unhold(self) -> None:
        self.ask("INVITE", body=self.party.session("active"))

    def transfer(self, to: str, *, consulted: Leg | None = None) -> int:
        """Transfer the other side (REFER): blindly to a number, or into a call of ours; return the status."""
        host = self.target.partition("@")[2].partition(";")[0] or "127.0.0.1"
        refer_to = f"<sip:{to}@{host}>"
        if consulted is not None:
            theirs, ours = _tag(consulted.remote), _tag(consulted.local)
            replaces = quote(f"{consulted.call_id};to-tag={theirs};from-tag={ours}", safe="")
            refer_to = f"<sip:{to}@{host}?Replaces={replaces}>"
        return self.ask("REFER", headers={"Refer-To": refer_to})

    def key(self, digits: str) -> None:
        """Key digits as SIP INFO, which only an endpoint with dtmf_mode=info understands."""
        for digit in digits:
            self.ask(
                "INFO",
                headers={"Content-Type": "application/dtmf-relay"},
                body=f"Signal={digit}\r\nDuration=100\r\n",
            )
            time.sleep(0.15)

    def ask(self, method: str, *, headers: Mapping[str, str] = {}, body: str = "", wait: bool = True) -> int:
        """Send a request within the dialogue and return its final status."""
        sequence = next(self.order)
        self.party.send_request(self, method, sequence, headers, body)
        if not wait:
            return 0
        wait_until(lambda: sequence in self.responses, f"{method} to {self.number} was answered", 10)
        return self.responses[sequence]


class Party:
    """One SIP address, while the `with` block runs. Answers what is sent to it, after ringing for a while."""

    def __init__(self, asterisk_port: int, *, port: int | None = None) -> None:
        self._peer = ("127.0.0.1", asterisk_port)
        self.ring: Callable[[str], float] = lambda _: 0.0
        """For how many seconds a number rings before it is answered."""
        self.refuse: Callable[[str], int] = lambda _: 0
        """With which status a number is turned down; 0: it is not."""
        self.port = port or free_port(socket.SOCK_DGRAM)
        self._socket = _bound(self.port)
        self._media = _bound(free_port(socket.SOCK_DGRAM))  # of all legs together
        self._media.setblocking(False)
        self._tones: dict[bytes, int] = {}
        self._lock = threading.RLock()
        self._closed = False
        self._said: dict[tuple[str, str], str] = {}
        self.legs: list[Leg] = []
        self._by_id: dict[str, Leg] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for leg in list(self.legs):
            leg.hang_up()
        time.sleep(0.05)
        self._closed = True
        self._thread.join(5)
        self._socket.close()
        self._media.close()

    @property
    def tones(self) -> list[int]:
        """The keys that it was sent until now (RFC 4733 events), by all legs together."""
        with self._lock, suppress(BlockingIOError):
            while True:
                packet = self._media.recv(2048)
                if packet[1] & 0x7F == _TONES:  # each comes several times, with the timestamp of its beginning
                    self._tones.setdefault(packet[4:12], packet[12])
        return list(self._tones.values())

    # -- calling

    def call(self, number: str, user: str) -> Leg:
        """Place a call and return at once."""
        peer = f"127.0.0.1:{self._peer[1]}"
        leg = Leg(
            self,
            f"{secrets.token_hex(8)}@127.0.0.1",
            number,
            user,
            f"<sip:{user}@127.0.0.1:{self.port}>;tag={secrets.token_hex(6)}",
            f"<sip:{number}@{peer}>",
            f"sip:{number}@{peer}",
        )
        self._keep(leg)
        leg.invite_branch = _branch()
        self.send_request(leg, "INVITE", next(leg.order), {}, self.session("active"), leg.invite_branch)
        return leg

    def cancel(self, leg: Leg) -> None:
        """Give up a call of ours that is not answered."""
        self.send_request(leg, "CANCEL", 1, {}, "", leg.invite_branch)

    def session(self, media: str) -> str:
        """Return an SDP body."""
        port = self._media.getsockname()[1]
        lines = ["v=0", f"o=party 1 {next(_versions)} IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        lines += [f"m=audio {port} RTP/AVP 0 {_TONES}", "a=rtpmap:0 PCMU/8000"]
        lines += [f"a=rtpmap:{_TONES} telephone-event/8000", f"a={_MEDIA[media]}"]
        return "".join(f"{line}\r\n" for line in lines)

    def send_request(
        self, leg: Leg, method: str, sequence: int, headers: Mapping[str, str], body: str, branch: str = ""
    ) -> None:
        """Send a request of a leg."""
        content = {"Content-Type": "application/sdp"} if body and "Content-Type" not in headers else {}
        self._send(
            f"{method} {leg.target} SIP/2.0",
            {
                "Via": f"SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch or _branch()}",
                "From": leg.local,
                "To": leg.remote,
                "Call-ID": leg.call_id,
                "CSeq": f"{sequence} {method}",
                "Contact": f"<sip:party@127.0.0.1:{self.port}>",
                "Max-Forwards": "70",
                **content,
                **headers,
            },
            body,
        )

    # -- what comes in

    def _keep(self, leg: Leg) -> None:
        with self._lock:
            self.legs.append(leg)
            self._by_id[leg.call_id] = leg

    def _read(self) -> None:
        while not self._closed:
            try:
                message = self._socket.recv(65536).decode(errors="replace")
            except TimeoutError:
                continue
            at = time.monotonic()
            if message.startswith("SIP/2.0 "):
                self._response(message, at)
            elif message.strip():
                self._request(message, at)

    def _request(self, message: str, at: float) -> None:
        method = message.partition(" ")[0]
        call_id, cseq = _header(message, "Call-ID"), _header(message, "CSeq")
        if method == "ACK":
            return
        if (call_id, cseq) in self._said:
            self._socket.sendto(self._said[call_id, cseq].encode(), self._peer)
            return
        leg = self._by_id.get(call_id)
        if leg is None and method == "INVITE":
            self._invited(message, at)
        elif leg is None:
            self._answer(message, 481 if method in ("BYE", "CANCEL") else 200)
        elif method == "INVITE":
            self._answer(message, 200, self.session("active"))
        else:
            if method == "BYE":
                leg.ended = leg.ended or at
            if method == "NOTIFY":
                leg.notified.append(message.partition("\r\n\r\n")[2].strip())
            self._answer(message, 200)
            if method == "CANCEL":
                self._given_up(leg, at)

    def _given_up(self, leg: Leg, at: float) -> None:
        with self._lock:
            if leg.answered is not None:
                leg.crossed = True
                return
            leg.status, leg.ended = 487, at
        self._answer(leg.invite, 487, to=leg.local)

    def _invited(self, message: str, at: float) -> None:
        number = message.partition(" ")[2].partition(" ")[0].removeprefix("sip:").partition("@")[0]
        caller = _header(message, "From")
        user = re.search(r"sip:([^@>;]*)@", caller)
        leg = Leg(
            self,
            _header(message, "Call-ID"),
            number,
            user[1] if user else "",
            f"{_header(message, 'To')};tag={secrets.token_hex(6)}",
            caller,
            _header(message, "Contact").partition("<")[2].partition(">")[0],
            message,
            at,
        )
        self._keep(leg)
        if refusal := self.refuse(number):
            leg.status, leg.ended = refusal, at
            self._answer(message, refusal, to=leg.local)
            return
        self._answer(message, 180, to=leg.local, final=False)
        seconds = self.ring(number)
        if not seconds:
            self._pick_up(leg)
            return
        timer = threading.Timer(seconds, self._pick_up, [leg])
        timer.daemon = True
        timer.start()

    def _pick_up(self, leg: Leg) -> None:
        with self._lock:
            if leg.over or self._closed:
                return
            leg.status, leg.answered = 200, time.monotonic()
            self._answer(leg.invite, 200, self.session("active"), to=leg.local)

    def _answer(self, request: str, status: int, body: str = "", *, to: str = "", final: bool = True) -> None:
        call_id, cseq = _header(request, "Call-ID"), _header(request, "CSeq")
        names = {180: "Ringing", 200: "OK", 481: "No Such Call", 486: "Busy Here", 487: "Request Terminated"}
        headers = {
            "Via": _header(request, "Via"),
            "From": _header(request, "From"),
            "To": to or _header(request, "To"),
            "Call-ID": call_id,
            "CSeq": cseq,
            "Contact": f"<sip:party@127.0.0.1:{self.port}>",
            **({"Content-Type": "application/sdp"} if body else {}),
        }
        said = self._send(f"SIP/2.0 {status} {names.get(status, 'Refused')}", headers, body)
        if final:
            self._said[call_id, cseq] = said

    def _response(self, message: str, at: float) -> None:
        leg = self._by_id.get(_header(message, "Call-ID"))
        if leg is None:
            return
        status = int(message.split()[1])
        number, _, method = _header(message, "CSeq").partition(" ")
        if status < 200:
            if status == 180:
                leg.rang = leg.rang or at
            return
        if method == "INVITE":
            first = leg.responses.get(int(number)) is None
            if status < 300:
                leg.remote = _header(message, "To")
                leg.target = _header(message, "Contact").partition("<")[2].partition(">")[0]
            branch = "" if status < 300 else leg.invite_branch
            self._send(
                f"ACK {leg.target} SIP/2.0",
                {
                    "Via": f"SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch or _branch()}",
                    "From": leg.local,
                    "To": _header(message, "To"),
                    "Call-ID": leg.call_id,
                    "CSeq": f"{number} ACK",
                    "Max-Forwards": "70",
                },
            )
            if first and not leg.status:
                leg.status = status
                if status < 300:
                    leg.answered = at
                else:
                    leg.ended = at
        if method != "CANCEL":  # which has the number of its INVITE
            leg.responses.setdefault(int(number), status)

    def _send(self, first: str, headers: Mapping[str, str], body: str = "") -> str:
        lines = [first, *(f"{key}: {value}" for key, value in headers.items()), f"Content-Length: {len(body)}"]
        text = "".join(f"{line}\r\n" for line in lines) + "\r\n" + body
        self._socket.sendto(text.encode(), self._peer)
        return text


_versions = itertools.count(1)


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    made.settimeout(0.1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


def _branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"


def _header(message: str, name: str) -> str:
    found = re.search(rf"^{name}: *(.*)\r$", message, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _tag(address: str) -> str:
    return address.partition(";tag=")[2].partition(";")[0]
