"""The verdicts that may still be dialled by, found by the chain of channels that asked for them."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from fraudguard.clock import Millis
from fraudguard.ledger.dialled import reaches, tail_of
from fraudguard.ledger.records import Admission
from fraudguard.money import Micros

MARGIN_MILLIS: Final = 600_000
"""A verdict may be dialled by for its lease and 10 minutes more (ring_seconds is at most that), or for 10 minutes after
the channel that began its chain is gone."""

ENDLESS_SECONDS: Final = 86_400
"""What counts for an emergency call, which has no lease: a day, as in the dialplan."""

LIMIT: Final = 200_000
"""Admissions kept at once, some 250 MB: 250 calls a second of 3 minutes. Beyond that the oldest are forgotten."""

Chain: TypeAlias = tuple[str, str]
"""Asterisk and linkedid: what ties the legs of a call together."""


@dataclass(slots=True, eq=False)
class _Kept:
    admission: Admission
    key: tuple[str, str]
    tail: str
    until: Millis
    dialled: bool
    watched: bool  # since it was given: until an interruption it is known what became of it
    gone: bool = False  # the channel that asked
    chains: list[Chain] = field(default_factory=list)


class Admissions:
    """What was allowed, until it can no longer be dialled.

    `sole` is the only Asterisk there is, '' with several, all of which are `asterisks`.
    """

    def __init__(self, sole: str, asterisks: Collection[str] = (), limit: int = LIMIT) -> None:
        self._sole = sole
        self._asterisks = asterisks
        self._limit = limit
        self._kept: dict[tuple[str, str], _Kept] = {}  # by Asterisk and verdict, oldest first
        self._by_chain: dict[Chain, list[_Kept]] = {}
        self._by_asker: dict[tuple[str, str], list[_Kept]] = {}  # by Asterisk and uniqueid of the channel that asked
        self._forgotten: list[Admission] = []
        self._ends: list[tuple[Millis, str, str]] = []  # a heap; entries of what was forgotten or shortened stay in it

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, admission: Admission, *, watched: bool = True) -> None:
        """Keep it. Once is enough: the same verdict again changes nothing. What the store kept was not `watched`."""
        # With one Asterisk every verdict is about it, under whatever name its dialplan goes.
        if self._sole:
            self._add(admission, self._sole, watched)
        elif admission.asterisk in self._asterisks or not self._asterisks:
            self._add(admission, admission.asterisk, watched)
        else:  # of one of them, and a call that was allowed is not to be hung up
            for asterisk in self._asterisks:
                self._add(admission, asterisk, watched)

    def _add(self, admission: Admission, asterisk: str, watched: bool) -> None:
        key = (asterisk, admission.call)
        if key in self._kept:
            return
        lease = ENDLESS_SECONDS if admission.lease_seconds is None else admission.lease_seconds
        until = admission.at + lease * 1000 + MARGIN_MILLIS
        tail = tail_of(admission.number)
        kept = self._kept[key] = _Kept(admission, key, tail, until, admission.dialled, watched)
        self._tie(kept, (asterisk, admission.linkedid or _without_chain(admission.trunk, tail)))
        self._tie(kept, (asterisk, _any_chain(admission.trunk, tail)))
        if admission.uniqueid and asterisk == (self._sole or admission.asterisk):  # elsewhere it is another's
            self._by_asker.setdefault((asterisk, admission.uniqueid), []).append(kept)
        heapq.heappush(self._ends, (until, *key))
        if len(self._kept) > self._limit:
            self._forget(next(iter(self._kept.values())))

    def find(self, chains: Iterable[Chain], trunks: Iterable[str], number: str) -> Admission | None:
        """Return the latest that any of the chains has for a trunk and number.

        Without a number ('') it is the dearest that the chains have for the trunk: it might be any of them.
        """
        trunks = tuple(trunks)
        if not number:
            every = (kept.admission for chain in chains for kept in self._by_chain.get(chain, ()))
            return max((one for one in every if one.trunk in trunks), key=_price, default=None)
        for chain in chains:
            matching = [
                kept
                for kept in reversed(self._by_chain.get(chain, ()))
                if kept.admission.trunk in trunks and reaches(number, kept.tail)
            ]
            if matching:  # one leg each, where the same was asked for several times
                return next((kept for kept in matching if not kept.dialled), matching[0]).admission
        return None

    def find_without_chain(self, asterisk: str, trunks: Iterable[str], number: str) -> Admission | None:
        """Return one that was asked for without a linkedid, by a dialplan that does not tell it."""
        tail = tail_of(number)
        return self.find([(asterisk, _without_chain(trunk, tail)) for trunk in trunks], trunks, number or "-")

    def find_in_any_chain(self, asterisk: str, trunks: Iterable[str], number: str) -> Admission | None:
        """Return one for this trunk and number, whoever asked for it."""
        tail = tail_of(number)
        return self.find([(asterisk, _any_chain(trunk, tail)) for trunk in trunks], trunks, number or "-")

    def latest(self, chains: Iterable[Chain]) -> Admission | None:
        """Return the latest of any trunk and number: it says whose chain it is."""
        for chain in chains:
            if chain in self._by_chain:
                return self._by_chain[chain][-1].admission
        return None

    def join(self, old: Chain, new: Chain) -> None:
        """Make what was admitted in one chain count in another, with which a transfer merged it."""
        if old != new:
            for kept in tuple(self._by_chain.get(old, ())):
                if new not in kept.chains:
                    self._tie(kept, new)

    def note_dialled(self, asterisk: str, call: str) -> None:
        """Note that a leg is there by this verdict."""
        kept = self._kept.get((asterisk, call))
        if kept is not None:
            kept.dialled = True

    def note_returned(self, asterisk: str, call: str) -> None:
        """Note that the leg by this verdict was seen to end unanswered, and that it may be dialled by again."""
        kept = self._kept.get((asterisk, call))
        if kept is not None:
            kept.dialled, kept.watched = False, True

    def undialled(self, asterisk: str, since: Millis, until: Millis) -> tuple[Admission, ...]:
        """Return what may have been dialled by within a time without a leg having been seen, once: what was admitted
        meanwhile, and what was admitted before, was watched, and could still be dialled by when it began.
        """
        found = []
        for kept in self._kept.values():
            known = bool(self._sole) or kept.admission.asterisk == asterisk
            may = (kept.watched or since <= kept.admission.at) and kept.admission.at <= until and not kept.gone
            if kept.key[0] == asterisk and known and not kept.dialled and may:
                kept.dialled = True
                found.append(kept.admission)
        return tuple(found)

    def first_gone(self, chain: Chain, at: Millis) -> None:
        """Note that the channel which began a chain is gone. Others may live on in it, but not dial for long."""
        for kept in self._by_chain.get(chain, ()):
            until = at + MARGIN_MILLIS
            if until < kept.until:
                kept.until = until
                heapq.heappush(self._ends, (until, *kept.key))

    def asterisk_of(self, admission: Admission) -> str:
        """Return the Asterisk that a verdict was for."""
        return self._sole or admission.asterisk

    def asker_gone(self, asker: tuple[str, str], *, after: Millis | None = None) -> tuple[str, ...]:
        """Note that the channel which asked for verdicts is gone: no other dials by them. Return the verdicts, of those
        given `after` an instant: earlier ones may have been dialled by unseen.
        """
        kept = [one for one in self._by_asker.get(asker, ()) if after is None or one.admission.at > after]
        for one in kept:
            one.gone = True
        return tuple(one.admission.call for one in kept)

    def askers_missing(
        self, asterisk: str, there: Container[tuple[str, str]], before: Millis, *, watched: bool = True
    ) -> tuple[str, ...]:
        """Note which channels that asked before an instant are no longer there. Return their verdicts; those that were
        watched only if told so.
        """
        missing = [
            asker
            for asker, kept in self._by_asker.items()
            if asker[0] == asterisk
            and asker not in there
            and kept[-1].admission.at < before
            and (watched or not kept[-1].watched)
        ]
        return tuple(verdict for asker in missing for verdict in self.asker_gone(asker))

    def may_be_dialled(self, asterisk: str, verdict: str) -> bool:
        """Say whether a leg by this verdict may still begin, as far as is known."""
        kept = self._kept.get((asterisk, verdict))
        return kept is not None and not kept.gone

    def forget(self, now: Millis) -> tuple[Admission, ...]:
        """Drop what can no longer be dialled by; return it."""
        while self._ends and self._ends[0][0] <= now:
            _, *key = heapq.heappop(self._ends)
            kept = self._kept.get((key[0], key[1]))
            if kept is not None and kept.until <= now:
                self._forget(kept)
        forgotten, self._forgotten = tuple(self._forgotten), []
        return forgotten

    def shift(self, delta: Millis) -> None:
        """Take all instants for so much later, or earlier: the clock was set."""
        for kept in self._kept.values():
            kept.until += delta
            kept.admission = replace(kept.admission, at=kept.admission.at + delta)
        self._ends = [(until + delta, asterisk, verdict) for until, asterisk, verdict in self._ends]

    def _tie(self, kept: _Kept, chain: Chain) -> None:
        kept.chains.append(chain)
        self._by_chain.setdefault(chain, []).append(kept)

    def _forget(self, kept: _Kept) -> None:
        del self._kept[kept.key]
        self._forgotten.append(kept.admission)
        asker = (kept.key[0], kept.admission.uniqueid)
        if asker in self._by_asker:
            self._by_asker[asker].remove(kept)
            if not self._by_asker[asker]:
                del self._by_asker[asker]
        for chain in kept.chains:
            others = self._by_chain[chain]
            others.remove(kept)
            if not others:
                del self._by_chain[chain]


def _without_chain(trunk: str, tail: str) -> str:
    """Stand in for the linkedid of a verdict that was asked for without one; no linkedid holds a slash."""
    return f"{trunk}/{tail}"


def _any_chain(trunk: str, tail: str) -> str:
    """Stand in for all linkedids."""
    return f"{trunk}/{tail}/"


def _price(admission: Admission) -> tuple[Micros, Micros]:
    rate = admission.rate
    return (-1, -1) if rate is None else (rate.per_minute, rate.connect_fee)
