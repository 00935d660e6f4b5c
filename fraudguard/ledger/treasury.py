"""The treasury: for every call that may cost money, the most it can cost is set aside in every budget that bounds it.

Pure: time is passed in. Money is set aside before a verdict is given, and returned only when it is known on disk that
it was not spent. So spent and set aside are never more than a budget, whatever dies in between; unless a budget was
lowered, or a call took place that no verdict allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final, TypeAlias

from fraudguard.clock import Millis
from fraudguard.ledger.accrual import accrual
from fraudguard.ledger.pots import Pot, Pots, Spent, bucket_of
from fraudguard.ledger.records import Admission, Call, Key, State
from fraudguard.money import Micros
from fraudguard.policy.budget import Budget, Payer
from fraudguard.rating.rate import Rate, most

PLEDGE: Final = ""
"""Stands for the Asterisk in the key of a verdict by which nothing was dialled yet; its uniqueid is the verdict."""

Strict: TypeAlias = Callable[[str, Millis], bool]
"""Whether a tenant's strict profile holds at an instant."""

Zones: TypeAlias = Callable[[str | None], tzinfo]
"""The time by which a tenant's periods begin; None: those of all."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is left for a call: in the budget that has least, which is `budget`, and in what its PIN's terms leave.

    None: nothing bounds it.
    """

    money: Micros | None = None
    budget: str = ""
    pin: Micros | None = None

    @property
    def least(self) -> Micros | None:
        """Return what the call has to make do with."""
        return min((one for one in (self.money, self.pin) if one is not None), default=None)


@dataclass(slots=True, eq=False)
class _Holding:
    """Money set aside for one leg, or for a verdict. `total` is the most it can cost, `least` what the shortest
    call costs there, `sunk` the part that is spent by now, with when.
    """

    payer: Payer
    verdict: str
    total: Micros = 0
    least: Micros = 0
    pots: tuple[Pot, ...] = ()
    strict: bool = False
    call: Call | None = None
    sunk: Micros = 0
    sunken: list[tuple[Millis, Micros]] = field(default_factory=list)

    @property
    def held(self) -> Micros:
        return self.total - self.sunk


