"""The configuration file made ready for the hot path: each tenant's numbering, each trunk's deck."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from fraudguard.clock import Millis
from fraudguard.config import Numbering, PinSettings, Settings, Trunk
from fraudguard.errors import ConfigError, PeerError
from fraudguard.money import parse_amount
from fraudguard.numbering import HomePlan, Kind, Normaliser
from fraudguard.policy import DEFAULT_TENANT, Attempt, Reason
from fraudguard.rating import Deck, Rate


@dataclass(frozen=True, slots=True)
class Asking:
    """How a tenant's callers are asked for a PIN.

    `kinds` of number want one. `tries` times in a call, with `timeout_millis` for each digit. `answered`: the call is
    answered first. The same device may dial the same region again for `remember_millis` without one. `ask`, `again`
    and `refused` are sound files, in `language` ('': the channel's own).
    """

    kinds: frozenset[Kind] = frozenset()
    tries: int = 3
    timeout_millis: int = 6000
    answered: bool = False
    remember_millis: Millis = 0
    language: str = ""
    ask: str = ""
    again: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """How one tenant dials: its numbering, the prices of its service codes (short code -> Rate), for what it is asked
    for a PIN and how, and by what time.
    """

    normaliser: Normaliser
    service_rates: Mapping[str, Rate]
    asking: Asking = Asking()
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Line:
    """How Asterisk names a trunk's legs: `channel` is their name before its last '-' ('PJSIP/carrier').

    `number` finds the number in a dial string that was made from the trunk's `dial`. `enforce` says whether calls that
    no verdict allowed are hung up, or only reported.
    """

    trunk: str
    channel: str
    number: re.Pattern[str]
    enforce: bool


@dataclass(frozen=True, slots=True)
class House:
    """What the configuration file says, ready for the hot path; fixed while the service runs.

    `trunks` maps a trunk's name to the name of its deck. The default tenant dials as `fallback`. `lines` holds the
    trunks that can be followed by the channel they have in common: one, or several with prefixes of their own.
    """

    trunks: Mapping[str, str]
    tenancies: Mapping[str, Tenancy]
    fallback: Tenancy
    lease_seconds: int
    shadow: frozenset[Reason] = frozenset()
    lines: Mapping[str, tuple[Line, ...]] = field(default_factory=dict)
    fence_lease_seconds: int = 3600

    def lines_of(self, channel: str) -> tuple[Line, ...]:
        """Return the trunks that a channel belongs to: 'PJSIP/carrier-0000001a' is one of PJSIP/carrier's."""
        return self.lines.get(channel.rpartition("-")[0], ())

    @property
    def unfollowed(self) -> tuple[str, ...]:
        """The trunks whose channels cannot be told from their `dial`: their calls are guarded, but neither followed
        nor policed. Setting the trunk's `channel` mends it.
        """
        followed = {line.trunk for lines in self.lines.values() for line in lines}
        return tuple(name for name in self.trunks if name not in followed)

    def deck_for(self, attempt: Attempt) -> str:
        """Return the name of the deck that prices an attempt. Raises UnknownTrunkError, UnknownTenantError."""
        deck = self.trunks.get(attempt.trunk)
        if deck is None:
            known = ", ".join(self.trunks) or "none"
            raise UnknownTrunkError(f"unknown trunk {attempt.trunk[:40]!r}", fix=f"configured trunks: {known}")
        if attempt.tenant not in self.tenancies and attempt.tenant != DEFAULT_TENANT:
            known = ", ".join((DEFAULT_TENANT, *self.tenancies))
            raise UnknownTenantError(f"unknown tenant {attempt.tenant[:40]!r}", fix=f"configured tenants: {known}")
        return deck

    def tenancy_of(self, tenant: str) -> Tenancy:
        """Return how a tenant dials."""
        return self.tenancies.get(tenant, self.fallback)


class UnknownTrunkError(PeerError):
    """The dialplan asked about a trunk that the configuration does not name."""


class UnknownTenantError(PeerError):
    """The dialplan asked for a tenant that the configuration does not name: the rules set for the tenant that was
    meant would be passed by, so nothing is decided.
    """


def build_house(settings: Settings) -> House:
    """Compile the settings. Raises ConfigError naming file, section and key of a numbering that makes no sense."""
    file = settings.path
    return House(
        trunks={name: trunk.deck for name, trunk in settings.trunks.items()},
        tenancies={name: _tenancy(settings, name, f"{file}: tenants.{name}") for name in settings.tenants},
        fallback=_tenancy(settings, DEFAULT_TENANT, f"{file}: numbering"),
        lease_seconds=settings.policy.lease_seconds,
        shadow=frozenset(Reason(rule) for rule in settings.policy.shadow),
        lines=_lines(settings.trunks),
        fence_lease_seconds=settings.dialplan.fence_lease_seconds,
    )


def refuse_other_currency(settings: Settings, decks: Iterable[Deck]) -> None:
    """Raise ConfigError for a deck priced in another currency than the settings say: changing the one key would
    turn every price and limit into something else.
    """
    for deck in decks:
        if deck.currency != settings.currency:
            raise ConfigError(
                f"is {settings.currency}, but deck {deck.name} is priced in {deck.currency}",
                where=f"{settings.path}: currency",
                fix="set it back, or start anew with another database",
            )


def home_plan(numbering: Numbering) -> HomePlan:
    """Return what the numbering room needs to know of a [numbering] or tenant section."""
    return HomePlan(
        home=numbering.home,
        outside_line=numbering.outside_line,
        area_code=numbering.area_code,
        domestic_regions=frozenset(numbering.domestic_regions),
        emergency_numbers=frozenset(numbering.emergency_numbers),
        service_codes=frozenset(numbering.service_codes),
        premium_prefixes=numbering.premium_prefixes,
        satellite_prefixes=numbering.satellite_prefixes,
    )


def channel_of(name: str, trunk: Trunk) -> str | None:
    """Return what the names of a trunk's channels begin with, as set or as its `dial` tells; None where it does not."""
    if trunk.channel is not None:
        return trunk.channel
    technology, _, rest = trunk.dial.replace("{trunk}", name).partition("/")
    technology = technology.upper()
    if technology not in _NAMED_BY_PEER:
        return None
    if "/" in rest:  # peer/number, user:secret@peer:port/number, peer/sip:number@host
        peer = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    else:  # number@peer
        peer = rest.rpartition("@")[2].partition(":")[0] if "@" in rest else ""
    return f"{technology}/{peer}" if _PEER(peer) else None


_NAMED_BY_PEER = frozenset({"PJSIP", "SIP", "IAX2"})
"""Technologies that name a channel by whom it calls. DAHDI names it by the line it found free, Local by the number."""

_PEER = re.compile(r"[A-Za-z0-9_.+-]+").fullmatch


def _lines(trunks: Mapping[str, Trunk]) -> dict[str, tuple[Line, ...]]:
    lines: dict[str, tuple[Line, ...]] = {}
    for name, trunk in trunks.items():
        channel = channel_of(name, trunk)
        if channel is not None:
            line = Line(name, channel, _number_pattern(name, trunk.dial), enforce=trunk.police == "enforce")
            lines[channel] = (*lines.get(channel, ()), line)
    return lines


def _number_pattern(name: str, dial: str) -> re.Pattern[str]:
    """What DialBegin tells is the dial string without its technology."""
    before, _, after = dial.replace("{trunk}", name).partition("/")[2].partition("{number}")
    return re.compile(rf"{re.escape(before)}(\+?[0-9]+){re.escape(after)}")


def _tenancy(settings: Settings, tenant: str, section: str) -> Tenancy:
    numbering = settings.numbering_of(tenant)
    try:
        normaliser = Normaliser(home_plan(numbering))
    except ConfigError as error:
        key = error.where.removeprefix("numbering.")
        raise ConfigError(error.what, where=f"{section}.{key}", fix=error.fix) from None
    services = {code: _service_rate(code, price) for code, price in numbering.service_codes.items()}
    return Tenancy(normaliser, services, _asking(settings.pin_of(tenant)), ZoneInfo(settings.zone_of(tenant)))


def _asking(pin: PinSettings) -> Asking:
    return Asking(
        kinds=frozenset(map(Kind, pin.ask)),
        tries=pin.tries,
        timeout_millis=pin.timeout_seconds * 1000,
        answered=pin.answer == "answered",
        remember_millis=pin.remember_minutes * 60_000,
        language=pin.language,
        ask=pin.prompts.ask,
        again=pin.prompts.again,
        refused=pin.prompts.refused,
    )


def _service_rate(code: str, price: str) -> Rate:
    return Rate(
        prefix=code,
        destination="service code",
        per_minute=parse_amount(price, where=f"service_codes.{code}"),
        connect_fee=0,
        minimum_seconds=0,
        increment_seconds=60,
        effective_from=0,
    )
