"""The configuration file made ready for the hot path: each tenant's numbering, each trunk's deck."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, tzinfo
from zoneinfo import ZoneInfo

from fraudguard.clock import Millis
from fraudguard.config import Numbering, PinSettings, Settings, Speed, Trunk
from fraudguard.errors import ConfigError, InputError, PeerError
from fraudguard.money import parse_amount
from fraudguard.numbering import HomePlan, Kind, Normaliser
from fraudguard.policy import DEFAULT_TENANT, Attempt, Reason
from fraudguard.policy.hours import Hours
from fraudguard.policy.lease import USUAL, LeaseTerms
from fraudguard.policy.speed import NO_LIMITS, SpeedLimits
from fraudguard.policy.strict import NEVER, Strict
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
    for a PIN and how, by what time, when and how it is held more strictly, and how fast it may be then and otherwise.
    """

    normaliser: Normaliser
    service_rates: Mapping[str, Rate]
    asking: Asking = Asking()
    zone: tzinfo = UTC
    strict: Strict = NEVER
    speed: SpeedLimits = NO_LIMITS
    strict_speed: SpeedLimits = NO_LIMITS


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
    lease: LeaseTerms = USUAL
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

    def zone_of(self, tenant: str | None) -> tzinfo:
        """Return the time by which a tenant's days begin; that of the installation for None."""
        return self.fallback.zone if tenant is None else self.tenancy_of(tenant).zone

    def is_strict(self, tenant: str, at: Millis) -> bool:
        """Say whether a tenant's strict profile holds at an instant."""
        tenancy = self.tenancy_of(tenant)
        return tenancy.strict.holds(at, tenancy.zone)

    def tenancy_of(self, tenant: str) -> Tenancy:
        """Return how a tenant dials."""
        return self.tenancies.get(tenant, self.fallback)

    def speed_of(self, tenant: str, strict: bool) -> SpeedLimits:
        """Return how fast a tenant may be, at strict times or otherwise."""
        tenancy = self.tenancies.get(tenant, self.fallback)
        return tenancy.strict_speed if strict else tenancy.speed

    @property
    def longest_window(self) -> Millis:
        """For how long an attempt may count in any tenant's speed, but for new countries."""
        limits = (tenancy.speed for tenancy in (self.fallback, *self.tenancies.values()))
        return 1000 * max(max(each.window_seconds, each.same_number_seconds) for each in limits)


class UnknownTrunkError(PeerError):
    """The dialplan asked about a trunk that the configuration does not name."""


class UnknownTenantError(PeerError):
    """The dialplan asked for a tenant that the configuration does not name: the rules set for the tenant that was
    meant would be passed by, so nothing is decided.
    """


def build_house(settings: Settings) -> House:
    """Compile the settings. Raises ConfigError naming file, section and key of what makes no sense: a numbering, hours,
    a region without known holidays.
    """
    file = settings.path
    return House(
        trunks={name: trunk.deck for name, trunk in settings.trunks.items()},
        tenancies={name: _tenancy(settings, name, f"{file}: tenants.{name}") for name in settings.tenants},
        fallback=_tenancy(settings, DEFAULT_TENANT, f"{file}: numbering"),
        lease=LeaseTerms(
            shortest=settings.policy.shortest_lease_seconds,
            longest=settings.policy.lease_seconds,
            call=max(settings.policy.call_seconds, settings.policy.lease_seconds),
            warning=settings.policy.cut_warning_seconds,
        ),
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
    speed = settings.speed_of(tenant)
    limits = _speed_limits(speed)
    return Tenancy(
        normaliser=normaliser,
        service_rates=services,
        asking=_asking(settings.pin_of(tenant)),
        zone=ZoneInfo(settings.zone_of(tenant)),
        strict=_strict(settings, tenant),
        speed=limits,
        strict_speed=limits.tightened(speed.strict_percent),
    )


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


def _speed_limits(speed: Speed) -> SpeedLimits:
    return SpeedLimits(**speed.model_dump(exclude={"strict_percent"}))


def _strict(settings: Settings, tenant: str) -> Strict:
    strict = settings.strict_of(tenant)
    try:
        hours = tuple(map(Hours.parse, strict.hours))
    except InputError as error:
        raise ConfigError(error.what, where=_strict_key(settings, tenant, "hours"), fix=error.fix) from None
    return Strict(
        hours=hours,
        holiday=_holiday(settings, tenant) if strict.holidays else None,
        limit=None if strict.limit is None else parse_amount(strict.limit),
        ask=frozenset(map(Kind, strict.ask)),
    )


def _holiday(settings: Settings, tenant: str) -> Callable[[date], bool]:
    """Return what says of a date whether it is a public holiday where the tenant is at home."""
    import holidays  # noqa: PLC0415  few ask for it, and every command would start later by a fifth

    home, part = settings.numbering_of(tenant).home, settings.strict_of(tenant).holidays_in
    try:
        known = holidays.country_holidays(home)
    except NotImplementedError:
        raise ConfigError(
            f"no public holidays are known for {home}",
            where=_strict_key(settings, tenant, "holidays"),
            fix="set it to false for this home",
        ) from None
    if not part:
        return known.__contains__
    try:
        return holidays.country_holidays(home, subdiv=part).__contains__
    except NotImplementedError:
        parts = known.subdivisions
        near = difflib.get_close_matches(part.upper(), parts, n=1)
        fix = f"did you mean {near[0]}?" if near else f"known: {', '.join(parts)}" if parts else "leave it out"
        raise ConfigError(
            f"{part!r} is no part of {home} with holidays of its own",
            where=_strict_key(settings, tenant, "holidays_in"),
            fix=fix,
        ) from None


def _strict_key(settings: Settings, tenant: str, key: str) -> str:
    """Return where the operator set it: in the tenant's own section, if anything there or its home makes it so."""
    own = settings.tenants.get(tenant)
    theirs = own is not None and (getattr(own.strict, key) is not None or (key == "holidays" and own.home is not None))
    return f"{settings.path}: {f'tenants.{tenant}.strict' if theirs else 'strict'}.{key}"


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
