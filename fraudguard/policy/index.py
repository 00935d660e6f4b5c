"""A snapshot made quick to ask: the narrowest limit, the grant and the block that apply to one attempt."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Generic, TypeAlias, TypeVar

from fraudguard.clock import Millis
from fraudguard.money import Micros
from fraudguard.numbering.number import BadNumber, Number
from fraudguard.policy.budget import Budget, BudgetScope, Period, in_force
from fraudguard.policy.pin import Keyed, Pin, PinKind, Unlock
from fraudguard.policy.records import DEFAULT_LIMIT, EVERYBODY, Attempt, Block, Facts, Grant, Limit, Scope, Snapshot
from fraudguard.policy.rules import reaches
from fraudguard.policy.strict import Strict
from fraudguard.rating.deck import Deck
from fraudguard.rating.rate import Rate

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_RuleT = TypeVar("_RuleT", Grant, Block)

_NO_LIMIT_SET = Limit(EVERYBODY, DEFAULT_LIMIT)


class PolicyIndex:
    """Built once per snapshot, asked once per attempt, never changed."""

    __slots__ = (
        "_blocks",
        "_by_host",
        "_by_id",
        "_by_network",
        "_grants",
        "_limits",
        "_people",
        "_pins",
        "budgets",
        "decks",
        "schemes",
        "unlocks",
    )

    def __init__(self, snapshot: Snapshot) -> None:
        self.decks: Mapping[str, Deck] = snapshot.decks
        self.unlocks: tuple[Unlock, ...] = snapshot.unlocks
        self._by_id = {pin.id: pin for pin in snapshot.pins}
        self._people = {(pin.tenant, pin.name) for pin in snapshot.pins}
        self.budgets = in_force((*snapshot.budgets, *_budgets_of(snapshot.pins)))
        self._pins: dict[str, _TenantPins] = {}
        for pin in snapshot.pins:
            self._pins.setdefault(pin.tenant, _TenantPins()).add(pin)
        # Of tenants that have PINs: what sealed those revoked long ago may be lost.
        self.schemes = {tenant: scheme for tenant, scheme in snapshot.schemes.items() if tenant in self._pins}
        self._limits = {(limit.scope.tenant, limit.scope.account): limit for limit in snapshot.limits}
        self._grants = _ByPrefix(snapshot.grants)
        self._blocks = _ByPrefix(tuple(block for block in snapshot.blocks if not block.source))
        self._by_host: dict[Address, list[Block]] = {}
        self._by_network: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Block]] = []
        for block in snapshot.blocks:
            if block.source:
                self._index_source(block)

    def gather(
        self,
        attempt: Attempt,
        number: Number | BadNumber,
        deck: str,
        rate: Rate | None,
        *,
        asks: bool = False,
        keyed: Keyed | None = None,
        zone: tzinfo = UTC,
        strict: Strict | None = None,
    ) -> Facts:
        """Bring together what is known about an attempt; the fields are those of Facts.

        `strict` is the tenant's stricter profile if it holds now, else None.
        """
        # Short codes are no E.164 prefixes: 411 must not fall under a rule about +41.
        digits = "" if isinstance(number, BadNumber) or number.short else number.digits
        return Facts(
            attempt=attempt,
            number=number,
            deck=deck,
            rate=rate,
            limit=_capped(self.limit_for(attempt.tenant, attempt.account), strict),
            grant=self._grant_for(attempt, digits, rate),
            block=self._block_for(attempt, digits),
            asks=asks,
            keyed=keyed,
            zone=zone,
            strict=strict is not None,
        )

    def can_key(self, tenant: str, account: str) -> bool:
        """Say whether there is any PIN that could be keyed at an account."""
        pins = self._pins.get(tenant)
        return pins is not None and (pins.anywhere or account in pins.accounts)

    def has_pin(self, tenant: str, name: str) -> bool:
        """Say whether a person has a PIN."""
        return (tenant, name) in self._people

    def blocks(self, tenant: str, account: str, source: str, number: str, at: Millis) -> bool:
        """Say whether a call that is up, to a number as it is dialled, is refused by a block."""
        digits = number[1:] if number.startswith("+") else ""
        return self._block_for(Attempt(number, "", account, tenant, source, at), digits) is not None

    def pin(self, pin_id: int) -> Pin | None:
        """Return the PIN of that id, if it is still one."""
        return self._by_id.get(pin_id)

    def pin_at(self, tenant: str, index: bytes) -> Pin | None:
        """Return the tenant's PIN with such an index of its seal."""
        pins = self._pins.get(tenant)
        return None if pins is None else pins.by_index.get(index)

    def authenticators(self, tenant: str, account: str) -> tuple[Pin, ...]:
        """Return the authenticators whose codes may be keyed at an account."""
        pins = self._pins.get(tenant)
        if pins is None:
            return ()
        return (*pins.authenticators.get(account, ()), *pins.authenticators.get(None, ()))

    def limit_for(self, tenant: str, account: str) -> Limit:
        """Return the narrowest limit: the account's, else the tenant's, else the global one, else DEFAULT_LIMIT."""
        limits = self._limits
        return limits.get((tenant, account)) or limits.get((tenant, None)) or limits.get((None, None)) or _NO_LIMIT_SET

    def _grant_for(self, attempt: Attempt, digits: str, rate: Rate | None) -> Grant | None:
        asks: Grant | None = None
        too_low: Grant | None = None
        for grant in self._grants.matching(digits):
            if not _applies(grant.scope, grant.until, attempt):
                continue
            if rate is not None and not reaches(grant, rate):
                too_low = too_low or grant
            elif grant.asks_pin:
                asks = asks or grant
            else:
                return grant
        return asks or too_low  # too low is not enough, but the operator wants to see in `check` that it was found

    def _block_for(self, attempt: Attempt, digits: str) -> Block | None:
        for block in self._blocks.matching(digits):
            if _applies(block.scope, block.until, attempt):
                return block
        if self._by_host or self._by_network:
            for block in self._blocks_of_source(attempt.source):
                if digits.startswith(block.prefix) and _applies(block.scope, block.until, attempt):
                    return block
        return None

    def _blocks_of_source(self, source: str) -> Iterator[Block]:
        address = address_of(source)
        if address is None:
            return
        yield from self._by_host.get(address, ())
        for network, block in self._by_network:
            if address in network:
                yield block

    def _index_source(self, block: Block) -> None:
        network = ipaddress.ip_network(block.source, strict=False)
        if network.prefixlen == network.max_prefixlen:
            self._by_host.setdefault(network.network_address, []).append(block)
        else:
            self._by_network.append((network, block))


