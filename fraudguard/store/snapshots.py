"""What operators have set, as it stands now: the snapshot that decisions are made from.

Another process's edit shows as a changed `PRAGMA data_version`, which costs a few microseconds to ask for. Only
then the revisions of what operators edit are compared (verdicts change the data version too), and only what
changed is loaded. Decks have a reader and a loop of their own, so that an edit does not wait for a large deck.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from fraudguard.clock import Clock, Millis
from fraudguard.policy.budget import Budget
from fraudguard.policy.pin import Pin, Scheme, Unlock
from fraudguard.policy.records import Block, Grant, Limit, Snapshot
from fraudguard.rating import Deck
from fraudguard.store.budgets import list_budgets
from fraudguard.store.database import Closing, Reader, open_reader
from fraudguard.store.edits import deck_noun, revisions
from fraudguard.store.guesses import KEPT_MILLIS, list_unlocks
from fraudguard.store.pins import list_pins, list_schemes
from fraudguard.store.policies import list_blocks, list_grants, list_limits
from fraudguard.store.rates import load_deck, next_activation

POLL_SECONDS = 0.2
"""How often to look for edits: five looks within the second that operators are promised."""

_POLICY_NOUNS = ("limit", "grant", "block", "pin", "budget")


@dataclass(frozen=True, slots=True)
class _Policies:
    revisions: tuple[int, ...]
    limits: tuple[Limit, ...]
    grants: tuple[Grant, ...]
    blocks: tuple[Block, ...]
    pins: tuple[Pin, ...]
    schemes: Mapping[str, Scheme]
    unlocks: tuple[Unlock, ...]
    budgets: tuple[Budget, ...]


@dataclass(frozen=True, slots=True)
class _LoadedDeck:
    revision: int
    deck: Deck | None
    valid_until: Millis | None


class SnapshotSource(Closing):
    """Keeps a Snapshot up to date. Use `open`, then run `watch` as a task.

    `swapped` is called with every new snapshot, and once with the first; `failed` with what kept one from being loaded:
    the previous snapshot stays, and the next poll tries again. Both are called on the event loop.
    """

    def __init__(
        self,
        policies: Reader,
        decks: Reader,
        names: Iterable[str],
        clock: Clock,
        *,
        swapped: Callable[[Snapshot], None],
        failed: Callable[[Exception], None],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._policy_reader = policies
        self._deck_reader = decks
        self._names = tuple(sorted(set(names)))
        self._clock = clock
        self._swapped = swapped
        self._failed = failed
        self._poll_seconds = poll_seconds
        self._policies: _Policies | None = None
        self._decks: Mapping[str, _LoadedDeck] = {}
        self._seen: dict[Reader, int] = {}
        self._current = Snapshot(decks={})

    @classmethod
    async def open(
        cls,
        path: Path,
        names: Iterable[str],
        clock: Clock,
        *,
        swapped: Callable[[Snapshot], None] = lambda _snapshot: None,
        failed: Callable[[Exception], None] = lambda _error: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> Self:
        """Open the database at `path` and load the first snapshot, with the decks `names`. Raises StoreError."""
        policies = await open_reader(path)
        try:
            decks = await open_reader(path)
        except BaseException:
            await policies.close()
            raise
        source = cls(policies, decks, names, clock, swapped=swapped, failed=failed, poll_seconds=poll_seconds)
        try:
            await source.refresh()
        except BaseException:
            await source.close()
            raise
        return source

    @property
    def current(self) -> Snapshot:
        """The snapshot as it stands; never changes, is replaced."""
        return self._current

    async def refresh(self) -> None:
        """Load what has changed, now. Raises StoreError; the previous snapshot stays then."""
        changed = [await self._refresh_policies(), await self._refresh_decks()]
        if any(changed):
            self._swapped(self._current)

    async def watch(self) -> None:
        """Follow the edits until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._follow(self._refresh_policies))
            loops.create_task(self._follow(self._refresh_decks))

    async def close(self) -> None:
        """Close the readers. Cancel `watch` before."""
        await self._policy_reader.close()
        await self._deck_reader.close()

    async def _follow(self, refresh: Callable[[], Awaitable[bool]]) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                if await refresh():
                    self._swapped(self._current)
            except Exception as error:  # noqa: BLE001  whatever it was: who stops following obeys no edit any more
                self._failed(error)

    async def _refresh_policies(self) -> bool:
        """Load what policy is made of if it was edited; say whether the snapshot is another now."""
        version = await self._policy_reader.run(_data_version)
        if self._seen.get(self._policy_reader) == version:
            return False
        loaded = await self._policy_reader.read(partial(_load_policies, known=self._policies, now=self._clock.now()))
        # Seen only now: a failed load is tried again at the next poll.
        self._seen[self._policy_reader] = version
        if loaded is self._policies:
            return False
        self._policies = loaded
        self._current = replace(
            self._current,
            limits=loaded.limits,
            grants=loaded.grants,
            blocks=loaded.blocks,
            pins=loaded.pins,
            schemes=loaded.schemes,
            unlocks=loaded.unlocks,
            budgets=loaded.budgets,
        )
        return True

    async def _refresh_decks(self) -> bool:
        """Load the decks that were edited, or whose next rows have begun; say whether the snapshot is another now."""
        version = await self._deck_reader.run(_data_version)
        now = self._clock.now()
        due = any(loaded.valid_until is not None and loaded.valid_until <= now for loaded in self._decks.values())
        if self._seen.get(self._deck_reader) == version and not due:
            return False
        decks = await self._deck_reader.read(partial(_load_decks, names=self._names, known=self._decks, now=now))
        self._seen[self._deck_reader] = version
        self._decks = decks
        present = {name: loaded.deck for name, loaded in decks.items() if loaded.deck is not None}
        if present == self._current.decks:
            return False
        self._current = replace(self._current, decks=present)
        return True


def _data_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def _load_policies(connection: sqlite3.Connection, known: _Policies | None, now: Millis) -> _Policies:
    edited = revisions(connection)
    stand = tuple(edited.get(noun, 0) for noun in _POLICY_NOUNS)
    if known is not None and known.revisions == stand:
        return known
    return _Policies(
        stand,
        list_limits(connection),
        list_grants(connection),
        list_blocks(connection),
        list_pins(connection),
        list_schemes(connection),
        list_unlocks(connection, now - KEPT_MILLIS),
        list_budgets(connection),
    )


def _load_decks(
    connection: sqlite3.Connection, names: Iterable[str], known: Mapping[str, _LoadedDeck], now: Millis
) -> dict[str, _LoadedDeck]:
    edited = revisions(connection)
    return {name: _load_deck(connection, name, edited.get(deck_noun(name), 0), known.get(name), now) for name in names}


def _load_deck(
    connection: sqlite3.Connection, name: str, revision: int, known: _LoadedDeck | None, now: Millis
) -> _LoadedDeck:
    due = known is not None and known.valid_until is not None and known.valid_until <= now
    if known is not None and known.revision == revision and not due:
        return known
    deck = load_deck(connection, name, now)
    valid_until = next_activation(connection, name, now) if deck is None else deck.valid_until
    return _LoadedDeck(revision, deck, valid_until)
