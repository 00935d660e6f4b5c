"""What guarding a call costs: CPU and time to ring, on a real Asterisk, against the same call unguarded.

    python benchmarks/guarded_calls.py [--rounds 3] [--calls 1500] [--rate 100] [--seconds 1]

Runs as root on Debian, where tests/asterisk has built its Asterisk root. Rounds of unguarded calls (a context that
only dials the trunk) and of guarded ones (the generated dialplan, FastAGI, the verdict committed, the call followed
over AMI until its CDR) take turns on the same Asterisk, with SIPp as phones and as carrier. The guard runs only for the
guarded rounds: Asterisk makes no events when nobody listens. CPU is that of Asterisk, and of the guard, from /proc, per
call. Time to ring is from the phone's INVITE to its 180. Asterisk logs warnings and errors only, as Debian's does.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from asterisk_harness.pbx import Asterisk
from asterisk_harness.root import obtain
from asterisk_harness.service import Service
from asterisk_harness.sip import Carrier, Phones
from asterisk_harness.waiting import free_port, wait_until

from fraudguard.ami.events import EVENTS
from fraudguard.config import Ami
from fraudguard.dialplan import manager

TICKS = os.sysconf("SC_CLK_TCK")
GUARDED, UNGUARDED = "alice", "ursula"
LOGGER = "[general]\n[logfiles]\nmessages => notice,warning,error\n"


@dataclass
class Figures:
    """One kind of call, all rounds: CPU milliseconds per call, and milliseconds to ring of each call."""

    asterisk: list[float] = field(default_factory=list)
    guard: list[float] = field(default_factory=list)
    ring: list[float] = field(default_factory=list)

    def show(self, name: str) -> None:
        percentiles = statistics.quantiles(self.ring, n=100)
        asterisk, guard = statistics.median(self.asterisk), statistics.median(self.guard)
        print(
            f"{name:10} CPU ms/call: Asterisk {asterisk:6.2f}  guard {guard:5.2f}  together {asterisk + guard:6.2f}"
            f"   ms to ring: p50 {percentiles[49]:6.2f}  p99 {percentiles[98]:6.2f}   ({len(self.ring)} calls)"
        )

    @property
    def cpu(self) -> float:
        return statistics.median(self.asterisk) + statistics.median(self.guard)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@dataclass
class Site:
    asterisk: Asterisk
    service: Service
    phones: Phones


@contextmanager
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="guarded-calls-") as name:
        folder = Path(name)
        for part in ("sip", "asterisk", "phones", "guard"):
            (folder / part).mkdir()
        carriers = [Carrier(folder / "sip" / trunk) for trunk in ("carrier", "second")]
        ports = {"sip": str(free_port(socket.SOCK_DGRAM)), "ami": str(free_port(socket.SOCK_STREAM))}
        ports |= {"carrier": str(carriers[0].port), "second": str(carriers[1].port)}
        secret = secrets.token_hex(16)
        ports |= {"ami_secret": secret, "sip_password": secret}
        asterisk = Asterisk(obtain(), folder / "asterisk", ports)
        service = Service(folder / "guard", free_port(socket.SOCK_STREAM))
        try:
            for carrier in carriers:
                carrier.start()
            snippet = manager.render(Ami(secret=secret), secret, permit=["127.0.0.1/32"], events=EVENTS)
            asterisk.configure("manager.d/fraudguard.conf", snippet)
            asterisk.start()  # which is known from its log; then it is to be quiet
            (folder / "asterisk" / "etc" / "logger.conf").write_text(LOGGER)
            asterisk.command("logger reload")
            service.prepare(ami_port=int(ports["ami"]), ami_secret=secret)
            service.configure("[policy]\n", '[policy]\nshadow = ["over_budget"]\n')  # nobody spends as much
            service.cli("dialplan", "render", "--output", str(folder / "rendered.conf"))
            asterisk.load_dialplan((folder / "rendered.conf").read_text())
            yield Site(asterisk, service, Phones(int(ports["sip"]), folder / "phones"))
        finally:
            service.stop()
            asterisk.stop()
            for carrier in carriers:
                carrier.stop()


def play(site: Site, phone: str, calls: int, rate: int, talk: float, figures: Figures) -> None:
    processes = [site.asterisk.pid]
    if phone == GUARDED:
        site.service.start()
        wait_until(lambda: '"channels listed"' in site.service.log, "it followed Asterisk")
        processes.append(site.service.pid)
    before = [cpu_seconds(pid) for pid in processes]
    done = site.phones.dial_all(["912025550100"] * calls, phone=phone, rate=rate, milliseconds=int(talk * 1000))
    site.asterisk.wait_idle()
    after = [cpu_seconds(pid) for pid in processes]
    site.service.stop()
    answered = sum(call.answered for call in done)
    assert answered == calls, f"{calls - answered} of {calls} calls of {phone} were not answered"
    spent = [(later - earlier) * 1000 / calls for earlier, later in zip(before, after, strict=True)]
    figures.asterisk.append(spent[0])
    figures.guard.append(sum(spent[1:]))
    figures.ring += [call.ring_seconds * 1000 for call in done if call.ring_seconds is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=1500)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    guarded, unguarded = Figures(), Figures()
    with site() as here:
        play(here, GUARDED, 100, 20, 0.2, Figures())  # warm up
        for _ in range(options.rounds):
            play(here, UNGUARDED, options.calls, options.rate, options.seconds, unguarded)
            play(here, GUARDED, options.calls, options.rate, options.seconds, guarded)
        followed = [call["state"] for call in here.service.read("calls", "--limit", "100000")]
    unguarded.show("unguarded")
    guarded.show("guarded")
    added = [
        after - before
        for before, after in zip(
            statistics.quantiles(unguarded.ring, n=100), statistics.quantiles(guarded.ring, n=100), strict=True
        )
    ]
    print(f"CPU ratio {guarded.cpu / unguarded.cpu:.2f}")
    print(f"added time to ring: p50 {added[49]:.2f} ms, p99 {added[98]:.2f} ms")
    print(f"{followed.count('ended')} calls in the ledger, {options.rounds * options.calls + 100} placed")


if __name__ == "__main__":
    main()