class Treasury:
    """All budgets, and all that is spent or set aside of them."""

    def __init__(self, zones: Zones, strict: Strict) -> None:
        self._zones = zones
        self._strict = strict
        self._pots = Pots((), zones, strict)
        self._holdings: dict[Key, _Holding] = {}
        self._legs: dict[str, int] = {}  # by verdict: how many legs are held for
        self._paid: set[Pot] = set()  # pots that were paid from since somebody looked

    # -- budgets

    def prepare(self, budgets: Iterable[Budget], spent: Iterable[Spent], now: Millis = 0) -> Pots:
        """Return pots of these budgets that hold what ended calls have spent. Takes its time with many, and changes
        nothing here: another thread may do it.
        """
        pots = Pots(budgets, self._zones, self._strict, now)
        pots.add(spent)
        return pots

    def load(self, budgets: Iterable[Budget], spent: Iterable[Spent] = (), now: Millis = 0) -> None:
        """Begin anew with these budgets, and with what ended calls have spent."""
        self.adopt(self.prepare(budgets, spent, now))

    def adopt(self, pots: Pots) -> None:
        """Begin anew with these pots. What is set aside stays so, and so does what live calls have spent."""
        pots.take_over(self._pots)
        self._pots = pots
        for holding in self._holdings.values():
            pots.add((until, holding.payer, amount) for until, amount in holding.sunken)
            holding.pots = ()
            self._attach(holding, strict=holding.strict)
        self._paid = set(pots)

    def room(self, payer: Payer, now: Millis, *, strict: bool) -> Room:
        """Return what is left for another call of this payer."""
        money: Micros | None = None
        pin: Micros | None = None
        name = ""
        for pot in self._pots.of(payer, strict=strict):
            left = pot.room(now)
            if pot.budget.of_pin:
                pin = left if pin is None else min(pin, left)
            elif money is None or left < money:
                money, name = left, pot.name
        return Room(money, name, pin)

    def pots(self) -> tuple[Pot, ...]:
        """Return every pot that was ever paid from, since its budget was loaded."""
        return tuple(self._pots)

    @property
    def set_aside(self) -> Micros:
        """What live calls and undialled verdicts may yet cost."""
        return sum(holding.held for holding in self._holdings.values())

    @property
    def budgets(self) -> tuple[Budget, ...]:
        return self._pots.budgets

    def paid(self) -> tuple[Pot, ...]:
        """Return the pots that were paid from since the last time."""
        paid, self._paid = self._paid, set()
        return tuple(paid)

    def calls_by_pot(self, pots: Container[Pot]) -> dict[Pot, list[Call]]:
        """Return the live calls that each of some pots pays for."""
        calls: dict[Pot, list[Call]] = {}
        for holding in self._holdings.values():
            if holding.call is not None:
                for pot in holding.pots:
                    if pot in pots:
                        calls.setdefault(pot, []).append(holding.call)
        return calls

    # -- setting aside

    def pledge(self, admission: Admission, *, strict: bool) -> None:
        """Set aside what a call by this verdict can cost. Once is enough."""
        key = (PLEDGE, admission.call)
        if key in self._holdings:
            return
        rate, lease = admission.rate, admission.lease_seconds
        total = 0 if rate is None or lease is None else most(rate, lease)
        self._hold(key, _Holding(admission.payer, admission.call, total, _least(admission.rate), strict=strict))

    def withdraw(self, verdict: str) -> bool:
        """Return what was set aside for a verdict by which nothing is dialled; say whether there was any."""
        return self._drop((PLEDGE, verdict)) is not None

    def dialled(self, call: Call, now: Millis) -> bool:
        """Set aside what a new leg can cost: its verdict's pledge, or else anew. Say whether there was money for it.

        One verdict pays for one leg at a time. Where there is none for a second, it is set aside all the same, because
        the leg is there and may be answered before it is hung up.
        """
        key = call.leg.key
        if key in self._holdings:
            return True
        left: Micros | None = None
        pledged = self._holdings.pop((PLEDGE, call.call), None) if call.call else None
        if pledged is not None:
            self._holdings[key] = pledged
        else:
            strict = self._strict(call.payer.tenant, now)
            left = self.room(call.payer, now, strict=strict).least
            self._hold(key, _Holding(call.payer, call.call, call.reserved(), _least(call.rate), strict=strict))
        if call.call:
            self._legs[call.call] = self._legs.get(call.call, 0) + 1
        self.follow(call, now)
        return left is None or call.reserved() <= left

    def follow(self, call: Call, now: Millis) -> None:
        """Take a call that is held for as it now is, while it lives."""
        holding = self._holdings.get(call.leg.key)
        if holding is None or call.state is State.ENDED:
            return
        holding.call = call
        strict = self._strict(holding.payer.tenant, now)
        if strict != holding.strict:
            self._sink(holding, now)
            self._detach(holding)
            self._attach(holding, strict=strict)
        self._set_total(holding, max(call.reserved(), holding.sunk))

    def moved(self, call: Call) -> None:
        """Take a live call's instants as they are now: the clock was set."""
        holding = self._holdings.get(call.leg.key)
        if holding is not None:
            holding.call = call

    def close(self, call: Call, *, again: bool) -> None:
        """Count what an ended call has cost, and return the rest. With `again` it was never answered, and its verdict
        may still be dialled by: then it stays pledged, unless it was given up, which has its price.
        """
        key = call.leg.key
        holding = self._holdings.get(key)
        if holding is None:
            return
        alone = self._legs.get(call.call, 0) <= 1
        self._count_out(call.call)
        if again and call.call and alone and call.answered_at is None and not call.given_up:
            del self._holdings[key]
            holding.call = None
            self._holdings[PLEDGE, call.call] = holding
            return
        assert call.ended_at is not None
        holding.call = call
        self._sink(holding, call.ended_at)
        self._drop(key)

    def disown(self, key: Key) -> None:
        """Take back all that was counted of a live leg: it is another's than was thought."""
        holding = self._drop(key)
        if holding is None:
            return
        self._count_out(holding.verdict)
        self._take_back(holding.payer, holding.sunken)

    def reopen(self, before: Call, alive: Call, now: Millis) -> None:
        """Take back what was counted of a call that was taken to have ended, and lives."""
        if alive.leg.key in self._holdings:
            self.follow(alive, now)  # its end was not stored yet
            return
        assert before.ended_at is not None
        self._take_back(before.payer, accrual(before, before.ended_at))
        self.dialled(alive, now)

    def _take_back(self, payer: Payer, spent: Iterable[tuple[Millis, Micros]]) -> None:
        self._pots.add((until, payer, -amount) for until, amount in spent)

    def sink(self, now: Millis) -> None:
        """Count what live calls have spent by now as spent now, so that each period pays for its own part; and from now
        on in strict budgets too, where strict times have begun.
        """
        for holding in self._holdings.values():
            self._sink(holding, now)
            if holding.call is not None:
                self.follow(holding.call, now)

    def pledged(self, verdict: str) -> bool:
        """Say whether money is set aside for a verdict by which no leg is known."""
        return (PLEDGE, verdict) in self._holdings

    def holds(self, verdict: str) -> bool:
        """Say whether anything is set aside for a verdict, or a leg by it."""
        return verdict in self._legs or (PLEDGE, verdict) in self._holdings

    # -- keeping

    def _hold(self, key: Key, holding: _Holding) -> None:
        self._holdings[key] = holding
        self._attach(holding, strict=holding.strict)

    def _attach(self, holding: _Holding, *, strict: bool) -> None:
        holding.strict = strict
        holding.pots = self._pots.of(holding.payer, strict=strict)
        for pot in holding.pots:
            pot.held += holding.held
            pot.live += 1

    def _detach(self, holding: _Holding) -> None:
        for pot in holding.pots:
            pot.held -= holding.held
            pot.live -= 1
        holding.pots = ()

    def _drop(self, key: Key) -> _Holding | None:
        holding = self._holdings.pop(key, None)
        if holding is not None:
            self._detach(holding)
        return holding

    def _count_out(self, verdict: str) -> None:
        left = self._legs.get(verdict, 0) - 1
        if left > 0:
            self._legs[verdict] = left
        else:
            self._legs.pop(verdict, None)

    def _set_total(self, holding: _Holding, total: Micros) -> None:
        for pot in holding.pots:
            pot.held += total - holding.total
        holding.total = total

    def _sink(self, holding: _Holding, now: Millis) -> None:
        call = holding.call
        if call is None:
            return
        if holding.sunk:
            self._spend(holding, call.charged_at(now), bucket_of(now))
        else:  # the first time, which after a restart may be late
            for until, amount in accrual(call, now):
                self._spend(holding, holding.sunk + amount, until)

    def _spend(self, holding: _Holding, cost_so_far: Micros, until: Millis) -> None:
        """Count as spent what a holding has cost by now beyond what was counted; what it may yet cost stays held."""
        amount = cost_so_far - holding.sunk
        if not amount:
            return
        if cost_so_far > holding.total:  # longer than its lease, or it has none: then it costs what it costs
            self._set_total(holding, cost_so_far)
        for pot in holding.pots:
            pot.add(until, amount)
            pot.held -= amount
            pot.least = holding.least
            self._paid.add(pot)
        holding.sunk = cost_so_far
        holding.sunken.append((until, amount))


def _least(rate: Rate | None) -> Micros:
    return 0 if rate is None else most(rate, 1)
