"""What callers cost by the carrier's own clock, whatever happens to the guard: callers who dial again and again, and
faults at the worst moments.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Literal, Self

from asterisk_harness.parties import Leg, Party
from asterisk_harness.service import Service
from asterisk_harness.waiting import wait_until
from asterisk_harness.wiretap import Wiretap


@dataclass(frozen=True)
class Tariff:
    """What a carrier charges for where numbers begin so: a price a minute, billed in increments of so many seconds."""

    prefix: str
    name: str
    per_minute: Decimal
    increment: int


TARIFFS = (
    Tariff("49", "Germany", Decimal("0.24"), 1),
    Tariff("33", "France", Decimal("0.24"), 6),
    Tariff("44", "United Kingdom", Decimal("0.24"), 60),
)
RATES = "prefix,destination,price,increment\n1,United States,0.01,60\n" + "".join(
    f"{tariff.prefix},{tariff.name},{tariff.per_minute},{tariff.increment}\n" for tariff in TARIFFS
)
NUMBERS = {"49": "49309018201", "33": "33142685300", "44": "442079460000"}
"""A number of each tariff, to whose end two digits may be changed."""

PATIENCE = (0.1, 1.0, 3.0, 6.0, 60.0)
"""How long callers have in mind to talk at most, in seconds."""
HANG_UP_SECONDS = 10
REFUSED_SECONDS = 0.2
"""How long somebody waits who was refused."""


def dialled(tariff: Tariff, last: int = 0) -> str:
    """Return what an American office dials for a number of a tariff."""
    return f"9011{NUMBERS[tariff.prefix][:-2]}{last:02d}"


def charge(seconds: float, tariff: Tariff) -> Decimal:
    """Return what the carrier charges for an answered call: every increment that began."""
    increments = max(1, math.ceil(seconds / tariff.increment))
    return tariff.per_minute * increments * tariff.increment / 60


def cost_by_the_carrier(legs: Iterable[Leg], tariff: Tariff) -> Decimal:
    """Return what the carrier charges for the answered ones of its calls, by its own clock; those too that it answered
    when the caller had given up already.
    """
    return sum((charge(leg.seconds, tariff) for leg in legs if leg.answered), Decimal(0))


def prepare(service: Service, link_port: int, ami_secret: str, *, shortest: int = 2) -> None:
    """Make a service that follows Asterisk through a link, with the tariffs above and nothing but money as a bound."""
    service.prepare(ami_port=link_port, ami_secret=ami_secret)
    service.configure("lease_seconds = 600\n", f"lease_seconds = 600\nshortest_lease_seconds = {shortest}\n")
    (service.folder / "loss.csv").write_text(RATES)
    service.cli("rates", "import", "loss.csv", "--deck", "main")


@dataclass(frozen=True)
class Account:
    """Who dials: a phone, the account it is taken for, where to, and what it may spend."""

    phone: str
    name: str
    tariff: Tariff
    number: str
    budget: Decimal


@dataclass
class _Line:
    account: Account
    leg: Leg | None = None
    until: float = 0.0
    """When the caller has had enough of the leg, or, where that is over, dials again."""


class Crowd:
    """Each account has some lines, and dials again on each as soon as that is free, while the `with` block runs; then
    all hang up. Some callers hang up after a moment, some talk until they are cut.
    """

    def __init__(self, phones: Party, accounts: Iterable[Account], chance: random.Random, *, lines: int = 2) -> None:
        self._phones = phones
        self._chance = chance
        self._lines = [_Line(account) for account in accounts for _ in range(lines)]
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._dial, daemon=True)
        self.placed = 0
        self.hung_up = 0
        """How often a caller hung up, or gave up ringing."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(10)
        deadline = time.monotonic() + HANG_UP_SECONDS
        while time.monotonic() < deadline and not all(leg.over for leg in self._phones.legs):
            for leg in self._phones.legs:
                leg.hang_up()  # again: whoever gave up as the answer came is in a call
            time.sleep(0.5)

    def _dial(self) -> None:
        while not self._closing.wait(0.01):
            for line in self._lines:
                self._turn(line, time.monotonic())

    def _turn(self, line: _Line, now: float) -> None:
        leg = line.leg
        if leg is not None and leg.over:
            line.leg, line.until = None, now + (REFUSED_SECONDS if leg.status >= 300 else 0)
        elif now < line.until:
            return
        elif leg is not None:
            leg.hang_up()
            self.hung_up += 1
            line.until = now + 1
        else:
            self.placed += 1
            line.leg = self._phones.call(line.account.number, line.account.phone)
            line.until = now + self._chance.uniform(0, self._chance.choice(PATIENCE))


Moment = Literal["any", "setup", "ringing", "renewal", "hangup"]
MOMENTS: tuple[Moment, ...] = ("any", "setup", "ringing", "renewal", "hangup")
Fault = Literal["kill", "cut", "both"]
FAULTS: tuple[Fault, ...] = ("kill", "kill", "cut", "both")


@dataclass
class Faults:
    """Kills the service, cuts its link, or both, at a moment of a kind, and mends it again."""

    service: Service
    link: Wiretap
    crowd: Crowd
    carrier: Party
    chance: random.Random
    done: dict[tuple[Fault, Moment], int] = field(default_factory=dict)

    def strike(self) -> None:
        """One fault, mended when this returns."""
        moment, fault = self.chance.choice(MOMENTS), self.chance.choice(FAULTS)
        if not self._await(moment):
            moment = "any"
        time.sleep(self.chance.uniform(0, 0.4 if moment == "any" else 0.012))
        if fault != "kill":
            self.link.cut()
        if fault != "cut":
            self.service.kill()
        time.sleep(self.chance.choice((0, 0, 0.3)) * self.chance.random())
        if fault != "cut":
            self.service.start()
        if fault != "kill":
            time.sleep(self.chance.uniform(0, 0.5))
            self.link.restore()
        self.done[fault, moment] = self.done.get((fault, moment), 0) + 1

    def _await(self, moment: Moment) -> bool:
        """Wait for the next event of a kind, a second at most, and say whether it came."""
        count: Callable[[], int] = {
            "any": lambda: 0,
            "setup": lambda: self.crowd.placed,
            "ringing": lambda: len(self.carrier.legs),
            "renewal": lambda: self.link.asked.count(b"AbsoluteTimeout"),
            "hangup": lambda: self.crowd.hung_up,
        }[moment]
        before, deadline = count(), time.monotonic() + 1
        while time.monotonic() < deadline:
            if count() != before:
                return True
            if moment == "any":
                return True
            time.sleep(0.001)
        return False


def spent(accounts: Iterable[Account], legs: Iterable[Leg]) -> Mapping[str, Decimal]:
    """Return what each account costs by the carrier's clock."""
    by_number: dict[str, list[Leg]] = {}
    for leg in legs:
        by_number.setdefault(leg.number.lstrip("+"), []).append(leg)
    return {
        account.name: cost_by_the_carrier(by_number.get(account.number.removeprefix("9011"), []), account.tariff)
        for account in accounts
    }


def start(service: Service) -> None:
    """Start a service, and wait until it follows Asterisk."""
    linked = service.log.count('"channels listed"')
    service.start()
    wait_until(lambda: service.log.count('"channels listed"') > linked, "the service followed Asterisk")


def set_budget(service: Service, amount: Decimal, *options: str) -> None:
    """Set a budget for a day."""
    service.cli("budget", "set", str(amount), "--per", "day", *options)