def _budgets_of(pins: Iterable[Pin]) -> Iterator[Budget]:
    """Return what PINs may spend in a day: a person's several PINs are not several times as much."""
    least: dict[tuple[str, str], Micros] = {}
    for pin in pins:
        if pin.terms.per_day is not None:
            whose = (pin.tenant, pin.name)
            least[whose] = min(pin.terms.per_day, least.get(whose, pin.terms.per_day))
    for (tenant, name), per_day in least.items():
        yield Budget(BudgetScope(tenant, None, name), Period.DAY, per_day, of_pin=True)


class _TenantPins:
    """The PINs of one tenant: those of digits by their index, authenticators by the accounts at which they may be
    keyed, None for any. `accounts` are those at which something may be keyed, unless it is `anywhere`.
    """

    __slots__ = ("accounts", "anywhere", "authenticators", "by_index")

    def __init__(self) -> None:
        self.by_index: dict[bytes, Pin] = {}
        self.authenticators: dict[str | None, list[Pin]] = {}
        self.accounts: set[str] = set()
        self.anywhere = False

    def add(self, pin: Pin) -> None:
        self.accounts |= pin.terms.accounts
        self.anywhere = self.anywhere or not pin.terms.accounts
        if pin.kind is PinKind.TOTP:
            for account in pin.terms.accounts or (None,):
                self.authenticators.setdefault(account, []).append(pin)
        else:
            self.by_index[pin.seal.index] = pin


class _ByPrefix(Generic[_RuleT]):
    """Grants or blocks by the prefix they name; the longest prefixes are offered first."""

    __slots__ = ("_lengths", "_rules")

    def __init__(self, rules: tuple[_RuleT, ...]) -> None:
        self._rules: dict[str, list[_RuleT]] = {}
        for rule in rules:
            self._rules.setdefault(rule.prefix, []).append(rule)
        self._lengths = sorted({len(prefix) for prefix in self._rules}, reverse=True)

    def matching(self, digits: str) -> Iterator[_RuleT]:
        for length in self._lengths:
            if length <= len(digits):
                yield from self._rules.get(digits[:length], ())


def without_port(source: str) -> str:
    """Return the address of '192.0.2.7:5060', '[2001:db8::7]:5060' or a bare address; other text as it is."""
    if source.startswith("["):
        return source[1:].partition("]")[0]
    return source.partition(":")[0] if source.count(":") == 1 else source


@lru_cache(maxsize=20_000)  # phones call again, and reading an address takes 5 microseconds
def host_of(source: str) -> str:
    """Return the address in `source` as it is always written, whatever Asterisk printed; other text without a port."""
    address = address_of(source)
    return without_port(source) if address is None else str(address)


def address_of(source: str) -> Address | None:
    """Read the address out of what Asterisk prints ('192.0.2.7:5060', '[2001:db8::1]:5060', bare), or None."""
    try:
        address = ipaddress.ip_address(without_port(source))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _applies(scope: Scope, until: Millis | None, attempt: Attempt) -> bool:
    return (until is None or attempt.at < until) and scope.covers(attempt.tenant, attempt.account)


def _capped(limit: Limit, strict: Strict | None) -> Limit:
    if strict is None or strict.limit is None or limit.per_minute <= strict.limit:
        return limit
    return Limit(limit.scope, strict.limit, strict=True)
